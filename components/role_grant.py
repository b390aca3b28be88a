"""A role of Kubernetes and its binding to a service account: as manifests, and as resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

Manifest = dict[str, Any]


def role_binding(granted: Manifest, account: str, namespace: str) -> Manifest:
    """Return the binding that gives a role to the service account ``account`` in ``namespace``."""
    return {
        "metadata": dict(granted["metadata"]),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": granted["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def cluster_role_binding(granted: Manifest, account: str, namespace: str) -> Manifest:
    """Return the binding that gives a cluster's role to the service account ``account`` in ``namespace``."""
    bound = role_binding(granted, account, namespace)
    return {**bound, "roleRef": {**bound["roleRef"], "kind": "ClusterRole"}}


def cluster_grant(
    name: str, granted: Manifest, bound: Manifest, parent: pulumi.Resource, account: pulumi.Resource
) -> pulumi.Resource:
    """Create a role for objects that belong to no namespace, and its binding to ``account``."""
    role = k8s.rbac.v1.ClusterRole(name, **granted, opts=pulumi.ResourceOptions(parent=parent, depends_on=[account]))
    return k8s.rbac.v1.ClusterRoleBinding(
        f"{name}-binding",
        metadata=bound["metadata"],
        role_ref=bound["roleRef"],
        subjects=bound["subjects"],
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[role, account]),
    )


def grant(
    name: str,
    granted: Manifest,
    bound: Manifest,
    parent: pulumi.Resource,
    account: pulumi.Resource,
    after: Sequence[pulumi.Resource] = (),
) -> k8s.rbac.v1.RoleBinding:
    """Create a role, after ``after``, and its binding to ``account``."""
    role = k8s.rbac.v1.Role(name, **granted, opts=pulumi.ResourceOptions(parent=parent, depends_on=after))
    return k8s.rbac.v1.RoleBinding(
        f"{name}-binding",
        metadata=bound["metadata"],
        role_ref=bound["roleRef"],
        subjects=bound["subjects"],
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[role, account]),
    )
