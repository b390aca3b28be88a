"""Tables of a plan, as texts, for the terminal and for Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.planner.report.document import Document


@dataclass(frozen=True, kw_only=True)
class Table:
    """Table of texts. ``right`` are the columns whose cells are figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    below: str = ""


def heading(document: Document) -> str:
    """Return the stack's name with its place, region and environment."""
    place = document["place"] or {}
    where = ", ".join(filter(None, (place.get("kind"), place.get("region"), document["environment"])))
    return f"{document['stack']}" + (f" ({where})" if where else "")


def verdict(document: Document) -> str:
    """Return the verdict in a sentence."""
    return headline(document["verdict"], len(document["findings"]))


def tables(document: Document) -> Iterator[Table]:
    """Yield every table that has a row or a line below, in the order of reading."""
    if document["changes"] is not None:
        yield _changes(document)
    for make in (_policies, _models, _memory, _cold, _cost, _standing, _timeouts, _graph):
        table = make(document)
        if table.rows or table.below:
            yield table


def _policies(document: Document) -> Table:
    """Return the policies that do not hold, and in a line below those that do."""
    holding = [each["id"] for each in document["policies"] if each["state"] == "holds"]
    rows = tuple(
        (each["id"], each["state"], ", ".join(each["findings"]))
        for each in document["policies"]
        if each["state"] != "holds"
    )
    below = f"hold: {', '.join(holding)}" if document["models"] or document["pools"] else ""
    return Table(
        title="Policies that the stack file decides", columns=("policy", "verdict", "findings"), rows=rows, below=below
    )


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
    routed = [
        f"{model['name']}: what may not fit into its context goes, under its name, to {model['long_prompts']}"
        for model in document["models"]
        if model["long_prompts"] is not None
    ]
    return Table(title="Models", columns=columns, rows=rows, right=frozenset({2, 6}), below="\n".join(routed))


def _where(model: Document) -> str:
    """Return ``g5.8xlarge``, ``2 × g5.8xlarge``, or with several pools ``g5.8xlarge (spot, else on-demand)``."""
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


def engine_bytes(memory: Document) -> int:
    """Return what the engine takes beside weights and KV cache."""
    return sum(memory[part] for part in ("activations", "overhead", "lora", "margin", "measured"))


