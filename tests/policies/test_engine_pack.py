"""The real engine with the real pack: what a rule forbids stops the preview, and what is not known yet is told so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.policies.mutations import MUTATIONS, Mutation
from tests.policies.stack import Stack
from tests.program.conftest import Project

pytestmark = pytest.mark.engine
PACK = f"--policy-pack={Path(__file__).resolve().parents[2] / 'infra' / 'policies'}"
# The lab's provider takes any Kubernetes object before its cluster exists.
OBJECTS = ("Deployment", "Namespace", "NetworkPolicy", "ResourceQuota", "Ingress", "Service", "ScaledObject",
           "InterceptorRoute", "Release")  # fmt: skip
PROGRAM = """
import json
import pulumi_random
late = pulumi_random.RandomPassword("late", length=8)
provider = k8s.Provider("cluster", kubeconfig=late.result)
for entry in json.loads({text!r}):
    inputs = entry["inputs"]
    if entry.get("late"):
        inputs["spec"]["template"]["spec"]["containers"][0]["image"] = late.result
    options = pulumi.ResourceOptions(provider=provider, ignore_changes=entry["ignoreChanges"], protect=entry["protect"])
    pulumi.CustomResource(entry["type"], entry["name"], inputs, options)
"""


@pytest.fixture
def lone_project(tmp_path: Path) -> Project:
    return Project(tmp_path, None)


def shown(project: Project, stack: Stack, *, late: bool = False) -> tuple[int, str]:
    """A preview of the stack's Kubernetes objects under the pack."""
    entries = [item for item in stack.resources if item["type"].endswith(OBJECTS) and "kubernetes" in item["type"]]
    entries = [item for item in entries if not item["type"].endswith("Release")]
    if late:
        stack.find("Deployment")["late"] = True
    file = project.root / "Pulumi.test.yaml"
    settings = yaml.safe_load(file.read_text()) if file.exists() else {}
    settings["config"] = {f"ebbtide:{key}": value for key, value in stack.config.items()}
    file.write_text(yaml.safe_dump(settings))
    project.program(PROGRAM.format(text=json.dumps(entries)))
    process = project.start("preview", "--stack=test", PACK)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def test_a_stack_that_keeps_the_rules_may_be_previewed(lone_project: Project) -> None:
    code, output = shown(lone_project, Stack())
    assert code == 0, output
    assert "[mandatory]" not in output


def test_what_is_not_known_at_preview_is_reported_as_not_evaluated_and_does_not_pass(lone_project: Project) -> None:
    code, output = shown(lone_project, Stack(), late=True)
    assert code == 0, output
    assert "image-digest" in output
    assert "not evaluated" in output


def test_the_environment_of_the_stack_file_decides_the_level(lone_project: Project) -> None:
    stack = Stack("dev")
    stack.model["min"] = 1
    code, output = shown(lone_project, stack)
    assert code != 0
    assert "[mandatory]  zero-outside-production" in output


# these judge resources of a cloud: test_engine_clouds.py
NEED_A_CLOUD = frozenset({
    "gpu-taint", "protected", "private-api", "audit-log", "secrets-encrypted", "bucket-private", "bucket-encrypted",
    "registry-private", "engine-floor", "operator-floor", "placement",
    "narrow-rights",
})  # fmt: skip
# what is deleted only shows beside a base, which an engine has none of
_THE_GATES = {"deletion-approved"}
# one of each rule that objects of Kubernetes, or the stack file, can break
_SEEN: set[str] = set()
FIRST = [m for m in MUTATIONS if m.rule not in NEED_A_CLOUD | _THE_GATES and not (m.rule in _SEEN or _SEEN.add(m.rule))]  # type: ignore[func-returns-value]


# What does not hide one another breaks in one preview; each alone: test_pack_host.py. The planner says nothing of a
# model's memory and licence where the stack file itself is wrong.
TOGETHER = (
    frozenset({"gpu-ceiling", "cost-ceiling", "max-present", "pinned-revision", "spot-only-production"}),
    frozenset({"gpu-memory", "licence-acknowledged"}),
    frozenset({"zero-outside-production", "idle-ttl"}),
    frozenset({
        "image-digest", "public-listener", "clear-text-secret", "safetensors", "no-remote-code", "pod-security",
        "default-deny", "probes-and-grace", "cooldown", "one-writer", "quota-present", "load-balancer-timeouts",
        "known-shape",
    }),
)  # fmt: skip
Previewed = Callable[[frozenset[str]], tuple[int, str]]


@pytest.fixture(scope="module")
def previewed(tmp_path_factory: pytest.TempPathFactory) -> Previewed:
    """Status and output of the one preview in which several rules are broken."""

    @cache
    def broken(together: frozenset[str]) -> tuple[int, str]:
        mutations = [mutation for mutation in FIRST if mutation.rule in together]
        (environment,) = {mutation.environment for mutation in mutations}
        stack = Stack(environment)
        for mutation in mutations:
            mutation.apply(stack)
        return shown(Project(tmp_path_factory.mktemp("broken"), None), stack)

    return broken


@pytest.mark.parametrize("mutation", FIRST, ids=lambda m: m.rule)
def test_a_preview_is_stopped_by_what_breaks_a_rule(previewed: Previewed, mutation: Mutation) -> None:
    (together,) = (each for each in TOGETHER if mutation.rule in each)
    code, output = previewed(together)
    assert code != 0, output
    assert f"[mandatory]  {mutation.rule}" in output
    assert "correct-horse" not in output


@pytest.mark.parametrize("together", TOGETHER, ids=lambda rules: min(rules))
def test_a_preview_is_stopped_by_all_that_are_broken_and_by_no_other(
    previewed: Previewed, together: frozenset[str]
) -> None:
    _, output = previewed(together)
    assert set(re.findall(r"\[mandatory\] +([a-z-]+)", output)) == together, output
