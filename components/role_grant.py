"""A role of Kubernetes and its binding to a service account: as manifests, and as resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

Manifest = dict[str, Any]


def role_binding(granted: Manifest, account: str, namespace: str) -> Manifest:
    """Return the binding that gives a role to the service account ``account`` in ``namespace``. A role without a
    namespace is the cluster's.
    """
    kind = "ClusterRole" if _is_clusters(granted) else "Role"
    return {
        "metadata": dict(granted["metadata"]),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": granted["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def grant(
    name: str,
    granted: Manifest,
    bound: Manifest,
    parent: pulumi.Resource,
    account: pulumi.Resource,
    after: Sequence[pulumi.Resource] = (),
) -> pulumi.Resource:
    """Create a role, after ``after``, and its binding to ``account``."""
    role_type, binding_type = (
        (k8s.rbac.v1.ClusterRole, k8s.rbac.v1.ClusterRoleBinding)
        if _is_clusters(granted)
        else (k8s.rbac.v1.Role, k8s.rbac.v1.RoleBinding)
    )
    role = role_type(name, **granted, opts=pulumi.ResourceOptions(parent=parent, depends_on=after))
    return binding_type(
        f"{name}-binding",
        metadata=bound["metadata"],
        role_ref=bound["roleRef"],
        subjects=bound["subjects"],
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[role, account]),
    )


def _is_clusters(role: Manifest) -> bool:
    return "namespace" not in role["metadata"]
