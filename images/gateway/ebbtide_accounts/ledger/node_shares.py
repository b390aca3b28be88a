"""Shares of each node: what its pods hold, what of it they do not, and the time in which no pod holds any of it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from .amounts import Rate, rate
from .records import Node, Pod


@dataclass(frozen=True, slots=True)
class Stretch:
    """Time in which a pod's share of its node does not change. ``held``: by itself; ``beside``: its part of the GPUs
    that nobody holds.
    """

    pod: Pod
    start: int
    end: int
    held: Rate
    beside: Rate


@dataclass(frozen=True, slots=True)
class Gap:
    """Time in which no pod holds any GPU of a node. ``after``: the last pod that did; ``before``: where there was none,
    the first one that will. Neither: the node stands, or no pod ever came.
    """

    start: int
    end: int
    all_of_it: Rate
    after: Pod | None
    before: Pod | None


def placed(nodes: Iterable[Node], pods: Iterable[Pod]) -> list[tuple[Node, list[Pod]]]:
    """Return each node with its pods, their lives cut to its own. Names come again: a pod is on the node of that name
    which began last before it, else on the first one. Nodes that nobody saw have the lives of their pods and no price.
    """
    by_name: defaultdict[str, list[Node]] = defaultdict(list)
    for node in sorted(nodes, key=lambda each: (each.start, each.uid)):
        by_name[node.name].append(node)
    on: dict[str, tuple[Node, list[Pod]]] = {node.uid: (node, []) for group in by_name.values() for node in group}
    unseen: defaultdict[str, list[Pod]] = defaultdict(list)
    for pod in sorted(pods, key=lambda each: (each.start, each.uid)):
        known = by_name.get(pod.node, [])
        if not known:
            unseen[pod.node].append(pod)
            continue
        node = known[max(0, bisect_right(known, pod.start, key=lambda each: each.start) - 1)]
        on[node.uid][1].append(replace(pod, start=max(pod.start, node.start), end=min(pod.end, node.end)))
    for name, theirs in unseen.items():
        held = [pod for pod in theirs if _holds(pod)]
        if held:
            start, end = min(pod.start for pod in held), max(pod.end for pod in held)
            on[f"unseen {name}"] = Node(f"unseen {name}", name, 0, None, start, end), held
    return [(node, [pod for pod in theirs if _holds(pod)]) for node, theirs in on.values()]


def _holds(pod: Pod) -> bool:
    return pod.end > pod.start and pod.gpus > 0


def shares(node: Node, pods: Sequence[Pod]) -> Iterator[Stretch | Gap]:
    """Yield what becomes of a node's whole life: together the shares are all of it, at every moment."""
    if node.end <= node.start:
        return
    changes: defaultdict[int, tuple[list[Pod], list[Pod]]] = defaultdict(lambda: ([], []))
    for pod in pods:
        changes[pod.start][0].append(pod)
        changes[pod.end][1].append(pod)
    moments = sorted({*changes, node.start, node.end})
    holding: dict[str, Pod] = {}
    last: Pod | None = None
    first = min(pods, key=lambda each: (each.start, each.uid), default=None)
    for start, end in pairwise(moments):
        begin, leave = changes[start]
        for pod in sorted(leave, key=lambda each: each.uid):
            last = holding.pop(pod.uid)
        holding.update((pod.uid, pod) for pod in begin)
        if holding:
            yield from _held(node, list(holding.values()), start, end)
        else:
            yield _gap(node, start, end, last, first)


def _held(node: Node, holding: Sequence[Pod], start: int, end: int) -> Iterator[Stretch]:
    held = sum(pod.gpus for pod in holding)
    gpus = max(node.gpus, held)
    for pod in holding:
        own, rest = Fraction(pod.gpus, gpus), Fraction((gpus - held) * pod.gpus, held)
        yield Stretch(
            pod,
            start,
            end,
            rate(node.usd_per_hour, own, Fraction(pod.gpus)),
            rate(node.usd_per_hour, rest / gpus, rest),
        )


def _gap(node: Node, start: int, end: int, last: Pod | None, first: Pod | None) -> Gap:
    all_of_it = rate(node.usd_per_hour, Fraction(1), Fraction(node.gpus))
    if node.standing:
        return Gap(start, end, all_of_it, None, None)
    return Gap(start, end, all_of_it, last, None if last is not None else first)
