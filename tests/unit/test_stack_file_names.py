"""A file that Pulumi, a disk or a reader could take for another stack's file is blocked, in words."""

from __future__ import annotations

import pytest

from infra.gate.deployments import misnamed

THERE = ("stacks/Pulumi.dev.yaml", "stacks/Pulumi.prod.yaml", "stacks/deployments.json")


@pytest.mark.parametrize(
    "path",
    [
        "stacks/Pulumi.Dev.yaml",
        "stacks/pulumi.dev.yaml",
        "stacks/Pulumi.DEV.YAML",
        "Stacks/Pulumi.dev.yaml",
        "stacks/Pulumi.dev.yaml ",
        "stacks/Pulumi.d\u200bev.yaml",
        "stacks/Pulumi.dév.yaml",
        "stacks/Pulumi.\uff44ev.yaml",
        "stacks/Pulumi\u2024dev.yaml",
    ],
)
def test_two_names_that_differ_in_case_or_unseen_signs_are_blocked(path: str) -> None:
    (message,) = misnamed([path], THERE)
    assert "differs from 'stacks/Pulumi.dev.yaml' in case or in what nobody sees" in message
    assert message.isascii()


@pytest.mark.parametrize(
    "path",
    [
        "stacks/Pulumi.dev.yml",
        "stacks/Pulumi.dev.json",
        "stacks/Pulumi.new.yml",
        "stacks/Pulumi.new.yaml~",
        "stacks/.Pulumi.new.yaml",
        "stacks/pulumi.new.yaml",
        "STACKS/Pulumi.new.yaml",
        "stacks/Pulumi.new stack.yaml",
        "stacks/Pulumi.\u202enew.yaml",
        "stacks/\u0420ulumi.new.yaml",
        "stacks/Pulumi..yaml",
        "stacks/Pulumi.yaml",
    ],
)
def test_a_file_that_is_nearly_a_stack_file_is_blocked(path: str) -> None:
    (message,) = misnamed([path], THERE)
    assert "has a name that no stack can have; allowed: stacks/Pulumi.NAME.yaml" in message


@pytest.mark.parametrize(
    "path",
    ["stacks/Pulumi.dev.yaml", "stacks/Pulumi.new.yaml", "stacks/models/acme.yaml", "stacks/README.md", "docs/ünï.md"],
)
def test_other_files_are_not(path: str) -> None:
    assert list(misnamed([path], THERE)) == []


def test_two_new_ones_are_both_told() -> None:
    assert len(list(misnamed(["stacks/Pulumi.a.yaml", "stacks/Pulumi.A.yaml"], THERE))) == 2
