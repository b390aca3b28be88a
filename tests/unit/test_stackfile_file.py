"""What load_file does with files as people leave them behind: broken, empty, doubled, or in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.stackfile import ConfigError, Loaded, load_file

GOOD = Path(__file__).parents[1] / "fixtures/stackfile/Pulumi.good.yaml"
STACKS = Path(__file__).parents[2] / "stacks"
MEND = "allowed: YAML; fix: mend that place: often it is the indentation or a missing colon [EBB101 error]"


def read(tmp_path: Path, text: str | bytes) -> Loaded:
    file = tmp_path / "stacks" / "Pulumi.aws-prod.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_file(file)


def refusal(tmp_path: Path, text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert caught.value.__cause__ is None
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", ["local", "onprem"])
def test_the_stacks_that_are_shipped_are_good_and_without_warnings(name: str) -> None:
    assert load_file(STACKS / f"Pulumi.{name}.yaml").warnings == ()


def test_a_stack_without_models_is_the_platform_alone(tmp_path: Path) -> None:
    config = read(tmp_path, "config:\n  ebbtide:environment: local\n  ebbtide:platform: {kind: local}\n").config
    assert (dict(config.models), config.gpu_quota) == ({}, 0)


def test_other_namespaces_are_left_alone(tmp_path: Path) -> None:
    text = GOOD.read_text() + "  aws:skipMetadataApiCheck: true\n  acme:thing: {a: [1]}\nencryptionsalt: v1:x:y\n"
    assert read(tmp_path, text).warnings == ()


def test_broken_yaml_names_line_and_column(tmp_path: Path) -> None:
    assert refusal(tmp_path, "config:\n  a: [1, 2\n  b: 3\n") == [
        "stacks/Pulumi.aws-prod.yaml: is not YAML in line 3, column 4: expected ',' or ']', but got ':'; " + MEND
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "",
            "is empty; allowed: a stack file; fix: begin with config: and the keys of the example in "
            "docs/first-stack.md [EBB101 error]",
        ),
        (
            "- a\n",
            "a list is not a mapping; allowed: keys with values; "
            "fix: begin with config:, then ebbtide:environment and the others below it [EBB101 error]",
        ),
        (
            "config: 3\n",
            "config: 3 is not a mapping; allowed: keys with values; "
            "fix: write ebbtide:environment and the others below it, one a line [EBB102 error]",
        ),
        (b"a: \xff\n", "is not text in UTF-8; allowed: UTF-8; fix: save it as UTF-8 [EBB101 error]"),
        ("a: \x07\n", f"is not YAML: a character or number YAML does not have in line 1; {MEND}"),
        ("? [a]\n: b\n", f"is not YAML in line 1, column 3: a key that is a list or a mapping; {MEND}"),
        (
            "a: &a [*a]\n",
            "is nested too deeply; allowed: 20000 values in 40 levels, with anchors written out; "
            "fix: take out anchors that repeat one another [EBB101 error]",
        ),
        ("[" * 1200, f"is not YAML: nested too deeply; {MEND}"),
    ],
)
def test_what_cannot_be_judged_is_one_finding(tmp_path: Path, text: str | bytes, says: str) -> None:
    lines = refusal(tmp_path, text)
    assert lines[0].startswith("stacks/Pulumi.aws-prod.yaml: ")
    assert [line.partition(".yaml: ")[2] for line in lines] == [says]


def test_anchors_that_stand_for_billions_of_values_are_refused_at_once(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 34))
    assert "holds too many values" in refusal(tmp_path, bomb)[0]


def test_merges_that_stand_for_billions_of_values_are_refused_at_once(tmp_path: Path) -> None:
    bomb = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 34))
    assert "holds too many values" in refusal(tmp_path, bomb)[0]


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_file(tmp_path / "stacks" / "Pulumi.nope.yaml")
    assert str(caught.value) == (
        "stacks/Pulumi.nope.yaml: there is no such file; allowed: a stack file; "
        "fix: check the name, or make the stack with: pulumi stack init [EBB101 error]"
    )


def test_a_name_given_twice_is_found_though_yaml_would_keep_the_last(tmp_path: Path) -> None:
    text = GOOD.read_text().replace("      max: 2\n  ebbtide:models", "      max: 2\n      max: 3\n  ebbtide:models")
    text = text.replace("    keys:\n", "    keys:\n      demo: {group: everyone}\n")
    allowed = "allowed: each name once; fix: rename one of the two or take it out [EBB034 error]"
    assert refusal(tmp_path, text) == [
        "stacks/Pulumi.aws-prod.yaml: pools.gpu-8xa100.max: is given twice, again in line 15: "
        f"only the last would count; {allowed}",
        "stacks/Pulumi.aws-prod.yaml: gateway.keys.demo: is given twice, again in line 29: "
        f"only the last would count; {allowed}",
    ]


def test_two_models_of_one_name_are_found(tmp_path: Path) -> None:
    text = GOOD.read_text().replace("  ebbtide:guard:", "    llama-8b: {}\n  ebbtide:guard:")
    assert refusal(tmp_path, text)[0] == (
        "stacks/Pulumi.aws-prod.yaml: models.llama-8b: is given twice, again in line 22: only the last would count; "
        "allowed: each name once; fix: rename one of the two or take it out [EBB034 error]"
    )


def test_a_key_without_namespace_is_refused(tmp_path: Path) -> None:
    lines = refusal(tmp_path, GOOD.read_text() + "  guards: {}\n")
    assert lines[0].startswith("stacks/Pulumi.aws-prod.yaml: config.guards: is not a known key; allowed: ebbtide:data")
    assert lines[0].endswith("fix: did you mean ebbtide:guard? [EBB050 error]")


def test_names_are_read_as_they_are_written(tmp_path: Path) -> None:
    names = "'on': {group: everyone}\n      \"010\": {group: everyone}"
    text = GOOD.read_text().replace("demo: {group: everyone}", names)
    assert list(read(tmp_path, text).config.gateway.keys) == ["on", "010"]


def test_a_commit_of_digits_only_must_be_quoted(tmp_path: Path) -> None:
    text = GOOD.read_text().replace("0e9e39f249a16976918f6564b8830bc894c89659", "1" * 40)
    assert "fix: put it in quotes; copy the commit" in refusal(tmp_path, text)[0]


def test_values_merged_from_an_anchor_count_as_written(tmp_path: Path) -> None:
    text = GOOD.read_text().replace("    llama-8b:\n", "    llama-8b: &llama\n")
    text = text.replace("  ebbtide:guard:", "    second: {<<: *llama, max: 1}\n  ebbtide:guard:")
    models = read(tmp_path, text).config.models
    assert (models["second"].max, models["second"].id) == (1, models["llama-8b"].id)
