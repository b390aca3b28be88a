"""Changes to the rendered manifests of KEDA and the HTTP add-on: pure functions on parsed documents.

RBAC and Services stay as they are. Left out: the ScaledObject that scales the interceptor itself (its number is fixed,
and it would be a second writer of ``replicas``). The ``HTTPScaledObject`` CRD stays although nothing here uses it: the
interceptor and the add-on's operator watch it and do not start without it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from components.idle_scaling.addresses import SCALER_PORT
from components.idle_scaling.settings import EngineSettings, Role
from components.idle_scaling.versions import HTTP_ADD_ON_VERSION, KEDA_VERSION

Document = dict[str, Any]

INTERCEPTOR = "keda-add-ons-http-interceptor"
_ROLE_OF_DEPLOYMENT: dict[str, Role] = {
    "keda-operator": "operator",
    "keda-metrics-apiserver": "adapter",
    "keda-admission": "webhooks",
    INTERCEPTOR: "interceptor",
    "keda-add-ons-http-scaler": "scaler",
    "keda-add-ons-http-operator": "http-operator",
}
_PUBLISHED: dict[Role, str] = {
    "operator": f"ghcr.io/kedacore/keda:{KEDA_VERSION}",
    "adapter": f"ghcr.io/kedacore/keda-metrics-apiserver:{KEDA_VERSION}",
    "webhooks": f"ghcr.io/kedacore/keda-admission-webhooks:{KEDA_VERSION}",
    "interceptor": f"ghcr.io/kedacore/http-add-on-interceptor:{HTTP_ADD_ON_VERSION}",
    "scaler": f"ghcr.io/kedacore/http-add-on-scaler:{HTTP_ADD_ON_VERSION}",
    "http-operator": f"ghcr.io/kedacore/http-add-on-operator:{HTTP_ADD_ON_VERSION}",
}
_RENDERED_NAMESPACE = "keda"


def patched(documents: Iterable[Mapping[str, Any]], settings: EngineSettings) -> list[Document]:
    """Return copies of ``documents`` with the settings in them, without what is not needed; for several interceptors,
    add a disruption budget.

    Raises ``ValueError`` when a Deployment is missing or unknown: the version changed.
    """
    result = []
    deployments = set()
    for original in documents:
        document: Document = copy.deepcopy(dict(original))
        kind, name = document["kind"], document["metadata"]["name"]
        if kind == "ScaledObject":
            continue
        _relabel(document)
        if kind == "CustomResourceDefinition":
            for version in document["spec"]["versions"]:
                version["schema"]["openAPIV3Schema"] = without_descriptions(version["schema"]["openAPIV3Schema"])
        elif kind == "Namespace":
            document["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "restricted"
        elif kind == "Service":
            # the Deployments are awaited; waiting for endpoints too would only delay the report of what failed
            document["metadata"].setdefault("annotations", {})["pulumi.com/skipAwait"] = "true"
        elif kind == "Deployment":
            deployments.add(name)
            _patch_deployment(document, settings)
        result.append(document)
    if deployments != set(_ROLE_OF_DEPLOYMENT):
        raise ValueError(
            f"the manifests hold the Deployments {sorted(deployments)}, expected are {sorted(_ROLE_OF_DEPLOYMENT)}: "
            f"render them from KEDA {KEDA_VERSION} and the HTTP add-on {HTTP_ADD_ON_VERSION}"
        )
    if settings.interceptor_replicas > 1:
        result.append(_disruption_budget(settings))
    return [_in_namespace(document, settings.namespace) for document in result]


def _relabel(document: Document) -> None:
    labels = document["metadata"].setdefault("labels", {})
    labels.pop("app.kubernetes.io/managed-by", None)  # kustomize no longer manages it
    if labels.get("app.kubernetes.io/version") in ("latest", "HEAD"):
        part = labels.get("app.kubernetes.io/name")
        labels["app.kubernetes.io/version"] = HTTP_ADD_ON_VERSION if part == "http-add-on" else KEDA_VERSION


def _patch_deployment(document: Document, settings: EngineSettings) -> None:
    name = document["metadata"]["name"]
    role = _ROLE_OF_DEPLOYMENT.get(name)
    if role is None:
        return  # reported by the caller, together with what is missing
    pod = document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    program = settings.programs.get(role)
    container["image"] = program.image if program else _PUBLISHED[role]
    if program and program.command:
        container["command"] = list(program.command)
    container["imagePullPolicy"] = "IfNotPresent"
    pod["nodeSelector"] = {**pod.get("nodeSelector", {}), **settings.node_selector}
    # KEDA and the add-on set it in different places; restricted Pod Security reads the pod's first
    pod.setdefault("securityContext", {})["seccompProfile"] = {"type": "RuntimeDefault"}
    resources = container["resources"]
    resources["requests"] = {"cpu": "50m", "memory": "64Mi"}
    if role == "interceptor":
        document["spec"]["replicas"] = settings.interceptor_replicas
        pod["terminationGracePeriodSeconds"] = settings.interceptor_grace_seconds
        resources["limits"] = {"memory": settings.interceptor_memory}
        _set_environment(container, settings.interceptor_environment())
    elif role == "scaler":
        _set_environment(container, settings.scaler_environment())
        # until it knows a model from the interceptor it reports itself as not live; when both restarted with their
        # node, the liveness probe ended it after some 12 s, in the middle of a start
        answers = {"grpc": {"port": SCALER_PORT, "service": "liveness"}}
        container["startupProbe"] = {**answers, "periodSeconds": 1, "failureThreshold": 120}


def _set_environment(container: Document, variables: Mapping[str, str]) -> None:
    others = [entry for entry in container["env"] if entry["name"] not in variables]
    container["env"] = others + [{"name": key, "value": value} for key, value in variables.items()]


def _disruption_budget(settings: EngineSettings) -> Document:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": INTERCEPTOR, "namespace": _RENDERED_NAMESPACE},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": settings.interceptor_pod_labels()}},
    }


def without_descriptions(schema: Any) -> Any:
    """Return a CRD schema without its descriptions, which are two thirds of it and would be stored with every update of
    the stack.

    A property that is itself called ``description`` stays.
    """
    if isinstance(schema, list):
        return [without_descriptions(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    slim = {}
    for key, value in schema.items():
        if key == "properties" and isinstance(value, dict):
            slim[key] = {name: without_descriptions(child) for name, child in value.items()}
        elif key == "description" and isinstance(value, str):
            continue
        elif key in ("default", "enum", "example"):
            slim[key] = value
        else:
            slim[key] = without_descriptions(value)
    return slim


def _in_namespace(document: Document, namespace: str) -> Document:
    """Return the document moved from the namespace it was rendered for; kube-system's role binding stays there."""
    if namespace == _RENDERED_NAMESPACE:
        return document
    metadata = document["metadata"]
    if metadata.get("namespace") == _RENDERED_NAMESPACE:
        metadata["namespace"] = namespace
    if document["kind"] == "Namespace":
        metadata["name"] = namespace
    for subject in document.get("subjects", []):
        if subject.get("namespace") == _RENDERED_NAMESPACE:
            subject["namespace"] = namespace
    if document["kind"] == "APIService":
        document["spec"]["service"]["namespace"] = namespace
    for webhook in document.get("webhooks", []):
        webhook["clientConfig"]["service"]["namespace"] = namespace
    return document
