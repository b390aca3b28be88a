"""Lives of nodes and pods as the database keeps them, and what the ledger reads for a period.

Several gateways write the same lives, late or twice: each fact can only become more exact, so the order does not count.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from .ledger.records import Node, Pod, Request

if TYPE_CHECKING:
    import asyncpg

_NODE_TYPES = {
    "uid": "text",
    "name": "text",
    "pool": "text",
    "gpus": "int",
    "usd_per_hour": "numeric",
    "standing": "boolean",
    "began_at": "timestamptz",
    "seen_at": "timestamptz",
    "ended_at": "timestamptz",
}
_POD_TYPES = {
    "uid": "text",
    "model": "text",
    "node_name": "text",
    "gpus": "int",
    "began_at": "timestamptz",
    "ready_at": "timestamptz",
    "seen_at": "timestamptz",
    "ended_at": "timestamptz",
}
# least and greatest leave NULL out. A node has no GPUs until its driver is there. A price that is known stays: the one
# of a later stack file is for later nodes.
_MERGED = {
    "gpus": "greatest(life.gpus, excluded.gpus)",
    "usd_per_hour": "coalesce(life.usd_per_hour, excluded.usd_per_hour)",
    "began_at": "least(life.began_at, excluded.began_at)",
    "ready_at": "least(life.ready_at, excluded.ready_at)",
    "seen_at": "greatest(life.seen_at, excluded.seen_at)",
    "ended_at": "least(life.ended_at, excluded.ended_at)",
}
_LONGEST_HISTORY = timedelta(days=31)
_LONGEST_WAIT = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class NodeLife:
    """A node of a pool. ``seen_at``: when it was last there; ``ended_at`` None: it is, or nobody saw it end."""

    uid: str
    name: str
    pool: str
    gpus: int
    usd_per_hour: Decimal | None
    standing: bool
    began_at: datetime
    seen_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True)
class PodLife:
    """A model's pod, from when its node was chosen and it holds GPUs there. ``ready_at`` None: not yet, or never."""

    uid: str
    model: str
    node_name: str
    gpus: int
    began_at: datetime
    ready_at: datetime | None
    seen_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True)
class History:
    """What the ledger reads for a period: the lives in it, and what of before says who caused them. ``names``: of keys
    by their ids, as they are charged.
    """

    nodes: list[Node]
    pods: list[Pod]
    requests: list[Request]
    names: dict[str, str]


def _upsert(table: str, types: dict[str, str]) -> str:
    """Return the statement that writes lives: all of it is this module's own text."""
    columns = ", ".join(types)
    values = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types.values(), 1))
    merged = ", ".join(f"{name} = {_MERGED[name]}" for name in types if name in _MERGED)
    return (
        f"INSERT INTO ebbtide.{table} AS life ({columns}) SELECT * FROM unnest({values}) "  # noqa: S608
        f"ON CONFLICT (uid) DO UPDATE SET {merged}"
    )


_WRITE_NODES, _WRITE_PODS = _upsert("node_lives", _NODE_TYPES), _upsert("pod_lives", _POD_TYPES)
_END = "coalesce(ended_at, seen_at)"
_READ_NODES = f"SELECT * FROM ebbtide.node_lives WHERE began_at < $2 AND {_END} > $1"  # noqa: S608
_READ_PODS = f"SELECT * FROM ebbtide.pod_lives WHERE began_at < $2 AND {_END} > $1"  # noqa: S608
_FIRST_POD = f"SELECT min(began_at) FROM ebbtide.pod_lives WHERE began_at < $2 AND {_END} > $1"  # noqa: S608
_READ_REQUESTS = (
    "SELECT id, group_name, key_id, key_name, served_by, at, ended_at, woke, status, first_token_seconds "
    "FROM ebbtide.usage WHERE at >= $1 AND at < $2 AND served_by IS NOT NULL"
)


async def write_nodes(pool: asyncpg.Pool, lives: Collection[NodeLife]) -> None:
    """Write what is known of nodes; each uid once in a call, and as often as one likes in all."""
    await pool.execute(_WRITE_NODES, *_columns(lives, _NODE_TYPES))


async def write_pods(pool: asyncpg.Pool, lives: Collection[PodLife]) -> None:
    """Write what is known of pods, as of nodes."""
    await pool.execute(_WRITE_PODS, *_columns(lives, _POD_TYPES))


async def history(pool: asyncpg.Pool, since: datetime, until: datetime) -> History:
    """Return what the ledger needs to charge a period. Who caused a pod may have asked long before: it is read back to
    where the models of the period were asleep, at most a month, and a day more for what waited for a node.
    """
    begin = await _beginning(pool, since, until)
    requests = await pool.fetch(_READ_REQUESTS, begin - _LONGEST_WAIT, until)
    return History(
        [_node(row) for row in await pool.fetch(_READ_NODES, begin, until)],
        [_pod(row) for row in await pool.fetch(_READ_PODS, begin, until)],
        [_request(row) for row in requests],
        {row["key_id"]: row["key_name"] for row in requests},
    )


async def _beginning(pool: asyncpg.Pool, since: datetime, until: datetime) -> datetime:
    begin = since
    while begin > since - _LONGEST_HISTORY:
        first = await pool.fetchval(_FIRST_POD, begin, until)
        if first is None or first >= begin:
            break
        begin = first
    return max(begin, since - _LONGEST_HISTORY)


def microseconds(moment: datetime) -> int:
    """Return a moment as the ledger counts."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _columns(lives: Collection[Any], types: dict[str, str]) -> list[list[Any]]:
    return [[getattr(life, name) for life in lives] for name in types]


def _node(row: Any) -> Node:
    price = row["usd_per_hour"]
    return Node(
        row["uid"],
        row["name"],
        row["gpus"],
        None if price is None else Fraction(price),
        microseconds(row["began_at"]),
        microseconds(row["ended_at"] or row["seen_at"]),
        row["standing"],
    )


def _pod(row: Any) -> Pod:
    ready = row["ready_at"]
    return Pod(
        row["uid"],
        row["model"],
        row["node_name"],
        row["gpus"],
        microseconds(row["began_at"]),
        None if ready is None else microseconds(ready),
        microseconds(row["ended_at"] or row["seen_at"]),
    )


def _request(row: Any) -> Request:
    return Request(
        str(row["id"]),
        row["group_name"],
        row["key_id"],
        row["served_by"],
        microseconds(row["at"]),
        None if row["ended_at"] is None else microseconds(row["ended_at"]),
        row["woke"],
        # one that goes on, or whose gateway was killed, may have been served
        row["status"] is None or row["first_token_seconds"] is not None,
    )
