"""No text makes the loader fail in any other way than by a ConfigError, and no model's folder the planner in any other
than by a sentence. EBBTIDE_FUZZ sets how many of each are tried; `benchmarks/fuzz.py` tries 10,000."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz
from infra.stackfile import ConfigError, load, load_file
from tests.unit.fuzz_kit import model_files, stack_texts

TRIES = int(os.environ.get("EBBTIDE_FUZZ", 3 * settings.default.max_examples // 2))
FORMATS = st.sampled_from(fuzz.FORMATS)
GOOD = (Path(__file__).parents[1] / "fixtures/stackfile/Pulumi.good.yaml").read_text()
STACKS = Path(__file__).parents[2] / "stacks"


def sections(text: str) -> dict[str, Any]:
    config = yaml.safe_load(text)["config"]
    return {key.partition(":")[2]: value for key, value in config.items() if key.startswith("ebbtide:")}


SECTIONS = sections(GOOD)
SHIPPED = [sections(file.read_text()) for file in sorted(STACKS.glob("Pulumi.*.yaml"))]

bounded = settings(
    max_examples=TRIES,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in keys_of(item)}
    return set()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["20m", "80Gi", "*", "main", "-tp", "local", "existing", "secure", "<name>", "\ud800", 10**400])
)
keys = st.sampled_from(sorted({*keys_of(SECTIONS), "secure", "kind", "token", "<name>", "extraEnv"})) | st.text(
    max_size=8
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in items for path in paths(item, (*at, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


def judged(act: Any, *given_: Any) -> None:
    try:
        act(*given_)
    except ConfigError as error:
        for line in str(error).splitlines():
            assert line.isprintable()
            assert "; allowed: " in line
            assert "; fix: " in line
        str(error).encode()


@bounded
@given(st.sampled_from(paths(SECTIONS)[1:]), values)
def test_any_value_in_any_place_is_judged(path: tuple[Any, ...], value: Any) -> None:
    judged(load, put(SECTIONS, path, value), "stacks/Pulumi.x.yaml")


@bounded
@given(st.data(), values)
def test_any_value_in_any_place_of_a_stack_that_is_shipped_is_judged(data: st.DataObject, value: Any) -> None:
    """Places have judges of their own, which get whatever the shapes let through."""
    shipped = data.draw(st.sampled_from(SHIPPED))
    path = data.draw(st.sampled_from(paths(shipped)[1:]))
    judged(load, put(shipped, path, value), "stacks/Pulumi.x.yaml")


@bounded
@given(st.dictionaries(st.sampled_from(sorted(SECTIONS)) | st.text(max_size=8), values, max_size=6))
def test_any_sections_are_judged(raw: dict[str, Any]) -> None:
    judged(load, raw, "stacks/Pulumi.x.yaml")


@bounded
@given(st.data())
def test_a_good_file_with_a_piece_cut_out_or_put_in_is_judged(tmp_path: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 60)))
    pieces = st.text(max_size=12) | st.sampled_from(
        ["&a ", "*a", "<<: ", "!!int x", "!!binary x", "? ", "|\n", "\t", "{", "]"]
    )
    file = tmp_path / "Pulumi.x.yaml"
    text = GOOD[:start] + data.draw(pieces) + GOOD[end:]
    file.write_bytes(text.encode(errors="surrogatepass"))
    judged(load_file, file)


@bounded
@given(content=st.binary(max_size=200))
def test_any_bytes_are_judged(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_bytes(content)
    judged(load_file, file)


@bounded
@given(content=stack_texts())
def test_a_stack_file_that_was_broken_in_several_places_is_judged(tmp_path: Path, content: bytes) -> None:
    assert fuzz.through_loader(tmp_path, content) in ("accepted", "refused")


@bounded
@given(content=stack_texts(), form=FORMATS)
def test_a_plan_of_a_broken_stack_file_ends_with_a_status_it_documents(
    tmp_path: Path, content: bytes, form: str
) -> None:
    assert fuzz.through_plan(tmp_path, content, form) in ("exit 0", "exit 1")


@bounded
@given(files=model_files(), form=st.sampled_from(["text", "json"]))
def test_a_model_with_a_broken_configuration_is_answered_or_refused(
    tmp_path: Path, files: dict[str, bytes], form: str
) -> None:
    assert fuzz.through_fit(tmp_path, files, form) in ("exit 0", "exit 1", "exit 2")


def test_an_exception_at_any_door_is_counted_as_a_traceback_and_says_what_went_in() -> None:
    """Otherwise the kept result would be zero whatever happens."""
    tally = fuzz.Tally()
    tally.note(lambda: str(1 // 0), b"what went in")
    assert tally.outcomes["traceback"] == 1
    assert ["what went in" in text for text in tally.failures.values()] == [True]


@pytest.mark.parametrize("depth", [45, 400, 5000])
def test_any_depth_is_judged(depth: int) -> None:
    deep: Any = "x"
    for _ in range(depth):
        deep = {"models": deep}
    judged(load, deep, "stacks/Pulumi.x.yaml")
