"""Wakes that cannot succeed: the client hears why within seconds of it being visible, the pod goes, a later wake works.

Each cause is put into the model's Deployment (or the quota) by hand, as a node, a registry or a broken image would
bring it about; everything that judges and answers is what runs in a cloud.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from lab.ask import NAMESPACE
from lab.machine.kubernetes import PORTS
from tests.lab.conftest import FIRST, MERGE, PAUSED, Lab, scaler, wait_until
from tests.lab.registry import registry_that_answers

DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{FIRST}"
SCALED = scaler(FIRST)
QUOTA = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/gpu-guard"
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
WITHIN_SECONDS = 10.0
KEEPERS = (PAUSED, "ebbtide.dev/paused-by", "ebbtide.dev/wake-failure")


def container(lab: Lab, path: str, value: Any) -> None:
    """Set one field of the engine's container."""
    patch = [{"op": "add", "path": f"/spec/template/spec/containers/0/{path}", "value": value}]
    lab.api.patch(DEPLOYMENT, content=json.dumps(patch), headers=JSON_PATCH).raise_for_status()


def quota(lab: Lab, gpus: int) -> None:
    """In force when this returns: pods are measured by the status, which a controller copies from what is asked for."""
    hard = {"requests.nvidia.com/gpu": str(gpus)}
    lab.api.patch(QUOTA, content=json.dumps({"spec": {"hard": hard}}), headers=MERGE).raise_for_status()
    wait_until(lambda: hard.items() <= lab.get(QUOTA)["status"].get("hard", {}).items(), 60, f"a quota of {gpus}")


def waiting(lab: Lab, *reasons: str) -> bool:
    states = [c["state"] for p in lab.pods(FIRST) for c in p["status"].get("containerStatuses", [])]
    return any(state.get("waiting", {}).get("reason") in reasons for state in states)


def restarts(lab: Lab, at_least: int) -> bool:
    counts = [c["restartCount"] for p in lab.pods(FIRST) for c in p["status"].get("containerStatuses", [])]
    return any(count >= at_least for count in counts)


def ended(lab: Lab) -> bool:
    states = [c for p in lab.pods(FIRST) for c in p["status"].get("containerStatuses", [])]
    return any("terminated" in {**c["state"], **c.get("lastState", {})} for c in states)


def unschedulable(lab: Lab) -> bool:
    conditions = [c for p in lab.pods(FIRST) for c in p["status"].get("conditions", [])]
    return any(c["type"] == "PodScheduled" and c.get("reason") == "Unschedulable" for c in conditions)


def refused(lab: Lab) -> bool:
    conditions = lab.deployment(FIRST).get("status", {}).get("conditions", [])
    return any(c["type"] == "ReplicaFailure" and c["status"] == "True" for c in conditions)


def script(lab: Lab, text: str) -> None:
    """In place of the image's entry point; the engine's arguments are the script's own."""
    container(lab, "command", ["sh", "-c", text, "sh"])


