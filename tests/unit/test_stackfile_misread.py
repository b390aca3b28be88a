"""What one reader of YAML takes for a number and another for text is a finding, never a value."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.stackfile import ConfigError, load_file
from infra.stackfile.yaml_source import Unreadable, parse

GOOD = Path(__file__).parents[1] / "fixtures/stackfile/Pulumi.good.yaml"
# What Pulumi's engine makes of each, as gopkg.in/yaml.v3 3.0.1 has read it; a date becomes another text.
ENGINE = {
    "0100": 64, "010": 8, "09": 9, "-0100": -64, "1_000": 1000, "1_0.5": 10.5, "1_0e3": 10000, "0x10": 16, "0X1F": 31,
    "-0x10": -16, "0b11": 3, "0o17": 15, "0O17": 15, "1:30": "1:30", "10:00": "10:00", "190:20:30.15": "190:20:30.15",
    "2026-01-01": None, "2026-1-2": None, "2026-01-01T10:00:00Z": None, "yes": "yes", "No": "No", "on": "on",
    "OFF": "OFF", "1e3": 1000, "1.5e3": 1500, "-.5": -0.5, "99999999999999999999": 1e20, "+_7": 7, "=": "=",
}  # fmt: skip
ALIKE = (
    "0", "7", "100", "-3", "+5", "1.5", ".5", "true", "False", "null", "~", "24Gi", "7b", "10.0.0.0/8", "1.2.3",
    "09:00", "0e9e39f249a16976918f6564b8830bc894c89659", "y", "gpu_1xa10", "2026-01", "'0100'", '"yes"', "!!str 0100",
    "|\n  on",
)  # fmt: skip


@pytest.mark.parametrize("text", ENGINE)
def test_a_value_that_readers_differ_on_is_told_with_its_line(text: str) -> None:
    (problem,) = parse(f"a: 1\nb:\n  - {text}\n").misread
    assert (problem.code, problem.path, problem.value) == ("EBB116", ("b", 0), text)
    assert "in line 3" in problem.message


@pytest.mark.parametrize("text", ENGINE)
def test_readers_do_differ_on_each_of_these(text: str) -> None:
    """Else a finding would be for nothing."""
    ours = parse(f"a: {text}").value["a"]
    try:
        old = yaml.safe_load(f"a: {text}")["a"]
    except yaml.YAMLError:
        old = None
    values = [ours, old, ENGINE[text]]
    same = [type(value) is type(ours) and value == ours for value in values]
    assert not all(same)


@pytest.mark.parametrize("text", ALIKE)
def test_a_value_that_all_readers_take_alike_is_none(text: str) -> None:
    assert parse(f"a: {text}\n").misread == ()


@pytest.mark.parametrize("name", ["010", "on", "7", "true", "2026-01-01", "~", "1.0", "0x10", "!!int 'a'"])
def test_a_name_that_is_no_text_to_some_reader_is_told(name: str) -> None:
    (problem,) = parse(f"a:\n  {name}: 1\n").misread
    assert (problem.code, "in line 2" in problem.message) == ("EBB116", True)


@pytest.mark.parametrize("value", ["!!int '0100'", "!!float 1", "!!timestamp x", "!!bool 'yes'", "!!binary aGk="])
def test_a_tag_that_says_another_type_is_told(value: str) -> None:
    with suppress(Unreadable):  # refused as a whole
        assert len(parse(f"a: {value}\n").misread) == 1


@pytest.mark.parametrize("value", ["!!set {a, b}", "!!omap [{a: 1}]", "!mine {a: 1}", "!mine [1]"])
def test_a_tag_of_a_collection_is_told(value: str) -> None:
    assert parse(f"a: {value}\n").misread


@given(st.text("0123456789_.:-+xobeEnyTtZ ", min_size=1, max_size=12))
def test_whatever_yaml_1_1_reads_otherwise_is_told(text: str) -> None:
    try:
        read = parse(f"a: {text}\n")
        old = yaml.safe_load(f"a: {text}\n")["a"]
    except (Unreadable, yaml.YAMLError, ValueError, TypeError):
        return
    ours = read.value["a"]
    if repr(ours) != repr(old):
        assert read.misread


def test_two_merges_into_one_mapping_are_a_name_given_twice() -> None:
    """The engine refuses the file; others take one of the two."""
    text = "a: &a {x: 1}\nb: &b {x: 2}\nc:\n  <<: *a\n  <<: *b\n"
    assert [each.path for each in parse(text).repeated] == [("c", "<<")]
    assert parse("a: &a {x: 1}\nc:\n  <<: *a\n  y: 2\n").repeated == ()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("max: 2\n", "max: 0100\n", "pools.gpu-8xa100.max: '0100' in line 14 is not read alike"),
        ("max: 2\n", "max: 1_0\n", "pools.gpu-8xa100.max: '1_0' in line 14 is not read alike"),
        ("max: 2\n", "max: 0x2\n", "pools.gpu-8xa100.max: '0x2' in line 14 is not read alike"),
        ("demo: {", "010: {", "gateway.keys.010: '010' in line 27 is not read alike"),
    ],
)
def test_a_stack_file_with_one_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(GOOD.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_file(file)
    lines = [each for each in str(caught.value).splitlines() if "EBB116" in each]
    assert len(lines) == 1
    assert says in lines[0]
    assert "fix: put it in quotes where it is a text or a name; else write it plainly" in lines[0]


def test_a_secret_that_is_also_misread_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(GOOD.read_text() + "  acme:password: 0100200300400\n")
    with pytest.raises(ConfigError) as caught:
        load_file(file)
    assert "EBB116" in str(caught.value)
    assert "0100200300400" not in str(caught.value)
