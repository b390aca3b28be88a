"""A model with several pools under the recorder: it selects and tolerates exactly these, and the place knows the order.
Beside it, one model twice, for short and for long contexts, on two pools.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from infra.recorder.command import recording_of
from infra.recorder.recorder import graph
from infra.recorder.stack_source import read_stack
from tests.program import graph_reading as reading
from tests.program.stack_kit import sections

SPOT, ON_DEMAND, OTHER = "gpu-1xa10-spot", "gpu-1xa10", "gpu-8xa100"
Resources = tuple[reading.Resource, ...]


def recorded(config: dict[str, Any], folder: Path) -> Resources:
    """The graph of the AWS stack for production with this in its file."""
    file = folder / "Pulumi.aws-prod.yaml"
    file.write_text(yaml.safe_dump({"config": config}))
    with mock.patch.dict(os.environ, {"EBBTIDE_STATE": str(folder / "state")}):
        return tuple(graph(recording_of(read_stack(file), "aws-prod").records))


def with_fallback(**platform: Any) -> dict[str, Any]:
    """A spot pool that the small model takes first."""
    config = sections("aws-prod")
    config["ebbtide:platform"] |= platform
    config["ebbtide:pools"][SPOT] = {**config["ebbtide:pools"][ON_DEMAND], "capacity": "spot"}
    config["ebbtide:guard"]["maxDollarsPerHour"] = 40  # three pools at their max cost more than two
    config["ebbtide:models"]["llama-8b"] |= {"pool": SPOT, "fallbackPools": [ON_DEMAND]}
    return config


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Resources:
    return recorded(with_fallback(), tmp_path_factory.mktemp("stack"))


def pod(resources: Resources, model: str) -> dict[str, Any]:
    (workload,) = [p for resource, p in reading.models(resources) if resource["inputs"]["metadata"]["name"] == model]
    return workload


def release(resources: Resources) -> dict[str, Any]:
    releases = [r["inputs"] for r in reading.of(resources, "Release") if r["inputs"]["name"] == "cluster-autoscaler"]
    return dict(releases[0]["values"])


def test_a_model_selects_and_tolerates_its_pools_and_no_other(several: Resources) -> None:
    pools = {p.name.removeprefix("ebbtide-aws-prod-"): p for p in reading.gpu_pools(several)}
    assert set(pools) == {SPOT, ON_DEMAND, OTHER}
    choices = {
        (model, name): (
            reading.fits(pod(several, model), pool),
            all(reading.tolerates(pod(several, model), taint) for taint in pool.taints),
        )
        for model in ("llama-8b", "llama-70b")
        for name, pool in pools.items()
    }
    assert {key for key, choice in choices.items() if choice == (True, True)} == {
        ("llama-8b", SPOT),
        ("llama-8b", ON_DEMAND),
        ("llama-70b", OTHER),
    }
    # each half alone must tell the pools apart
    assert set(choices.values()) == {(True, True), (False, False)}


def test_the_first_choice_is_preferred_and_a_model_with_one_pool_keeps_its_selector(several: Resources) -> None:
    (preferred,) = pod(several, "llama-8b")["affinity"]["nodeAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert preferred["preference"]["matchExpressions"][0]["values"] == ["gpu_1xa10_spot"]
    assert "nodeSelector" not in pod(several, "llama-8b")
    assert pod(several, "llama-70b")["nodeSelector"] == {"workerType": "gpu_8xa100"}
    assert "affinity" not in pod(several, "llama-70b")


def test_the_quota_does_not_grow_with_the_pools(several: Resources) -> None:
    graphs = (several, reading.resources("aws-prod"))
    (now,), (before,) = ([q["inputs"]["spec"] for q in reading.of(each, "ResourceQuota")] for each in graphs)
    assert now == before


def test_the_autoscaler_the_stack_installs_is_told_the_order_and_left_alone_without_one(several: Resources) -> None:
    chart_values = release(several)
    assert chart_values["extraArgs"]["expander"] == "priority,least-waste"
    assert "expanderPriorities" in chart_values
    plain = release(reading.resources("aws-prod"))
    assert plain["extraArgs"]["expander"] == "least-waste"
    assert "expanderPriorities" not in plain


def test_karpenter_needs_no_word_of_it(tmp_path: Path) -> None:
    resources = recorded(with_fallback(nodeProvisioning="karpenter", nodeImageRelease="v20260820"), tmp_path)
    pools = {p["name"]: p["inputs"]["spec"] for p in reading.of(resources, "NodePool")}
    assert len(pools) == 3
    assert not [name for name, spec in pools.items() if "weight" in spec]
    assert "affinity" in pod(resources, "llama-8b")


def test_one_model_for_short_and_long_contexts_on_two_pools_shares_its_weights(tmp_path: Path) -> None:
    config = sections("aws-prod")
    short = config["ebbtide:models"]["llama-8b"]
    long = {**short, "pool": OTHER, "gpus": 8, "max": 1, "maxTokens": 131072, "idleTtl": "30m", "coldStart": "20m"}
    config["ebbtide:models"]["llama-8b-long"] = long
    resources = recorded(config, tmp_path)
    pods = [pod(resources, name) for name in ("llama-8b", "llama-8b-long")]
    arguments = [each["containers"][0]["args"] for each in pods]
    assert len({args[args.index("--model") + 1] for args in arguments}) == 1
    assert [args[args.index("--max-model-len") + 1] for args in arguments] == ["8192", "131072"]
    assert [each["nodeSelector"] for each in pods] == [{"workerType": "gpu_1xa10"}, {"workerType": "gpu_8xa100"}]
    jobs = [each["inputs"] for each in reading.of(resources, "Job")]
    copies = [job for job in jobs if short["revision"] in json.dumps(job)]
    assert len(copies) == 1
