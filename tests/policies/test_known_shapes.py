"""The list of known shapes is what the program makes, and every stack that the stack file can describe keeps to it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from components.typed.tables import read_table
from infra.policies.evaluate import judge, judge_all
from infra.policies.inputs import InputsMap
from infra.policies.model import Resource, graph_of
from infra.policies.rules import rules
from infra.policies.rules.shape import known_shape
from infra.policies.settings import settings_for
from infra.policies.shapes import FILE
from infra.stackfile.schema.stack import StackConfig
from scripts.record_shapes import shapes_of, text
from scripts.shape_graphs import recorded
from tests.policies import shapes_kit as kit

pytest.importorskip("pulumi_aws")
pytest.importorskip("pulumi_azure_native")
pytest.importorskip("pulumi_gcp")
INDEXES = range(len(kit.stacks()))


def test_the_list_is_what_the_program_makes_now() -> None:
    components, types = shapes_of(kit.graph(index) for index in INDEXES)
    written = FILE.read_text(encoding="utf-8")
    date = str(read_table(FILE)["date"])
    assert written == text(components, types, date), "run: python -m scripts.record_shapes"


@pytest.mark.parametrize("index", INDEXES)
def test_no_stack_of_ours_is_blocked_by_a_rule_over_its_graph(index: int) -> None:
    assert kit.blocks(index, kit.graph(index)) == {}


# nodes found by their labels need a cluster that answers; they are patched like those that are named
NOT_IN_A_GRAPH = {"nodeLabels"}


def _keys(model: type[BaseModel], passed: frozenset[type] = frozenset()) -> Iterator[str]:
    for name, field in model.model_fields.items():
        alias = field.alias or name
        if not alias.startswith("<"):
            yield alias
        for inner in _models(field.annotation):
            if inner not in passed:
                yield from _keys(inner, passed | {inner})


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from _models(inner)


def _written(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _written(item)
    if isinstance(value, list):
        for item in value:
            yield from _written(item)


def test_together_the_stacks_use_every_key_of_the_stack_file() -> None:
    used = {key for _, document in kit.stacks() for key in _written(document)}
    assert set(_keys(StackConfig)) - used - NOT_IN_A_GRAPH == set()


def _new_name(name: str) -> str:
    return f"other-{name}"


def _renamed(document: dict[str, Any]) -> dict[str, Any]:
    """Rename every model, pool, group, key and schedule of a stack file, and what names them."""
    copied = copy.deepcopy(document)
    models, gateway = copied["models"], copied.get("gateway", {})
    for model in models.values():
        model["pool"] = _new_name(model["pool"])
        model["fallbackPools"] = [_new_name(pool) for pool in model.get("fallbackPools", ())]
        if "longPrompts" in model:
            model["longPrompts"] = _new_name(model["longPrompts"])
        model["schedules"] = {_new_name(name): window for name, window in model.get("schedules", {}).items()}
    for group in gateway.get("groups", {}).values():
        for key in ("models", "wake", "loadAdapters"):
            if key in group:
                group[key] = [name if name == "*" else _new_name(name) for name in group[key]]
    for key in gateway.get("keys", {}).values():
        key["group"] = _new_name(key["group"])
    platform = copied["platform"]
    if "flexStart" in platform:
        platform["flexStart"] = [_new_name(pool) for pool in platform["flexStart"]]
    for section in (copied, gateway):
        for key in ("models", "pools", "groups", "keys"):
            if key in section:
                section[key] = {_new_name(name): value for name, value in section[key].items()}
    return copied


@pytest.mark.parametrize("index", INDEXES)
def test_a_stack_with_other_names_of_its_own_is_not_foreign(index: int) -> None:
    stack, document = kit.stacks()[index]
    # a stack that was up before is found under its name alone
    whole = graph_of(recorded(stack if stack == "local" else _new_name(stack), _renamed(document)), None)
    verdict = judge(known_shape, whole, settings_for(document["environment"]))
    assert verdict.violations == ()


TOPIC = "aws:sns/topic:Topic"
FIFO = {"name": "x", "subscribers": [{"address": "a"}], "tags": {"team": "a"}}
BESIDES = {TOPIC: ("name", "subscribers[*].address", "tags.*"), "kubernetes:core/v1:Namespace": ("spec.finalizers[*]",)}


def _said(kind: str, inputs: dict[str, Any], **more: Any) -> list[str]:
    """What ``known-shape`` says of one resource, where ``BESIDES`` is known besides."""
    resource = Resource(f"urn::{kind}::x", kind, "x", InputsMap(inputs), **more)
    settings = replace(settings_for("prod"), known_besides=BESIDES)
    return [violation.path for violation in known_shape.judge(resource, settings)]


def test_a_type_that_a_team_knows_besides_has_the_fields_that_are_named_and_no_other() -> None:
    assert _said(TOPIC, FIFO) == []
    assert _said(TOPIC, {**FIFO, "policy": "x"}) == ["policy"]
    assert _said(TOPIC, {"name": "x", "subscribers": [{"address": "a", "role": "b"}]}) == ["subscribers[0].role"]
    assert _said("aws:sns/other:Other", FIFO) == [""]


def test_a_listed_type_has_the_fields_that_a_team_names_besides_its_own() -> None:
    inputs = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "spec": {"finalizers": ["a"]}}
    assert _said("kubernetes:core/v1:Namespace", inputs) == []
    inputs["spec"] = {"finalizers": ["a"], "other": 1}
    assert _said("kubernetes:core/v1:Namespace", inputs) == ["spec.other"]


def _pod(**spec: Any) -> tuple[str, dict[str, Any]]:
    container = {
        "name": "a",
        "securityContext": {
            "allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"}, **spec.pop("security", {}),
        },
        **spec.pop("container", {}),
    }  # fmt: skip
    return "apps/v1:DaemonSet", {"spec": {"template": {"spec": {"containers": [container], **spec}}}}


@pytest.mark.parametrize(
    ("rule", "shape"),
    [
        ("pod-security", _pod(hostNetwork=True)),
        ("pod-security", _pod(hostPID=True)),
        ("pod-security", _pod(hostIPC=True)),
        ("pod-security", _pod(volumes=[{"name": "a", "hostPath": {"path": "/"}}])),
        ("pod-security", _pod(container={"ports": [{"containerPort": 80, "hostPort": 80}]})),
        ("pod-security", _pod(security={"privileged": True})),
        ("pod-security", _pod(security={"procMount": "Unmasked"})),
        ("public-listener", ("core/v1:Service", {"spec": {"externalIPs": ["203.0.113.7"]}})),
        (
            "narrow-rights",
            (
                "rbac.authorization.k8s.io/v1:ClusterRole",
                {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]},
            ),
        ),
    ],
)
def test_a_kind_that_a_team_knows_besides_is_judged_by_its_effect_all_the_same(
    rule: str, shape: tuple[str, dict[str, Any]]
) -> None:
    """`known-shape` alone would let all of these through, so none of these checks is double."""
    kind, body = shape
    entries = kit.graph(kit.index_of("aws-prod"))
    kit.kube(entries, kind, copy.deepcopy(body))
    settings = replace(settings_for("prod"), known_besides={f"kubernetes:{kind}": ("*",)})
    whole = graph_of(entries, kit.judged(kit.index_of("aws-prod")))
    verdicts = {each.rule.id: each for each in judge_all(rules(), whole, settings)}
    assert [v for v in verdicts["known-shape"].violations if v.at.endswith("::added")] == []
    assert [v for v in verdicts[rule].violations if v.at.endswith("::added")] != []


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"hostNetwork": True}, "values.hostNetwork"),
        ({"controller": {"hostPID": True}}, "values.controller.hostPID"),
        ({"runAsNonRoot": False}, "values.runAsNonRoot"),
        ({"webhook": {"allowPrivilegeEscalation": True}}, "values.webhook.allowPrivilegeEscalation"),
        # listed fields, by whose last names a rule judges pods of the program's own, and none of a chart's
        *(
            ({"podSecurityContext": {part: {"runAsNonRoot": False}}}, f"values.podSecurityContext.{part}.runAsNonRoot")
            for part in ("operator", "interceptor", "scaler")
        ),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "values.podSecurityContext.runAsNonRoot"),
    ],
)
def test_a_chart_is_given_no_power_that_this_product_does_not_give_it(values: dict[str, Any], path: str) -> None:
    assert _said("kubernetes:helm.sh/v3:Release", {"chart": "keda", "values": values}) == [path]
