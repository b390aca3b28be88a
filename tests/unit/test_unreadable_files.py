"""A file that cannot be read is told like any other mistake: where, what, allowed and fix, and no traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.commands import plan
from infra.commands.options import PlanOptions
from infra.program import build
from infra.recorder import command as graph
from infra.recorder import stack_source
from infra.stackfile import ConfigError
from infra.stackfile.findings import waivers
from infra.stackfile.findings.waivers import load_waivers

PROJECT = Path(__file__).parents[2]
STACK = (PROJECT / "stacks" / "Pulumi.onprem.yaml").read_text()
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}]\n"
    for last, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def huge(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(100_000_000)


BROKEN: dict[str, Callable[[Path], object]] = {
    "a folder in its place": lambda file: file.mkdir(),
    "not UTF-8": lambda file: file.write_bytes(b"waivers: [\xff\xfe]\n"),
    "5,000 levels": lambda file: file.write_text("[" * 5000 + "]" * 5000),
    "5,000 levels of keys": lambda file: file.write_text("{a: " * 5000 + "1" + "}" * 5000),
    "anchors that stand for billions": lambda file: file.write_text(f"{BOMB}waivers: *i\n"),
    "100 megabytes": huge,
    "no YAML": lambda file: file.write_text("a: ]["),
    "a control character": lambda file: file.write_text("a: \x01"),
    "a link to nothing": lambda file: file.symlink_to("/nowhere/at/all"),
    "a pipe": lambda file: os.mkfifo(file),
    "a word": lambda file: file.write_text("word"),
}


@pytest.fixture(params=[*BROKEN, "no right to read"])
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Makes a file that cannot be read, in each of the ways."""

    def make(file: Path) -> Path:
        if request.param != "no right to read":
            BROKEN[request.param](file)
            return file
        file.write_text("waivers: []")
        real = Path.read_bytes

        def refused(path: Path) -> bytes:
            if path == file:
                raise PermissionError(13, "Permission denied", str(path))  # root may read anything: as it is told
            return real(path)

        monkeypatch.setattr(Path, "read_bytes", refused)
        return file

    return make


def check_words(text: str, name: str) -> None:
    assert name in text
    assert "allowed: " in text
    assert "fix: " in text
    assert "Traceback" not in text


def test_a_stack_file(broken: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = broken(tmp_path / "Pulumi.x.yaml")
    form = PlanOptions(stack="x", config_file=str(file), format="md")
    assert plan.run(form) in (1, 2)
    assert "allowed" in "".join(capsys.readouterr())
    assert graph.show("x", str(file), None) == 1
    check_words("".join(capsys.readouterr()), "Pulumi.x.yaml")


def test_the_stack_file_to_compare_with(
    broken: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = tmp_path / "Pulumi.x.yaml", broken(tmp_path / "other.yaml")
    file.write_text(STACK)
    assert plan.run(PlanOptions(stack="x", config_file=str(file), against=str(other), graph=False)) in (0, 1, 2)
    assert "Traceback" not in "".join(capsys.readouterr())


def test_the_waivers(
    broken: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = broken(tmp_path / "waivers.yaml")
    assert [each.code for each in load_waivers(file).findings] == ["EBB270"]
    check_words(str(load_waivers(file).findings[0]), "waivers.yaml")
    for module in (plan, stack_source):
        monkeypatch.setattr(module, "WAIVERS_FILE", file)
    monkeypatch.setattr(waivers.usable_waivers, "__defaults__", (file,))
    stack = tmp_path / "Pulumi.x.yaml"
    stack.write_text(STACK)
    assert plan.run(PlanOptions(stack="x", config_file=str(stack), graph=False, format="json")) == 1
    check_words("".join(capsys.readouterr()).replace('"allowed"', "allowed").replace('"fix"', "fix"), "waivers.yaml")
    assert graph.show("x", str(stack), None) == 1
    check_words("".join(capsys.readouterr()), "waivers.yaml")
    with pytest.raises(ConfigError, match=r"waivers\.yaml: .*allowed: .*; fix: "):
        build.usable_waivers()


def test_a_recorded_model(broken: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(STACK)
    (tmp_path / "models").mkdir()
    broken(tmp_path / "models" / "one.yaml")
    assert plan.run(PlanOptions(stack="x", config_file=str(file), graph=False, format="json")) == 1
    assert "models/one.yaml cannot be read" in "".join(capsys.readouterr())
    assert graph.show("x", str(file), None) == 1
    check_words("".join(capsys.readouterr()), "models/one.yaml cannot be read")


def test_a_measurement(broken: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, measured = tmp_path / "Pulumi.x.yaml", broken(tmp_path / "measured.yaml")
    file.write_text(STACK)
    assert plan.run(PlanOptions(stack="x", config_file=str(file), graph=False, measured=str(measured))) in (0, 2)
    assert "Traceback" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "expiry", ["2026-02-30", "2026-13-01", "2026-00-10", "0000-01-01", "99999-01-01", "2026-02-30T10:00:00Z", "30"]
)
def test_a_day_that_does_not_exist(tmp_path: Path, expiry: str) -> None:
    file = tmp_path / "waivers.yaml"
    entry = "rule: EBB020, resource: stack:models.a, owner: anna, reason: a workshop keeps it awake"
    file.write_text(f"waivers: [{{{entry}, expiry: {expiry}}}]\n")
    (problem,) = load_waivers(file).findings
    assert (problem.code, problem.path) == ("EBB276", "waivers[0].expiry")
    check_words(str(problem), expiry)
    assert load_waivers(file).waivers == ()


def test_an_entry_that_gives_a_key_twice_waives_nothing(tmp_path: Path) -> None:
    file = tmp_path / "waivers.yaml"
    entry = "rule: EBB020, resource: stack:models.a, owner: anna, reason: a workshop keeps it awake"
    file.write_text(f"waivers: [{{{entry}, expiry: 2026-12-01, expiry: 2027-12-01}}]\n")
    read = load_waivers(file)
    assert read.waivers == ()
    assert "EBB270" in {each.code for each in read.findings}


@pytest.mark.parametrize("name", ["Pulumi.yaml", "waivers.yaml"])
def test_a_plan_does_not_fall_over_what_it_only_keeps_its_counts_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from infra.commands import plan_graph

    for each in ("infra", "components", "images"):
        (tmp_path / each).mkdir()
    (tmp_path / name).symlink_to("/nowhere")
    monkeypatch.setattr(plan_graph, "PROJECT", tmp_path)
    assert next(iter(plan_graph._depends_on(tmp_path / name))) == b""
