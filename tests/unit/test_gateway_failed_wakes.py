"""How the gateway reads a failed wake and ends what waits for it."""

from __future__ import annotations

import asyncio
import gc
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import gateway_kit

from ebbtide_gateway import settings  # isort: skip
from ebbtide_gateway.failed_wakes import FailedWakes, WakeFailed  # isort: skip
from ebbtide_kube.wake_failure import ANNOTATION, WakeFailure, failure_in_force, last_failure  # isort: skip

assert gateway_kit

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SMALL = settings.Model(name="small", host="small.ebbtide-models", gpus=1, holdSeconds=5)
FAILURE = WakeFailure("quota", "no room", NOON, NOON + timedelta(seconds=30), 2)


def view(text: str | None) -> dict[str, Any]:
    annotations = {ANNOTATION: text} if text is not None else None
    return {"small": {"metadata": {"name": "small", "annotations": annotations}}}


@given(st.text(), st.text(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_written_is_what_is_read(reason: str, message: str, seconds: int, failures: int) -> None:
    failure = WakeFailure(reason, message, NOON, NOON + timedelta(seconds=seconds), failures)
    assert last_failure({ANNOTATION: failure.text()}) == failure


@given(st.one_of(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps)))
def test_an_annotation_that_cannot_be_read_refuses_nobody(text: str) -> None:
    assert failure_in_force({ANNOTATION: text}, NOON) is None


def test_a_time_without_a_zone_is_not_guessed() -> None:
    text = FAILURE.text().replace("12:00:30Z", "12:00:30")
    assert last_failure({ANNOTATION: text}) is None


def test_it_is_in_force_until_its_end() -> None:
    annotations = {ANNOTATION: FAILURE.text()}
    assert failure_in_force(annotations, NOON + timedelta(seconds=29.9)) == FAILURE
    assert failure_in_force(annotations, NOON + timedelta(seconds=30)) is None
    assert last_failure(annotations) == FAILURE


@pytest.mark.parametrize("objects", [None, {}, view(None)])
def test_nothing_is_known_to_fail_while_the_cluster_is_not_seen(objects: Any) -> None:
    assert FailedWakes(lambda: objects, lambda: NOON).refusal(SMALL) is None


def test_the_refusal_tells_reason_and_when_to_come_back() -> None:
    refusal = FailedWakes(lambda: view(FAILURE.text()), lambda: NOON).refusal(SMALL)
    assert refusal is not None
    assert dict(refusal.headers())["retry-after"] == "30"
    assert json.loads(refusal.body())["error"] == {
        "message": "model 'small' cannot be woken: no room",
        "type": "server_error",
        "param": "quota",
        "code": "wake_failed",
    }


def test_work_is_done_beside_changes_that_are_not_failures_and_stopped_by_one_unless_its_answer_has_begun() -> None:
    async def all_of_it() -> list[str]:
        objects: dict[str, Any] = view(None)
        failed = FailedWakes(lambda: objects, lambda: NOON)
        ends: list[str] = []
        begun = False

        async def work(seconds: float) -> None:
            try:
                await asyncio.sleep(seconds)
                ends.append("done")
            except asyncio.CancelledError:
                ends.append("stopped")
                raise

        calm = asyncio.create_task(failed.unless_failing(SMALL, lambda: False, lambda: work(0.1)))
        await asyncio.sleep(0.01)
        failed.changed()
        await calm
        held = asyncio.create_task(failed.unless_failing(SMALL, lambda: False, lambda: work(5)))
        answering = asyncio.create_task(failed.unless_failing(SMALL, lambda: begun, lambda: work(0.2)))
        await asyncio.sleep(0.01)
        begun = True
        objects.update(view(FAILURE.text()))
        failed.changed()
        with pytest.raises(WakeFailed):
            await held
        await answering
        with pytest.raises(WakeFailed):
            await failed.unless_failing(SMALL, lambda: False, lambda: work(0))
        return ends

    assert _run(all_of_it()) == ["done", "stopped", "done"]


def test_what_the_work_raises_is_raised_and_a_client_that_leaves_stops_it() -> None:
    async def all_of_it() -> None:
        failed = FailedWakes(lambda: None)

        async def breaks() -> None:
            raise ZeroDivisionError

        stopped = asyncio.Event()

        async def holds() -> None:
            try:
                await asyncio.sleep(5)
            finally:
                stopped.set()

        with pytest.raises(ZeroDivisionError):
            await failed.unless_failing(SMALL, lambda: False, breaks)
        held = asyncio.create_task(failed.unless_failing(SMALL, lambda: False, holds))
        await asyncio.sleep(0.01)
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        assert stopped.is_set()

    _run(all_of_it())


def test_a_client_that_leaves_at_the_moment_in_which_its_answer_breaks_leaves_no_traceback_in_the_log() -> None:
    async def all_of_it() -> list[str]:
        logged: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context["message"]))
        gone = asyncio.Event()

        async def breaks() -> None:
            await gone.wait()
            raise ConnectionResetError

        served = asyncio.create_task(FailedWakes(lambda: None).unless_failing(SMALL, lambda: False, breaks))
        await asyncio.sleep(0.01)
        gone.set()
        await asyncio.sleep(0)
        served.cancel()
        with pytest.raises(asyncio.CancelledError):
            await served
        del served
        gc.collect()
        return logged

    assert _run(all_of_it()) == []


def _run(work: Any) -> Any:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
