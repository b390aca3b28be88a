"""LeaderWorkerSet's controller as a resource of a stack."""

from __future__ import annotations

from typing import Any, Final

import pulumi
import pulumi_kubernetes as k8s

from components.catalog.versions import pinned

NAMESPACE: Final = "lws-system"
NAME: Final = "lws"
CHART: Final = "oci://registry.k8s.io/lws/charts/lws"


def controller_values() -> dict[str, Any]:
    """Return what restricted Pod Security asks for beside the chart's own values: its pod names no seccomp profile. And
    less than the CPU and GiB that the chart reserves: they would be a quarter of a smallest system node for a handful
    of models."""
    return {
        "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
    }


class LeaderWorkerSetController(pulumi.ComponentResource):
    """LeaderWorkerSet's controller, installed once per cluster for models larger than one machine; no others need it.

    Creates the namespace and the chart's release. At rest it costs one pod on nodes without a GPU (a tenth of
    a CPU and 256 MiB requested). It makes its webhook's certificate itself. Models that are groups must name this
    component in ``depends_on``: without its webhooks their pods would not know each other.
    """

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ebbtide:leader_worker_set:LeaderWorkerSetController", name, None, opts)
        namespace = k8s.core.v1.Namespace(
            f"{name}-namespace",
            metadata={"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
            opts=pulumi.ResourceOptions(parent=self),
        )
        k8s.helm.v3.Release(
            name,
            name=NAME,
            chart=CHART,
            version=pinned("leader-worker-set").version,
            namespace=NAMESPACE,
            values=controller_values(),
            timeout=600,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace]),
        )
        self.register_outputs({})
