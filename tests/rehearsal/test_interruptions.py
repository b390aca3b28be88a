"""An engine that is stopped in the middle, with a program just large enough to show it."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from lab.plugins.clouds.failures import Failure
from tests.rehearsal.stage import Stage

pytestmark = pytest.mark.engine

PROGRAM = """
import pulumi_aws as aws
there = pulumi.ResourceOptions(provider=aws.Provider("aws", region="eu-west-1", allowed_account_ids=["123456789012"]))
net = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16", opts=there)
# one after the other: when the role hangs, nothing else is half done
after = pulumi.ResourceOptions(provider=there.provider, depends_on=[net])
aws.iam.Role("r", name="fixed", assume_role_policy="{}", opts=after)
"""
URN = "urn:pulumi:test::probe::aws:iam/role:Role::r"


@pytest.fixture
def creating(stage: Stage) -> subprocess.Popen[str]:
    """An ``up`` whose role is there, while the cloud has not said so yet."""
    stage.program(PROGRAM)
    stage.fail(Failure("Role", "create", "hang"))
    process = stage.start("up", "--yes", "--skip-preview", "--stack=test")
    deadline = time.monotonic() + 120
    while not stage.live("aws", "Role"):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the role was not created within 120 s"
        os.sched_yield()
    return process


def test_an_up_that_was_interrupted_knows_what_it_made_and_the_next_one_completes(
    stage: Stage, creating: subprocess.Popen[str]
) -> None:
    os.kill(creating.pid, signal.SIGINT)
    output, _ = creating.communicate(timeout=120)
    assert "cancelling" in output
    state = stage.exported()
    assert not state.get("pending_operations")
    assert "fixed" in {resource.get("id") for resource in state["resources"]}
    stage.fail()
    stage.up()
    stage.steady()


def test_an_engine_that_was_killed_names_what_it_left_and_the_stack_can_be_repaired(
    stage: Stage, creating: subprocess.Popen[str]
) -> None:
    os.killpg(creating.pid, signal.SIGKILL)
    creating.communicate(timeout=60)
    assert [each["resource"]["urn"] for each in stage.exported()["pending_operations"]] == [URN]
    stage.fail()
    assert "pulumi cancel" in stage.run("up", "--yes", "--skip-preview", "--stack=test", fails=True).output
    stage.run("cancel", "--yes", "--stack=test")
    # an `up` names what was pending, but forgets it when it fails on the name that is taken
    refused = stage.up(fails=True).output
    assert "r, interrupted while creating" in refused
    assert "EntityAlreadyExists" in refused
    provider = next(r for r in stage.resources() if r["type"] == "pulumi:providers:aws")["urn"]
    stage.run(
        "import", "aws:iam/role:Role", "r", "fixed", f"--provider=aws={provider}", "--protect=false",
        "--generate-code=false", "--yes", "--skip-preview", "--stack=test",
    )  # fmt: skip
    stage.up()
    stage.steady()
    assert len(stage.live("aws")) == 2
