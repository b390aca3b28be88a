"""``ebbtide doctor``: checks run at once, each with an end; what does not answer hides nothing, and Ctrl-C works."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import pytest

from components.platforms.checkup import Answer, CannotAsk, Check, good, within
from infra.commands import doctor
from infra.commands.options import DoctorOptions


def _fine() -> Iterator[Answer]:
    yield good("there")


def _never() -> Iterator[Answer]:
    threading.Event().wait()
    yield good("too late")


def _shut() -> Iterator[Answer]:
    yield good("lost")
    raise CannotAsk("no right to ask", "ask for it")


def test_a_check_that_never_answers_is_said_and_the_others_stand_in_their_order() -> None:
    wanted = [Check(subject="a", ask=_never), Check(subject="b", ask=_fine), Check(subject="c", ask=_shut)]
    begun = time.monotonic()
    lines = list(doctor.asked(wanted, seconds=0.3))
    assert time.monotonic() - begun < 5
    assert [(subject, answer.outcome) for subject, answer in lines] == [("a", "unknown"), ("b", "ok"), ("c", "unknown")]
    assert "no answer within 0.3 s" in lines[0][1].text


def test_all_are_asked_at_once() -> None:
    meeting = threading.Barrier(8)

    def together() -> Iterator[Answer]:
        meeting.wait(timeout=5)
        yield good("met")

    lines = doctor.asked([Check(subject=str(index), ask=together) for index in range(8)], seconds=8)
    assert {answer.text for _, answer in lines} == {"met"}


def test_an_interruption_ends_it_at_once() -> None:
    def interrupted(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupted)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(doctor.asked([Check(subject="a", ask=_never)], seconds=30))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begun < 5


def test_what_has_one_reason_stands_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    shut = CannotAsk("no right to ask", "ask for it").answer()
    text = list(doctor._text([("a", shut), ("b", good("there")), ("c", shut)]))
    assert text[0] == "ok       b: there"
    assert text[1].startswith("unknown  a; c: cannot be asked: no right to ask")
    assert text[2] == "1 ok, 0 with a problem, 2 that could not be asked"


@pytest.mark.parametrize(
    ("needed", "limit", "used", "outcome"), [(4, 4, 0, "ok"), (4, 4, 1, "problem"), (5, 4, None, "problem")]
)
def test_a_quota_counts_what_is_in_use(needed: float, limit: float, used: float | None, outcome: str) -> None:
    assert within(needed, limit, used, "GPUs", "ask for more").outcome == outcome


def test_a_stack_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(DoctorOptions(stack="aws-devv")) == 2
    assert "did you mean aws-dev?" in capsys.readouterr().err
