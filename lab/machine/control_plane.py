"""Programs of the lab's Kubernetes with their flags and files: pure, from a few addresses and folders.

Two nodes in one machine: ``ebbtide-system`` for the platform's own pods, ``ebbtide-gpu`` tainted like a GPU pool. Each
has a containerd and a kubelet of its own; both share the machine's network, so pods are routed, not bridged (``ptp``),
and one process (kube-router) enforces the NetworkPolicies of both.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.machine import network_policies
from lab.machine.certificates import CertificateSpec, control_plane_parts
from lab.toolchain import kube_router

CONTROL_ADDRESS = "10.99.0.1"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
PODS = "10.244.0.0/16"
API_PORT = 6443
NODE_PORT_GATEWAY = 30400
CLUSTER_DOMAIN = "cluster.local"
CNI_PROGRAMS = "/usr/lib/cni"


@dataclass(frozen=True)
class Node:
    """One kubelet and its containerd; the number keeps addresses and ports apart."""

    name: str
    number: int

    @property
    def address(self) -> str:
        return f"10.99.0.{self.number}"

    @property
    def pods(self) -> str:
        return f"10.244.{self.number}.0/24"


SYSTEM = Node("ebbtide-system", 1)
GPU = Node("ebbtide-gpu", 2)
NODES = (SYSTEM, GPU)


@dataclass(frozen=True)
class Layout:
    """Folders the parts read and write. ``registry_port`` is the same inside and on the host's loopback."""

    programs: Path
    pki: Path
    data: Path
    logs: Path
    registry_data: Path
    registry_port: int
    sandbox_image: str


def certificates() -> list[CertificateSpec]:
    """Return every certificate the cluster needs, server names included."""
    names = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
    )
    api_hosts = ("127.0.0.1", "localhost", CONTROL_ADDRESS, API_SERVICE, *names)
    kubelets = [
        CertificateSpec(
            name=f"kubelet-{n.name}",
            common_name=f"system:node:{n.name}",
            organization="system:nodes",
            hosts=(n.name, n.address),
        )
        for n in NODES
    ]
    return [
        *control_plane_parts(api_hosts),
        CertificateSpec(
            name="apiserver-kubelet", common_name="kube-apiserver-kubelet-client", organization="system:masters"
        ),
        CertificateSpec(name="admin", common_name="ebbtide-admin", organization="system:masters"),
        CertificateSpec(name="proxy", common_name="system:kube-proxy"),
        CertificateSpec(name="network-policies", common_name=network_policies.USER),
        *kubelets,
    ]


