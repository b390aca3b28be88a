"""An engine that is awake and full: its own door refuses who would wait too long, and clients come back."""

from __future__ import annotations

import runpy
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.workspace import PROJECT
from tests.lab.conftest import SECOND, Lab


def test_a_full_queue_is_a_503_with_retry_after(lab: Lab) -> None:
    lab.wake(SECOND)
    answers = lab.at_once(40, lambda n: lab.chat(SECOND, f"Tell story {n}.", max_tokens=200, ignore_eos=True))
    full = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert full
    assert all(int(answer.headers["retry-after"]) > 0 for answer in full)
    assert lab.chat(SECOND).status_code == 200


def test_clients_that_come_back_to_a_full_model_are_all_answered(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clients' example, three times as many at once as the model takes. Its library tells each time it waits."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    example = runpy.run_path(str(PROJECT / "docs/examples/ask.py"))
    lab.wake(SECOND)
    with (
        example["connect"](lab.access.url, lab.keys["demo"]) as client,
        caplog.at_level("INFO", "openai"),
        ThreadPoolExecutor(24) as pool,
    ):
        asked = [pool.submit(list, example["ask"](client, SECOND, f"Tell story {n}.", 16)) for n in range(24)]
        assert all(any(each.result()) for each in asked)
    assert "Retrying request" in caplog.text
