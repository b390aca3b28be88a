"""Whose back-end a command of `pulumi` goes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.workspace import Paths
from lab.pulumi_command import LOCAL_PASSPHRASE, environment, is_local
from lab.pulumi_engine import Engine


@pytest.mark.parametrize(
    "line", ["up -s local", "preview --stack local", "up --stack=local", "stack init local", "stack select local"]
)
def test_a_command_about_the_local_stack_is_known_by_its_words(line: str) -> None:
    assert is_local(line.split(), {})


@pytest.mark.parametrize("line", ["up -s aws-prod", "up", "stack ls", "config set local x", "up -s local-2"])
def test_other_commands_are_not(line: str) -> None:
    assert not is_local(line.split(), {})


def test_the_local_stack_stays_on_this_machine_whatever_the_user_is_logged_in_to(tmp_path: Path) -> None:
    at = Paths(tmp_path / "cache", tmp_path / "state")
    theirs = {
        "PULUMI_BACKEND_URL": "s3://theirs",
        "PULUMI_ACCESS_TOKEN": "pul-theirs",
        "PULUMI_CONFIG_PASSPHRASE": "theirs",
        "PULUMI_CONFIG_PASSPHRASE_FILE": "/theirs",
        "PATH": "/usr/bin",
    }
    env = environment(theirs, at, Engine.BUILT, tmp_path, local=True)
    assert env["PULUMI_BACKEND_URL"] == f"file://{at.pulumi_backend}"
    assert env["PULUMI_CONFIG_PASSPHRASE"] == LOCAL_PASSPHRASE
    assert not {"PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE_FILE"} & set(env)
    assert environment(theirs, at, Engine.BUILT, tmp_path)["PULUMI_BACKEND_URL"] == "s3://theirs"