def kubeconfig(pki: Path, user: str, server: str, context: str = "ebbtide-local") -> dict[str, Any]:
    """Return a self-contained kubeconfig for the certificate ``user``."""

    def inline(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": inline("ca.crt")}
    credentials = {
        "client-certificate-data": inline(f"{user}.crt"),
        "client-key-data": inline(f"{user}.key"),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": cluster}],
        "users": [{"name": context, "user": credentials}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
    }


def flags(**values: str) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def identity_flags(pki: Path) -> list[str]:
    """Return the API server's flags that any cluster of these certificates has: whom it trusts, and as whom it acts."""
    return flags(
        authorization_mode="Node,RBAC",
        anonymous_auth="false",
        client_ca_file=f"{pki}/ca.crt",
        tls_cert_file=f"{pki}/apiserver.crt",
        tls_private_key_file=f"{pki}/apiserver.key",
        service_account_issuer=f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        service_account_key_file=f"{pki}/sa.pub",
        service_account_signing_key_file=f"{pki}/sa.key",
        enable_aggregator_routing="true",
        requestheader_client_ca_file=f"{pki}/front-proxy-ca.crt",
        requestheader_allowed_names="front-proxy-client",
        requestheader_extra_headers_prefix="X-Remote-Extra-",
        requestheader_group_headers="X-Remote-Group",
        requestheader_username_headers="X-Remote-User",
        proxy_client_cert_file=f"{pki}/front-proxy.crt",
        proxy_client_key_file=f"{pki}/front-proxy.key",
        # Debian's etcd 3.4 cannot stream a first list: with WatchList every new watch waits for seconds
        feature_gates="WatchList=false",
    )


def controller_flags(pki: Path) -> list[str]:
    """Return the controller manager's flags that any cluster of these certificates has."""
    return flags(
        root_ca_file=f"{pki}/ca.crt",
        service_account_private_key_file=f"{pki}/sa.key",
        use_service_account_credentials="true",
        cluster_signing_cert_file=f"{pki}/ca.crt",
        cluster_signing_key_file=f"{pki}/ca.key",
    )


def _apiserver(at: Layout) -> list[str]:
    pki = at.pki
    return [
        str(at.programs / "kube-apiserver"),
        *flags(
            bind_address="0.0.0.0",  # noqa: S104  in the machine's own network, which nobody outside reaches
            secure_port=str(API_PORT),
            advertise_address=CONTROL_ADDRESS,
            etcd_servers="http://127.0.0.1:2379",
            service_cluster_ip_range=SERVICES,
            enable_admission_plugins="NodeRestriction",
            allow_privileged="true",
            kubelet_certificate_authority=f"{pki}/ca.crt",
            kubelet_client_certificate=f"{pki}/apiserver-kubelet.crt",
            kubelet_client_key=f"{pki}/apiserver-kubelet.key",
            kubelet_preferred_address_types="InternalIP",
            service_node_port_range="30000-32767",
        ),
        *identity_flags(pki),
    ]


def _etcd(at: Layout) -> list[str]:
    return [
        "etcd",
        *flags(
            data_dir=f"{at.data}/etcd",
            listen_client_urls="http://127.0.0.1:2379",
            advertise_client_urls="http://127.0.0.1:2379",
            listen_peer_urls="http://127.0.0.1:2380",
            auto_compaction_retention="1",
        ),
    ]


def _kubelet_config(node: Node, at: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "port": 10250,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10300 + node.number,
        "authentication": {
            "x509": {"clientCAFile": f"{at.pki}/ca.crt"},
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{at.pki}/kubelet-{node.name}.crt",
        "tlsPrivateKeyFile": f"{at.pki}/kubelet-{node.name}.key",
        "clusterDomain": CLUSTER_DOMAIN,
        "clusterDNS": [DNS_SERVICE],
        "containerRuntimeEndpoint": f"unix:///run/containerd-{node.name}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/ebbtide/{node.name}",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "failCgroupV1": False,
        "podLogsDir": f"{at.logs}/pods-{node.name}",
        "volumePluginDir": f"{at.data}/{node.name}/volume-plugins",
        "resolvConf": f"{at.data}/resolv.conf",
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
        # a small disk is no reason to evict a model that a user waits for
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "serializeImagePulls": False,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "10s",
        "shutdownGracePeriod": "0s",
    }


def _containerd_config(node: Node, at: Layout) -> str:
    root = at.data / node.name
    return f"""version = 2
root = "{root}/containerd"
state = "/run/containerd-{node.name}/state"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "/run/containerd-{node.name}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{at.sandbox_image}"
  restrict_oom_score_adj = true
  max_concurrent_downloads = 4
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    discard_unpacked_layers = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{root}/cni"
"""


def _cni_config(node: Node) -> str:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": node.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni",
    }
    ptp = {"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": node.name, "plugins": [ptp, portmap]}, indent=1)


def _registry_config(at: Layout) -> str:
    return yaml.safe_dump(
        {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(at.registry_data)}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{at.registry_port}"},
        }
    )


def _as_user(config: str) -> list[str]:
    return flags(
        kubeconfig=config,
        authentication_kubeconfig=config,
        authorization_kubeconfig=config,
        leader_elect="false",
    )


def network_setup() -> list[list[str]]:
    """Return commands for the machine's network: node addresses on a bridge without ports, pods routed behind it."""
    addresses = [["ip", "address", "add", f"{node.address}/24", "dev", "ebbtide0"] for node in NODES]
    return [
        ["ip", "link", "set", "lo", "up"],
        ["ip", "link", "add", "ebbtide0", "type", "bridge"],
        *addresses,
        ["ip", "link", "set", "ebbtide0", "up"],
        # there is no default route; a Service address needs one until the firewall rewrites it
        ["ip", "route", "add", SERVICES, "dev", "lo"],
        ["sysctl", "-qw", "net.ipv4.ip_forward=1"],
        # a packet to a Service that nothing rewrote must fail at once, not wander; a pod's by routing, since the
        # firewall's first word is that of the NetworkPolicies, which may let it go
        ["iptables", "-I", "OUTPUT", "1", "-d", SERVICES, "-j", "REJECT"],
        ["ip", "rule", "add", "iif", "lo", "to", SERVICES, "lookup", "main", "priority", "100"],
        ["ip", "rule", "add", "to", SERVICES, "unreachable", "priority", "101"],
    ]


