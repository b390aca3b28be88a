"""The tables of a plan, as texts, for the terminal and for Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.preflight.report_document import Document
from infra.preflight.report_words import count, gib, headline, in_gib, parameters, shown, usd


@dataclass(frozen=True)
class Table:
    """``right`` are the columns whose cells are figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    below: str = ""


def heading(document: Document) -> str:
    """What is planned, and the verdict."""
    place = document["place"] or {}
    where = ", ".join(filter(None, (place.get("kind"), place.get("region"), document["environment"])))
    return f"{document['stack']}" + (f" ({where})" if where else "")


def verdict(document: Document) -> str:
    """In a sentence."""
    return headline(document["verdict"], len(document["findings"]))


def tables(document: Document) -> Iterator[Table]:
    """All that have a row, in the order of reading."""
    if document["changes"] is not None:
        yield _changes(document)
    for make in (_models, _memory, _cold, _cost, _timeouts, _graph):
        table = make(document)
        if table.rows:
            yield table


def _models(document: Document) -> Table:
    rows = tuple(
        (
            model["name"],
            model["id"],
            parameters(model["facts"]["parameters"]) if model["facts"] else "unknown",
            f"{model['gpus']} × {model['gpu'] or 'unknown'}",
            _where(model),
            f"{model['min']}..{model['max']}",
            count(model["context_tokens"]),
            _fits(model),
        )
        for model in document["models"]
    )
    columns = ("model", "id", "size", "GPUs", "machine", "replicas", "context", "fits")
    return Table("Models", columns, rows, frozenset({2, 6}))


def _where(model: Document) -> str:
    """``g5.8xlarge``, ``2 × g5.8xlarge``, and with several pools ``g5.8xlarge (spot, else on-demand)``."""
    order = ", else ".join([model["pool"], *model["fallback_pools"]])
    machine = ("" if model["nodes"] == 1 else f"{model['nodes']} × ") + (model["machine"] or model["pool"])
    return f"{machine} ({order})" if model["fallback_pools"] else machine


def _fits(model: Document) -> str:
    if model["memory"] is None:
        return f"not planned: {model['memory_unknown']}"
    if not model["memory"]["fits"]:
        return "NO"
    without = [each["pool"] for each in model["fallbacks"] if each["fits"] is False]
    return f"NOT on {', '.join(without)}" if without else "yes"


def _memory(document: Document) -> Table:
    rows = tuple(
        (
            model["name"],
            in_gib(memory["gpu_bytes"]),
            in_gib(memory["weights"]),
            in_gib(memory["activations"] + memory["overhead"] + memory["lora"]),
            in_gib(memory["kv_free"]),
            gib(memory["kv_bytes_per_token"]),
            count(memory["longest_context"]),
            count(memory["sequences_at_context"]),
        )
        for model in document["models"]
        if (memory := model["memory"]) is not None
    )
    columns = ("model", "GPU", "weights", "engine", "KV cache", "a token", "longest", "sequences")
    below = "longest: the longest context that fits; sequences: of the model's context, at once"
    return Table("Memory of one GPU, in GiB", columns, rows, frozenset(range(1, 8)), below)


def _cold(document: Document) -> Table:
    paths = document["cold_path"]
    names = [phase["name"] for phase in paths[0]["phases"]] if paths else []
    rows = tuple(
        (
            path["model"],
            *("?" if phase["seconds"] is None else f"{phase['seconds']:.0f}" for phase in path["phases"]),
            ("≥" if path["unknown"] else "") + f"{path['cold_seconds']:.0f}",
            f"{path['warm_seconds']:.0f}",
        )
        for path in paths
    )
    columns = ("model", *("token" if name == "first token" else name for name in names), "cold", "warm")
    advice = {path["dominant"]: path["advice"] for path in paths}
    lines = [f"longest is {phase}; shortened by {how}" for phase, how in advice.items()]
    several = [model["name"] for model in document["models"] if model["fallback_pools"]]
    if several:
        lines.append(f"on a fall-back ({', '.join(several)}): besides, the wait until the first pool is given up")
    below = "\n".join(
        ["cold: from no node; warm: on a node that has the image; ?: unknown, counted as nothing", *lines]
    )
    return Table("Cold path, in seconds", columns, rows, frozenset(range(1, len(names) + 3)), below)


