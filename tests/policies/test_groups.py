"""A model on several machines is judged like any other: what is wrong with one of its two templates is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from infra.policies.evaluate import judge_all
from infra.policies.model import graph_of
from infra.policies.rules import rules
from infra.policies.settings import settings_for
from tests.policies.stack import Stack, kube

Template = dict[str, Any]
LEADER, WORKER = "leaderTemplate", "workerTemplate"


def grouped() -> tuple[Stack, dict[str, Template]]:
    """The good stack with its Deployment made a group of two machines, and the group's templates."""
    stack = Stack()
    at = next(i for i, item in enumerate(stack.resources) if item["type"].endswith(":Deployment"))
    leader = stack.inputs("Deployment")["spec"]["template"]
    leader["spec"]["containers"][0]["livenessProbe"] = {"exec": {"command": ["canary"]}}
    worker = copy.deepcopy(leader)
    container = worker["spec"]["containers"][0]
    container["args"].append("--headless")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        del container[probe]
    template = {"size": 2, LEADER: leader, WORKER: worker}
    body = {"spec": {"replicas": 0, "leaderWorkerTemplate": template}}
    kind = "leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"
    stack.resources[at] = kube(kind, "llama", body, ignoreChanges=["spec.replicas"])
    stack.inputs("ScaledObject")["spec"]["scaleTargetRef"] = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "name": "llama",
    }
    stack.model["nodes"] = 2
    return stack, stack.inputs("LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]


def failed(stack: Stack) -> dict[str, list[str]]:
    verdicts = judge_all(rules(), graph_of(stack.resources, stack.judged()), settings_for("prod"))
    return {
        v.rule.id: [violation.path for violation in v.violations]
        for v in verdicts
        if v.state not in ("passed", "disabled")
    }


def _container(template: Template) -> dict[str, Any]:
    return dict.__getitem__(template["spec"], "containers")[0]  # type: ignore[no-any-return]


def _tag(template: Template) -> None:
    _container(template)["image"] = "r.example.com/ebbtide/engine:latest"


def _root(template: Template) -> None:
    template["spec"]["securityContext"]["runAsNonRoot"] = False


def _host(template: Template) -> None:
    template["spec"]["hostNetwork"] = True


def _no_toleration(template: Template) -> None:
    template["spec"]["tolerations"] = []


def _remote_code(template: Template) -> None:
    _container(template)["args"].append("--trust-remote-code")


def _branch(template: Template) -> None:
    _container(template)["args"] += ["--revision", "main"]


def _short_grace(template: Template) -> None:
    template["spec"]["terminationGracePeriodSeconds"] = 30


def _pickle(template: Template) -> None:
    args = _container(template)["args"]
    args[args.index("runai_streamer")] = "pt"


def _secret(template: Template) -> None:
    _container(template)["env"].append({"name": "HF_TOKEN", "value": "hf_" + "x" * 34})


def _other_gpu(template: Template) -> None:
    _container(template)["resources"]["limits"] = {"nvidia.com/mig-1g.10gb": "1"}


BAD: dict[str, Callable[[Template], None]] = {
    "image-digest": _tag,
    "pod-security": _root,
    "placement": _no_toleration,
    "no-remote-code": _remote_code,
    "pinned-revision": _branch,
    "probes-and-grace": _short_grace,
    "safetensors": _pickle,
    "clear-text-secret": _secret,
    "quota-present": _other_gpu,
}


def test_a_group_that_keeps_the_rules_passes_all_of_them() -> None:
    stack, _ = grouped()
    assert failed(stack) == {}


@pytest.mark.parametrize("which", [LEADER, WORKER])
@pytest.mark.parametrize("rule", BAD)
def test_a_bad_pod_is_found_in_either_template(rule: str, which: str) -> None:
    stack, templates = grouped()
    BAD[rule](templates[which])
    assert list(failed(stack)) == [rule]


@pytest.mark.parametrize("which", [LEADER, WORKER])
def test_a_finding_says_in_which_template_it_is(which: str) -> None:
    stack, templates = grouped()
    _host(templates[which])
    where = [f"spec.leaderWorkerTemplate.{which}.spec.hostNetwork"]
    assert failed(stack) == {"known-shape": where, "pod-security": where}


def test_a_pod_of_a_group_under_no_policy_is_found() -> None:
    stack, _ = grouped()
    stack.resources = [r for r in stack.resources if not r["type"].endswith(":NetworkPolicy")]
    assert "default-deny" in failed(stack)


def test_a_leader_without_probes_is_found_though_it_calls_itself_headless() -> None:
    stack, templates = grouped()
    container = _container(templates[LEADER])
    container["args"].append("--headless")
    del container["startupProbe"]
    assert failed(stack) == {
        "probes-and-grace": ["spec.leaderWorkerTemplate.leaderTemplate.spec.containers[0].startupProbe"]
    }


def test_a_worker_that_answers_needs_probes() -> None:
    stack, templates = grouped()
    _container(templates[WORKER])["args"].remove("--headless")
    assert list(failed(stack)) == ["probes-and-grace"]


def test_without_a_leaders_template_the_workers_is_the_leaders_and_needs_probes() -> None:
    stack, templates = grouped()
    del templates[LEADER]
    assert list(failed(stack)) == ["probes-and-grace"]


def test_replicas_of_a_group_are_keda_s_alone() -> None:
    stack, _ = grouped()
    stack.find("LeaderWorkerSet")["ignoreChanges"] = []
    assert list(failed(stack)) == ["one-writer"]


def test_a_model_may_fill_the_gpus_of_all_machines() -> None:
    stack, _ = grouped()
    stack.model["maxTokens"] = 65536
    assert failed(stack) == {}
    stack.model["nodes"] = 1
    assert list(failed(stack)) == ["gpu-memory"]
