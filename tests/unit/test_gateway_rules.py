"""The gateway's decisions by themselves: keys, settings, errors, the wake guard, a body's parameters."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.paths_page import paths_page
from tests.unit import gateway_kit as kit  # puts the image's package on the path

from ebbtide_gateway import guard, keys, parameters, request, settings, upstream, workloads  # isort: skip
from ebbtide_gateway.errors import ApiError, upstream_error  # isort: skip
from ebbtide_gateway.routes import ROUTES  # isort: skip
from ebbtide_kube import api  # isort: skip

SMALL = settings.Model(name="small", host="small.ebbtide-models", gpus=1, holdSeconds=5)
BIG = settings.Model(name="big", host="big.ebbtide-models", gpus=2, holdSeconds=5)
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Like ``asyncio.run``, which would leave the thread without an event loop for tests that come later."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def taken(**replicas: int) -> guard.Usage:
    return guard.Usage(replicas, {"small": 1, "big": 2, "other": 1})


def admit(rules: guard.Guard, view: guard.Usage | None) -> guard.WakeGuard:
    return guard.WakeGuard(rules, {"small": 1, "big": 2, "other": 1}, lambda: view)


@pytest.mark.parametrize(
    ("model", "view", "waking", "most", "passes"),  # most: GPUs
    [
        (SMALL, taken(), {}, 2, True),
        (SMALL, taken(big=1), {}, 2, False),
        (SMALL, taken(big=1, small=1), {}, 2, True),
        (BIG, taken(other=1), {}, 2, False),
        (BIG, taken(other=1), {}, 3, True),
        (SMALL, taken(), {"big": 1}, 2, False),
        (SMALL, taken(other=1), {"small": 3}, 1, True),
        (SMALL, taken(), {"big": 0}, 2, True),
        (SMALL, taken(big=5), {}, None, True),
        (SMALL, taken(), {}, 0, False),
    ],
)
def test_a_sleeping_model_is_woken_only_when_its_gpus_fit(
    model: settings.Model, view: guard.Usage, waking: dict[str, int], most: int | None, passes: bool
) -> None:
    assert (guard.exceeded(model, view, waking, settings.Guard(maxGpus=most)) is None) is passes


@pytest.mark.parametrize(
    ("view", "waking", "rules", "over"),
    [
        (taken(), {}, {"maxInstances": 1}, None),
        (taken(big=1), {}, {"maxInstances": 1}, "instances"),
        (taken(big=1), {}, {"maxInstances": 2}, None),
        (taken(big=2), {}, {"maxInstances": 2}, "instances"),
        (taken(), {"big": 1}, {"maxInstances": 1}, "instances"),
        (taken(small=1, big=1), {}, {"maxInstances": 1}, None),
        (taken(other=0), {}, {"maxInstances": 1}, None),
        (taken(big=1), {}, {"maxInstances": 1, "maxGpus": 2}, "gpus"),
        (taken(big=1), {}, {"maxInstances": 1, "maxGpus": 3}, "instances"),
    ],
)
def test_a_sleeping_model_is_woken_only_as_one_more_of_the_instances_that_there_may_be(
    view: guard.Usage, waking: dict[str, int], rules: dict[str, int], over: str | None
) -> None:
    limit = guard.exceeded(SMALL, view, waking, settings.Guard.model_validate(rules))
    assert (limit.what if limit is not None else None) == over


@given(st.dictionaries(st.sampled_from(["small", "big", "other"]), st.integers(0, 3)), st.integers(0, 6))
def test_an_admitted_wake_never_takes_more_than_the_limit(replicas: dict[str, int], most: int) -> None:
    view = taken(**replicas)
    held = sum(guard.reserved(view, {}).holders().values())
    rules = settings.Guard(maxGpus=most)
    for model in (SMALL, BIG):
        if guard.exceeded(model, view, {}, rules) is None and replicas.get(model.name, 0) == 0:
            assert sum(guard.reserved(view, {model.name: 1}).holders().values()) == held + model.gpus <= most


def test_refuse_says_at_once_who_holds_the_gpus() -> None:
    async def enter() -> None:
        rules = settings.Guard(maxGpus=2, whenFull="refuse")
        async with admit(rules, taken(big=1)).admitted(SMALL):
            raise AssertionError("admitted")

    with pytest.raises(ApiError) as refusal:
        run(enter())
    assert (refusal.value.status, refusal.value.retry_after) == (503, 30)
    assert refusal.value.message == ("model 'small' sleeps and needs 1 GPU(s), but 2 of 2 are in use: held by big (2)")


def test_refuse_says_at_once_which_models_run_where_instances_are_limited() -> None:
    async def enter() -> None:
        rules = settings.Guard(maxInstances=2, whenFull="refuse")
        async with admit(rules, taken(big=1, other=1)).admitted(SMALL):
            raise AssertionError("admitted")

    held = r"needs an instance, but 2 of 2 are in use: held by big \(1\), other \(1\)"
    with pytest.raises(ApiError, match=held) as refusal:
        run(enter())
    answer = refusal.value
    assert (answer.status, answer.code, answer.retry_after) == (503, "instances_in_use", 30)


def test_a_model_larger_than_the_limit_is_refused_without_a_wait() -> None:
    async def enter() -> None:
        async with asyncio.timeout(1), admit(settings.Guard(maxGpus=1), taken()).admitted(BIG):
            raise AssertionError("admitted")

    with pytest.raises(ApiError, match="none is held: the limit is below this model's need"):
        run(enter())


def test_a_client_that_leaves_when_room_is_made_is_let_go_and_not_admitted() -> None:
    async def leave() -> bool:
        states = [taken(big=1)]
        wakes = guard.WakeGuard(settings.Guard(maxGpus=2), {"small": 1, "big": 2}, lambda: states[-1])

        async def enter() -> None:
            async with wakes.admitted(SMALL):
                raise AssertionError("admitted")

        waiting = asyncio.create_task(enter())
        for _ in range(5):
            await asyncio.sleep(0)
        states.append(taken())
        wakes.changed()
        waiting.cancel()
        await asyncio.wait((waiting,), timeout=3)
        return waiting.cancelled()

    assert run(leave())


def test_of_two_simultaneous_wakes_for_the_last_gpu_the_second_waits_for_the_first_to_end() -> None:
    async def race() -> list[str]:
        wakes = admit(settings.Guard(maxGpus=2), taken())
        order: list[str] = []

        async def one(model: settings.Model, go_on: asyncio.Event) -> None:
            async with wakes.admitted(model):
                order.append(model.name)
                await go_on.wait()
                order.append(f"{model.name} done")

        first, second = asyncio.Event(), asyncio.Event()
        second.set()
        async with asyncio.timeout(3), asyncio.TaskGroup() as group:
            group.create_task(one(BIG, first))
            waiting = group.create_task(one(SMALL, second))
            for _ in range(20):
                await asyncio.sleep(0)
            assert (order, waiting.done()) == (["big"], False)
            first.set()
        return order

    assert run(race()) == ["big", "big done", "small", "small done"]


def test_the_guard_stands_aside_while_the_api_server_cannot_be_read() -> None:
    async def enter() -> bool:
        async with admit(settings.Guard(maxGpus=0, whenFull="refuse"), None).admitted(BIG):
            return True

    assert run(enter())


def test_gpus_are_counted_from_limits_and_a_draining_pod_still_counts() -> None:
    containers = [
        {"resources": {"limits": {"nvidia.com/gpu": "2", "memory": "1Gi"}}},
        {"resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}}},
        {},
    ]
    spec = {"replicas": 0, "template": {"spec": {"containers": containers}}}
    assert workloads.gpus_of({"spec": spec}) == 3
    assert workloads.replicas_of({"spec": spec, "status": {"replicas": 1}}) == 1
    assert workloads.replicas_of({"spec": spec, "status": {}}) == 0


def test_of_a_group_all_pods_are_counted() -> None:
    def template(gpus: str) -> dict[str, object]:
        return {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": gpus}}}]}}

    group = {"size": 3, "leaderTemplate": template("4"), "workerTemplate": template("8")}
    spec = {"replicas": 2, "leaderWorkerTemplate": group}
    assert workloads.gpus_of({"spec": spec}) == 4 + 2 * 8
    del group["leaderTemplate"]
    assert workloads.gpus_of({"spec": spec}) == 3 * 8
    assert workloads.replicas_of({"spec": spec, "status": {"replicas": 1}}) == 2


def listed(name: str, replicas: int, gpus: int) -> dict[str, Any]:
    template = {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}]}}
    spec = {"replicas": replicas, "template": template}
    return {name: {"metadata": {"name": name, "labels": {"ebbtide.dev/model": name}}, "spec": spec}}


def test_deployments_and_groups_are_counted_together() -> None:
    taken = workloads.usage([listed("small", 2, 1), listed("large", 1, 16)])
    assert taken is not None
    assert taken.holders() == {"large": 16, "small": 2}


def test_a_model_that_becomes_a_group_holds_the_gpus_of_both_until_its_old_pods_are_gone() -> None:
    taken = workloads.usage([listed("m", 1, 8), listed("m", 0, 16)])
    assert taken is not None
    assert taken.replicas == {"m": 1}


@pytest.mark.parametrize(("groups", "held"), [(False, {"small": 1}), (True, {"large": 16, "small": 1})])
def test_groups_are_asked_for_where_the_stack_has_them_and_nowhere_else(
    groups: bool, held: dict[str, int], tmp_path: Path
) -> None:
    def item(name: str, **spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, "labels": {"ebbtide.dev/model": name}}, "spec": {"replicas": 1, **spec}}

    def template(gpus: int) -> dict[str, Any]:
        return {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": gpus}}}]}}

    lists = {
        "/apis/apps/v1/namespaces/ns/deployments": item("small", template=template(1)),
        "/apis/leaderworkerset.x-k8s.io/v1/namespaces/ns/leaderworkersets": item(
            "large", leaderWorkerTemplate={"size": 2, "leaderTemplate": template(8), "workerTemplate": template(8)}
        ),
    }
    asked: list[str] = []
    usages: list[guard.Usage | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if "watch" in request.url.params:
            return httpx.Response(200)
        return httpx.Response(200, json={"metadata": {"resourceVersion": "1"}, "items": [lists[request.url.path]]})

    async def look() -> guard.Usage | None:
        (tmp_path / "token").write_text("t")
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://kube")
        kinds = (api.deployments, api.groups) if groups else (api.deployments,)
        paths = [kind("ns") for kind in kinds]
        view = workloads.Workloads(client, paths, tmp_path / "token", lambda: usages.append(view.usage()))
        following = [asyncio.create_task(each.run()) for each in view.views]
        async with asyncio.timeout(5):
            while view.usage() is None:
                await asyncio.sleep(0.01)
        for task in following:
            task.cancel()
        return view.usage()

    taken = run(look())
    assert taken is not None
    assert taken.holders() == held
    assert set(asked) == set(list(lists)[: 1 + groups])
    # the gateway is ready with the first word of it, which half a view must not give
    assert usages[0] is not None


def test_half_a_view_is_none() -> None:
    assert workloads.usage([listed("small", 2, 1), None]) is None


def test_a_key_is_found_by_its_digest_and_only_whole() -> None:
    ring = keys.KeyRing.parse(kit.key_file({"a": ("sk-one", "g"), "b": ("sk-two", "h")}, {"g": ["*"], "h": ["m"]}))
    caller = ring.find(b"sk-two")
    assert caller is not None
    assert (caller.name, caller.may_use("m"), caller.may_use("n")) == ("b", True, False)
    assert ring.find(b"sk-tw") is ring.find(b"") is ring.find(hashlib.sha256(b"sk-one").hexdigest().encode()) is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"keys": []}, "KeyError"),
        ({"keys": [{"name": "a", "sha256": "12", "group": "g"}], "groups": {"g": {"models": []}}}, "64 hexadecimal"),
        ({"keys": [{"name": "a", "sha256": "0" * 64, "group": "x"}], "groups": {"g": {"models": []}}}, "'x' is none"),
        ([], "TypeError"),
    ],
)
def test_a_bad_key_file_is_named_without_its_digests(document: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as problem:
        keys.KeyRing.parse(json.dumps(document))
    assert "0" * 64 not in str(problem.value)


def test_a_key_file_that_was_never_there_admits_nobody(tmp_path: Path) -> None:
    missing = keys.KeyFile(tmp_path / "keys.json")
    assert missing.ring() is None
    assert not missing.ready


def test_settings_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("interceptorUrl: http://x\nguard: {maxGpu: 1}\n")
    with pytest.raises(ValueError, match="maxGpu"):
        settings.load(file)


def test_a_models_name_wins_over_another_models_alias() -> None:
    models = [{"name": "a", "host": "a", "gpus": 0, "holdSeconds": 1, "aliases": ["b", "c"]}]
    models.append({"name": "b", "host": "b", "gpus": 0, "holdSeconds": 1})
    named = settings.Settings.model_validate({"interceptorUrl": "http://x", "models": models}).by_any_name()
    assert {name: model.name for name, model in named.items()} == {"a": "a", "b": "b", "c": "a"}


def test_the_hop_is_asked_without_proxy_cookies_or_limit_and_patience_is_the_requests() -> None:
    async def close_at_once() -> None:
        session = upstream.connections(3600)
        try:
            connector = session.connector
            assert connector is not None
            assert (session.trust_env, connector.limit, connector.limit_per_host) == (False, 0, 0)
            assert (session.timeout.total, session.timeout.sock_read) == (None, 3600)
        finally:
            await session.close()

    run(close_at_once())


def test_a_parameter_is_refused_by_its_full_name_where_it_stands() -> None:
    document = {
        "model": "m",
        "messages": [{"chat_template": "a word of the conversation"}],
        "chat_template_kwargs": {"tokenize": True, "enable_thinking": False},
        "api_base": None,
        "vllm_xargs": "kv_transfer_params",
    }
    assert parameters.refused(document) == ["api_base", "chat_template_kwargs.tokenize"]


@pytest.mark.parametrize(
    ("body", "ours"),
    [
        (b'{"error": {"message": "full", "type": "x", "code": 503}}', True),
        (b'{"object": "error", "message": "old vLLM", "code": 400}', True),
        (b"Bad Gateway\n", False),
        (b'{"error": "text"}', False),
        (b"[]", False),
        (b"", False),
    ],
)
def test_an_engines_error_is_told_from_a_hops(body: bytes, ours: bool) -> None:
    assert (upstream_error(503, body) is not None) is ours


def test_the_page_of_paths_is_the_gateways_table() -> None:
    assert (kit.PROJECT / "docs/paths.md").read_text() == paths_page(), "write it anew: make docs"


def test_pauses_between_attempts_grow_and_stay_under_a_second() -> None:
    pauses = [upstream.pause_after(attempt) for attempt in range(1, 50)]
    assert 0 < pauses[0] < 0.2
    assert max(pauses) < 1


@given(st.text(max_size=30))
def test_no_path_but_the_listed_ones_is_known(path: str) -> None:
    if path not in (*ROUTES, request.LIVE, request.READY, request.MODELS):
        if path.startswith("/v1/models/") and len(path) > len("/v1/models/"):
            assert request.methods_for(path) == ("GET", "HEAD", "OPTIONS")
        else:
            with pytest.raises(ApiError, match="there is no"):
                request.methods_for(path)


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, None),
        ({"n": 128, "length_penalty": 1.0, "structured_outputs": {"regex": "a{1,3}"}}, None),
        ({"n": 129}, "'n' must be a whole number from 1 to 128"),
        ({"n": 0}, "'n' must be a whole number from 1 to 128"),
        ({"length_penalty": -1000.0}, "'length_penalty' must be a number from -10 to 10"),
        ({"length_penalty": float("nan")}, "'length_penalty' must be a number from -10 to 10"),
        ({"structured_outputs": "x"}, "'structured_outputs' must be an object"),
        ({"structured_outputs": {"choice": ["x" * 70_000]}}, "'structured_outputs' may have at most 65536 characters"),
        (
            {"response_format": {"json_schema": {"schema": {"type": "string", "maxLength": 10**9}}}},
            "'response_format' may ask for at most 10000 repetitions of anything",
        ),
        (
            {"structured_outputs": {"regex": "a{" + "9" * 5000 + "}"}},
            "'structured_outputs' may ask for at most 10000 repetitions of anything",
        ),
        ({"tools": [{"function": {"parameters": {"minItems": 10_000}}}]}, None),
    ],
)
def test_what_an_engine_fails_at_or_stalls_on_is_refused_before_it_gets_there(
    body: dict[str, Any], refusal: str | None
) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], **body}
    path, model = "/v1/chat/completions", settings.Model(name="small", host="small.models", gpus=1, hold_seconds=60)
    if refusal is None:
        parameters.check(path, asked, model)
        return
    with pytest.raises(ApiError) as refused:
        parameters.check(path, asked, model)
    assert refusal in str(refused.value)
