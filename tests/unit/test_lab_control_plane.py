"""The flags and files of the local cluster: who listens where, that nodes do not get in each other's way."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from infra.workspace import PROJECT
from lab.machine import certificates, control_plane
from lab.machine.control_plane import GPU, NODES, SYSTEM, Layout

MACHINE = ipaddress.ip_network("10.99.0.0/24")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    root = tmp_path_factory.mktemp("state")
    layout_made = Layout(
        programs=root / "bin",
        pki=root / "cluster/pki",
        data=root / "cluster",
        logs=root / "logs",
        registry_data=root / "registry",
        registry_port=5000,
        sandbox_image="127.0.0.1:5000/ebbtide/pause:1",
    )
    certificates.ensure(layout_made.pki, control_plane.certificates())
    return layout_made


@pytest.fixture(scope="module")
def files(layout: Layout) -> dict[str, str]:
    return control_plane.files(layout)


@pytest.fixture(scope="module")
def spec(layout: Layout) -> dict[str, Any]:
    return control_plane.machine_spec(layout)


def flag(spec: dict[str, Any], process: str, name: str) -> str:
    (argv,) = [p["argv"] for p in spec["processes"] if p["name"] == process]
    (value,) = [a.partition("=")[2] for a in argv if a.startswith(f"--{name}=")]
    return str(value)


def listening(spec: dict[str, Any], files: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Every address that a flag or a file tells a program to listen on, with who does."""
    for process in spec["processes"]:
        for argument in process["argv"]:
            name, _, value = argument.partition("=")
            if name.endswith("bind-address") or (name.startswith("--listen-") and name.endswith("urls")):
                yield process["name"], value
    for file, text in files.items():
        if file.endswith("kubelet.yaml"):
            config = yaml.safe_load(text)
            yield file, config["address"]
            yield file, config["healthzBindAddress"]
        if file.endswith("registry.yaml"):
            yield file, yaml.safe_load(text)["http"]["addr"]


def test_nobody_listens_beyond_the_machines_own_network(spec: dict[str, Any], files: dict[str, str]) -> None:
    listeners = list(listening(spec, files))
    assert len(listeners) >= 11
    for who, where in listeners:
        (address,) = re.findall(r"\d+\.\d+\.\d+\.\d+", where)
        inside = ipaddress.ip_address(address).is_loopback or ipaddress.ip_address(address) in MACHINE
        assert inside or (who, address) == ("kube-apiserver", "0.0.0.0"), (who, where)


def test_the_api_server_asks_everybody_who_they_are(spec: dict[str, Any]) -> None:
    assert flag(spec, "kube-apiserver", "anonymous-auth") == "false"
    assert flag(spec, "kube-apiserver", "authorization-mode") == "Node,RBAC"
    assert flag(spec, "kube-apiserver", "enable-admission-plugins") == "NodeRestriction"


def test_kubelets_ask_everybody_who_they_are(layout: Layout, files: dict[str, str]) -> None:
    for node in NODES:
        config = yaml.safe_load(files[f"{layout.data}/{node.name}/kubelet.yaml"])
        assert config["authentication"]["anonymous"] == {"enabled": False}
        assert config["authorization"] == {"mode": "Webhook"}
        assert "readOnlyPort" not in config


def test_every_file_that_a_program_is_told_to_read_is_made(
    layout: Layout, spec: dict[str, Any], files: dict[str, str]
) -> None:
    text = json.dumps(spec) + "".join(files.values())
    named = set(re.findall(rf"{layout.data}/[\w./-]+\.(?:crt|key|pub|kubeconfig|yaml|toml|conf)", text))
    written = set(files) | {str(file) for file in layout.pki.iterdir()}
    assert len(named) > 20
    assert named <= written


def test_every_file_that_is_made_is_read_by_somebody(
    layout: Layout, spec: dict[str, Any], files: dict[str, str]
) -> None:
    text = json.dumps(spec) + "".join(files.values())
    for file in files:
        # containerd reads its network from the folder
        assert file in text or str(Path(file).parent) in text, file


def test_no_key_is_in_what_the_supervisor_is_told(layout: Layout, spec: dict[str, Any]) -> None:
    text = json.dumps(spec)
    for file in layout.pki.glob("*.key"):
        lines = file.read_text().splitlines()
        assert not [line for line in lines if line in text]
        assert base64.b64encode(file.read_bytes()).decode() not in text


def test_nodes_share_no_address_range_port_or_folder(layout: Layout, files: dict[str, str]) -> None:
    assert len({node.address for node in NODES}) == len(NODES)
    ranges = [ipaddress.ip_network(node.pods) for node in NODES]
    assert not ranges[0].overlaps(ranges[1])
    configs = [yaml.safe_load(files[f"{layout.data}/{node.name}/kubelet.yaml"]) for node in NODES]
    for key in ("address", "healthzPort", "cgroupRoot", "containerRuntimeEndpoint", "podLogsDir", "volumePluginDir"):
        assert len({config[key] for config in configs}) == len(NODES), key
    for name in ("containerd.toml", f"cni/10-{SYSTEM.name}.conflist", "kubelet.yaml"):
        text = files[f"{layout.data}/{SYSTEM.name}/{name}"]
        assert GPU.name not in text
        assert f'"{GPU.pods}"' not in text


