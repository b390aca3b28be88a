"""Models with the same weights: the mirror copies them once, with one token or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.model_mirror import MirroredModel, MirrorSettings, TokenSecret
from infra.stackfile.load import read_file
from tests.program.bad_inputs import ON_AZURE, ON_GCP, on_existing
from tests.unit.plan_kit import COMMIT, STACK, sections, write

EIGHT = STACK["models"]["eight"]
CLOUDS: dict[str, dict[str, Any]] = {"aws": {}, "azure": ON_AZURE, "gcp": ON_GCP}
SAME = "has the same weights, which are copied once, and"
END = (
    "allowed: one hubToken for all models of one id and revision, or none for any of them; "
    "fix: give {} and eight the same [EBB141 error]"
)


def lines_of(folder: Path, changes: dict[str, Any], **others: dict[str, Any]) -> list[str]:
    more = {f"models.{name}": {**EIGHT, **keys} for name, keys in others.items()}
    findings = read_file(write(folder, sections({**changes, **more}))).findings
    return [str(finding).partition(": ")[2] for finding in findings if finding.code == "EBB141"]


@pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS)
@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"hubToken": "one"}, {"hubToken": "two"}, f"'two' is another: model eight {SAME} hubToken one"),
        ({"hubToken": "one"}, {}, f"is missing: model eight {SAME} hubToken one"),
        ({}, {"hubToken": "two"}, f"'two' is another: model eight {SAME} no hubToken"),
    ],
    ids=["two Secrets", "none in the second", "none in the first"],
)
def test_the_same_weights_with_two_tokens_are_refused(
    tmp_path: Path, cloud: dict[str, Any], first: dict[str, Any], second: dict[str, Any], words: str
) -> None:
    changes = {**cloud, **{f"models.eight.{key}": value for key, value in first.items()}}
    assert lines_of(tmp_path, changes, second=second) == [f"models.second.hubToken: {words}; {END.format('second')}"]
    # what stands behind it, and would end the program
    both = [TokenSecret(each["hubToken"]) if each else None for each in (first, second)]
    with pytest.raises(ValueError, match="mirrored twice"):
        _ = MirrorSettings(tuple(MirroredModel("a/b", COMMIT, token=token) for token in both)).each


def test_each_model_that_differs_from_the_first_is_told(tmp_path: Path) -> None:
    changes = {"models.eight.hubToken": "one"}
    lines = lines_of(tmp_path, changes, second={"hubToken": "two"}, third={"hubToken": "one"}, fourth={})
    assert sorted(line.partition(".hubToken")[0] for line in lines) == ["models.fourth", "models.second"]


@pytest.mark.parametrize(
    ("changes", "second"),
    [
        ({}, {"hubToken": "one"}),
        ({}, {"revision": "1" * 40}),
        ({}, {"id": "test/other"}),
        ({}, {"revision": "main"}),
        (on_existing(), {"hubToken": "two"}),
    ],
    ids=["the same", "another commit", "another model", "a branch, which is not copied", "a cluster that is there"],
)
def test_weights_that_are_not_copied_twice_may_have_other_tokens(
    tmp_path: Path, changes: dict[str, Any], second: dict[str, Any]
) -> None:
    assert lines_of(tmp_path, {**changes, "models.eight.hubToken": "one"}, second=second) == []
