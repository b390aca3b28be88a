"""An answer of ``ebbtide fit`` for a terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.planner.report.tables import count, gib, parameters, usd
from infra.planner.sizing.memory import FULL_FORWARD_TOKENS

_RECORDED = {
    "weightsGib": "weights, GiB",
    "activationGib": "largest step, GiB",
    "nonTorchGib": "outside PyTorch, GiB",
    "graphGib": "CUDA graphs, GiB",
    "otherGib": "engine and graphs, GiB",
    "kvGib": "KV cache, GiB",
    "kvTokens": "KV cache, tokens",
    "concurrency": "sequences at once",
}


def show(read: dict[str, Any], console: Console) -> None:
    """Print the answer on ``console``."""
    fits = read["fits"]
    console.print(Text.assemble((f"{read['model']} ", "bold"), ("fits" if fits else "DOES NOT FIT", _style(fits))))
    console.print(Text(read["reason"]))
    console.print()
    rows = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _lines(read):
        rows.add_row(Text(name, style="dim"), Text(value))
    console.print(rows)
    if read["recorded"]:
        console.print()
        console.print(_recorded(read["recorded"]))
        console.print(
            Text(f"kept in {read['recorded']['file']}: commit it, and every command plans by it", style="dim")
        )
    if read["alternatives"]:
        console.print()
        console.print(Text("Also fits on", style="bold"))
        console.print(_others(read["alternatives"]))
    for each in read["findings"]:
        console.print()
        style = "yellow" if each["severity"] == "warning" else "bold red"
        console.print(Text.assemble((f"{each['code']} {each['severity']}", style), f"  {each['path']}"))
        what = f"{each['value']} {each['message']}" if each["value"] is not None else each["message"]
        console.print(Text(f"  {what}\n  allowed: {each['allowed']}\n  fix: {each['fix']}"))


def _style(fits: bool) -> str:
    return "bold green" if fits else "bold red"


def _lines(read: dict[str, Any]) -> list[tuple[str, str]]:
    machine = read["machine"]
    price = f"{usd(read['usd_per_hour'])} USD an hour" + (f" in {read['region']}" if read["region"] else "")
    gated = {True: "gated", False: "open", None: "gating unknown"}[read["gated"]]
    measured = [("measured", read["measured_by"].removeprefix("measured "))] if read["measured_by"] else []
    rows = [
        ("hardware", f"{read['tensor_parallel']} × {read['gpu']} ({gib(read['gpu_bytes'])} each)"),
        ("machine", f"{machine} ({read['cloud']}), {price}" if machine else "none of the catalogue"),
        (
            "weights",
            f"{gib(read['weights_bytes'])}, {gib(read['weights_bytes_per_gpu'])} a GPU, from {read['weights_from']}",
        ),
        ("KV cache of a token", f"{gib(read['kv_bytes_per_token'])}, {gib(read['kv_bytes_per_token_per_gpu'])} a GPU"),
        (
            "longest context",
            f"{count(read['max_context_tokens'])} tokens (the model's own: {count(read['model_context_tokens'])})",
        ),
        ("sequences at once", _sequences(read)),
        ("model", f"{parameters(read['parameters'])} parameters, {read['quantization'] or read['dtype']}"),
        ("licence", f"{read['licence'] or 'unknown'}, {gated}"),
        ("known from", read["source"]),
        *measured,
    ]
    if read["full_forward_bytes"]:
        whole = (
            f"{gib(read['full_forward_bytes'])} for {count(FULL_FORWARD_TOKENS)} tokens: the worst case, with no engine"
        )
        rows.insert(-3 - len(measured), ("full forward pass", whole))
    return rows


def _recorded(recorded: dict[str, Any]) -> Table:
    """Return the figures of the start that was recorded, beside those of the plan."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in (f"of one GPU, vLLM {recorded['engine']}", "planned", "measured"):
        table.add_column(name, justify="left" if name.startswith("of") else "right")
    for key, name in _RECORDED.items():
        pair = [recorded[side].get(key) for side in ("planned", "measured")]
        if any(each is not None for each in pair):
            digits = 0 if key == "kvTokens" else 2
            table.add_row(name, *("-" if each is None else f"{each:,.{digits}f}" for each in pair))
    return table


def _sequences(read: dict[str, Any]) -> str:
    if read["sequences_at_context"] is None:
        return "keeps no cache: not bounded by memory"
    return f"{count(read['sequences_at_context'])} of {count(read['context_tokens'])} tokens"


def _others(alternatives: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, side in (("machine", "left"), ("GPUs", "left"), ("sequences", "right"), ("USD/h", "right")):
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    for each in alternatives:
        where = f"{each['machine']} ({each['cloud']})" if each["cloud"] else f"{each['gpus']} × {each['gpu']}"
        gpus = f"{each['tensor_parallel']} of {each['gpus']} × {each['gpu']}"
        held = "-" if each["sequences_at_context"] is None else count(each["sequences_at_context"])
        table.add_row(where, gpus, held, usd(each["usd_per_hour"]))
    return table