def test_addresses_of_nodes_pods_and_services_are_apart(files: dict[str, str]) -> None:
    ranges = [MACHINE, ipaddress.ip_network(control_plane.PODS), ipaddress.ip_network(control_plane.SERVICES)]
    assert not [(a, b) for a in ranges for b in ranges if a is not b and a.overlaps(b)]
    for node in NODES:
        assert ipaddress.ip_address(node.address) in MACHINE
        assert ipaddress.ip_network(node.pods).subnet_of(ipaddress.ip_network(control_plane.PODS))
    for service in (control_plane.API_SERVICE, control_plane.DNS_SERVICE):
        assert ipaddress.ip_address(service) in ipaddress.ip_network(control_plane.SERVICES)


def test_each_nodes_containers_meet_its_own_network_and_runtime(layout: Layout, files: dict[str, str]) -> None:
    for node in NODES:
        kubelet = yaml.safe_load(files[f"{layout.data}/{node.name}/kubelet.yaml"])
        runtime = files[f"{layout.data}/{node.name}/containerd.toml"]
        socket = kubelet["containerRuntimeEndpoint"].removeprefix("unix://")
        assert f'address = "{socket}"' in runtime
        assert f'conf_dir = "{layout.data}/{node.name}/cni"' in runtime
        network = json.loads(files[f"{layout.data}/{node.name}/cni/10-{node.name}.conflist"])
        assert network["plugins"][0]["ipam"]["ranges"] == [[{"subnet": node.pods}]]


def test_processes_have_names_and_logs_of_their_own(layout: Layout, spec: dict[str, Any]) -> None:
    names = [p["name"] for p in spec["processes"]]
    assert len(names) == len(set(names)) == 11
    assert [p["log"] for p in spec["processes"]] == [f"{layout.logs}/{name}.log" for name in names]


def test_who_is_needed_starts_before_who_needs_it(spec: dict[str, Any]) -> None:
    names = [p["name"] for p in spec["processes"]]
    for earlier, later in (("etcd", "kube-apiserver"), ("kube-apiserver", "kube-scheduler")):
        assert names.index(earlier) < names.index(later)
    for node in NODES:
        assert names.index(f"containerd-{node.name}") < names.index(f"kubelet-{node.name}")


def test_a_packet_to_a_service_that_nobody_answers_fails_at_once(spec: dict[str, Any]) -> None:
    setup = [" ".join(argv) for argv in spec["setup"]]
    services = control_plane.SERVICES
    assert f"iptables -I OUTPUT 1 -d {services} -j REJECT" in setup, "the machine's own"
    assert f"ip rule add to {services} unreachable priority 101" in setup, "pods'"
    assert not [line for line in setup if "default" in line], "no way out of the machine"


def test_every_kubelet_has_the_cgroup_it_insists_on(
    layout: Layout, spec: dict[str, Any], files: dict[str, str]
) -> None:
    from lab.machine.namespaces import CGROUP

    roots = {yaml.safe_load(files[f"{layout.data}/{n.name}/kubelet.yaml"])["cgroupRoot"] for n in NODES}
    assert roots == {f"/{CGROUP}/{name}" for name in spec["cgroups"]}


def test_a_kubeconfig_carries_all_it_needs_and_names_one_user(layout: Layout) -> None:
    config = control_plane.kubeconfig(layout.pki, "scheduler", "https://127.0.0.1:6443")
    (user,) = config["users"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(user["user"]["client-certificate-data"]))
    assert certificate.subject.rfc4514_string() == "CN=system:kube-scheduler"
    assert config["current-context"] == config["contexts"][0]["name"] == "ebbtide-local"
    assert str(layout.pki) not in json.dumps(config)


def test_the_stack_and_the_machine_speak_of_the_same_gpu_node_and_port() -> None:
    from infra.stackfile import load_file
    from lab.machine import kubernetes

    pools = load_file(PROJECT / "stacks/Pulumi.local.yaml").config.pools
    # the facts name the nodes: which they are depends on the cluster
    assert not [name for pool in pools.values() for name in pool.nodes]
    assert sum(pool.gpu.count for pool in pools.values()) == kubernetes.GPUS
    assert kubernetes.layout(cluster_paths()).registry_port == 5000
    assert 30000 <= control_plane.NODE_PORT_GATEWAY <= 32767


def cluster_paths() -> Any:
    from infra.workspace import paths

    return paths({"EBBTIDE_CACHE": "/c", "EBBTIDE_STATE": "/s"})


def test_pods_of_an_earlier_run_start_when_they_can_reach_the_api_server(spec: dict[str, Any]) -> None:
    waits = {part["name"]: part["after"] for part in spec["processes"] if part["after"]}
    assert waits == {f"kubelet-{node.name}": "10.96.0.1:443" for node in control_plane.NODES}
