"""The options of commands. Imported for every command, therefore light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack: the NAME of stacks/Pulumi.NAME.yaml.")]
    against: Annotated[str | None, typer.Option(help="A git revision or a stack file to compare with.")] = None
    format: Annotated[Literal["text", "md", "json", "html"], typer.Option("--format", help="How to write it.")] = "text"
    out: Annotated[str | None, typer.Option(help="Where to write; default: standard output.")] = None
    measured: Annotated[str | None, typer.Option(help="A file with this deployment's own seconds by phase.")] = None
    model_dir: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER: a model's own files (config.json at least); repeatable.")
    ] = None
    hub: Annotated[bool, typer.Option("--hub", help="Ask the Hugging Face hub for the models' facts.")] = False
    graph: Annotated[bool, typer.Option("--graph", help="Count the resources, with the cloud's SDK.")] = False
    config_file: Annotated[str | None, typer.Option(help="Another stack file to read in its place.")] = None


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack: the NAME of stacks/Pulumi.NAME.yaml.")]
    format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to write it.")] = "text"
    config_file: Annotated[str | None, typer.Option(help="Another stack file to read in its place.")] = None


@dataclass(frozen=True, kw_only=True)
class ServedOptions:
    """Which gateway, and with which key."""

    stack: Annotated[
        str | None, typer.Option("--stack", "-s", help="A stack that is up; its outputs have the address and a key.")
    ] = None
    url: Annotated[str | None, typer.Option(help="A gateway's address, in place of a stack.")] = None
    key: Annotated[str | None, typer.Option(help="A key that the stack made, by its name; default: its first.")] = None
    key_env: Annotated[str | None, typer.Option(help="The variable with the key, for any other.")] = None


@dataclass(frozen=True, kw_only=True)
class AskOptions(ServedOptions):
    prompt: Annotated[str, typer.Argument()]
    model: Annotated[str | None, typer.Option(help="A model's name or alias; default: the stack's first.")] = None
    max_tokens: Annotated[
        int, typer.Option(min=1, help="The longest answer; a longer one is cut, and that is said.")
    ] = 256


@dataclass(frozen=True, kw_only=True)
class StatusOptions(ServedOptions):
    format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to write it.")] = "text"


_Form = Annotated[Literal["text", "json"], typer.Option("--format", help="How to write it.")]


@dataclass(frozen=True, kw_only=True)
class KeysListOptions(ServedOptions):
    format: _Form = "text"


@dataclass(frozen=True, kw_only=True)
class KeyOptions(ServedOptions):
    name: Annotated[str, typer.Argument(help="The key's name.")]
    format: _Form = "text"


_MOST = "a whole number, or none"
_DOLLARS = "a number like 12.50, or none"


@dataclass(frozen=True, kw_only=True)
class LimitOptions(KeyOptions):
    requests_per_minute: Annotated[str | None, typer.Option(help=f"In any 60 seconds: {_MOST}.")] = None
    tokens_per_minute: Annotated[str | None, typer.Option(help=f"In and out, of requests that ended: {_MOST}.")] = None
    tokens_per_day: Annotated[str | None, typer.Option(help=f"From midnight to midnight, UTC: {_MOST}.")] = None
    tokens_per_month: Annotated[str | None, typer.Option(help=f"In a month of the calendar, UTC: {_MOST}.")] = None
    concurrent_requests: Annotated[str | None, typer.Option(help=f"Held or answered at once: {_MOST}.")] = None
    max_wakes_per_day: Annotated[str | None, typer.Option(help=f"Models that it may wake a day: {_MOST}.")] = None
    dollars_per_day: Annotated[str | None, typer.Option(help=f"Cost of nodes a day, UTC: {_DOLLARS}.")] = None
    dollars_per_month: Annotated[str | None, typer.Option(help=f"The same in a month of the calendar: {_DOLLARS}.")] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class GroupOptions(ServedOptions):
    name: Annotated[str, typer.Argument(help="The group's name.")]
    format: _Form = "text"


@dataclass(frozen=True, kw_only=True)
class GroupRightsOptions(LimitOptions):
    name: Annotated[str, typer.Argument(help="The group's name.")]
    models: Annotated[str | None, typer.Option(help="What its keys may use: names with commas, or '*'.")] = None
    wake: Annotated[
        str | None, typer.Option(help="What of it they may wake: names with commas, none, or all (the default).")
    ] = None


@dataclass(frozen=True, kw_only=True)
class KeyCreateOptions(LimitOptions):
    group: Annotated[
        str, typer.Option("--group", "-g", help="A group of the stack file, without admin, or one made at run time.")
    ]
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 720h, or a day like 2027-01-31 (UTC); default: never.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class KeyRotateOptions(KeyOptions):
    overlap: Annotated[
        str | None, typer.Option(help="How long the secret it has is taken as well, like 24h; default: not at all.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class KeyExpireOptions(KeyOptions):
    expires: Annotated[str, typer.Argument(help="When it ends: 720h, a day like 2027-01-31 (UTC), or never.")]


@dataclass(frozen=True, kw_only=True)
class UsageOptions(ServedOptions):
    by: Annotated[str, typer.Option(help="Some of group, key, model, day, with commas; empty: one sum.")] = "group"
    since: Annotated[
        str | None, typer.Option(help="From then on: a day like 2026-11-01 (UTC), or 24h ago; default: all.")
    ] = None
    until: Annotated[str | None, typer.Option(help="Until before then (UTC); default: now.")] = None
    format: Annotated[Literal["text", "csv", "json"], typer.Option("--format", help="How to write it.")] = "text"


@dataclass(frozen=True, kw_only=True)
class CostOptions(UsageOptions):
    since: Annotated[
        str | None,
        typer.Option(help="From then on: a day like 2026-11-01 (UTC), or 24h ago; default: the month's first day."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    model: Annotated[str, typer.Argument(help="A preset, a Hugging Face id, an archive, or a folder with config.json.")]
    gpu: Annotated[str | None, typer.Option(help="A GPU of the catalogue, like L40S.")] = None
    machine: Annotated[str | None, typer.Option(help="A machine of the catalogue, like g5.8xlarge.")] = None
    cloud: Annotated[str | None, typer.Option(help="Any machine of this cloud; default: of all.")] = None
    region: Annotated[str | None, typer.Option(help="Where; default: the cheapest known.")] = None
    gpus: Annotated[int | None, typer.Option(help="GPUs to use; default: as few as will do.")] = None
    context: Annotated[int | None, typer.Option(help="Tokens of one sequence; default: 8192, or the model's own.")] = (
        None
    )
    concurrency: Annotated[int, typer.Option(help="Sequences of that length at once.")] = 1
    kv_dtype: Annotated[Literal["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"], typer.Option()] = "auto"
    dtype: Annotated[Literal["auto", "bfloat16", "float16", "float32"], typer.Option()] = "auto"
    tensor_parallel: Annotated[int | None, typer.Option("--tp", help="Tensor parallelism; default: the best.")] = None
    memory_share: Annotated[
        float | None, typer.Option(help="Share of the GPU's memory the engine takes; default: 0.9, or the log's.")
    ] = None
    from_log: Annotated[
        str | None, typer.Option(help="An engine's log: its start is kept in stacks/measured, and planned by.")
    ] = None
    hub: Annotated[bool, typer.Option("--hub", help="Ask the Hugging Face hub (HF_TOKEN is used where set).")] = False
    revision: Annotated[str | None, typer.Option(help="The model's commit.")] = None
    format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to write it.")] = "text"
