"""The stack files a team copies: every one is good, holds what it promises, and says what is theirs to fill in."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from datetime import date
from pathlib import Path

import pytest

from infra.commands import plan
from infra.commands.options import PlanOptions
from infra.stackfile import StackConfig, load_file
from infra.stackfile.node_price import node_price

STACKS = Path(__file__).parents[2] / "stacks"
NAMES = tuple(sorted(file.name.split(".")[1] for file in STACKS.glob("Pulumi.*.yaml")))
CLOUDS = ("aws", "azure", "gcp")
WEIGHTS = {
    "meta-llama/Llama-3.1-8B-Instruct": "0e9e39f249a16976918f6564b8830bc894c89659",
    "meta-llama/Llama-3.1-70B-Instruct": "1605565b47bb9346c5515c34102e054115b4f98b",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "12fd25f77366fa6b3b4b768ec3050bf629380bac",
}
SMALL = {"aws": "g5.8xlarge", "azure": "Standard_NC24ads_A100_v4", "gcp": "g2-standard-16"}
LARGE = {"aws": "p4d.24xlarge", "azure": "Standard_ND96amsr_A100_v4", "gcp": "a2-ultragpu-8g"}


class Written(date):
    """The day on which the stack files were last looked at: support of a Kubernetes version ends as days go by."""

    @classmethod
    def today(cls) -> date:
        return date(2026, 11, 29)


@pytest.fixture(autouse=True)
def day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["infra.stackfile.load"], "date", Written)


def stack(name: str) -> StackConfig:
    return load_file(STACKS / f"Pulumi.{name}.yaml").config


def test_every_place_has_a_stack_to_begin_with() -> None:
    clouds = {f"{cloud}-{environment}" for cloud in CLOUDS for environment in ("dev", "prod")}
    assert set(NAMES) == {"local", "onprem", *clouds}


@pytest.mark.parametrize("name", NAMES)
def test_a_stack_that_is_shipped_stops_nobody_and_warns_of_nothing_that_could_be_mended_in_it(name: str) -> None:
    assert load_file(STACKS / f"Pulumi.{name}.yaml").warnings == ()


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_of_a_shipped_stack_warns_of_nothing_else_either(name: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        plan.run(PlanOptions(stack=name, config_file=str(STACKS / f"Pulumi.{name}.yaml"), format="json", graph=False))
    assert json.loads(out.getvalue())["findings"] == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_while_nobody_asks(name: str) -> None:
    config = stack(name)
    assert {pool.min for pool in config.pools.values()} == {0}
    assert {model.min for model in config.models.values()} == {0}


@pytest.mark.parametrize("name", NAMES)
def test_the_guard_lets_every_model_run_at_least_once_and_no_more_than_the_pools_hold(name: str) -> None:
    config = stack(name)
    assert max(model.gpus for model in config.models.values()) <= config.gpu_quota
    assert config.gpu_quota <= sum(pool.max * pool.gpu.count for pool in config.pools.values())


@pytest.mark.parametrize("cloud", CLOUDS)
def test_production_has_one_pool_of_one_gpu_up_to_two_nodes_and_one_of_eight(cloud: str) -> None:
    config = stack(f"{cloud}-prod")
    sizes = {pool.machine: (pool.min, pool.max, pool.gpu.count) for pool in config.pools.values()}
    assert sizes == {SMALL[cloud]: (0, 2, 1), LARGE[cloud]: (0, 1, 8)}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_production_serves_a_small_model_on_one_gpu_and_a_large_one_over_eight(cloud: str) -> None:
    config = stack(f"{cloud}-prod")
    on = {config.pools[model.pool].machine: model for model in config.models.values()}
    assert (on[SMALL[cloud]].id, on[SMALL[cloud]].gpus) == ("meta-llama/Llama-3.1-8B-Instruct", 1)
    assert (on[LARGE[cloud]].id, on[LARGE[cloud]].gpus) == ("meta-llama/Llama-3.1-70B-Instruct", 8)


@pytest.mark.parametrize("name", [f"{cloud}-{e}" for cloud in CLOUDS for e in ("dev", "prod")])
def test_a_cloud_stack_has_a_cap_in_dollars_that_its_pools_stay_under_and_come_near_to(name: str) -> None:
    config = stack(name)
    ceiling = sum(node_price(pool, config.platform.region).for_nodes(pool.max) or 0 for pool in config.pools.values())
    cap = config.guard.max_dollars_per_hour
    assert cap is not None
    assert 0.5 * cap < ceiling <= cap


@pytest.mark.parametrize("name", NAMES)
def test_models_are_pinned_to_commits_that_were_looked_up(name: str) -> None:
    assert {(m.id, m.revision) for m in stack(name).models.values()} <= set(WEIGHTS.items())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "local"])
def test_what_a_team_must_fill_in_is_marked(name: str) -> None:
    text = (STACKS / f"Pulumi.{name}.yaml").read_text()
    lines = text.splitlines()
    placeholder = re.compile(r"example\.com|123456789012|0{8}-0{4}|my-llm-project|gpu-cluster$")
    for number, line in enumerate(lines):
        if placeholder.search(line.partition(" #")[0]) and not line.lstrip().startswith("#"):
            assert "yours" in line or "yours" in lines[number - 1], line


@pytest.mark.parametrize("name", [name for name in NAMES if name != "local"])
def test_nothing_is_public(name: str) -> None:
    platform = stack(name).platform
    ingress = getattr(platform, "ingress", None)
    assert not getattr(ingress, "public", False)
    assert not getattr(getattr(platform, "cluster", None), "api_allowed_networks", ())
