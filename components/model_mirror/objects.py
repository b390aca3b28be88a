"""The mirror's Kubernetes objects: pure, camelCase, ready to send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pulumi

from components.model_mirror.settings import NAMESPACE, SERVICE_ACCOUNT, MirroredModel, MirrorSettings, job_name
from components.platforms.contract import Upload
from components.pods import anywhere, confined_container, confined_pod, credentials, dns_ports

Manifest = dict[str, Any]

UID: Final = 10001
LABELS: Final = {"app.kubernetes.io/name": "model-mirror", "app.kubernetes.io/part-of": "ebbtide"}
FINAL_STATUS: Final = 2
"""Exit status of the program for a problem that no further try can fix (images/mirror, ``__main__.py``)."""

_REQUESTS: Final = {"cpu": "500m", "memory": "512Mi"}
_TRIES: Final = 8


def namespace() -> Manifest:
    """Return the namespace, restricted in all three modes, so that a violation is refused, shown and logged alike."""
    modes = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    return {"metadata": {"name": NAMESPACE, "labels": modes}}


def service_account(upload: Upload, pull_secret: pulumi.Input[str] | None) -> Manifest:
    """Return the account that may write to the store. No token of the cluster is mounted: nothing here asks the API
    server.
    """
    annotations = upload.identity.service_account_annotations
    account: Manifest = {
        "metadata": {
            "name": SERVICE_ACCOUNT,
            "namespace": NAMESPACE,
            **({"annotations": dict(annotations)} if annotations else {}),
        },
        "automount_service_account_token": False,
    }
    return account if pull_secret is None else {**account, "image_pull_secrets": [{"name": pull_secret}]}


def network_policy(upload: Upload) -> Manifest:
    """Return the policy of the mirror. Nothing connects to it. It reaches DNS, the hub and the store by TLS, and the
    place for its own credentials if those are handed out at a link-local address. No other such address is open: the
    node's own credentials would be within reach."""
    return {
        "metadata": {"name": "model-mirror", "namespace": NAMESPACE},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [
                {"ports": dns_ports()},
                anywhere(443),
                *credentials(upload.credentials),
            ],
        },
    }


# `up` does not wait for a Job, so when it is replaced it does not wait for its deletion either. Deleted in the
# background its name is free at once; else the successor is applied to the object being deleted, and refused.
UNAWAITED: Final = {"pulumi.com/skipAwait": "true", "pulumi.com/deletionPropagationPolicy": "background"}


def job(model: MirroredModel, settings: MirrorSettings, upload: Upload, image: pulumi.Input[str]) -> Manifest:
    """Return a ``batch/v1 Job``. `up` does not wait for it, and it stays when it is done, so no later `up` starts it
    again.

    A try that fails for good (a licence not accepted, an id that does not exist) is the last one; a passing failure is
    tried again, later each time.
    """
    labels = {**LABELS, "ebbtide.dev/revision": model.revision}
    return {
        "metadata": {
            "name": job_name(model, upload.root, upload.environment),
            "namespace": NAMESPACE,
            "labels": labels,
            "annotations": {**UNAWAITED, "ebbtide.dev/model": model.model_id},
        },
        "spec": {
            "backoffLimit": _TRIES,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "mirror", "operator": "In", "values": [FINAL_STATUS]},
                    },
                    # a drained or reclaimed node says nothing about the copy
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {
                "metadata": {"labels": {**upload.identity.pod_labels, **labels}},
                "spec": _pod(model, settings, upload, image),
            },
        },
    }


def _pod(model: MirroredModel, settings: MirrorSettings, upload: Upload, image: pulumi.Input[str]) -> Manifest:
    """Return the pod's spec: no toleration at all, so no GPU node, which are tainted."""
    return {
        "restartPolicy": "Never",  # what podFailurePolicy asks for
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": confined_pod(UID),
        "containers": [
            {
                "name": "mirror",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "env": _environment(model, upload),
                "resources": {
                    "requests": dict(settings.requests or _REQUESTS),
                    "limits": {"memory": settings.memory_limit},
                },
                "securityContext": confined_container(),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _environment(model: MirroredModel, upload: Upload) -> list[Manifest]:
    plain: Mapping[str, str] = {
        **upload.environment,
        "EBBTIDE_MODEL_ID": model.model_id,
        "EBBTIDE_REVISION": model.revision,
        "EBBTIDE_TARGET": f"{upload.root.rstrip('/')}/{model.folder}",
        "EBBTIDE_ALLOW_PICKLE": "true" if model.allow_pickle else "false",
    }
    variables = [{"name": name, "value": value} for name, value in plain.items()]
    if model.token is None:
        return variables
    reference = {"name": model.token.name, "key": model.token.key}
    return [*variables, {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}}]
