"""Which failed pulls of an image may yet succeed, told by what kubelets report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit import keeper_kit as kit
from tests.unit.keeper_kit import at, condition, deployment, on_node, pod

from ebbtide_keeper.image_pull import WAITS, outcome, outcome_of_text  # isort: skip
from ebbtide_keeper.model_state import PULL_SHARE, Observation, judge  # isort: skip
from ebbtide_keeper.settings import Model  # isort: skip

TEXTS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("image_pull_texts.yaml").read_text())
ROWS = [
    (kind, each["text"].replace("HOST", "reg.example.com").replace("IMAGE", "ebbtide/vllm:v1"))
    for kind in ("never", "denied", "maybe")
    for each in TEXTS[kind]
]
FIXED = Model(name="small", holdSeconds=90, coldStartSeconds=60)
GROWABLE = Model(name="small", holdSeconds=900, coldStartSeconds=600, growable=True)
NEVER, DENIED, MAYBE = (next(text for kind, text in ROWS if kind == each) for each in ("never", "denied", "maybe"))


def waits(reason: str, text: str) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": text}}}


def backing_off(text: str) -> dict[str, Any]:
    return waits("ImagePullBackOff", f'Back-off pulling image "reg.example.com/vllm": ErrImagePull: {text}')


def on_new_node(container: dict[str, Any], scheduled: float) -> dict[str, Any]:
    """A pod that waited from the start for a node, which came ``scheduled`` seconds later."""
    conditions = (condition("PodScheduled", "True", scheduled), condition("Ready", "False", scheduled + 1))
    return pod("small-1", 0, *conditions, container=container, started=scheduled + 1)


def what_of(seconds: float, item: dict[str, Any], model: Model = FIXED) -> str:
    doing = judge(Observation(deployment(), [item]), model, at(seconds))
    return doing.cause.message if doing.cause is not None else doing.what


@pytest.mark.parametrize(("kind", "text"), ROWS)
def test_a_kubelets_text_tells_what_may_be_hoped_for_at_once_and_while_it_backs_off(kind: str, text: str) -> None:
    assert outcome_of_text(text) == kind
    assert outcome("ErrImagePull", text) == kind
    assert outcome("ImagePullBackOff", f'Back-off pulling image "x": ErrImagePull: {text}') == kind


def test_each_kind_has_several_texts_and_every_reason_an_outcome() -> None:
    assert {kind: sum(k == kind for k, _ in ROWS) >= 5 for kind in ("never", "denied", "maybe")} == {
        "never": True,
        "denied": True,
        "maybe": True,
    }
    assert outcome("ContainerCreating", "") is None
    assert all(outcome(reason, "") for reason in WAITS)


def test_a_first_pull_that_fails_twice_and_then_works_fails_no_wake() -> None:
    assert what_of(2, on_node(waits("ErrImagePull", MAYBE))) == "loading"
    assert what_of(12, on_node(backing_off(MAYBE))) == "loading"
    assert what_of(29, on_node(backing_off(MAYBE))) == "loading"
    assert what_of(31, on_node(kit.running())) == "loading"


def test_a_pull_that_never_works_ends_the_wake_after_a_part_of_the_cold_start() -> None:
    assert PULL_SHARE == 0.5
    assert what_of(30, on_node(backing_off(MAYBE))) == "its image could not be pulled in time"
    new = on_new_node(backing_off(MAYBE), 200)
    assert [what_of(seconds, new, GROWABLE) for seconds in (499, 500)] == [
        "loading",
        "its image could not be pulled in time",
    ]


@pytest.mark.parametrize("container", [waits("ErrImagePull", NEVER), backing_off(NEVER), waits("InvalidImageName", "")])
def test_an_image_that_is_not_there_ends_the_wake_at_once_also_on_a_new_node(container: dict[str, Any]) -> None:
    assert what_of(2, on_node(container)) == "its image is not there, or not for its node"
    assert what_of(202, on_new_node(container, 200), GROWABLE) == "its image is not there, or not for its node"


def test_a_denied_image_ends_the_wake_at_once_on_a_node_that_was_there() -> None:
    denied = "the registry refuses its node the image"
    assert what_of(2, on_node(backing_off(DENIED))) == denied
    assert what_of(2, on_node(backing_off(DENIED)), GROWABLE) == denied


def test_on_a_node_made_for_the_pod_its_right_to_the_registry_may_still_be_on_its_way() -> None:
    new = on_new_node(backing_off(DENIED), 200)
    assert [what_of(seconds, new, GROWABLE) for seconds in (202, 499)] == ["loading", "loading"]
    assert what_of(500, new, GROWABLE) == "the registry refuses its node the image"
    assert what_of(32, on_new_node(backing_off(DENIED), 30)) == "the registry refuses its node the image", (
        "no node is made"
    )


def test_an_init_containers_image_counts_as_the_engines() -> None:
    item = on_node(kit.waiting("PodInitializing"))
    item["status"]["initContainerStatuses"] = [{"name": "first", **backing_off(NEVER)}]
    assert what_of(2, item) == "its image is not there, or not for its node"