def mount_setup() -> list[list[str]]:
    """Return commands that mount private, empty folders where programs insist on fixed paths; kubelet needs mounts
    shared with its containers."""
    fresh = [["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", at] for at in ("/run", "/var/log")]
    return [
        ["mount", "--make-rshared", "/"],
        *fresh,
        ["mkdir", "-p", "/var/lib/kubelet"],
        ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/lib/kubelet"],
    ]


def files(at: Layout) -> dict[str, str]:
    """Return configuration files by path; some carry keys, so all are for root alone."""
    server = f"https://127.0.0.1:{API_PORT}"
    users = ("controller-manager", "scheduler", "proxy", "network-policies", *(f"kubelet-{n.name}" for n in NODES))
    by_path = {f"{at.pki}/{user}.kubeconfig": yaml.safe_dump(kubeconfig(at.pki, user, server)) for user in users}
    by_path[f"{at.data}/registry.yaml"] = _registry_config(at)
    by_path[f"{at.data}/resolv.conf"] = "# the lab has no resolver outside the cluster\n"
    for node in NODES:
        root = at.data / node.name
        by_path[f"{root}/containerd.toml"] = _containerd_config(node, at)
        by_path[f"{root}/cni/10-{node.name}.conflist"] = _cni_config(node)
        by_path[f"{root}/kubelet.yaml"] = yaml.safe_dump(_kubelet_config(node, at))
    return by_path


def machine_spec(at: Layout) -> dict[str, Any]:
    """Return the spec for ``supervisor.py``: set-up commands and processes in starting order."""

    def process(name: str, argv: list[str], after: str | None = None) -> dict[str, Any]:
        return {"name": name, "argv": argv, "log": f"{at.logs}/{name}.log", "after": after}

    manager_config = f"{at.pki}/controller-manager.kubeconfig"
    manager = [
        str(at.programs / "kube-controller-manager"),
        *_as_user(manager_config),
        *controller_flags(at.pki),
        # a busy machine whose kubelet is late for a minute must not lose its nodes, nor have them tainted
        *flags(bind_address="127.0.0.1", node_monitor_grace_period="2m0s"),
    ]
    scheduler = [
        str(at.programs / "kube-scheduler"),
        *_as_user(f"{at.pki}/scheduler.kubeconfig"),
        "--bind-address=127.0.0.1",
    ]
    proxy = [
        str(at.programs / "kube-proxy"),
        *flags(
            kubeconfig=f"{at.pki}/proxy.kubeconfig",
            proxy_mode="iptables",
            cluster_cidr=PODS,
            hostname_override=SYSTEM.name,
            conntrack_max_per_core="0",
            conntrack_tcp_timeout_established="0s",
            conntrack_tcp_timeout_close_wait="0s",
            healthz_bind_address="127.0.0.1:10256",
            metrics_bind_address="127.0.0.1:10249",
            iptables_min_sync_period="100ms",
        ),
    ]
    policies = [
        str(at.programs / kube_router.NAME),
        *flags(
            run_firewall="true",
            run_router="false",
            run_service_proxy="false",
            kubeconfig=f"{at.pki}/network-policies.kubeconfig",
            hostname_override=SYSTEM.name,
            service_cluster_ip_range=SERVICES,
            health_port="0",
        ),
    ]
    nodes = []
    for node in NODES:
        root = at.data / node.name
        containerd = ["containerd", "--config", f"{root}/containerd.toml"]
        kubelet = [
            str(at.programs / "kubelet"),
            *flags(
                config=f"{root}/kubelet.yaml",
                kubeconfig=f"{at.pki}/kubelet-{node.name}.kubeconfig",
                root_dir=f"{root}/kubelet",
                cert_dir=f"{root}/kubelet-pki",
                hostname_override=node.name,
                node_ip=node.address,
            ),
        ]
        # the pods of an earlier run start with the kubelet: before kube-proxy has written its rules they find no API
        # server at its Service's address, end, and are restarted after ever longer pauses
        nodes += [
            process(f"containerd-{node.name}", containerd),
            process(f"kubelet-{node.name}", kubelet, after=f"{API_SERVICE}:443"),
        ]
    return {
        "hostname": "ebbtide",
        "cgroups": [node.name for node in NODES],
        "setup": [*mount_setup(), *network_setup()],
        "processes": [
            process("etcd", _etcd(at)),
            process("registry", [str(at.programs / "registry"), "serve", f"{at.data}/registry.yaml"]),
            process("kube-apiserver", _apiserver(at)),
            process("kube-controller-manager", manager),
            process("kube-scheduler", scheduler),
            process("kube-proxy", proxy),
            *nodes,
            process(kube_router.NAME, policies),
        ],
    }
