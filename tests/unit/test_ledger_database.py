"""Lives of nodes and pods in a real PostgreSQL: written late, twice and out of order, and charged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from fractions import Fraction

import pytest

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit  # puts the image's package on the path
from tests.unit.postgres import Postgres, running

pytestmark = pytest.mark.slow

# run by the image's own interpreter, which has the database's library
PROGRAM = """
import asyncio, json, random, sys, uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from ebbtide_accounts.connection import Location, open_pool
from ebbtide_accounts.ledger.charges import charges
from ebbtide_accounts.lives import NodeLife, PodLife, history, microseconds, write_nodes, write_pods
from ebbtide_accounts.migrate import migrate
from ebbtide_accounts.usage import Row, write

def at(hour):
    return datetime(2026, 11, 30, tzinfo=UTC) + timedelta(hours=hour)

async def main():
    location = Location(Path(sys.argv[1]), "verify")
    await migrate(location)
    pool = await open_pool(location)
    node = NodeLife("u", "n", "gpus", 0, None, False, at(2), at(2))
    nodes = [
        node,
        replace(node, gpus=2, usd_per_hour=Decimal("12.29"), seen_at=at(5)),
        replace(node, gpus=2, usd_per_hour=Decimal("99"), began_at=at(3), seen_at=at(14), ended_at=at(14)),
        replace(node, gpus=2, seen_at=at(15), ended_at=at(15)),
    ]
    pod = PodLife("p", "small", "n", 2, at(3), None, at(3))
    # nobody saw its end, and it was last there at 12
    pods = [pod, replace(pod, ready_at=at(6), seen_at=at(12)), replace(pod, ready_at=at(5), seen_at=at(7))]
    mixed = random.Random(int(sys.argv[2]))
    # the first of all is always the node's earliest price
    for life in [nodes[1], *mixed.sample(nodes, len(nodes))]:
        await write_nodes(pool, [life])
    for life in mixed.sample(pods, len(pods)):
        await write_pods(pool, [life])
    row = Row(uuid.uuid4(), "x", at(1), "group", "first", "name", "adapter", woke=True, served_by="small")
    ended = dict(status=200, complete=True, first_token_seconds=4.0)
    rows = [
        replace(row, ended_at=at(9), **ended),
        replace(row, id=uuid.uuid4(), at=at(7), key_id="second", woke=False, ended_at=at(10), **ended),
        replace(row, id=uuid.uuid4(), at=at(8), key_id="refused", woke=False, ended_at=at(11), status=429),
    ]
    await write(pool, [row])
    await write(pool, rows)
    since, until = at(int(sys.argv[3])), at(24)
    records = await history(pool, since, until)
    entries = charges(records.nodes, records.pods, records.requests, [], microseconds(since), microseconds(until))
    print(json.dumps([[each.key, each.kind, str(each.dollars)] for each in entries]))
    pool.terminate()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with running() as cluster:
        yield cluster


def run(database: Postgres, chance: int, since: int) -> dict[tuple[str, str], Fraction]:
    """Hours of the node's price by key and kind."""
    command = [str(gateway_python()), "-c", PROGRAM, str(database.mounted), str(chance), str(since)]
    done = subprocess.run(command, cwd=gateway_kit.IMAGE, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    database.ask("TRUNCATE ebbtide.node_lives, ebbtide.pod_lives, ebbtide.usage")
    return {(key, kind): Fraction(dollars) / Fraction("12.29") for key, kind, dollars in json.loads(done.stdout)}


def test_however_lives_are_written_the_day_is_charged_alike_and_nothing_after_it_was_last_seen(
    database: Postgres,
) -> None:
    expected = {
        ("first", "node"): 1,
        ("first", "wake"): 2,
        ("first", "serving"): 3,
        ("second", "serving"): 2,
        ("second", "idle"): 2,
        ("second", "node"): 2,
    }
    for chance in (1, 2):
        assert run(database, chance, 0) == expected


def test_a_period_that_begins_in_a_wake_knows_who_began_it(database: Postgres) -> None:
    dollars = run(database, 3, 4)
    assert (dollars["first", "wake"], sum(dollars.values())) == (1, 10)
