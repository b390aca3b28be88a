"""Reader of ``clouds.yaml`` beside this file: each cloud's own spelling of what the rules ask about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components.catalog.machine import Machine
from components.catalog.machines import find
from components.typed.tables import read_table
from infra.policies.inputs import UnknownValue, get_path
from infra.policies.model import Graph, Outcome, Resource, unjudged
from infra.stackfile.own_networks import open_to_all

_FILE = Path(__file__).with_name("clouds.yaml")
_TEXT_TAINT = re.compile(r"(?P<key>[^=:]+)(=(?P<value>[^:]*))?:(?P<effect>\w+)")


@cache
def clouds(file: Path = _FILE) -> Mapping[str, Any]:
    """Return the table."""
    read: Mapping[str, Any] = read_table(file)
    return read


@dataclass(frozen=True)
class Pool:
    """A node pool of a cloud, or of Karpenter, in Kubernetes' own terms."""

    resource: Resource
    row: Mapping[str, Any]

    @property
    def machine_name(self) -> str:
        return str(get_path(self.resource.inputs, self.row["machine"], ""))

    @property
    def machine(self) -> Machine | None:
        """Return the catalogue's row; None for a machine without GPUs or an unknown one."""
        return find(self.row["place"], self.machine_name)

    @property
    def is_gpu(self) -> bool:
        return self.machine is not None or stands_in_gpu_pool(self.resource.parent)

    def named_in(self, names: Iterable[str]) -> str:
        """Return the pool of the stack file whose name is in the resource's: the longest, as one may begin like
        another; nothing if there is none."""
        return max((name for name in names if f"-{name}-" in f"-{self.resource.name}-"), key=len, default="")

    def number(self, what: str) -> int | None:
        """Return ``min`` or ``max``; None if it is not given."""
        value = get_path(self.resource.inputs, self.row[what])
        return int(value) if value is not None else None

    @property
    def labels(self) -> dict[str, str]:
        return {key: str(value) for key, value in (get_path(self.resource.inputs, self.row["labels"]) or {}).items()}

    @property
    def taints(self) -> list[tuple[str, str, str]]:
        """Return key, value and effect (``NoSchedule``) of each taint."""
        return [_taint(item) for item in get_path(self.resource.inputs, self.row["taints"]) or ()]

    @property
    def is_spot(self) -> bool:
        return bool(get_path(self.resource.inputs, self.row["spot"]["path"]) == self.row["spot"]["is"])


def stands_in_gpu_pool(urn: str) -> bool:
    """Return True if a URN contains a component for a GPU pool."""
    return any(name in urn for name in clouds()["gpuPoolComponents"])


def node_pools(graph: Graph) -> list[Pool]:
    """Return the pools of all machines, those without GPUs too."""
    known = clouds()["pools"]
    return [Pool(r, known[r.type]) for r in graph.resources if r.type in known and not r.external]


def gpu_pools(graph: Graph) -> list[Pool]:
    """Return the pools of machines with GPUs. A pool whose machine is not known yet counts as one."""
    pools = []
    for pool in node_pools(graph):
        try:
            if pool.is_gpu:
                pools.append(pool)
        except UnknownValue:
            pools.append(pool)
    return pools


def _taint(item: Any) -> tuple[str, str, str]:
    if isinstance(item, str):
        match = _TEXT_TAINT.fullmatch(item)
        return (match["key"], match["value"] or "", match["effect"]) if match else (item, "", "")
    effect = str(item["effect"])
    if "_" in effect:  # NO_SCHEDULE
        effect = "".join(word.capitalize() for word in effect.split("_"))
    return str(item["key"]), str(get_path(item, "value", "")), effect


def holds(check: Mapping[str, Any], inputs: Any) -> bool:
    """Return True if one row's demand is met. Raises ``UnknownValue``."""
    if check.get("present"):
        return _is_there(check["path"], inputs)
    if "closed" in check:
        return _are_closed(get_path(inputs, check["path"]) or (), check["closed"])
    value = get_path(inputs, check["path"])
    if "is" in check:
        return value in check["is"] and not (isinstance(value, int) and not isinstance(value, bool))
    if "not" in check:
        return value is not None and value not in check["not"]
    if "holds" in check:
        return any(item in (value or ()) for item in check["holds"])
    return value is not None


def _are_closed(networks: Sequence[Any], key: str) -> bool:
    """Return True if there are networks and none is open. An open one is found whatever else is not known yet. Raises
    ``UnknownValue``."""
    known: list[str] = []
    gap: UnknownValue | None = None
    for index in range(len(networks)):
        try:
            known.append(str(get_path(networks[index], key, "") if key else networks[index]))
        except UnknownValue as unknown:
            gap = unknown
    if open_to_all(known):
        return False
    if gap is not None:
        raise gap
    return bool(known)


def _is_there(path: str, inputs: Any) -> bool:
    """Return True if a value is given: a reference to a key that is yet to be created is known to be given."""
    try:
        return get_path(inputs, path) is not None
    except UnknownValue as unknown:
        if unknown.path.startswith(path) and "secret" not in unknown.why:
            return True
        raise


def checked(rule: str, graph: Graph) -> Iterator[Outcome]:
    """Yield the outcomes of the rows of ``rule`` over all resources."""
    for check in clouds()["checks"]:
        if check["rule"] != rule:
            continue
        for resource in graph.resources:
            if resource.type == check["type"] and not resource.external:
                try:
                    yield from _check(check, resource, graph)
                except UnknownValue as unknown:
                    yield unjudged(unknown, resource.urn)


def _check(check: Mapping[str, Any], resource: Resource, graph: Graph) -> Iterator[Outcome]:
    subjects = [resource]
    if "beside" in check:
        subjects = [r for r in graph.resources if r.type == check["beside"] and resource.urn in r.depends_on]
    met = [_meets(check, subject) for subject in subjects]
    if all(met) and met if check.get("every") else any(met):
        return
    yield resource.violation(check["path"], check["why"])


def _meets(check: Mapping[str, Any], subject: Resource) -> bool:
    return holds(check, subject.inputs) or ("or" in check and holds(check["or"], subject.inputs))
