"""One model's route and ScaledObject: the fields that decide whether a wake is held and a load survives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from components.idle_scaling.policy import (
    IdlePolicy,
    interceptor_route,
    scaled_object,
)
from components.idle_scaling.timing import rhythm
from components.model_service.timing import PRE_STOP_SECONDS

POLICY = IdlePolicy(
    name="smollm2-135m",
    namespace="ebbtide-models",
    min_replicas=0,
    max_replicas=2,
    idle_ttl_seconds=60,
    cold_start_seconds=50,
    hold_seconds=300,
    concurrency_target=16,
    load_url="http://keeper:9090/load/smollm2-135m",
)


def test_a_request_reaches_its_model_by_host() -> None:
    route = interceptor_route(POLICY)
    assert (route["apiVersion"], route["kind"]) == ("http.keda.sh/v1beta1", "InterceptorRoute")
    assert route["spec"]["rules"] == [{"hosts": ["smollm2-135m.ebbtide-models"]}]
    assert route["spec"]["target"] == {"service": "smollm2-135m", "port": 8000}


def test_an_abandoned_request_cannot_hold_a_model_for_ever() -> None:
    assert interceptor_route(POLICY)["spec"]["timeouts"]["readiness"] == "300s"


def test_a_slow_answer_is_never_cut_by_a_time_out() -> None:
    timeouts = interceptor_route(POLICY)["spec"]["timeouts"]
    assert timeouts["responseHeader"] == "0s"
    assert timeouts["request"] == "0s"


def test_short_requests_keep_a_model_awake_without_scaling_it_out() -> None:
    metric = interceptor_route(POLICY)["spec"]["scalingMetric"]
    assert metric["concurrency"] == {"targetValue": 16}
    assert metric["requestRate"]["targetValue"] == 1000
    assert metric["requestRate"]["window"] == "10s"


def test_requests_in_the_replicas_keep_a_model_awake_and_scale_it_out() -> None:
    (_, load) = scaled_object(POLICY, "scaler:9090")["spec"]["triggers"]
    assert load == {
        "type": "metrics-api",
        "metricType": "AverageValue",
        "metadata": {"url": POLICY.load_url, "valueLocation": "inFlight", "targetValue": "16"},
    }


def test_the_engines_own_queue_is_looked_at_where_it_is_asked_for() -> None:
    asked = replace(POLICY, waiting_target=4, waiting_url="http://keeper:9090/waiting/smollm2-135m")
    (*others, queue) = scaled_object(asked, "scaler:9090")["spec"]["triggers"]
    assert queue == {
        "type": "metrics-api",
        "metricType": "AverageValue",
        "metadata": {"url": asked.waiting_url, "valueLocation": "waiting", "targetValue": "4"},
    }
    assert scaled_object(POLICY, "scaler:9090")["spec"]["triggers"] == others


def test_a_broken_push_stream_still_shows_a_short_request_to_the_poll() -> None:
    for models in (1, 200, 5000):
        assert rhythm(models).window_seconds >= rhythm(models).poll_seconds + 5
    assert rhythm(100).window_seconds >= 2 * rhythm(100).poll_seconds


def test_an_idle_model_is_gone_within_its_ttl_and_thirty_seconds() -> None:
    engine_stops_seconds = 10
    usual = rhythm(100)
    assert usual.window_seconds + usual.poll_seconds + PRE_STOP_SECONDS + engine_stops_seconds <= 30


def test_many_models_are_looked_at_less_often_so_that_all_together_cost_little() -> None:
    for models in range(1, 501):
        assert models * 1000 / rhythm(models).push_milliseconds <= 500
        assert 2 * models / rhythm(models).poll_seconds <= 50
    slow = replace(POLICY, rhythm=rhythm(500))
    assert scaled_object(slow, "s:1")["spec"]["pollingInterval"] == 20
    assert interceptor_route(slow)["spec"]["scalingMetric"]["requestRate"]["window"] == "25s"
    assert scaled_object(POLICY, "s:1")["spec"]["pollingInterval"] == 5


def test_one_model_more_leaves_the_others_as_they_are_but_at_two_steps() -> None:
    assert [models for models in range(1, 3000) if rhythm(models) != rhythm(models + 1)] == [100, 250]


def test_the_scaled_object_watches_the_push_scaler_for_its_own_route() -> None:
    (push, _) = scaled_object(POLICY, "scaler.keda:9090")["spec"]["triggers"]
    assert push == {
        "type": "external-push",
        "metadata": {"scalerAddress": "scaler.keda:9090", "interceptorRoute": "smollm2-135m"},
    }


def test_the_scaled_object_carries_min_max_and_ttl() -> None:
    spec = scaled_object(POLICY, "s:1")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["cooldownPeriod"]) == (0, 2, 60)
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "smollm2-135m"}


def test_a_renewed_scaled_object_does_not_kill_the_running_model() -> None:
    assert scaled_object(POLICY, "s:1")["spec"]["initialCooldownPeriod"] == 60


def test_deleting_the_scaled_object_starts_no_pod() -> None:
    # KEDA's default; sent as false it would be dropped by KEDA's first write and come back as a difference
    assert "restoreToOriginalReplicaCount" not in scaled_object(POLICY, "s:1")["spec"]["advanced"]


def test_replicas_are_scaled_in_one_by_one_after_the_ttl_and_within_kubernetes_limit() -> None:
    policy = replace(POLICY, idle_ttl_seconds=7200)
    advanced = scaled_object(policy, "s:1")["spec"]["advanced"]
    scale_in = advanced["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert scale_in["stabilizationWindowSeconds"] == 3600
    assert scale_in["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_a_ttl_shorter_than_the_cold_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"idle TTL is 49 s, allowed is 50 s \(the cold start\) or more"):
        replace(POLICY, idle_ttl_seconds=49)


def test_every_value_that_cannot_work_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="idle policy of smollm2-135m") as caught:
        replace(POLICY, min_replicas=-1, max_replicas=0, hold_seconds=1, concurrency_target=0)
    message = str(caught.value)
    for part in ("min is -1", "max is 0", "hold is 1 s", "concurrency target is 0"):
        assert part in message
