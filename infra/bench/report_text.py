"""The result as a terminal shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infra.bench.document import Document
from infra.bench.yardstick import TABLE

_COLUMNS = "  {:<10}{:>8}{:>7}  {:>23}  {:>20}  {:>23}  {:>9}  {:>10}"


def text(document: Document) -> str:
    return "\n".join(_lines(document)) + "\n"


def heading(document: Document) -> str:
    measured = document["endpoints"].get("measured")
    return f"{measured['model']} at {measured['url']}" if measured else "nothing measured"


def load(document: Document) -> str:
    of = document["load"]
    exact = "exactly" if of["exact"] else "at most"
    way = "streamed" if of["stream"] else "in one piece"
    return f"about {of['input_tokens']} tokens in, {exact} {of['output_tokens']} out, {way}"


def where(document: Document) -> str:
    at, of = document["machine"], document["versions"]
    engine = next((each["engine_version"] for each in document["endpoints"].values() if each["engine_version"]), None)
    line = f"{document['date']}, asked from {at['cpus']} cores ({at['processor']}), load {at['load_before']} before"
    return line + f", ebbtide {of['ebbtide']}" + (f", vLLM {engine}" if engine else "")


def level_name(level: Document) -> str:
    return f"{level['concurrency']} at once" if level["rate"] is None else f"{level['rate']:g} a second"


def _lines(document: Document) -> Iterator[str]:
    yield heading(document)
    yield f"  {load(document)}"
    yield f"  {where(document)}"
    if not document["complete"]:
        yield "  INCOMPLETE: the run was ended early; what follows was measured until then"
    if against := document["endpoints"].get("against"):
        yield f"  against {against['model']} at {against['url']}, in turns in the same run"
    for level in document["levels"]:
        yield ""
        yield level_name(level) + ("" if level["complete"] else " (incomplete)")
        yield _COLUMNS.format(
            "", "answers", "errors", "first token ms", "ms a token", "request s", "tokens/s", "requests/s"
        )
        yield _COLUMNS.format("", "", "", "p50    p90    p99", "p50   p90   p99", "p50    p90    p99", "", "")
        for side in ("measured", "against"):
            if level[side]:
                yield _side(side, level[side])
                yield from _errors(level[side])
        if level["ratio"]:
            yield _ratio(level["ratio"])
    if document["yardstick"]:
        yield ""
        yield from _yardstick(document["yardstick"])
    if document["cold"]:
        yield ""
        yield from _cold(document["cold"])


def _side(name: str, of: Document) -> str:
    return _COLUMNS.format(
        name, of["whole"], sum(of["errors"].values()),
        _three(of["ttft"], 1000, "{:.0f}", 7), _three(of["tpot"], 1000, "{:.1f}", 6),
        _three(of["latency"], 1, "{:.2f}", 7),
        f"{of['tokens_per_second']:.1f}", f"{of['requests_per_second']:.2f}",
    ).rstrip()  # fmt: skip


def _errors(of: Document) -> Iterator[str]:
    if of["errors"]:
        yield "    errors: " + ", ".join(f"{fault} × {count}" for fault, count in of["errors"].items())
    if of["latest_send"] > 0.1:
        yield f"    the client itself was up to {of['latest_send']:.2f} s late: this machine was a limit too"


def _three(of: Document | None, scale: float, form: str, width: int) -> str:
    if of is None:
        return "-"
    return "".join(f"{form.format(scale * of[name]):>{width}}" for name in ("p50", "p90", "p99")).strip()


def _ratio(of: Document) -> str:
    return _COLUMNS.format(
        "added", "", "",
        _added(of["ttft_added_ms"], "{:+.0f}", 7), _added(of["tpot_added_ms"], "{:+.1f}", 6),
        _added(of["latency_added_ms"], "{:+.2f}", 7, 0.001), share(of["tokens_share"]), share(of["requests_share"]),
    ).rstrip()  # fmt: skip


def _added(of: Document | None, form: str, width: int, scale: float = 1.0) -> str:
    return _three(of, scale, form, width)


def share(of: float | None) -> str:
    return "-" if of is None else f"{100 * of:.1f} %"


def _yardstick(of: Document) -> Iterator[str]:
    limits = (
        f"p90 first token under {of['ttft_p90_below_seconds']:g} s, under {of['tpot_p90_below_seconds']:g} s a token"
    )
    if of["concurrency"] is None:
        yield f"Yardstick ({limits}): not found, the search was ended early"
    else:
        more = ", the most that was tried" if of["concurrency"] == of["most"] else ""
        yield f"Yardstick ({limits}): {of['concurrency']} at once{more}"
    for each in of["tries"]:
        yield f"  {each['concurrency']:>5}  {'served well' if each['good'] else '; '.join(each['why'])}"
    guide = ", ".join(f"{row.model} on {row.gpus} {row.concurrency}" for row in TABLE)
    yield f"  the sizing guide's table, other machines: {guide}"


def _cold(of: Document) -> Iterator[str]:
    first = of["first_token"]
    count = len(of["rounds"])
    yield f"Cold path, {count} wake{'' if count == 1 else 's'}" + ("" if of["complete"] else " (incomplete)")
    if first:
        yield f"  request to first token: p50 {first['p50']:.2f} s, most {first['most']:.2f} s"
    for name, phase in of["phases"].items():
        yield f"    {name:<15} p50 {phase['p50']:>7.2f} s, most {phase['most']:>7.2f} s"