def _memory(document: Document) -> Table:
    rows = tuple(
        (
            model["name"],
            in_gib(memory["gpu_bytes"]),
            in_gib(memory["weights"]),
            in_gib(engine_bytes(memory)),
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
    sources = [(model["name"], model["memory"]["measured_by"]) for model in document["models"] if model["memory"]]
    below += "".join(f"; {name}: {measured_by}" for name, measured_by in sources if measured_by)
    return Table(
        title="Memory of one GPU, in GiB", columns=columns, rows=rows, right=frozenset(range(1, 8)), below=below
    )


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
    return Table(
        title="Cold path, in seconds",
        columns=columns,
        rows=rows,
        right=frozenset(range(1, len(names) + 3)),
        below=below,
    )


def _cost(document: Document) -> Table:
    total = document["cost"]
    rows: list[tuple[str, ...]] = [
        (
            pool["name"],
            f"{cost['floor_nodes']}..{cost['ceiling_nodes']}",
            usd(cost["on_demand_usd_per_node_hour"] if cost["billed"] else 0),
            usd(cost["spot_usd_per_node_hour"] if cost["billed"] else 0),
            *_bounds(cost),
        )
        for pool in document["pools"]
        if (cost := pool["cost"])
    ]
    if total:
        parts = [("GPU nodes", total["gpu_nodes"], total["unknown_pools"])]
        if total["cluster"]["parts"]:
            without = [part["what"] for part in total["cluster"]["parts"] if part["usd_per_unit_hour"] is None]
            parts += [("the cluster", total["cluster"], without), ("all", total, total["unknown"])]
        rows += [(name, "", "", "", *_bounds(sums, bool(unknown))) for name, sums, unknown in parts]
    columns = ("pool", "nodes", "node/h", "spot/h", *_BOUNDS)
    below = f"not counted: {', '.join(total['not_counted'])}" if total else ""
    warm = [f"{model['name']} {hours:g} h a week" for model in document["models"] if (hours := _warm(model))]
    if warm:
        below = f"floor, on average over a week: kept warm by schedules, {', '.join(warm)} with idleTtl\n{below}"
    if total:
        below = f"floor: while every model sleeps; ceiling: every pool at its max\n{below}"
    return Table(
        title="Cost, in US dollars", columns=columns, rows=tuple(rows), right=frozenset(range(2, 8)), below=below
    )


_BOUNDS = ("floor/h", "ceiling/h", "floor/mo", "ceiling/mo")


def _bounds(sums: Document, unknown: bool = False) -> list[str]:
    """Return the four figures; with ``unknown`` they are lower bounds."""
    kinds = ("floor_usd_per_hour", "ceiling_usd_per_hour", "floor_usd_per_month", "ceiling_usd_per_month")
    return [usd(sums[kind]) + (" + unknown" if unknown else "") for kind in kinds]


def _standing(document: Document) -> Table:
    parts = document["cost"]["cluster"]["parts"] if document["cost"] else []
    rows = tuple((part["what"], _counted(part), *_bounds(part)) for part in parts)
    columns = ("what", "how much", *_BOUNDS)
    return Table(
        title="The cluster without GPU nodes, in US dollars", columns=columns, rows=rows, right=frozenset(range(2, 6))
    )


def _counted(part: Document) -> str:
    """Return ``2..4 node`` or ``15 GiB``."""
    least, most = f"{part['floor_count']:g}", f"{part['ceiling_count']:g}"
    return f"{least if least == most else f'{least}..{most}'} {part['unit']}".strip()


def _warm(model: Document) -> float:
    return float(model["cost"]["kept_warm_hours_per_week"]) if model["cost"] else 0.0


_SHORT = {
    "idle timer, with nobody waiting": "idle timer",
    "startup probe": "probe",
    "grace period": "grace",
    "interceptor": "hold",
    "roll-out of the gateway": "roll-out",
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
    balancer = f"balancer: {chains[0]['load_balancer']}; " if chains else ""
    below = f"{balancer}silence: the longest a request may wait without a byte; first: what gives up on it first"
    columns = ("model", *heads, "silence", "first")
    title = "Time-outs from the client to the engine, in seconds"
    return Table(title=title, columns=columns, rows=rows, right=frozenset(range(1, len(names) + 2)), below=below)


def _graph(document: Document) -> Table:
    graph = document["graph"]
    rows = tuple((kind, str(number)) for kind, number in (graph["by_type"] if graph else {}).items())
    total = f"{graph['resources']} resources, {graph['components']} of them only hold others together" if graph else ""
    return Table(title="Resources", columns=("type", "count"), rows=rows, right=frozenset({1}), below=total)


def _changes(document: Document) -> Table:
    rows = tuple((each["path"], shown(each["before"]), shown(each["after"])) for each in document["changes"])
    below = "" if rows else "no difference in models, pools, cost and cold path"
    return Table(
        title=f"Changes against {document.get('against', 'the other')}",
        columns=("what", "before", "after"),
        rows=rows,
        below=below,
    )


# A plan as Markdown, for a pull request.

_FOLDED = frozenset({"Resources", "Time-outs from the client to the engine, in seconds"})


def markdown(document: Document) -> str:
    """Return the plan as Markdown."""
    return "\n".join(_parts(document)).rstrip() + "\n"


def _parts(document: Document) -> Iterator[str]:
    yield f"## Plan of {_cell(heading(document))}\n"
    yield f"**{verdict(document)}**\n"
    if document["findings"]:
        yield "| | where | what | allowed | fix |\n|---|---|---|---|---|"
        for each in document["findings"]:
            what = f"{each['value']} {each['message']}" if each["value"] is not None else each["message"]
            code = f"{each['code']} {each['severity']}"
            cells = (code, f"`{each['path'] or each['file']}`", what, each["allowed"], each["fix"])
            yield "| " + " | ".join(map(_cell, cells)) + " |"
        yield ""
    for table in tables(document):
        yield from _table(table)
    for note in document["notes"]:
        yield f"> {_cell(note)}\n"


def _table(table: Table) -> Iterator[str]:
    folded = table.title in _FOLDED
    yield f"<details><summary>{table.title}</summary>\n" if folded else f"### {_cell(table.title)}\n"
    if table.rows:
        yield "| " + " | ".join(map(_cell, table.columns)) + " |"
        yield "|" + "|".join("---:" if index in table.right else "---" for index in range(len(table.columns))) + "|"
        for row in table.rows:
            yield "| " + " | ".join(map(_cell, row)) + " |"
        yield ""
    if table.below:
        yield f"{'<br>'.join(map(_cell, table.below.splitlines()))}\n"
    if folded:
        yield "</details>\n"


def _cell(text: str) -> str:
    """Escape a value: nothing in it may become a table's edge or a tag."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


# Figures as a person reads them. ``None`` is unknown everywhere.

UNKNOWN = "unknown"
_GIB = 2**30


def gib(size: float | None) -> str:
    """Return ``14.96 GiB``; other sizes in TiB, MiB, KiB or B."""
    if size is None:
        return UNKNOWN
    for unit, name in ((2**40, "TiB"), (_GIB, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(size) >= unit:
            return f"{size / unit:,.2f}".rstrip("0").rstrip(".") + f" {name}"
    return f"{size:,.0f} B"


def in_gib(size: float | None) -> str:
    """Return ``14.96``, for tables with the unit in the heading."""
    return UNKNOWN if size is None else f"{size / _GIB:,.2f}"


def usd(amount: float | None) -> str:
    """Return ``4.10``, to the cent; thousands grouped."""
    return UNKNOWN if amount is None else f"{amount:,.2f}"


def span(seconds: float | None) -> str:
    """Return ``53 s``, ``4 min 24 s`` or ``1 h 5 min``."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def count(number: float | None) -> str:
    """Return ``8,192``."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def parameters(number: int | None) -> str:
    """Return ``8.0 B``; below a billion in ``M``."""
    if number is None:
        return UNKNOWN
    return f"{number / 1e9:.1f} B" if number >= 1e9 else f"{number / 1e6:.0f} M"


def shown(value: Any) -> str:
    """Return a value of a change as text."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def headline(verdict: str, findings: int) -> str:
    """Return the verdict in a sentence."""
    some = f"{findings} finding{'s' if findings != 1 else ''}"
    return {
        "clean": "Clean: nothing found.",
        "warnings": f"{some}, none of which stops the stack.",
        "errors": f"{some}: with these nothing may be created.",
    }[verdict]
