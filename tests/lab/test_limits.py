"""Places in a wake, budgets and GPUs that are taken: refused or held with the reason, served when there is room."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import FIRST, MERGE, SECOND, Lab, wait_until

pytestmark = pytest.mark.usefixtures("quick")  # these limits are the gateway's, whatever the engine


def test_no_more_wait_for_a_wake_than_the_model_takes(sleeping: Lab) -> None:
    answers = sleeping.at_once(12, lambda n: sleeping.chat(SECOND, f"Say the number {n}."))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert [answer.status_code for answer in refused] == [503] * 4, "four run, four wait"
    assert {answer.json()["error"]["code"] for answer in refused} == {"queue_full"}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert max(answer.elapsed for answer in refused).total_seconds() < 10, "told at once, not after the load"


def test_a_days_wakes_stay_used_when_the_gateway_ends(sleeping: Lab) -> None:
    """The new process has begun none: the wake keeper tells it of the one before."""

    def one_wake_a_day(config: dict[str, Any]) -> None:
        config["ebbtide:gateway"]["groups"]["everyone"]["maxWakesPerDay"] = 1
        config["ebbtide:models"][SECOND]["idleTtl"] = "10m"  # awake for as long as another gateway takes to come

    # a load as long as any: the keeper asks every few seconds which wakes there were
    with sleeping.quick(SECOND, load_seconds=10), sleeping.stack_with(one_wake_a_day):
        sleeping.wake(SECOND)
        before = set(sleeping.gateways())
        sleeping.kill("ebbtide", "gateway-")
        wait_until(lambda: (now := set(sleeping.gateways())) and not now & before, 120, "another gateway in its place")
        wait_until(sleeping.gateway_listens, 30, "the new gateway listens")
        answer = sleeping.chat(FIRST)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "wake_budget"), answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert sleeping.replicas(FIRST) == 0
        assert sleeping.chat(SECOND).status_code == 200, "what is awake still answers"


def test_two_gateways_count_a_groups_requests_together(sleeping: Lab) -> None:
    """At a model that the group may not wake: counted all the same, and no engine is needed."""

    def limited(config: dict[str, Any]) -> None:
        config["ebbtide:gateway"]["replicas"] = 2
        config["ebbtide:gateway"]["groups"]["everyone"] |= {"wake": [], "requestsPerMinute": 20}

    with sleeping.stack_with(limited):
        wait_until(lambda: len(sleeping.gateways()) == 2, 60, "two gateways")
        codes = []
        for _ in range(60):
            codes.append(sleeping.chat(FIRST).json()["error"]["code"])
            time.sleep(0.1)  # a steady load: what one has had is heard of by the other within a second
        assert set(codes) == {"wake_not_allowed", "request_limit"}
        for name in sleeping.gateways():
            log = sleeping.api.get(f"/api/v1/namespaces/ebbtide/pods/{name}/log").text
            assert "wake_not_allowed" in log, f"{name} got none of the first"
            assert "request_limit" in log, f"{name} refused none"
        passed = codes.count("wake_not_allowed")
        assert 20 <= passed <= 30, f"{passed} passed, each for itself lets 40"


def one_gpu(when_full: str) -> Any:
    def change(config: dict[str, Any]) -> None:
        config["ebbtide:guard"] = {"maxGpus": 1, "whenFull": when_full, "waitLimit": "5m"}

    return change


@pytest.fixture(scope="module")
def tight(quick: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The stack with room for one of its two models, and the first in it; ``param``: who comes then waits or is
    refused.
    """
    quick.put_to_sleep(SECOND)
    with quick.stack_with(one_gpu(request.param)):
        yield quick


@pytest.mark.parametrize("tight", ["refuse"], indirect=True)
def test_the_second_model_is_refused_with_the_reason_while_the_quota_is_taken(tight: Lab) -> None:
    tight.wake(FIRST)
    answer = tight.chat(SECOND)
    assert answer.status_code == 503
    assert FIRST in answer.json()["error"]["message"]
    assert int(answer.headers["retry-after"]) > 0
    assert tight.replicas(SECOND) == 0
    quota = tight.get("/api/v1/namespaces/ebbtide-models/resourcequotas")["items"][0]
    assert quota["status"]["hard"]["requests.nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("tight", ["refuse"], indirect=True)
def test_kubernetes_itself_refuses_a_pod_above_the_quota(tight: Lab) -> None:
    """Behind the gateway's courtesy stands the quota: replicas forced past it stay without a pod, with the reason."""
    scale = f"/apis/apps/v1/namespaces/ebbtide-models/deployments/{SECOND}/scale"

    def refused() -> bool:
        events = tight.get("/api/v1/namespaces/ebbtide-models/events")["items"]
        return any("exceeded quota" in e["message"] and SECOND in e["involvedObject"]["name"] for e in events)

    tight.wake(FIRST)
    try:
        tight.api.patch(scale, content='{"spec": {"replicas": 1}}', headers=MERGE).raise_for_status()
        wait_until(refused, 30, "an event that names the quota")
        assert tight.pods(SECOND) == []
    finally:
        tight.api.patch(scale, content='{"spec": {"replicas": 0}}', headers=MERGE)


@pytest.mark.parametrize("tight", ["wait"], indirect=True)
def test_the_second_model_waits_and_comes_up_when_the_first_is_gone(tight: Lab) -> None:
    tight.wake(FIRST)
    with tight.short_ttl(FIRST):
        (answer,) = tight.at_once(1, lambda _: tight.chat(SECOND))
        assert answer.status_code == 200, answer.text
        assert tight.replicas(FIRST) == 0
