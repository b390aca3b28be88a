"""Several pools for one model: what a stack file may say of them, each refusal with the whole message a user reads."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.catalog import machines
from components.catalog.machine import Machine, Price
from components.platforms.kinds import KINDS
from infra.program import platform as place
from infra.stackfile import ConfigError, load
from infra.stackfile.pool_order import Contrary, preferences
from infra.stackfile.schema.stack import StackConfig
from tests.machines import G5

FILE = "stacks/Pulumi.aws-prod.yaml"
MODEL: dict[str, Any] = {
    "id": "meta-llama/Llama-3.1-8B-Instruct",
    "revision": "0" * 40,
    "pool": "spot",
    "max": 2,
    "maxTokens": 8192,
}
GOOD: dict[str, Any] = {
    "environment": "prod",
    "platform": {
        "kind": "aws",
        "region": "us-east-1",
        "account": "123456789012",
        "network": {"zones": ["us-east-1a", "us-east-1b"]},
    },
    "pools": {
        "spot": {"machine": "one", "max": 2, "capacity": "spot"},
        "on-demand": {"machine": "one", "max": 1},
    },
    "models": {"llama-8b": {**MODEL, "fallbackPools": ["on-demand"]}},
    "guard": {"maxGpus": 2, "maxDollarsPerHour": 1_000},
    "gateway": {"groups": {"all": {"models": ["*"]}}, "keys": {"first": {"group": "all"}}},
}


def machine(name: str, gpus: int = 1, architecture: str = "amd64", gpu: str = "A10G") -> Machine:
    price = {"us-east-1": Price(2.0, 1.0, "2026-11-01", "the test")}
    return replace(G5, name=name, gpu=gpu, gpus=gpus, architecture=architecture, regions=("us-east-1",), prices=price)


CATALOGUE = {each.name: each for each in (machine("one"), machine("four", 4), machine("arm", architecture="arm64"))}


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "machines", lambda place: CATALOGUE if place == "aws" else {})


def stack(models: dict[str, dict[str, Any]] | None = None, **pools: dict[str, Any] | None) -> dict[str, Any]:
    """The good stack with these models in place of its own, and pools added (None: taken out), _ for -."""
    raw = copy.deepcopy(GOOD)
    for key, value in pools.items():
        name = key.replace("_", "-")
        if value is None:
            del raw["pools"][name]
        else:
            raw["pools"][name] = value
    for name, changes in (models or {}).items():
        raw["models"][name] = {**MODEL, **changes}
    return raw


def findings(raw: dict[str, Any]) -> list[str]:
    try:
        return [str(each).removeprefix(f"{FILE}: ") for each in load(raw, FILE).warnings]
    except ConfigError as error:
        return [str(each).removeprefix(f"{FILE}: ") for each in error.findings]


def eight(*fallbacks: str, **more: Any) -> dict[str, dict[str, Any]]:
    return {"llama-8b": {"fallbackPools": list(fallbacks), **more}}


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "spot first and on demand behind it may carry production": (stack(), []),
    "on demand first and spot behind it too": (stack(eight("spot", pool="on-demand")), []),
    "15 spot behind spot is spot alone": (
        stack(eight("spot-2"), spot_2={"machine": "one", "max": 1, "capacity": "spot"}),
        [
            "pools.spot.capacity: 'spot' is all that carries llama-8b in prod, where spot nodes go at short notice; "
            "allowed: onDemand for models of prod; fix: set capacity: onDemand, or give these models a pool with it "
            "under pool or fallbackPools [EBB015 mandatory]"
        ],
    ),
    "37 a pool that is not there": (
        stack(eight("on-deman")),
        [
            "models.llama-8b.fallbackPools[0]: 'on-deman' is not a pool of this stack; allowed: spot, on-demand; "
            "fix: use one of them, or add on-deman under pools [EBB037 error]"
        ],
    ),
    "201 the first choice again": (
        stack(eight("on-demand", "spot")),
        [
            "models.llama-8b.fallbackPools[1]: 'spot' is its first choice already, under pool; "
            "allowed: another pool than pool; fix: take it out [EBB201 error]"
        ],
    ),
    "201 a pool twice": (
        stack(eight("on-demand", "on-demand")),
        [
            "models.llama-8b.fallbackPools[1]: 'on-demand' is there already, as fallbackPools[0]; "
            "allowed: each pool once; fix: take it out [EBB201 error]"
        ],
    ),
    "2 a fall-back with fewer GPUs a node": (
        stack(eight("on-demand", pool="large", gpus=4), large={"machine": "four", "max": 1}),
        [
            "models.llama-8b.fallbackPools[0]: 'on-demand' has nodes with 1 of the 4 GPUs the model asks for; "
            "allowed: a pool with 4 or more GPUs a node; fix: take it out, or name a pool with more GPUs a node "
            "[EBB002 error]",
            "guard.maxGpus: 2 is fewer than model llama-8b needs to start, which is 4; allowed: 4 or more; "
            "fix: set maxGpus: 4 or more [EBB114 error]",
        ],
    ),
    "198 several GPUs of shared cards": (
        stack(
            eight("shared", pool="large", gpus=2),
            large={"machine": "four", "max": 1},
            shared={"machine": "four", "max": 1, "sharing": {"timeSlicing": {"replicas": 4}}},
        ),
        [
            "models.llama-8b.fallbackPools[0]: 'shared' shares its cards, and gpus is 2: slices do not work together; "
            "allowed: a pool without sharing; fix: take it out, or set gpus: 1 [EBB198 error]"
        ],
    ),
    "198 several machines of shared cards": (
        stack(
            eight("shared", nodes=2),
            shared={"machine": "one", "max": 2, "sharing": {"timeSlicing": {"replicas": 4}}},
        ),
        [
            "models.llama-8b.fallbackPools[0]: 'shared' shares its cards, and nodes is 2: slices do not work together; "
            "allowed: a pool without sharing; fix: take it out, or set nodes: 1 [EBB198 error]"
        ],
    ),
    "200 fewer machines than a replica takes": (
        stack(eight("on-demand", nodes=2)),
        [
            "models.llama-8b.fallbackPools[0]: 'on-demand' may have 1 of the 2 machines that one replica takes; "
            "allowed: a pool with a max of 2 or more; fix: take it out, or set max of pool on-demand to 2 or more "
            "[EBB200 error]"
        ],
    ),
    "42 a fall-back for other processors": (
        stack(eight("arm"), arm={"machine": "arm", "max": 1}),
        [
            "pools.arm.machine: 'arm' has an Arm processor; the stack's images are built for x86-64; "
            "allowed: an x86-64 machine; fix: choose another [EBB042 error]",
            "image.architecture: 'amd64' does not run on pool arm, whose machine arm is arm64; allowed: arm64; "
            "fix: set architecture: arm64, or take a machine with amd64 processors [EBB042 error]",
        ],
    ),
    "102 no list": (
        stack(eight(fallbackPools="on-demand")),
        [
            "models.llama-8b.fallbackPools: 'on-demand' is not a list; allowed: a list; "
            "fix: write it as [a, b] or as lines that begin with - [EBB102 error]"
        ],
    ),
    "203 two models with opposite orders": (
        stack({**eight("on-demand"), "other": {"pool": "on-demand", "fallbackPools": ["spot"]}}),
        [
            "models.other.fallbackPools[0]: 'spot' comes before on-demand for a model above: an autoscaler that has "
            "one order for all models takes spot first for this one too; allowed: one order of pools in all models; "
            "fix: write the pools in the same order, or give this model pools of its own [EBB203 warning]"
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_stack_file_may_say_of_further_pools(case: str) -> None:
    raw, expected = CASES[case]
    assert findings(raw) == expected


LOCAL: dict[str, Any] = {
    "environment": "local",
    "platform": {"kind": "existing", "kubeContext": "a", "registry": {"address": "r.example.com/x"}},
    "models": {"a": {**MODEL, "pool": "first", "fallbackPools": ["second"]}},
}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            {"gpu": {"count": 1, "resource": "nvidia.com/mig-1g.10gb"}},
            "offers nvidia.com/mig-1g.10gb, and pool first nvidia.com/gpu: a pod asks for one of them; "
            "allowed: pools that offer nvidia.com/gpu; "
            "fix: name a pool that does, or make a model of its own for this one [EBB202 error]",
        ),
        (
            {"gpu": {"count": 1}, "device": "cpu"},
            "computes on cpu, and pool first on cuda: they need different images; allowed: pools with device: cuda; "
            "fix: name a pool that does, or make a model of its own for this one [EBB202 error]",
        ),
    ],
)
def test_a_fall_back_whose_gpus_are_asked_for_differently_is_refused(second: dict[str, Any], message: str) -> None:
    pools = {
        "first": {"gpu": {"count": 1}, "max": 1, "nodes": ["a"]},
        "second": {"max": 1, "nodes": ["b"], **second},
    }
    assert f"models.a.fallbackPools[0]: 'second' {message}" in findings({**LOCAL, "pools": pools})


def test_preferences_of_several_models_make_one_order_and_the_first_of_two_opposites_is_followed() -> None:
    joined, contrary = preferences({"a": ["x", "y", "z"], "b": ["w", "z"], "c": ["alone"]})
    assert (joined, contrary) == ({"x": 3, "y": 2, "z": 1, "w": 2}, [])
    assert preferences({"a": ["x", "y"], "b": ["y", "z"], "c": ["z", "x"]}) == (
        {"x": 3, "y": 2, "z": 1},
        [Contrary("c", 0, "z")],
    )
    assert preferences({"a": ["x"], "b": ["y"]}) == ({}, [])


def loaded(raw: dict[str, Any]) -> StackConfig:
    return load(raw, FILE).config


def test_the_place_is_told_the_order_and_nothing_where_no_model_has_a_choice() -> None:
    asked = place.requests(loaded(stack()))
    assert {name: request.preference for name, request in asked.items()} == {"spot": 2, "on-demand": 1}
    alone = place.requests(loaded(stack({"llama-8b": {"pool": "on-demand"}})))
    assert {name: request.preference for name, request in alone.items()} == {"spot": 0, "on-demand": 0}


PAGE = Path(__file__).parents[2] / "docs/several-pools.md"
SHIPPED = Path(__file__).parents[2] / "stacks/Pulumi.aws-prod.yaml"


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_each_example_of_the_page_is_a_stack_file_without_a_finding(
    example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real catalogue
    shipped = yaml.safe_load(SHIPPED.read_text())["config"]
    raw = {key.partition(":")[2]: value for key, value in {**shipped, **yaml.safe_load(example)}.items()}
    raw["gateway"] = GOOD["gateway"]
    assert [str(warning) for warning in load(raw, FILE).warnings] == []


def test_an_order_that_the_clusters_own_autoscaler_is_not_told_is_warned_of() -> None:
    raw = stack()
    raw["platform"]["autoscaler"] = "existing"
    assert findings(raw) == [
        "models.llama-8b.fallbackPools: is no promise of the order in which nodes come: platform.autoscaler is "
        "existing, and whoever set it up has to tell it; allowed: one pool, or an autoscaler that knows the order; "
        "fix: have its expander set to priority, with a ConfigMap as docs/several-pools.md says; or leave "
        "fallbackPools out [EBB219 warning]"
    ]
    raw["models"]["llama-8b"]["fallbackPools"] = []
    assert not [each for each in findings(raw) if "EBB219" in each]


@pytest.mark.parametrize("stack_name", ["aws-dev", "azure-dev", "gcp-dev", "onprem", "local"])
def test_a_place_that_brings_nodes_is_told_the_order(stack_name: str) -> None:
    config = yaml.safe_load(Path(f"stacks/Pulumi.{stack_name}.yaml").read_text())["config"]
    kind = KINDS[config["ebbtide:platform"]["kind"]]
    settings: Any = kind.settings().model_validate(config["ebbtide:platform"])
    # nobody brings nodes to the local cluster, and others do to one that is there
    assert (settings.ignores_order is None) == (kind.name != "existing")
    if kind.name == "azure":
        cluster = settings.cluster.model_copy(update={"adopt": "theirs"})
        assert "its owner" in settings.model_copy(update={"cluster": cluster}).ignores_order
