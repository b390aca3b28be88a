"""What is kept of an engine's last words, and of which ends."""

from __future__ import annotations

import pytest

from tests.unit import keeper_kit as kit
from tests.unit.keeper_kit import ended, on_node, running

from ebbtide_keeper.engine_end import ANNOTATION, errors, is_news, last_end  # isort: skip
from ebbtide_keeper.engine_end import engine_ended  # isort: skip


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",) * 2,
        ("prompt: the vault opens with 1234\nValueError: No available memory", "ValueError: No available memory"),
        ("(EngineCore pid=1) ERROR [core.py:1] RuntimeError: no '/models/secret' here", "RuntimeError: no … here"),
        (
            "RuntimeError: Worker failed with 'OSError: disk full'",
            "RuntimeError: Worker failed with 'OSError: disk full'",
        ),
        ("ValueError: bad choice 'my name is", "ValueError: bad choice …"),
        ("ValueError: at https://user:word@example.com/x and /srv/secret", "ValueError: at … and …"),
        ("ValueError: token hf_abcdef and sk-abcdef", "ValueError: token … and …"),
        ("ValueError: " + "a" * 40, "ValueError: …"),
        ("KeyError", None),
        ("all is well\n", None),
        ("ValueError: " + "word " * 500, "ValueError: " + ("word " * 500)[:228]),
    ],
)
def test_errors_are_kept_by_name_and_text_without_what_they_quote(text: str, kept: str | None) -> None:
    assert errors(text) == (() if kept is None else (kept.strip(),))


def test_the_last_three_errors_are_kept_each_once() -> None:
    text = "\n".join(f"ValueError: {number}" for number in (1, 2, 3, 4, 4, 3))
    assert errors(text) == ("ValueError: 2", "ValueError: 3", "ValueError: 4")


def test_who_was_told_to_go_and_went_is_no_news_and_who_crashed_on_the_way_is() -> None:
    def leaving(code: int) -> dict[str, object]:
        pod = on_node(running(1, ended(code=code)))
        pod["metadata"]["deletionTimestamp"] = kit.stamp(5)
        return pod

    assert last_end([on_node(running())]) is None
    for code in (0, 137, 143):
        assert last_end([leaving(code)]) is None
        assert last_end([on_node(running(1, ended(code=code)))]) is not None, "nobody told this one to go"
    assert last_end([leaving(1)]) is not None


def test_only_a_later_end_is_news_and_an_event_is_never_longer_than_kubernetes_takes() -> None:
    end = last_end([on_node(running(1, ended("\n".join(f"ValueError: {n} " + "word " * 100 for n in range(9)))))])
    assert end is not None
    assert is_news(end, {})
    assert is_news(end, {ANNOTATION: "{"})
    assert not is_news(end, {ANNOTATION: end.text()})
    later = last_end([on_node(running(2, ended(began=100))), on_node(running(1, ended()))])
    assert later is not None
    assert is_news(later, {ANNOTATION: end.text()})
    event = engine_ended(kit.deployment(), False, end, 1)
    assert len(event["message"]) <= 1024
    assert event["message"].startswith(
        "the engine in small-7d9f-1 ended at 2026-03-01T12:00:20Z (Error, exit code 1): "
    )
