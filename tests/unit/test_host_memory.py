"""Main memory and processors: what a pod asks for, what the streamer may take, and that a machine has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from components.catalog.machine import Machine
from components.catalog.machines import machines
from components.model_service.arguments import STREAMER_LIMIT
from components.model_service.host_memory import LEAST_BUFFER_BYTES, STREAMER_BYTES, needed_bytes, requests, there_bytes
from components.model_service.settings import ModelSettings
from components.model_service.workload import Placement, deployment
from components.platforms.contract import Pool, Weights
from infra.planner.plan import Plan
from tests.unit.plan_kit import plan

ALL = [machine for place in ("aws", "azure", "gcp") for machine in machines(place).values()]
BUCKET, FOLDER = Weights("s3://bucket/m", load_format="runai_streamer"), Weights("/models/m")


def pool(machine: Machine, slices: int = 1) -> Pool:
    return Pool(
        "p", {}, (), machine.gpus * slices, node_memory_gib=machine.memory_gib, node_vcpus=machine.vcpus
    )  # fmt: skip


def allocatable_gib(machine: Machine) -> float:
    """Of a node, by what its place publishes; what the kernel does not see is Karpenter's guess for it. Daemon sets
    take 0.7 GiB: those of GKE, the most of the three."""
    visible = machine.memory_gib * 0.925
    if machine.place == "aws":  # 11 MiB for each of the most pods that a large machine has, 255 MiB, and the eviction's
        kept = (255 + 11 * 345 + 100) / 1024 if machine.memory_gib > 64 else (255 + 11 * 58 + 100) / 1024
    elif machine.place == "azure":
        kept = min(0.25 * machine.memory_gib, (20 * 250 + 50) / 1024) + 100 / 1024
    else:
        tiers = ((4, 0.25), (4, 0.2), (8, 0.1), (112, 0.06), (10**6, 0.02))
        left, kept = machine.memory_gib, 100 / 1024
        for size, share in tiers:
            kept += share * min(size, left)
            left = max(0.0, left - size)
    return visible - kept - 0.7


def asked(machine: Machine, gpus: int, slices: int = 1) -> tuple[float, float]:
    """Processors and GiB."""
    amounts = requests((pool(machine, slices),), gpus, streams=True)
    return int(amounts["cpu"].removesuffix("m")) / 1000, int(amounts["memory"].removesuffix("Mi")) / 1024


@pytest.mark.parametrize("machine", ALL, ids=lambda machine: machine.name)
def test_as_many_pods_as_its_gpus_hold_fit_each_machine_of_the_catalogue(machine: Machine) -> None:
    for gpus, slices in ((1, 1), (machine.gpus, 1), (1, 2), (1, 7)):
        cpu, memory = asked(machine, gpus, slices)
        pods = machine.gpus * slices // gpus
        assert pods * memory <= allocatable_gib(machine), (gpus, slices)
        # the kubelets keep less than half a processor of four (AKS 140 thousandths), daemon sets as much again
        assert pods * cpu <= machine.vcpus * 0.75, (gpus, slices)


def container(place: Placement, gpus: int = 1, **settings: object) -> tuple[dict[str, str], dict[str, str]]:
    """Requests and environment."""
    model = ModelSettings("m", "owner/name", "0" * 40, gpus=gpus, **settings)  # type: ignore[arg-type]
    (container,) = deployment(model, place)["spec"]["template"]["spec"]["containers"]
    return container["resources"]["requests"], {each["name"]: each["value"] for each in container["env"]}


def placed(weights: Weights, *pools: Pool) -> Placement:
    first, *others = pools
    return Placement(namespace="n", pool=first, image="i@sha256:0", weights=weights, fallbacks=tuple(others))


def test_the_streamer_s_buffer_follows_from_the_machine_and_the_gpus_that_share_it() -> None:
    def limit(name: str, gpus: int = 1) -> int:
        return int(container(placed(BUCKET, pool(machines("aws")[name])), gpus)[1][STREAMER_LIMIT])

    assert limit("g5.xlarge") >= LEAST_BUFFER_BYTES
    assert limit("g5.xlarge") < limit("g5.2xlarge") < limit("g5.12xlarge", 4) < limit("p5.48xlarge", 8)
    assert limit("p5.48xlarge", 8) == STREAMER_BYTES
    for name, gpus in (("g5.2xlarge", 1), ("g5.12xlarge", 4), ("g5.12xlarge", 1)):
        machine = machines("aws")[name]
        there = there_bytes(machine.memory_gib, gpus, machine.gpus)
        assert needed_bytes(gpus, limit(name, gpus)) <= there


def test_a_pod_asks_for_the_least_that_one_of_its_pools_has() -> None:
    small, large = pool(machines("aws")["g5.2xlarge"]), pool(machines("aws")["g5.16xlarge"])
    for pools in ((small, large), (large, small)):
        spec, environment = container(placed(BUCKET, *pools))
        alone, own = container(placed(BUCKET, small))
        assert (spec["memory"], environment[STREAMER_LIMIT]) == (alone["memory"], own[STREAMER_LIMIT])


def test_without_a_bucket_nothing_is_streamed_and_no_buffer_is_asked_for() -> None:
    spec, environment = container(placed(FOLDER, pool(machines("aws")["g5.8xlarge"])))
    assert STREAMER_LIMIT not in environment
    assert spec["memory"] == "7Gi"


def test_a_machine_that_nobody_knows_is_asked_for_what_an_engine_takes_anyhow() -> None:
    unknown = Pool("p", {}, (), 8)
    spec, environment = container(placed(BUCKET, unknown), gpus=2)
    assert (spec["cpu"], spec["memory"]) == ("3", "11Gi")
    assert STREAMER_LIMIT not in environment


def test_an_engine_on_the_cpu_asks_for_no_memory_of_the_one_machine() -> None:
    spec, _ = container(placed(FOLDER, replace(Pool("p", {}, (), 1), device="cpu")))
    assert spec == {"nvidia.com/gpu": "1"}


def test_settings_of_the_component_s_caller_go_first() -> None:
    spec, _ = container(placed(BUCKET, pool(machines("aws")["g5.8xlarge"])), requests={"memory": "8Gi"})
    assert (spec["memory"], spec["cpu"]) == ("8Gi", "2")


def short(planned: Plan) -> list[str]:
    return [f"{problem.message}; {problem.fix}" for problem in planned.problems if problem.code == "EBB269"]


def test_a_machine_that_is_too_small_to_load_the_model_is_a_finding(tmp_path: Path) -> None:
    (text,) = short(plan(tmp_path, changes={"pools.one.machine": "g5.xlarge"}))
    assert "11.0 GiB of main memory" in text
    assert "takes up to 15.0" in text
    assert "memory_limit" not in text
    assert not short(plan(tmp_path, changes={"pools.one.machine": "g5.2xlarge"}))


UNLIMITED, SMALL = '{"memory_limit": -1}', '{"memory_limit": 3000000000}'


@pytest.mark.parametrize(
    ("machine", "settings", "warned"),
    [
        ("g5.xlarge", {"extraArgs": [f"--model-loader-extra-config={SMALL}"]}, False),
        ("g5.xlarge", {"extraArgs": ["--model-loader-extra-config.memory_limit=3000000000"]}, False),
        ("g5.xlarge", {"extraEnv": {STREAMER_LIMIT: "3000000000"}}, False),
        ("g5.xlarge", {"extraEnv": {STREAMER_LIMIT: "little"}}, True),
        ("g5.xlarge", {"extraArgs": ['--model-loader-extra-config={"concurrency": 8}']}, True),
        # all of the weights, 15 GiB, at once
        ("g6e.xlarge", {"extraArgs": [f"--model-loader-extra-config={UNLIMITED}"]}, False),
        ("g6e.xlarge", {"extraArgs": [f"--model-loader-extra-config={UNLIMITED}"], "gpuMemoryUtilization": 0.45}, True),
    ],
)  # fmt: skip
def test_a_buffer_of_the_model_s_own_counts_as_it_is(
    tmp_path: Path, machine: str, settings: dict[str, object], warned: bool
) -> None:
    changes: dict[str, object] = {"pools.one.machine": machine}
    if "gpuMemoryUtilization" in settings:  # two pods on one card have half of a machine's memory each
        changes["pools.one.sharing"] = {"timeSlicing": {"replicas": 2}}
    texts = short(plan(tmp_path, changes=changes, **settings))
    assert bool(texts) is warned
    if warned and "gpuMemoryUtilization" in settings:
        assert "or lower --model-loader-extra-config.memory_limit" in texts[0]
