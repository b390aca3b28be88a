"""KEDA and its HTTP add-on: they hold a request while its model wakes, and scale the model to zero when it is idle."""

from __future__ import annotations

from pathlib import Path

import pulumi
import pulumi_kubernetes as k8s

from components.idle_scaling.addresses import interceptor_url, scaler_address
from components.idle_scaling.helm_values import http_add_on_values, keda_values
from components.idle_scaling.manifest_patches import patched
from components.idle_scaling.manifest_set import ManifestSet, read_documents
from components.idle_scaling.settings import EngineSettings
from components.idle_scaling.versions import (
    CHART_REPOSITORY,
    HTTP_ADD_ON_CHART,
    HTTP_ADD_ON_VERSION,
    KEDA_CHART,
    KEDA_VERSION,
    MANIFEST_FILES,
)


class IdleScalingEngine(pulumi.ComponentResource):
    """KEDA and its HTTP add-on, installed once per cluster.

    Creates, by ``settings.install``: ``helm``, the namespace and two chart releases; ``manifests``, every document of
    the rendered manifests; ``existing``, nothing. At rest it costs six small pods (0.3 CPU and 384 MiB requested) on
    nodes without a GPU. It does not watch over models: each brings its own ``IdleScalingPolicy``.

    ``existing`` trusts the cluster to have KEDA 2.20 or newer and the HTTP add-on 0.15 or newer in
    ``settings.namespace``, under the charts' own names, with the interceptor's number fixed (min = max), its
    ``drainTimeout`` at least the longest hold plus the longest stream, and ``responseHeaderTimeout`` 0s. Nothing here
    can check that.

    Policies must name this component in ``depends_on``: a ScaledObject carries a finalizer that only a running KEDA
    removes, so on ``destroy`` KEDA has to go last.
    """

    url: str
    """Base URL of the interceptor inside the cluster."""
    scaler_address: str

    def __init__(self, name: str, settings: EngineSettings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ebbtide:idle_scaling:IdleScalingEngine", name, None, opts)
        self.settings = settings
        self.url = interceptor_url(settings.namespace)
        self.scaler_address = scaler_address(settings.namespace)
        if settings.install == "helm":
            self._by_charts(name)
        elif settings.install == "manifests":
            self._by_manifests(name, settings.manifests)
        self.register_outputs({"url": self.url, "scalerAddress": self.scaler_address})

    def _by_charts(self, name: str) -> None:
        namespace = k8s.core.v1.Namespace(
            f"{name}-namespace",
            metadata={
                "name": self.settings.namespace,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        keda = self._release(f"{name}-keda", KEDA_CHART, KEDA_VERSION, keda_values(self.settings), [namespace])
        # after KEDA: the chart brings a ScaledObject of its own
        self._release(
            f"{name}-http-add-on",
            HTTP_ADD_ON_CHART,
            HTTP_ADD_ON_VERSION,
            http_add_on_values(self.settings),
            [keda],
        )

    def _release(
        self, name: str, chart: str, version: str, values: dict[str, object], after: list[pulumi.Resource]
    ) -> k8s.helm.v3.Release:
        return k8s.helm.v3.Release(
            name,
            name=chart,
            chart=chart,
            version=version,
            namespace=self.settings.namespace,
            repository_opts={"repo": CHART_REPOSITORY},
            values=values,
            timeout=600,
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )

    def _by_manifests(self, name: str, folder: Path | None) -> None:
        assert folder is not None  # EngineSettings refuses it
        documents = read_documents(folder / file for file in MANIFEST_FILES)
        ManifestSet(
            f"{name}-manifests",
            patched(documents, self.settings),
            pulumi.ResourceOptions(parent=self),
        )
