"""What a stack file may ask of a place that makes its nodes, each refusal with the whole message a user reads.

The catalogue is one of the test's own, so that a new price in the real one changes no message here.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from components.catalog import machines
from components.catalog.machine import Machine, Price
from infra.program.gateway import keeper_settings
from infra.stackfile import ConfigError, load
from infra.stackfile.pool_request import pool_request

FILE = "stacks/Pulumi.aws-dev.yaml"
POOL = ("pools", "gpu-1xa10")
MODEL = ("models", "llama-8b")
REMOVED = object()

SMALL = Machine(
    name="g5.8xlarge",
    place="aws",
    gpu="A10G",
    gpus=1,
    gpu_memory_gib=22.35,
    compute_capability="8.6",
    vcpus=32,
    memory_gib=128,
    interconnect="none",
    regions=("eu-west-1", "us-east-1"),
    prices={"us-east-1": Price(2.5, 1.25, "2026-11-01", "the test")},
)
LARGE = replace(
    SMALL,
    name="p4d.24xlarge",
    gpu="A100-40GB",
    gpus=8,
    gpu_memory_gib=40,
    local_disk_gib=8000,
    regions=("us-east-1",),
    prices={"us-east-1": Price(22.0, None, "2026-11-01", "the test")},
)
ARM = replace(SMALL, name="g5g.xlarge", architecture="arm64")
CATALOGUE = {machine.name: machine for machine in (SMALL, LARGE, ARM)}

GOOD: dict[str, Any] = {
    "environment": "dev",
    "platform": {
        "kind": "aws",
        "region": "us-east-1",
        "account": "123456789012",
        "network": {"zones": ["us-east-1a", "us-east-1b"]},
        "ingress": {
            "host": "llm.example.com",
            "certificate": "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-0000-0000-000000000000",
        },
    },
    "pools": {"gpu-1xa10": {"machine": "g5.8xlarge", "max": 2}},
    "models": {
        "llama-8b": {
            "id": "meta-llama/Llama-3.1-8B-Instruct",
            "revision": "0e9e39f249a16976918f6564b8830bc894c89659",
            "pool": "gpu-1xa10",
            "max": 2,
            "maxTokens": 8192,
        }
    },
    "guard": {"maxGpus": 8, "maxDollarsPerHour": 100},
    "gateway": {"groups": {"all": {"models": ["*"]}}, "keys": {"demo": {"group": "all"}}},
}


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    known = machines.near
    monkeypatch.setattr(machines, "find", lambda place, name: CATALOGUE.get(name) if place == "aws" else None)
    monkeypatch.setattr(machines, "near", lambda place, name: known("aws", name))


def stack(*changes: tuple[tuple[Any, ...], Any]) -> dict[str, Any]:
    raw = copy.deepcopy(GOOD)
    for path, value in changes:
        at: Any = raw
        for key in path[:-1]:
            at = at.setdefault(key, {})
        if value is REMOVED:
            del at[path[-1]]
        else:
            at[path[-1]] = copy.deepcopy(value)
    return raw


def messages(raw: dict[str, Any]) -> list[str]:
    try:
        return [str(warning) for warning in load(raw, FILE).warnings]
    except ConfigError as error:
        return str(error).splitlines()


def pool(**fields: Any) -> list[tuple[tuple[Any, ...], Any]]:
    return [((*POOL, key), value) for key, value in fields.items()]


SELLS = "a machine with GPUs that the platform sells"
CASES: dict[str, tuple[list[tuple[tuple[Any, ...], Any]], list[str]]] = {
    "2 more gpus than the machine has": (
        [((*MODEL, "gpus"), 2)],
        [
            "models.llama-8b.gpus: 2 is more than a node of pool gpu-1xa10 has, which is 1; allowed: 1; "
            "fix: set gpus: 1, or use a pool with more GPUs a node [EBB002 error]"
        ],
    ),
    "3 a machine with a typing error": (
        pool(machine="g5.8xlrage"),
        [
            f"pools.gpu-1xa10.machine: 'g5.8xlrage' is not a machine this catalogue knows; allowed: {SELLS}; "
            "fix: did you mean g5.8xlarge? [EBB003 error]"
        ],
    ),
    "3 a machine like no other": (
        pool(machine="?"),
        [
            f"pools.gpu-1xa10.machine: '?' is not a machine this catalogue knows; allowed: {SELLS}; "
            "fix: use a machine of components/catalog/machines/aws.yaml [EBB003 error]"
        ],
    ),
    "3 a machine that is a number": (
        pool(machine=8),
        [
            "pools.gpu-1xa10.machine: 8 is not the name of a machine; allowed: a machine of the catalogue; "
            "fix: use a machine of the catalogue [EBB003 error]"
        ],
    ),
    "4 a machine without GPU": (
        pool(machine="m7i.large"),
        [
            f"pools.gpu-1xa10.machine: 'm7i.large' has no GPU; allowed: {SELLS}; "
            "fix: use a machine of components/catalog/machines/aws.yaml [EBB004 error]"
        ],
    ),
    "5 a machine not sold in the region": (
        [
            *pool(machine="p4d.24xlarge", pricePerHour=30),
            (("platform", "region"), "eu-west-1"),
            (("platform", "network", "zones"), ["eu-west-1a", "eu-west-1b"]),
            (("platform", "ingress"), REMOVED),
        ],
        [
            "pools.gpu-1xa10.machine: 'p4d.24xlarge' is not sold in eu-west-1; allowed: us-east-1; "
            "fix: put the stack in one of these regions, or take another machine [EBB005 error]"
        ],
    ),
    "8 no max": (
        pool(max=REMOVED),
        [
            "pools.gpu-1xa10.max: is missing: without a ceiling nothing bounds the cost; "
            "allowed: a whole number from 0; fix: add max: 1 or the most that may run at once [EBB008 mandatory]"
        ],
    ),
    "9 more than the cap": (
        [
            (("guard", "maxDollarsPerHour"), 20),
            (("pools", "gpu-8xa100"), {"machine": "p4d.24xlarge", "max": 1}),
        ],
        [
            "guard.maxDollarsPerHour: 20.0 is less than all pools at their max cost, which is 27.00 "
            "(gpu-1xa10 2 × 2.50, gpu-8xa100 1 × 22.00); allowed: 27.00 or more; "
            "fix: lower max of a pool, take a cheaper machine, or raise the cap [EBB009 mandatory]"
        ],
    ),
    "9 spot counts with its own price, and the catalogue's before a lower one of one's own": (
        [
            (("guard", "maxDollarsPerHour"), 5),
            (("pools", "gpu-8xa100"), {"machine": "p4d.24xlarge", "max": 1, "pricePerHour": 3}),
            *pool(capacity="spot"),
        ],
        [
            "pools.gpu-8xa100.pricePerHour: 3.0 is less than the catalogue's 22.00, which counts instead; "
            "allowed: 22.00 or more; fix: leave it out, or have the catalogue's price corrected with a source "
            "[EBB207 warning]",
            "guard.maxDollarsPerHour: 5.0 is less than all pools at their max cost, which is 24.50 "
            "(gpu-1xa10 2 × 1.25, gpu-8xa100 1 × 22.00); allowed: 24.50 or more; "
            "fix: lower max of a pool, take a cheaper machine, or raise the cap [EBB009 mandatory]",
        ],
    ),
    "9 a cap that is no amount": (
        [(("guard", "maxDollarsPerHour"), "20 $")],
        [
            "guard.maxDollarsPerHour: '20 $' is not an amount of dollars; "
            "allowed: a number above 0, in US dollars an hour; "
            "fix: write it like 12.50, without a currency [EBB192 error]"
        ],
    ),
    "10 a pool that is never empty": (
        pool(min=1),
        [
            "pools.gpu-1xa10.min: 1 keeps GPUs running around the clock in dev, and nothing says why; "
            "allowed: 0, or a minReason beside it; fix: set min: 0, or add minReason: who needs it and until when "
            "[EBB010 mandatory]"
        ],
    ),
    "10 a model that never sleeps": (
        [((*MODEL, "min"), 1)],
        [
            "models.llama-8b.min: 1 keeps GPUs running around the clock in dev, and nothing says why; "
            "allowed: 0, or a minReason beside it; fix: set min: 0, or add minReason: who needs it and until when "
            "[EBB010 mandatory]"
        ],
    ),
    "10 a reason that is none": (
        pool(min=1, minReason="demo"),
        [
            "pools.gpu-1xa10.minReason: 'demo' is not a reason that another person could judge; "
            "allowed: a sentence of 8 to 400 characters; fix: say who needs it and until when [EBB193 error]"
        ],
    ),
    "10 a reason is enough": (pool(min=1, minReason="demo for the board, until 2026-12-01"), []),
    "10 production may": ([*pool(min=1), (("environment",), "prod")], []),
    "14 a machine without a price": (
        [
            (("platform", "region"), "eu-west-1"),
            (("platform", "network", "zones"), ["eu-west-1a", "eu-west-1b"]),
            (("platform", "ingress"), REMOVED),
        ],
        [
            "pools.gpu-1xa10.machine: 'g5.8xlarge' has no known price in eu-west-1: nobody could say what this pool "
            "may cost; allowed: a machine with a price, or a pricePerHour beside it; "
            "fix: add pricePerHour: and what one node costs you in US dollars [EBB014 mandatory]"
        ],
    ),
    "15 production on spot alone": (
        [*pool(capacity="spot"), (("environment",), "prod")],
        [
            "pools.gpu-1xa10.capacity: 'spot' is all that carries llama-8b in prod, where spot nodes go at short "
            "notice; allowed: onDemand for models of prod; "
            "fix: set capacity: onDemand, or give these models a pool with it under pool or fallbackPools "
            "[EBB015 mandatory]"
        ],
    ),
    "15 spot outside production": (pool(capacity="spot"), []),
    "16 a disk smaller than the image": (
        pool(disk={"size": "30Gi"}),
        [
            "pools.gpu-1xa10.disk.size: '30Gi' is too small for 32 GiB of image, pulled and unpacked, within 85% of "
            "the disk; allowed: 39Gi or more; fix: set size: 39Gi [EBB016 error]"
        ],
    ),
    "16 a disk smaller than image and weights": (
        [*pool(disk={"size": "50Gi"}), ((*MODEL, "weights"), "16Gi")],
        [
            "pools.gpu-1xa10.disk.size: '50Gi' is too small for 32 GiB of image, pulled and unpacked, and 16 GiB of "
            "weights (llama-8b) within 85% of the disk; allowed: 57Gi or more; fix: set size: 57Gi [EBB016 error]"
        ],
    ),
    "16 weights go to the machine's own fast disk": (
        [*pool(machine="p4d.24xlarge", disk={"size": "50Gi"}), ((*MODEL, "weights"), "140Gi")],
        [],
    ),
    "37 labels that would match any node": (
        pool(labels={}),
        [
            "pools.gpu-1xa10.labels: is empty: the selector of its models would match any node; "
            "allowed: at least one label; fix: leave labels out for workerType and the pool's name [EBB037 error]"
        ],
    ),
    "37 labels of another pool": (
        [
            *pool(labels={"team": "a"}),
            (("pools", "gpu-b"), {"machine": "g5.8xlarge", "max": 1, "labels": {"team": "a", "tier": "b"}}),
        ],
        [
            "pools.gpu-b.labels: also fit the nodes of pool gpu-1xa10: its models could land on these nodes, or these "
            "on its; allowed: labels no other pool's nodes carry; "
            "fix: leave labels out on both: each pool then gets its own name for one [EBB196 error]"
        ],
    ),
    "37 a taint twice": (
        pool(taints=[{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]),
        [
            "pools.gpu-1xa10.taints[1].key: 'a' is there already with this effect, which a node takes once; "
            "allowed: each key once an effect; fix: take one of the two out [EBB199 error]"
        ],
    ),
    "38 a public endpoint nobody has a key for": (
        [
            (("platform", "ingress", "public"), True),
            (("platform", "ingress", "allowedNetworks"), ["203.0.113.0/24"]),
            (("gateway",), {}),
        ],
        [
            "platform.ingress.public: true opens the gateway while no key says who may ask; "
            "allowed: at least one key under gateway.keys; fix: add a group and a key under gateway [EBB038 mandatory]"
        ],
    ),
    "42 an image for other processors": (
        [(("image",), {"architecture": "arm64"})],
        [
            "image.architecture: 'arm64' does not run on pool gpu-1xa10, whose machine g5.8xlarge is amd64; "
            "allowed: amd64; fix: set architecture: amd64, or take a machine with arm64 processors [EBB042 error]"
        ],
    ),
    "47 an operator's driver beside an image that brings its own": (
        [
            (("platform",), {"kind": "existing", "context": "c", "registry": {"address": "r.example.com/e"},
                             "modelStore": {"claim": "weights"}}),
            (("gpuLayer",), {"install": "helm"}),
            (("pools",), {"gpu-1xa10": {"gpu": {"count": 1}, "max": 2, "nodeImage": "host-driver"},
                          "gpu-b": {"gpu": {"count": 1}, "max": 1, "nodeImage": "ubuntu-22.04"}}),
        ],
        [
            "pools.gpu-1xa10.nodeImage: 'host-driver' brings its own driver, and for pool gpu-b (ubuntu-22.04) the GPU "
            "operator would install one on every node; allowed: node images that agree on who installs the driver; "
            "fix: give pool gpu-b nodeImage: host-driver [EBB047 error]"
        ],
    ),
    "a pool without a machine": (
        pool(machine=REMOVED),
        [f"pools.gpu-1xa10.machine: is missing; allowed: {SELLS}; fix: add machine: and its name [EBB103 error]"],
    ),
    "a pool whose machine is empty": (
        pool(machine=None),
        [f"pools.gpu-1xa10.machine: is missing; allowed: {SELLS}; fix: add machine: and its name [EBB103 error]"],
    ),
    "a pool with gpu beside a machine": (
        pool(gpu={"count": 1}),
        [
            "pools.gpu-1xa10.gpu: has no meaning on platform aws, which makes its nodes from machines; "
            "allowed: a machine, which says what GPUs its nodes have; fix: take it out, and name a machine "
            "[EBB194 error]"
        ],
    ),
    "a shared card for a model that wants two": (
        [
            *pool(machine="p4d.24xlarge", sharing={"timeSlicing": {"replicas": 4}}),
            ((*MODEL, "gpus"), 2),
        ],
        [
            "models.llama-8b.gpus: 2 is more than one, and the cards of pool gpu-1xa10 are shared: slices do not work "
            "together; allowed: 1; fix: set gpus: 1, or use a pool without sharing [EBB198 error]"
        ],
    ),
    "both ways of sharing": (
        pool(machine="p4d.24xlarge", sharing={"mig": {"profile": "1g.5gb"}, "timeSlicing": {"replicas": 2}}),
        [
            "pools.gpu-1xa10.sharing: names mig, timeSlicing; allowed: one of mig, timeSlicing, turns; "
            "fix: write mig: {profile: 1g.10gb}, timeSlicing: {replicas: 4} or turns: {models: 4} [EBB198 error]"
        ],
    ),
    "no way of sharing": (
        pool(sharing={}),
        [
            "pools.gpu-1xa10.sharing: names no way of sharing; allowed: one of mig, timeSlicing, turns; "
            "fix: write mig: {profile: 1g.10gb}, timeSlicing: {replicas: 4} or turns: {models: 4} [EBB198 error]"
        ],
    ),
    "turns on nodes with several GPUs": (
        pool(machine="p4d.24xlarge", sharing={"turns": {"models": 4}}),
        [
            "pools.gpu-1xa10.sharing.turns: is for nodes with one GPU, and these have 8: nobody can tell which card an "
            "engine has; allowed: turns on a pool with one GPU a node; fix: take a machine with one GPU, or share in "
            "another way [EBB204 error]"
        ],
    ),
    "sleep after it is gone": (
        [*pool(sharing={"turns": {"models": 4}}), ((*MODEL, "sleepTtl"), "30m")],
        [
            "models.llama-8b.sleepTtl: '30m' is no shorter than idleTtl, 20m: the model would be gone before it "
            "sleeps; allowed: less than 20m; fix: set a longer idleTtl, or leave sleepTtl out [EBB205 error]"
        ],
    ),
    "sleep where nobody else would have the card": (
        [((*MODEL, "sleepTtl"), "5m")],
        [
            "models.llama-8b.sleepTtl: '5m' has no effect: the models of pool gpu-1xa10 do not take turns, and an "
            "engine keeps its card; allowed: on a pool with turns; fix: leave it out; idleTtl lets the card go. Or "
            "write sharing: {turns: {models: 4}} for the pool [EBB206 error]"
        ],
    ),
    "turns written wrong": (
        pool(sharing={"turns": {"models": 1, "left": "2", "turn": 30}}),
        [
            "pools.gpu-1xa10.sharing.turns.models: 1 is less than 2; allowed: a whole number from 2 to 48; fix: give "
            "how many pods share one card, or leave sharing out [EBB191 error]",
            "pools.gpu-1xa10.sharing.turns.left: '2' is not an amount of memory; allowed: a number with a unit "
            "(Ki, Mi, Gi, Ti, k, M, G, T), like 80Gi; fix: write a number and its unit, like 24Gi [EBB112 error]",
            "pools.gpu-1xa10.sharing.turns.turn: 30 has no unit; allowed: a whole number with a unit from 1s to 720h, "
            "like 60s, 20m or 1h; fix: write a number and its unit, like 20m [EBB011 error]",
        ],
    ),
}  # fmt: skip


CASES["198 several machines whose cards are shared"] = (
    [
        *pool(sharing={"timeSlicing": {"replicas": 4}}),
        ((*MODEL, "nodes"), 2),
    ],
    [
        "models.llama-8b.nodes: 2 is more than one, and the cards of pool gpu-1xa10 are shared: slices do not work "
        "together; allowed: 1; fix: leave nodes out, or use a pool without sharing [EBB198 error]"
    ],
)


@pytest.mark.parametrize("case", CASES)
def test_the_whole_message_of_a_pool_that_cannot_be_had(case: str) -> None:
    changes, expected = CASES[case]
    assert messages(stack(*changes)) == [f"{FILE}: {line}" for line in expected]


def test_the_good_stack_has_no_findings() -> None:
    assert messages(stack()) == []


EVERYBODY = (
    "'0.0.0.0/0' lets everybody in; allowed: /8 or smaller; fix: list the networks of those who need it "
    "[EBB039 mandatory]"
)
OPEN: dict[str, tuple[tuple[tuple[Any, ...], Any], str]] = {
    "39 an API server open to the internet": (
        (("platform", "cluster", "apiAllowedNetworks"), ["0.0.0.0/0"]),
        f"platform.cluster.apiAllowedNetworks[0]: {EVERYBODY}",
    ),
    "39 one open network among closed ones": (
        (("platform", "ingress", "allowedNetworks"), ["10.0.0.0/8", "0.0.0.0/0"]),
        f"platform.ingress.allowedNetworks[1]: {EVERYBODY}",
    ),
    "39 a public load balancer that names nobody": (
        (("platform", "ingress", "public"), True),
        "platform.ingress.allowedNetworks: is missing: a public load balancer must say who may connect; "
        "allowed: the networks of those who may connect; fix: list them [EBB039 mandatory]",
    ),
    "40 a host without a certificate": (
        (("platform", "ingress", "certificate"), REMOVED),
        "platform.ingress.certificate: is missing: keys and prompts would cross the network in clear; allowed: a "
        "certificate in ACM for that name; fix: add certificate: "
        "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-0000-0000-000000000000 [EBB040 error]",
    ),
}


@pytest.mark.parametrize("case", OPEN)
def test_the_whole_message_of_a_door_left_open(case: str) -> None:
    change, expected = OPEN[case]
    assert messages(stack(change)) == [f"{FILE}: {expected}"]


def test_the_machine_tells_what_the_scheduler_sees() -> None:
    raw = stack(*pool(machine="p4d.24xlarge"))
    request = pool_request(load(raw, FILE).config.pools["gpu-1xa10"])
    assert (request.machine, request.pool.gpus_per_node, request.pool.gpu_resource) == (LARGE, 8, "nvidia.com/gpu")
    assert (request.pool.min_nodes, request.pool.max_nodes, request.spot) == (0, 2, False)


def test_a_request_carries_how_the_nodes_are_to_be_had() -> None:
    changes = pool(
        zones=["us-east-1a"],
        reservation="cr-0123456789abcdef0",
        capacityBlock=True,
        disk={"size": "200Gi", "iops": 4000, "throughput": "1000Mi"},
        sharing={"timeSlicing": {"replicas": 4}},
    )
    request = pool_request(load(stack(*changes), FILE).config.pools["gpu-1xa10"])
    assert (request.zones, request.reservation, request.capacity_block) == (
        ("us-east-1a",), "cr-0123456789abcdef0", True
    )  # fmt: skip
    assert (request.disk.size_gib, request.disk.iops, request.disk.throughput_mib) == (200, 4000, 1000)
    assert (request.pool.gpus_per_node, request.pool.gpu_resource) == (4, "nvidia.com/gpu")


def test_a_card_whose_models_take_turns_is_offered_as_often_as_engines_may_stay_on_it() -> None:
    changes = [*pool(sharing={"turns": {"models": 3, "turn": "1m"}}), ((*MODEL, "sleepTtl"), "5m")]
    stack_read = load(stack(*changes), FILE).config
    request = pool_request(stack_read.pools["gpu-1xa10"])
    assert (request.pool.gpus_per_node, request.pool.turns) == (3, True)
    assert request.sharing is not None
    assert (request.sharing.kind, request.sharing.key, request.sharing.count_key) == ("timeSlicing", "turns", "models")
    (kept,) = keeper_settings(stack_read, "aws").models
    assert (kept.turn_seconds, kept.sleep_seconds) == (60, 300)
    (alone,) = keeper_settings(load(stack(), FILE).config, "aws").models
    assert (alone.turn_seconds, alone.sleep_seconds) == (None, None)


def test_what_is_wrong_with_one_pool_hides_nothing_of_another() -> None:
    raw = stack(
        *pool(machine="m7i.large", min=1),
        (("pools", "gpu-b"), {"machine": "g5.8xlarge", "max": "two", "capacityBlock": "yes"}),
        ((*MODEL, "gpus"), 0),
    )
    codes = [line.split()[-2].strip("[") for line in messages(raw)]
    assert codes == ["EBB004", "EBB010", "EBB111", "EBB102", "EBB001"]
