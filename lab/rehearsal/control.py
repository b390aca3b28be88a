"""Programs of a rehearsal's cluster with their flags, certificates and files: pure, from a layout.

There is no kubelet and no container: kwok answers for every node that carries its annotation, and reports a pod bound
to one as running. Everything that decides (API server, controllers, scheduler, autoscaler) is the real program.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from infra.errors import LocalProblem
from lab.machine.certificates import CertificateSpec, control_plane_parts
from lab.machine.control_plane import controller_flags, flags, identity_flags, kubeconfig
from lab.rehearsal.process import Part
from lab.rehearsal.programs import FOLDER, KARPENTER_KINDS, STAGES

SERVICES: Final = "10.97.0.0/16"
API_SERVICE: Final = "10.97.0.1"
CONTEXT: Final = "ebbtide-rehearsal"
ADMIN: Final = "admin"
NODE_ANNOTATION: Final = "kwok.x-k8s.io/node"
NODE_ANNOTATION_VALUE: Final = "fake"
SYSTEM_NAMESPACE: Final = "kube-system"
_USERS: Final = (ADMIN, "controller-manager", "scheduler", "kwok", "karpenter")

# our own stages: a load balancer has its address at once, so that nothing waits for it
_OWN_STAGES: Final = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: service-gets-an-address}
spec:
  resourceRef: {apiGroup: v1, kind: Service}
  selector:
    matchExpressions:
      - {key: .spec.type, operator: In, values: [LoadBalancer]}
      - {key: '.status.loadBalancer.ingress.[].hostname', operator: DoesNotExist}
  next:
    patches:
      - subresource: status
        root: status
        type: merge
        template: '{"loadBalancer": {"ingress": [{"hostname": "service.rehearsal.invalid"}]}}'
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: ingress-gets-an-address}
spec:
  resourceRef: {apiGroup: networking.k8s.io/v1, kind: Ingress}
  selector:
    matchExpressions:
      - {key: '.status.loadBalancer.ingress.[].hostname', operator: DoesNotExist}
  next:
    patches:
      - subresource: status
        root: status
        type: merge
        template: '{"loadBalancer": {"ingress": [{"hostname": "ingress.rehearsal.invalid"}]}}'
"""


def certificates() -> list[CertificateSpec]:
    """Return every certificate the cluster needs."""
    hosts = ("127.0.0.1", "localhost", API_SERVICE, "kubernetes", "kubernetes.default", "kubernetes.default.svc")
    return [
        *control_plane_parts(hosts),
        CertificateSpec(name=ADMIN, common_name="ebbtide-rehearsal", organization="system:masters"),
        CertificateSpec(name="kwok", common_name="kwok", organization="system:masters"),
        CertificateSpec(name="karpenter", common_name="karpenter", organization="system:masters"),
    ]


def files(at: Layout) -> dict[str, str]:
    """Return configuration files by path; some carry keys, so the whole folder is for its owner alone."""
    by_path = {
        str(at.kubeconfig(user)): yaml.safe_dump(kubeconfig(at.pki, user, at.server, CONTEXT)) for user in _USERS
    }
    by_path[str(at.stages)] = f"{at.module_stages.read_text()}---{_OWN_STAGES}"
    by_path[str(at.egress)] = yaml.safe_dump(_egress(at))
    return by_path


def _egress(at: Layout) -> dict[str, Any]:
    """Return a configuration by which calls to webhooks and aggregated APIs fail at once: pods have addresses with
    nothing behind them, and the API server would knock for ten seconds at one that may belong to a stranger."""
    connection = {
        "proxyProtocol": "HTTPConnect",
        "transport": {"uds": {"udsName": f"{at.root}/nobody.sock"}},
    }
    return {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": connection}],
    }


def etcd(at: Layout, program: str) -> Part:
    """Return etcd, without fsync: what a rehearsal writes may be lost with the machine."""
    client, peers = (f"http://127.0.0.1:{port}" for port in (at.ports.etcd, at.ports.etcd_peers))
    own = flags(
        data_dir=f"{at.root}/etcd",
        log_level="error",
        listen_client_urls=client,
        advertise_client_urls=client,
        listen_peer_urls=peers,
        initial_advertise_peer_urls=peers,
        initial_cluster=f"default={peers}",
    )
    return Part("etcd", (program, *own, "--unsafe-no-fsync"))