def _cost(document: Document) -> Table:
    rows: tuple[tuple[str, ...], ...] = tuple(
        (
            pool["name"],
            f"{cost['floor_nodes']}..{cost['ceiling_nodes']}",
            usd(cost["on_demand_usd_per_node_hour"] if cost["billed"] else 0),
            usd(cost["spot_usd_per_node_hour"] if cost["billed"] else 0),
            usd(cost["floor_usd_per_hour"]),
            usd(cost["ceiling_usd_per_hour"]),
            usd(cost["floor_usd_per_month"]),
            usd(cost["ceiling_usd_per_month"]),
        )
        for pool in document["pools"]
        if (cost := pool["cost"])
    )
    total = document["cost"]
    if rows:
        kinds = ("floor_usd_per_hour", "ceiling_usd_per_hour", "floor_usd_per_month", "ceiling_usd_per_month")
        missing = " + unknown" if total["unknown"] else ""
        rows = (*rows, ("all", "", "", "", *(usd(total[kind]) + missing for kind in kinds)))
    columns = ("pool", "nodes", "node/h", "spot/h", "floor/h", "ceiling/h", "floor/mo", "ceiling/mo")
    below = f"not counted: {total['not_counted']}" if total else ""
    warm = [f"{model['name']} {hours:g} h a week" for model in document["models"] if (hours := _warm(model))]
    if warm:
        below = f"floor, on average over a week: kept warm by schedules, {', '.join(warm)} with idleTtl\n{below}"
    return Table("Cost, in US dollars", columns, rows, frozenset(range(2, 8)), below)


def _warm(model: Document) -> float:
    return float(model["cost"]["kept_warm_hours_per_week"]) if model["cost"] else 0.0


_SHORT = {
    "idle timer, with nobody waiting": "idle timer",
    "startup probe": "probe",
    "grace period": "grace",
    "interceptor": "hold",
}


def _timeouts(document: Document) -> Table:
    chains = document["timeouts"]
    names = [hop["name"] for hop in chains[0]["hops"]] if chains else []
    heads = ("balancer" if name.startswith("load balancer") else _SHORT.get(name, name) for name in names)
    rows = tuple(
        (
            chain["model"],
            *("-" if hop["seconds"] is None else f"{hop['seconds']}" for hop in chain["hops"]),
            f"{chain['silence_seconds']}",
            chain["shortest"] or "none",
        )
        for chain in chains
    )
    told = f"balancer: {chains[0]['load_balancer']}; " if chains else ""
    below = f"{told}silence: the longest a request may wait without a byte; first: what gives up on it first"
    columns = ("model", *heads, "silence", "first")
    title = "Time-outs from the client to the engine, in seconds"
    return Table(title, columns, rows, frozenset(range(1, len(names) + 2)), below)


def _graph(document: Document) -> Table:
    graph = document["graph"]
    rows = tuple((kind, str(number)) for kind, number in (graph["by_type"] if graph else {}).items())
    total = f"{graph['resources']} resources, {graph['components']} of them only hold others together" if graph else ""
    return Table("Resources", ("type", "count"), rows, frozenset({1}), total)


def _changes(document: Document) -> Table:
    rows = tuple((each["path"], shown(each["before"]), shown(each["after"])) for each in document["changes"])
    below = "" if rows else "no difference in models, pools, cost and cold path"
    return Table(
        f"Changes against {document.get('against', 'the other')}", ("what", "before", "after"), rows, below=below
    )