CAUSES: dict[str, tuple[str, Callable[[Lab], None], Callable[[Lab], bool]]] = {
    "no node takes it": (
        "unschedulable",
        lambda lab: (
            lab.api.patch(
                DEPLOYMENT,
                content=json.dumps({"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "x"}}}}}),
                headers=MERGE,
            ).raise_for_status()
            and None
        ),
        unschedulable,
    ),
    "the quota is full": ("quota", lambda lab: quota(lab, 0), refused),
    "its image is not there": (
        "image_pull",
        lambda lab: container(lab, "image", "127.0.0.1:5000/ebbtide/none:none"),
        lambda lab: waiting(lab, "ErrImagePull", "ImagePullBackOff"),
    ),
    "its memory is too small": (
        "out_of_memory",
        lambda lab: container(lab, "resources/limits/memory", "300Mi"),
        ended,
    ),
    "its cache is too small": (
        "out_of_memory",
        # vLLM itself refuses: its words stand in the middle of a long log
        lambda lab: [container(lab, "args/-", value) for value in ("--kv-cache-memory-bytes", "4096")] and None,
        ended,
    ),
    "its weights are not there": (
        "weights",
        # vLLM itself, with a model's folder that has everything but the weights
        lambda lab: script(
            lab,
            'mkdir /tmp/model && cp "$2"/*.json /tmp/model/ && shift 2 && exec serve --model /tmp/model "$@"',
        ),
        ended,
    ),
    "the engine ends again and again": (
        "crash_loop",
        lambda lab: script(lab, "exit 1"),
        lambda lab: restarts(lab, 2) or waiting(lab, "CrashLoopBackOff"),
    ),
}


@pytest.fixture
def broken(lab: Lab) -> Iterator[Lab]:
    """The first model asleep, to be broken; as it was, and able to wake, afterwards."""
    lab.put_to_sleep(FIRST)
    before = lab.deployment(FIRST)["spec"]["template"]["spec"]
    limit = lab.get(QUOTA)["spec"]["hard"]["requests.nvidia.com/gpu"]
    yield lab
    quota(lab, int(limit))
    patch = [{"op": "replace", "path": "/spec/template/spec", "value": before}]
    lab.api.patch(DEPLOYMENT, content=json.dumps(patch), headers=JSON_PATCH).raise_for_status()
    lab.disown(DEPLOYMENT)
    lab.disown(QUOTA)
    lab.until_forgotten(FIRST)
    cleared = {"metadata": {"annotations": dict.fromkeys(KEEPERS)}}
    lab.api.patch(SCALED, content=json.dumps(cleared), headers=MERGE).raise_for_status()
    lab.put_to_sleep(FIRST)


@pytest.mark.parametrize("cause", CAUSES)
def test_a_held_client_hears_why_within_seconds_and_no_pod_is_left(broken: Lab, cause: str) -> None:
    reason, break_it, visible = CAUSES[cause]
    break_it(broken)
    answers: list[tuple[httpx.Response, float]] = []
    asking = threading.Thread(target=lambda: answers.append((broken.chat(FIRST), time.monotonic())), daemon=True)
    asking.start()
    wait_until(lambda: visible(broken) or answers, 150, f"{reason} is visible", every=0.1)
    seen_at = time.monotonic()
    wait_until(lambda: answers, WITHIN_SECONDS + 5, f"an answer for {reason}", every=0.05)
    answer, at = answers[0]
    assert answer.status_code == 503, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("wake_failed", reason)
    assert int(answer.headers["retry-after"]) >= 1
    assert at - seen_at <= WITHIN_SECONDS
    wait_until(
        lambda: broken.counted(FIRST)["Concurrency"] == 0, 5, "nobody waits in the interceptor any more", every=0.05
    )
    # the next one is not held, and does not wake anything
    again = broken.chat(FIRST)
    assert (again.status_code, again.json()["error"]["param"]) == (503, reason)
    wait_until(lambda: broken.asleep(FIRST), 60, "no pod left")
    events = broken.get(f"/api/v1/namespaces/{NAMESPACE}/events?fieldSelector=reason=WakeFailed")["items"]
    assert any(reason in json.dumps(event) for event in events)


@pytest.mark.usefixtures("quick")
def test_after_the_back_off_the_next_request_wakes_the_model_and_the_failure_is_forgotten(broken: Lab) -> None:
    script(broken, "exit 1")
    assert broken.chat(FIRST).json()["error"]["code"] == "wake_failed"
    container(broken, "command", None)
    retry = wait_until(lambda: broken.get(SCALED)["metadata"].get("annotations", {}), 5, "annotations")
    assert KEEPERS[0] in retry
    wait_until(lambda: KEEPERS[0] not in broken.get(SCALED)["metadata"].get("annotations", {}), 60, "the pause is over")
    answer = broken.chat(FIRST)
    assert answer.status_code == 200, answer.text
    wait_until(lambda: KEEPERS[2] not in broken.get(SCALED)["metadata"].get("annotations", {}), 15, "forgotten")


def from_registry(lab: Lab, host: str) -> None:
    """The model's own image, by another registry's name, so that the node has to ask there."""
    image = lab.deployment(FIRST)["spec"]["template"]["spec"]["containers"][0]["image"]
    container(lab, "image", image.replace(f"127.0.0.1:{PORTS.registry}", host))


def patient(lab: Lab) -> AbstractContextManager[None]:
    """A cold start as on a node that has to come first; half of it is what a pull may take."""
    seconds = f"name: {FIRST}\n  holdSeconds: 300\n  coldStartSeconds: "
    return lab.with_setting("wake-keeper", f"{seconds}60\n", f"{seconds}180\n")


@pytest.mark.usefixtures("quick")
def test_a_first_pull_that_fails_twice_is_waited_for(broken: Lab) -> None:
    """The kubelet tries anew after 10 s, and then after 20 s."""
    with registry_that_answers(broken.paths, 503, 429) as (host, tries), patient(broken):
        from_registry(broken, host)
        answer = broken.chat(FIRST)
        assert answer.status_code == 200, answer.text
        assert tries[:3] == [503, 429, None]


@pytest.mark.usefixtures("quick")
def test_a_pull_that_is_denied_ends_the_wake_within_seconds(broken: Lab) -> None:
    with registry_that_answers(broken.paths, *[403] * 20) as (host, _):
        from_registry(broken, host)
        started = time.monotonic()
        answer = broken.chat(FIRST)
        assert (answer.status_code, answer.json()["error"]["param"]) == (503, "image_pull"), answer.text
        assert time.monotonic() - started < WITHIN_SECONDS