def api_server(at: Layout) -> Part:
    """Return the API server, on loopback alone and requiring client certificates."""
    own = flags(
        bind_address="127.0.0.1",
        secure_port=str(at.ports.api),
        endpoint_reconciler_type="none",  # its Service leads nowhere, and no pod could use it
        etcd_servers=f"http://127.0.0.1:{at.ports.etcd}",
        service_cluster_ip_range=SERVICES,
        egress_selector_config_file=str(at.egress),
    )
    return Part("kube-apiserver", (at.program("kube-apiserver"), *own, *identity_flags(at.pki)))


def deciders(at: Layout) -> list[Part]:
    """Return the controllers, the scheduler and kwok: each acts once the API server answers. None of them listens."""
    config = str(at.kubeconfig("controller-manager"))
    manager = [*flags(kubeconfig=config, secure_port="0", leader_elect="false"), *controller_flags(at.pki)]
    scheduler = flags(kubeconfig=str(at.kubeconfig("scheduler")), secure_port="0", leader_elect="false")
    kwok = flags(
        kubeconfig=str(at.kubeconfig("kwok")),
        config=str(at.stages),
        manage_all_nodes="false",
        manage_nodes_with_annotation_selector=f"{NODE_ANNOTATION}={NODE_ANNOTATION_VALUE}",
        node_lease_duration_seconds="40",
    )
    return [
        Part("kube-controller-manager", (at.program("kube-controller-manager"), *manager)),
        Part("kube-scheduler", (at.program("kube-scheduler"), *scheduler)),
        Part("kwok", (at.program("kwok"), *kwok)),
    ]


def karpenter(at: Layout) -> Part:
    """Return the autoscaler. It reads its machines once, at its start."""
    environment = {
        "KUBECONFIG": str(at.kubeconfig("karpenter")),
        "INSTANCE_TYPES_FILE_PATH": str(at.instance_types),
        "SYSTEM_NAMESPACE": SYSTEM_NAMESPACE,
        "DISABLE_LEADER_ELECTION": "true",
        "METRICS_PORT": str(at.ports.karpenter_metrics),
        "HEALTH_PROBE_PORT": str(at.ports.karpenter_health),
        "LOG_LEVEL": "info",
    }
    return Part("karpenter-kwok", (at.program("karpenter-kwok"),), environment)


# Files of a rehearsal's cluster, and the loopback ports of its parts.

# below the kernel's range for outgoing connections, so that none of them takes a port between choice and use
_PORTS: Final = range(21000, 22000)


@dataclass(frozen=True)
class Ports:
    """Ports on 127.0.0.1, one for each use."""

    etcd: int
    etcd_peers: int
    api: int
    karpenter_metrics: int
    karpenter_health: int

    @staticmethod
    def free() -> Ports:
        """Return ports that nothing listens on now; concurrent processes begin at different places."""
        ports: list[int] = []
        for n in range(len(_PORTS)):
            port = _PORTS[(os.getpid() * 16 + n) % len(_PORTS)]
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            ports.append(port)
            if len(ports) == len(Ports.__dataclass_fields__):
                return Ports(*ports)
        raise LocalProblem(
            f"fewer than {len(Ports.__dataclass_fields__)} of the ports {_PORTS.start} to {_PORTS.stop - 1} are free",
            "end what listens on them (`ss -ltnp`), then run it again",
        )


@dataclass(frozen=True)
class Layout:
    """Files and ports: ``root`` is the cluster's own folder, ``cache`` the one that all clones share."""

    root: Path
    cache: Path
    ports: Ports

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def stages(self) -> Path:
        """Return the file of kwok's stages, followed by our own."""
        return self.root / "stages.yaml"

    @property
    def module_stages(self) -> Path:
        return self.cache / FOLDER / STAGES

    @property
    def karpenter_kinds(self) -> Path:
        return self.cache / FOLDER / KARPENTER_KINDS

    @property
    def keda_manifests(self) -> Path:
        return self.cache / "keda"

    @property
    def egress(self) -> Path:
        return self.root / "egress.yaml"

    @property
    def instance_types(self) -> Path:
        return self.root / "instance-types.json"

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.ports.api}"

    def program(self, name: str) -> str:
        return str(self.cache / "bin" / name)

    def kubeconfig(self, user: str) -> Path:
        return self.root / f"{user}.kubeconfig"
