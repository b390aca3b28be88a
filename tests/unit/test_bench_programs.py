"""What the kept benchmarks of the running stack make of what they saw: their pure parts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from benchmarks import at_rest, cycles, overload
from benchmarks.load_kit import restarts
from infra.bench.client import Client, Endpoint, Question, Reply
from tests.unit.bench_kit import Engine


def reply(number: int = 0, **more: Any) -> Reply:
    at: dict[str, Any] = {"sent": 0.0, "first": 0.5, "last": 1.0, "ended": 1.0, "status": 200, "endings": 1}
    return Reply(**at | {"number": number, "tokens": cycles.tokens(number), "ids": (f"id-{number}",)} | more)


def lost(number: int, fault: str, **more: Any) -> Reply:
    return Reply(number=number, sent=0.0, ended=1.0, fault=fault, **more)


def summed(count: cycles.Count) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(count)


def test_a_cycle_with_every_answer_once_is_clean() -> None:
    count = cycles.count(3, [reply(0), reply(1), reply(2)])
    assert count == cycles.Count(3, 3, 0, 0, 0, 0, 0, {})
    assert cycles.clean(summed(count))


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([reply(0), lost(1, "no answer")], {"lost": 1}),
        ([reply(0)], {"lost": 1}),
        ([reply(0), lost(1, "503")], {"lost": 1}),
        ([reply(0), lost(1, "503", retry_after="3")], {"refused": 1}),
        ([reply(0), lost(1, "cut off", status=200)], {"cut": 1}),
        ([reply(0), reply(1, ids=("id-0",))], {"duplicated": 1}),
        ([reply(0), reply(1, ids=("id-1", "id-9"))], {"duplicated": 1}),
        ([reply(0), reply(1, endings=2)], {"duplicated": 1}),
        ([reply(0), reply(1, tokens=cycles.tokens(2))], {"foreign": 1}),
    ],
)
def test_what_goes_wrong_in_a_cycle_is_told_by_its_name(replies: list[Reply], expected: dict[str, int]) -> None:
    sums = summed(cycles.count(2, replies))
    counts = {key: sums[key] for key in ("lost", "refused", "cut", "duplicated", "foreign") if sums[key]}
    assert counts == expected
    assert not cycles.clean(sums)


def test_neighbours_ask_for_lengths_of_their_own() -> None:
    lengths = [cycles.tokens(number) for number in range(48)]
    assert all(lengths[i] != lengths[i + step] for i in range(40) for step in range(1, 8))
    assert set(lengths) == set(range(1, 25))


def test_the_crowd_of_a_cycle_has_silences_that_end_before_the_model_would_sleep() -> None:
    times = cycles.due(400, "a")
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]  # noqa: RUF007
    assert times == cycles.due(400, "a") != cycles.due(400, "b")
    assert max(gaps) < 30
    assert sum(gap > 2 for gap in gaps) >= 5


def test_the_sum_of_cycles_has_an_engine_count_only_if_each_has() -> None:
    one = summed(cycles.count(1, [reply(0)])) | {"finished_beyond_answered": 0}
    two = summed(cycles.count(2, [reply(1), lost(2, "cut off")])) | {"finished_beyond_answered": 1}
    sums = cycles.total([one, two])
    assert (sums["sent"], sums["answered"], sums["cut"], sums["faults"]) == (3, 2, 1, {"cut off": 1})
    assert sums["finished_beyond_answered"] == 1
    assert cycles.total([one, two | {"finished_beyond_answered": None}])["finished_beyond_answered"] is None


def test_what_an_engine_finished_is_summed_over_its_reasons() -> None:
    metrics = (
        "# HELP vllm:request_success_total Count\n"
        'vllm:request_success_total{engine="0",finished_reason="stop",model_name="a"} 3.0\n'
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="a"} 40.0\n'
        'vllm:request_success_created{engine="0"} 1.7e9\n'
    )
    assert cycles.finished(metrics) == 43
    assert cycles.finished("") == 0


def pod(name: str, cpu_ns: int, memory: int, uid: str = "u") -> dict[str, Any]:
    container = {"cpu": {"usageCoreNanoSeconds": cpu_ns, "time": "t"}, "memory": {"workingSetBytes": memory}}
    return {"podRef": {"namespace": "keda", "name": name, "uid": uid}, "containers": [container, container]}


def test_components_are_pods_without_their_hashes() -> None:
    assert at_rest.component("keda", "keda-operator-7f9c6d5b84-x2x9z") == "keda/keda-operator"
    assert at_rest.component("kube-system", "coredns-abcde") == "kube-system/coredns"
    assert (
        at_rest.component("keda", "keda-add-ons-http-interceptor-5d8f7c9b6-abcde")
        == "keda/keda-add-ons-http-interceptor"
    )


def test_use_is_the_difference_over_the_time_and_replicas_are_one_component() -> None:
    before = at_rest.readings({"pods": [pod("gate-7f9c6d5b84-aaaaa", 10**9, 2**20, "u1"), pod("x-1", 5, 5, "gone")]})
    after = at_rest.readings(
        {
            "pods": [
                pod("gate-7f9c6d5b84-aaaaa", 4 * 10**9, 2**20, "u1"),
                pod("gate-7f9c6d5b84-bbbbb", 10**9, 2**20, "u2"),
                {"podRef": {"namespace": "keda", "name": "new", "uid": "u3"}, "containers": [{}]},
            ]
        }
    )
    (use,) = at_rest.used(before, after, 100.0, {"u1": 2**20, "u2": 2**21})
    assert (use.component, use.pods, use.cpu_seconds, use.cores) == ("keda/gate", 2, 8.0, 0.08)
    assert (use.working_set_mib, use.pss_mib) == (4.0, 3.0)
    assert at_rest.used(before, after, 100.0, {"u1": 1})[0].pss_mib is None


def test_the_pss_of_a_pod_is_that_of_all_its_processes(tmp_path: Path) -> None:
    uid = "0f3a1c52-9f6a-4b6e-8f2e-1a2b3c4d5e6f"
    for number, cgroup in (
        (1, f"0::/kubepods/burstable/pod{uid}/abc"),
        (2, f"0::/x/pod{uid.replace('-', '_')}.slice/d"),
        (3, "0::/"),
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "cgroup").write_text(cgroup)
        (folder / "smaps_rollup").write_text("0-f ---p\nRss: 900 kB\nPss: 100 kB\nPss_Dirty: 7 kB\n")
    (tmp_path / "self").mkdir()
    assert at_rest.pss_by_pod(tmp_path) == {uid: 2 * 100 * 1024}


def test_the_bound_is_the_queue_before_one_at_the_measured_pace() -> None:
    assert overload.bound(16, 32, 4.0, 0.5) == 1.5 * 12 + 0.5


def test_refused_as_promised_is_a_503_with_whole_seconds_and_nothing_else() -> None:
    replies = [
        reply(0), reply(1, first=30.0), lost(2, "503", retry_after="7"), lost(3, "503"),
        lost(4, "503", retry_after="soon"), lost(5, "cut off"), lost(6, "504"),
    ]  # fmt: skip
    result = overload.judged(replies, 20.0)
    assert (result["accepted"], result["refused"], result["accepted_over_bound"]) == (2, 1, 1)
    assert result["other"] == {"503 without Retry-After": 2, "cut off": 1, "504": 1}
    assert result["retry_after_seconds"] == {"7": 1}


def test_recovered_is_when_answers_are_quick_and_stay_so() -> None:
    quick, slow = reply(first=0.1), reply(first=9.0)
    assert overload.recovered([(1.0, quick), (2.0, slow), (3.0, quick), (4.0, quick)], 0.2) == 3.0
    assert overload.recovered([(1.0, quick), (2.0, lost(0, "503"))], 0.2) is None
    assert overload.recovered([], 0.2) is None


def test_a_pod_that_started_anew_is_seen_also_when_its_name_changed() -> None:
    one = {
        "metadata": {"namespace": "keda", "name": "a"},
        "status": {"containerStatuses": [{"restartCount": 2}, {"restartCount": 1}]},
    }
    assert restarts([one]) == {"keda/a": 3}
    assert overload.changed({"keda/a": 3, "keda/b": 0}, {"keda/a": 4, "keda/c": 0}) == {
        "keda/a": "1 restarts",
        "keda/b": "gone",
        "keda/c": "new",
    }
    assert overload.changed({"keda/a": 3}, {"keda/a": 3}) == {}


def test_what_was_not_as_promised_makes_the_program_fail() -> None:
    good = {
        "other": {}, "accepted_over_bound": 0, "refused": 5, "recovered_after_seconds": 4.0, "restarts": {},
        "bound_seconds": 9.0,
    }  # fmt: skip
    assert overload.failures(good) == []
    for wrong in (
        {"other": {"504": 1}},
        {"accepted_over_bound": 1},
        {"refused": 0},
        {"recovered_after_seconds": None},
        {"recovered_after_seconds": 31.0},
        {"restarts": {"keda/a": "gone"}},
    ):
        assert len(overload.failures(good | wrong)) == 1


def test_the_limits_are_those_of_the_stack_file() -> None:
    assert overload.limits("smollm2-135m") == (16, 32)


def test_the_overload_of_a_small_endpoint_is_refused_measured_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "CAPACITY_SECONDS", 1.0)
    engine = Engine(first=0.1, slots=2, queue=2)

    async def run() -> tuple[list[Reply], float]:
        async with Client(Endpoint(engine.url, "small"), 30.0) as client:
            per_second, unloaded = await overload.capacity(client, 2)
            replies = await overload.load(client, 3 * per_second, 2.0)
            assert (await client.ask(Question("still there?", 1), 0)).whole
            return replies, overload.bound(2, 2, per_second, unloaded)

    try:
        replies, limit = asyncio.run(run())
    finally:
        engine.served.stop()
    result = overload.judged(replies, limit)
    assert result["other"] == {}
    assert result["refused"] > 5
    assert result["accepted"] > 5
    assert result["retry_after_seconds"] == {"3": result["refused"]}
