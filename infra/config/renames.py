"""A pool under another name is another pool: its nodes are taken away and new ones made, under whatever serves on them.

A stack file alone cannot show that, only the file beside the one that was deployed. Whoever has both (a gate over two
graphs, a person before `up`) asks here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from components.typed.refusal import Problem
from infra.config.pool import PoolConfig


def judge_renames(before: Mapping[str, PoolConfig], after: Mapping[str, PoolConfig]) -> Iterator[Problem]:
    """A finding for each new pool that is like one which is gone in everything but its name."""
    gone = {name: _likeness(pool) for name, pool in before.items() if name not in after}
    for name, pool in after.items():
        old = next((o for o, likeness in gone.items() if likeness == _likeness(pool)), None)
        if name in before or old is None:
            continue
        del gone[old]
        yield Problem(
            55,
            ("pools", name),
            f"is pool {old} under another name: its nodes are taken away, with what they serve, and others made",
            f"{old}, or an approval of the replacement",
            f"keep the name {old}; or add {name} first, move the models, and take {old} out in a later change",
            has_value=False,
            severity="mandatory",
        )


def _likeness(pool: PoolConfig) -> tuple[object, ...]:
    return pool.machine, pool.gpu, pool.capacity, pool.reservation, pool.nodes, tuple(sorted(pool.node_labels.items()))
