"""Rendered manifests as Pulumi resources, one each, created in an order in which none waits for a later one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pulumi
import yaml

from components.typed.tables import LOADER

_STAGES: tuple[frozenset[str], ...] = (
    frozenset({"Namespace"}),
    frozenset(
        {
            "CustomResourceDefinition",
            "ServiceAccount",
            "Role",
            "ClusterRole",
            "RoleBinding",
            "ClusterRoleBinding",
        }
    ),
    # Services together with Deployments: the provider awaits a Service's endpoints, so it must not come first
    frozenset({"Service", "Deployment", "PodDisruptionBudget"}),
    # last, so that the API server never calls a server that is not there, neither during creation nor during deletion
    frozenset({"APIService", "ValidatingWebhookConfiguration"}),
)


def read_documents(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Return every non-empty YAML document of the files, in order. Raises ``FileNotFoundError`` naming the path."""
    documents = []
    for file in files:
        documents += [document for document in yaml.load_all(file.read_text(), Loader=LOADER) if document]
    return documents


def type_token(document: Mapping[str, Any]) -> str:
    """Return ``kubernetes:<group/version>:<Kind>``; the core group is ``core/v1``, which the manifests call ``v1``."""
    api_version = document["apiVersion"]
    group_version = api_version if "/" in api_version else f"core/{api_version}"
    return f"kubernetes:{group_version}:{document['kind']}"


def resource_name(document: Mapping[str, Any]) -> str:
    """Return a name unique within a set: a namespace may hold a Role where the cluster holds one of the same name."""
    metadata = document["metadata"]
    place = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{place}{metadata['name']}"


def in_stages(documents: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Group the documents in the order of creation. Raises ``ValueError`` for a kind that has no place in it."""
    stages: list[list[Mapping[str, Any]]] = [[] for _ in _STAGES]
    for document in documents:
        for stage, kinds in zip(stages, _STAGES, strict=True):
            if document["kind"] in kinds:
                stage.append(document)
                break
        else:
            raise ValueError(
                f"the manifests hold a {document['kind']} ({resource_name(document)}), which has no place in the order "
                "of creation: add its kind to a stage in manifest_set.py"
            )
    return [stage for stage in stages if stage]


class KubernetesObject(pulumi.CustomResource):
    """One document of any kind, through the Kubernetes provider and under its own type."""

    def __init__(self, name: str, document: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(type_token(document), name, dict(document), opts)


class ManifestSet(pulumi.ComponentResource):
    """Every document as a child, each stage depending on the one before; destroyed the other way round.

    Costs nothing itself. It does not look into the documents: all changes were made before.
    """

    def __init__(
        self,
        name: str,
        documents: Iterable[Mapping[str, Any]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:idle_scaling:ManifestSet", name, None, opts)
        before: list[pulumi.Resource] = []
        for stage in in_stages(documents):
            before = [
                KubernetesObject(
                    f"{name}-{document['kind']}-{resource_name(document)}",
                    document,
                    pulumi.ResourceOptions(parent=self, depends_on=before),
                )
                for document in stage
            ]
        self.register_outputs({})
