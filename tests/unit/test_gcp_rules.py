"""What Google Cloud's settings refuse, and what its pure functions say."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
import pytest

from components.catalog.machine import Machine
from components.catalog.machines import machines
from components.gateway.config import GatewaySettings
from components.gateway.workload import deployment
from components.platforms.contract import About, Disk, Pool, PoolRequest, Sharing, Taint
from components.platforms.gcp import load_balancer, names
from components.platforms.gcp.address_plan import NARROWEST, WIDEST, address_plan
from components.platforms.gcp.judge import LOCAL_SSD_GIB, judge
from components.platforms.gcp.kubeconfig import kubeconfig
from components.platforms.gcp.settings import GcpSettings
from components.platforms.gcp.tables import accelerator_of, accelerators

ABOUT = About("ebbtide-gcp-dev", "dev")
SETTINGS: Mapping[str, Any] = {
    "kind": "gcp",
    "project": "acme-llm-dev",
    "region": "europe-west4",
    "network": {"cidr": "10.40.0.0/16", "zones": ["europe-west4-a", "europe-west4-b"]},
}


def settings(**changes: Any) -> GcpSettings:
    return GcpSettings.model_validate({**SETTINGS, **changes})


def machine(name: str = "g2-standard-16", gpu: str = "L4", gpus: int = 1) -> Machine:
    return Machine(
        name=name,
        place="gcp",
        gpu=gpu,
        gpus=gpus,
        gpu_memory_gib=24,
        compute_capability="8.9",
        vcpus=16,
        memory_gib=64,
        interconnect="none",
    )


def request(name: str = "gpu-1xl4", most: int = 2, **changes: Any) -> PoolRequest:
    pool = Pool(name, {"workerType": "gpu"}, (Taint("workerType", "gpu"),), 1, max_nodes=most)
    return PoolRequest(**{"pool": pool, "machine": machine(), **changes})


def numbers(config: GcpSettings, *pools: PoolRequest) -> set[tuple[int, str]]:
    problems = judge(config, {p.pool.name: p for p in pools}, "dev")
    return {(int(p.code[3:]), ".".join(map(str, p.path))) for p in problems}


def test_a_stack_as_the_documentation_has_it_has_no_findings() -> None:
    ingress = {"host": "llm.example.com", "certificate": "llm"}
    assert numbers(settings(ingress=ingress), request()) == set()


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("region", "europe-west4-a", "EBB170"),
        ("region", "Europe", "EBB170"),
        ("project", "Acme LLM", "EBB171"),
        ("project", 123456789, "EBB171"),
        ("cluster", {"version": 1.34}, "EBB172"),
        ("cluster", {"version": "v1.34"}, "EBB172"),
        ("network", {"zones": ["a"]}, "EBB174"),
        ("network", {"cidr": "10.40.0.0"}, "EBB175"),
        ("ingress", {"host": "https://llm.example.com"}, "EBB185"),
    ],
)
def test_a_field_google_would_refuse_is_refused_with_its_number(field: str, value: Any, code: str) -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        settings(**{field: value})
    assert [error["type"] for error in refused.value.errors()] == [code]
    context = refused.value.errors()[0]["ctx"]
    assert context["allowed"]
    assert context["fix"]


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
        settings(regoin="europe-west4")


def test_a_zone_of_another_region_is_refused_in_the_network_and_in_a_pool() -> None:
    network = {"cidr": "10.40.0.0/16", "zones": ["europe-west1-b"]}
    assert (174, "platform.network.zones.0") in numbers(settings(network=network))
    assert (174, "pools.gpu-1xl4.zones.0") in numbers(settings(), request(zones=("us-central1-a",)))


def test_a_pool_in_a_zone_the_network_does_not_have_is_refused() -> None:
    assert numbers(settings(), request(zones=("europe-west4-c",))) == {(174, "pools.gpu-1xl4.zones.0")}


@pytest.mark.parametrize("cidr", ["10.40.0.1/16", "10.0.0.0/24", "8.0.0.0/16", "300.1.1.1/16"])
def test_a_range_that_makes_no_network_is_refused(cidr: str) -> None:
    assert (175, "platform.network.cidr") in numbers(settings(network={"cidr": cidr}))


def test_a_range_too_small_for_the_pods_of_all_nodes_is_refused_before_a_node_stays_away() -> None:
    narrow = settings(network={"cidr": f"10.40.0.0/{NARROWEST}"})
    assert numbers(narrow, request(most=11)) == set()
    assert numbers(narrow, request(most=12)) == {(176, "platform.network.cidr")}


def test_an_adopted_cluster_takes_no_settings_for_a_new_one() -> None:
    adopted = settings(cluster={"adopt": "theirs", "version": "1.34", "systemPool": {"max": 9}})
    assert numbers(adopted) == {(173, "platform.cluster.version"), (173, "platform.cluster.systemPool")}
    assert numbers(settings(cluster={"adopt": "theirs"})) == set()


def test_an_adopted_cluster_beside_an_adopted_network_is_refused() -> None:
    names_of = {"network": "n", "subnet": "s", "podsRange": "p", "servicesRange": "v"}
    both = settings(cluster={"adopt": "theirs"}, network={"adopt": names_of})
    assert numbers(both) == {(173, "platform.network.adopt")}


@pytest.mark.parametrize("name", ["0-pool", "p" * 41])
def test_a_pool_name_gke_does_not_take_is_refused(name: str) -> None:
    assert (177, f"pools.{name}") in numbers(settings(), request(name))


def test_a_machine_whose_gpu_gke_has_no_name_for_is_refused() -> None:
    assert numbers(settings(), request(machine=machine("x9-huge-8g"))) == {(178, "pools.gpu-1xl4.machine")}


def test_a_reservation_needs_the_one_zone_it_is_in() -> None:
    assert numbers(settings(), request(reservation="bought")) == {(183, "pools.gpu-1xl4.zones")}
    assert numbers(settings(), request(reservation="bought", zones=("europe-west4-a",))) == set()


def test_a_spot_pool_is_warned_that_answers_are_cut_after_fifteen_seconds() -> None:
    problems = list(judge(settings(), {"gpu-1xl4": request(spot=True)}, "prod"))
    assert [(int(p.code[3:]), p.severity) for p in problems] == [(184, "warning")]
    assert "15 s" in problems[0].message


def test_throughput_is_refused_for_a_disk_whose_speed_cannot_be_bought() -> None:
    asked = Disk(size_gib=200, iops=4000, throughput_mib=1000)
    assert numbers(settings(), request(disk=asked)) == {
        (182, "pools.gpu-1xl4.disk.iops"),
        (182, "pools.gpu-1xl4.disk.throughput"),
    }
    assert numbers(settings(), request(disk=asked, machine=machine("a3-highgpu-8g", "H100", 8))) == set()


def test_a_card_that_cannot_be_cut_and_a_mixed_cut_are_refused() -> None:
    cut = Sharing("mig", profile="1g.10gb")
    assert numbers(settings(), request(sharing=cut)) == {(179, "pools.gpu-1xl4.sharing.mig")}
    mixed = request(sharing=dataclasses.replace(cut, strategy="mixed"), machine=machine("a2-ultragpu-8g", "A100", 8))
    assert numbers(settings(), mixed) == {(179, "pools.gpu-1xl4.sharing.mig.strategy")}


@pytest.mark.parametrize(("replicas", "refused"), [(1, True), (2, False), (48, False), (49, True)])
def test_a_card_is_shared_by_as_many_as_gke_lets(replicas: int, refused: bool) -> None:
    problems = numbers(settings(), request(sharing=Sharing("timeSlicing", replicas=replicas)))
    assert (problems != set()) == refused


def test_a_node_image_gke_does_not_have_is_refused() -> None:
    foreign = request()
    foreign = dataclasses.replace(foreign, pool=dataclasses.replace(foreign.pool, node_image="bottlerocket"))
    assert numbers(settings(), foreign) == {(187, "pools.gpu-1xl4.nodeImage")}


def test_flex_start_goes_with_no_other_way_to_get_capacity() -> None:
    flex = settings(flexStart=["gpu-1xl4"])
    assert numbers(flex, request()) == set()
    assert (181, "platform.flexStart.0") in numbers(flex)
    assert (181, "platform.flexStart.0") in numbers(flex, request(spot=True))
    assert (181, "platform.flexStart.0") in numbers(flex, request(reservation="r", zones=("europe-west4-a",)))


@pytest.mark.parametrize(
    ("ingress", "expected"),
    [
        ({}, {(40, "platform.ingress.host")}),
        ({"certificate": "managed"}, {(40, "platform.ingress.certificate")}),
        ({"certificate": "llm", "allowedNetworks": ["10.0.0.0/8"]}, {(185, "platform.ingress.allowedNetworks")}),
        ({"certificate": "managed", "public": True, "allowedNetworks": ["203.0.113.0/24"]}, set()),
        (
            {"certificate": "managed", "public": True, "allowedNetworks": ["203.0.113.7/24"]},
            {(175, "platform.ingress.allowedNetworks.0")},
        ),
    ],
)
def test_a_load_balancer_without_tls_or_with_rules_it_does_not_keep_is_found(
    ingress: dict[str, Any], expected: set[tuple[int, str]]
) -> None:
    assert numbers(settings(ingress={"host": "llm.example.com", **ingress})) == expected


@pytest.mark.parametrize("prefix", range(WIDEST, NARROWEST + 1))
def test_the_parts_of_a_network_lie_in_it_and_do_not_overlap(prefix: int) -> None:
    plan = address_plan(f"10.128.0.0/{prefix}")
    parts = [ipaddress.ip_network(text) for text in (plan.nodes, plan.pods, plan.services, plan.proxies)]
    assert all(part.subnet_of(ipaddress.ip_network(f"10.128.0.0/{prefix}")) for part in parts)  # type: ignore[arg-type]
    assert not any(a.overlaps(b) for i, a in enumerate(parts) for b in parts[i + 1 :])
    assert ipaddress.ip_network(plan.proxies).prefixlen <= 26


def test_every_family_names_a_gpu_gke_knows_and_where_it_was_read() -> None:
    text = (Path(names.__file__).with_name("accelerators.yaml")).read_text()
    assert re.search(r"readOn: 20\d\d-\d\d-\d\d", text)
    assert "source:" in text
    assert all(re.fullmatch(r"nvidia-[a-z0-9-]+", row.type) for row in accelerators().values())
    ultra = accelerator_of("a2-ultragpu-8g")
    assert ultra is not None
    assert ultra.type == "nvidia-a100-80gb"


def test_every_machine_of_the_catalogue_has_a_gpu_a_node_pool_can_name_and_whole_local_disks() -> None:
    sold = list(machines("gcp").values())
    assert sold
    assert [one.name for one in sold if accelerator_of(one.name) is None] == []
    assert [one.name for one in sold if one.local_disk_gib % LOCAL_SSD_GIB] == []


@pytest.mark.parametrize("stack", ["ebbtide-gcp-prod", "a" * 60, "9lives", "Upper_Case", "x"])
def test_names_are_ones_google_takes_and_differ_for_stacks_that_differ(stack: str) -> None:
    bucket = names.bucket_name(stack, "acme-llm-dev")
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", bucket)
    assert re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", names.account_id(stack, "nodes"))
    assert bucket != names.bucket_name(f"{stack}-2", "acme-llm-dev")
    assert all(re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) for key in names.labels(About(stack, "dev")))


def test_the_kubeconfig_holds_no_credential_that_lasts() -> None:
    config = json.loads(kubeconfig("c", "10.0.0.2", "Q0E="))
    assert config["clusters"][0]["cluster"] == {"server": "https://10.0.0.2", "certificate-authority-data": "Q0E="}
    assert list(config["users"][0]["user"]) == ["exec"]
    assert config["users"][0]["user"]["exec"]["command"] == "gke-gcloud-auth-plugin"
    assert (
        "certificate-authority-data"
        not in json.loads(kubeconfig("c", "gke-1.gke.goog", None))["clusters"][0]["cluster"]
    )


def _ingress(**changes: Any) -> Any:
    config = settings(ingress={"host": "llm.example.com", "certificate": "llm", **changes}).ingress
    assert config is not None
    return load_balancer.ingress(config, ABOUT, "addr", "armor" if config.public else None, None)


def test_no_hop_of_the_load_balancer_cuts_a_held_request_or_an_hour_of_stream() -> None:
    way_in = _ingress()
    config = way_in.http.objects[0]
    assert config["kind"] == "BackendConfig"
    assert config["spec"]["timeoutSec"] >= ABOUT.longest_silence_seconds + 3600
    assert way_in.idle_timeout_seconds == config["spec"]["timeoutSec"]
    # a request that comes at the last moment may be held to its end; Google asks for 60 s and more until that moment
    assert way_in.leave_seconds > 60
    assert (
        config["spec"]["connectionDraining"]["drainingTimeoutSec"]
        >= way_in.leave_seconds + ABOUT.longest_silence_seconds
    )
    assert json.loads(way_in.annotations["cloud.google.com/backend-config"]) == {"default": config["metadata"]["name"]}


def test_the_load_balancer_is_internal_and_speaks_tls_only_unless_it_is_told_to_be_public() -> None:
    private, public = _ingress(), _ingress(public=True, certificate="managed", allowedNetworks=["203.0.113.0/24"])
    assert private.http.annotations["kubernetes.io/ingress.class"] == "gce-internal"
    assert public.http.annotations["kubernetes.io/ingress.class"] == "gce"
    for way_in in (private, public):
        assert way_in.http.annotations["kubernetes.io/ingress.allow-http"] == "false"
        assert way_in.http.class_name == ""  # Kubernetes refuses a class beside GKE's annotation
    assert private.http.annotations["ingress.gcp.kubernetes.io/pre-shared-cert"] == "llm"
    kinds = {item["kind"]: item["spec"] for item in public.http.objects}
    assert kinds["ManagedCertificate"] == {"domains": ["llm.example.com"]}
    assert kinds["BackendConfig"]["securityPolicy"] == {"name": "armor"}


def test_the_load_balancer_asks_the_path_the_gateway_is_ready_on() -> None:
    pod = deployment(
        GatewaySettings("http://i", [], {}, [], namespace="e", models_namespace="m", interceptor_namespace="k"),
        "image",
        None,
    )["spec"]["template"]["spec"]
    assert pod["containers"][0]["readinessProbe"]["httpGet"]["path"] == load_balancer.READY_PATH


@pytest.mark.slow
def test_settings_and_rules_load_without_the_providers_sdk() -> None:
    code = (
        "import sys, components.platforms.gcp.settings, components.platforms.gcp.judge;"
        "sys.exit('pulumi_gcp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_window_too_short_for_gke_is_refused() -> None:
    def asked(hours: int) -> GcpSettings:
        return settings(cluster={"maintenance": {"hours": hours}})

    assert numbers(asked(11)) == {(189, "platform.cluster.maintenance.hours")}
    assert numbers(asked(12)) == set()
