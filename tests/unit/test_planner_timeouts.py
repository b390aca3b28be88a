"""No hop may give up before the wake is over, and the one that would is named."""

from __future__ import annotations

import pytest

from components.platforms.kinds import KINDS
from infra.planner.checks import _cutting
from infra.stackfile.load import load_file
from infra.stackfile.timeouts import Timers, _table, chain, front, longest_silence_seconds, shortest
from infra.workspace import PROJECT

STACKS = {kind: f"{'onprem' if kind == 'existing' else kind if kind == 'local' else f'{kind}-prod'}" for kind in KINDS}


def timers(hold: int = 900) -> Timers:
    return Timers("m", cold_start=600, hold=hold, idle_ttl=1200, drain=120, window=10)


def test_the_hops_stand_in_the_order_of_the_way() -> None:
    names = [hop.name for hop in chain(timers(), 4000, "aws")]
    assert names == [
        *("client", "load balancer of aws", "roll-out of the gateway", "gateway"),
        *("interceptor", "idle timer, with nobody waiting", "startup probe", "grace period"),
    ]


def test_the_shortest_is_the_one_that_gives_up_first() -> None:
    hops = chain(timers(), 60, "existing")
    first = shortest(hops)
    assert first is not None
    assert (first.name, first.seconds) == ("load balancer of existing", 60)
    assert shortest(()) is None


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_a_hold_that_a_roll_out_would_cut_is_refused(kind: str) -> None:
    before = front(load_file(PROJECT / "stacks" / f"Pulumi.{STACKS[kind]}.yaml").config)
    assert before.rollout_seconds == 3600 - 90 - 300
    hops = [hop for hop in chain(timers(), before.seconds, kind, before.rollout_seconds) if hop.cuts == "held request"]
    assert [hop.seconds for hop in _cutting(hops, 3210)] == []
    assert [hop.seconds for hop in _cutting(hops, 3211)] == [3210]


def test_a_client_is_advised_to_wait_longer_than_the_hold() -> None:
    hops = {hop.name: hop for hop in chain(timers(hold=1800), 4000, "aws")}
    assert (hops["client"].seconds or 0) > (hops["interceptor"].seconds or 0) == 1800
    assert (hops["startup probe"].seconds or 0) >= 1800


@pytest.mark.parametrize("kind", KINDS)
def test_every_place_says_how_long_its_load_balancer_waits_or_that_nobody_knows(kind: str) -> None:
    stack = load_file(PROJECT / "stacks" / f"Pulumi.{STACKS[kind]}.yaml").config
    before = front(stack)
    assert before.description
    # the stacks that are shipped hold no request for longer than that
    assert before.seconds is None or before.seconds >= max(model.hold.seconds for model in stack.models.values())


def test_what_is_planned_is_what_the_components_set() -> None:
    pytest.importorskip("pulumi_aws")
    from components.platforms.aws import ingress as aws
    from components.platforms.aws.ingress import LONGEST_SILENCE_SECONDS
    from components.platforms.azure.ingress import patience_seconds
    from components.platforms.gcp import load_balancer as gcp
    from components.platforms.gcp.load_balancer import timeout_seconds
    from infra.program import platform

    def planned(kind: str) -> int | None:
        return front(load_file(PROJECT / "stacks" / f"Pulumi.{STACKS[kind]}.yaml").config).seconds

    stack = load_file(PROJECT / "stacks" / f"Pulumi.{STACKS['gcp']}.yaml").config
    assert longest_silence_seconds(stack) == platform.longest_silence_seconds(stack)
    assert planned("aws") == LONGEST_SILENCE_SECONDS
    azure = load_file(PROJECT / "stacks" / f"Pulumi.{STACKS['azure']}.yaml").config
    assert planned("azure") == patience_seconds(platform.about(azure, "ebbtide", "azure-prod"))
    assert planned("gcp") == timeout_seconds(platform.about(stack, "ebbtide", "gcp-prod"))
    for kind, built in (("aws", aws), ("gcp", gcp)):
        row = _table()[kind]
        assert (row["drain"], row["leave"]) == (built.LONGEST_DRAIN_SECONDS, built.LEAVE_SECONDS)
