"""``ebbtide``: the command line."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated, Literal, NoReturn

import typer

from infra.local.problem import LocalProblem
from infra.local.progress import console, say

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
local = typer.Typer(no_args_is_help=True, help="The whole stack on this machine, with a real model.")
app.add_typer(local, name="local")
catalog = typer.Typer(no_args_is_help=True, help="What machines there are and what they cost.")
app.add_typer(catalog, name="catalog")

Context = Annotated[
    str | None, typer.Option(help="A kube context to use instead of a cluster made here (or EBBTIDE_CONTEXT).")
]
OwnRegistry = Annotated[
    str | None, typer.Option(help="With --context: host[:port]/prefix that this machine and the nodes reach.")
]
GpuNodes = Annotated[
    list[str] | None, typer.Option("--gpu-node", help="With --context: a node of the GPU pool; default: all with GPUs.")
]
ModelsDir = Annotated[str | None, typer.Option(help="With --context: the folder on the GPU nodes with the weights.")]
GatewayUrl = Annotated[str | None, typer.Option(help="With --context: where node port 30400 is reached from here.")]


@local.command()
def up(
    context: Context = None,
    registry: OwnRegistry = None,
    gpu_node: GpuNodes = None,
    models_dir: ModelsDir = None,
    gateway_url: GatewayUrl = None,
    quiet: Annotated[bool, typer.Option(help="Do not ask the model at the end.")] = False,
) -> None:
    """Bring everything up, from whatever is there already, and ask the sleeping model."""
    from infra.local import up as stack
    from infra.local.choice import wishes

    wanted = wishes(os.environ, context, registry, gpu_node or (), models_dir, gateway_url)
    stack.up(wanted=wanted, then_ask=not quiet)


@local.command()
def status() -> None:
    """What runs, what sleeps, what is missing."""
    from infra.local import status as stack

    raise typer.Exit(stack.show())


@local.command()
def ask(
    prompt: str,
    model: Annotated[str | None, typer.Option(help="A model of the stack; default: its first.")] = None,
    stream: Annotated[bool, typer.Option(help="Print the answer as it comes.")] = False,
) -> None:
    """Ask a model through the gateway; if it sleeps, the phases of its wake are shown."""
    from infra.local import ask as asking
    from infra.local.paths import paths

    asking.show(paths(), model, prompt, stream)


@local.command()
def key() -> None:
    """Print the demo key, for use in a command: $(ebbtide local key)."""
    from infra.local.ask import Access
    from infra.local.paths import paths

    sys.stdout.write(Access.load(paths()).key + "\n")


@local.command()
def logs(
    part: Annotated[str | None, typer.Argument(help="A part of the cluster, or a pod's name.")] = None,
    lines: Annotated[int, typer.Option(help="Lines from the end.")] = 40,
) -> None:
    """The end of one part's log; without a part, the list of parts."""
    from infra.local import status as stack

    stack.logs(part, lines)


@local.command()
def down(
    purge: Annotated[bool, typer.Option(help="Also delete the cluster's data and the stack's state.")] = False,
) -> None:
    """End everything that `up` started. The cache stays; so does the data, unless --purge."""
    from infra.local import up as stack

    stack.down(purge=purge)


@app.command()
def graph(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack: the NAME of stacks/Pulumi.NAME.yaml.")],
    config_file: Annotated[str | None, typer.Option(help="Another stack file to read in its place.")] = None,
    out: Annotated[str | None, typer.Option(help="Where to write; default: standard output.")] = None,
) -> None:
    """Write the resources a stack asks for as JSON: without an engine, credentials or a network."""
    from infra.gate import command

    raise typer.Exit(command.show(stack, config_file, out))


@app.command()
def plan(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack: the NAME of stacks/Pulumi.NAME.yaml.")],
    against: Annotated[str | None, typer.Option(help="A git revision or a stack file to compare with.")] = None,
    format_: Annotated[
        Literal["text", "md", "json", "html"], typer.Option("--format", help="How to write it.")
    ] = "text",
    out: Annotated[str | None, typer.Option(help="Where to write; default: standard output.")] = None,
    measured: Annotated[str | None, typer.Option(help="A file with this deployment's own seconds by phase.")] = None,
    model_dir: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER: a model's own files (config.json at least); repeatable.")
    ] = None,
    hub: Annotated[bool, typer.Option("--hub", help="Ask the Hugging Face hub for the models' facts.")] = False,
    graph: Annotated[bool, typer.Option(help="Count the resources, which imports the place's SDK.")] = True,
    config_file: Annotated[str | None, typer.Option(help="Another stack file to read in its place.")] = None,
) -> None:
    """What a stack would be: what fits, how long a wake takes, what it costs, what is wrong. Creates nothing."""
    from infra.preflight import command_plan

    dirs = tuple(model_dir or ())
    wish = command_plan.Wish(stack, config_file, against, format_, out, measured, dirs, hub, graph)
    raise typer.Exit(command_plan.run(wish))


@app.command()
def fit(
    model: Annotated[
        str, typer.Argument(help="A preset, a Hugging Face id, an archive, or a folder with config.json.")
    ],
    gpu: Annotated[str | None, typer.Option(help="A GPU of the catalogue, like L40S.")] = None,
    machine: Annotated[str | None, typer.Option(help="A machine of the catalogue, like g5.8xlarge.")] = None,
    cloud: Annotated[str | None, typer.Option(help="Any machine of this cloud; default: of all.")] = None,
    region: Annotated[str | None, typer.Option(help="Where; default: the cheapest known.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs to use; default: as few as will do.")] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens of one sequence; default: 8192, or the model's own.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Sequences of that length at once.")] = 1,
    kv_dtype: Annotated[Literal["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"], typer.Option()] = "auto",
    dtype: Annotated[Literal["auto", "bfloat16", "float16", "float32"], typer.Option()] = "auto",
    tp: Annotated[int | None, typer.Option(help="Tensor parallelism; default: the best split.")] = None,
    memory_share: Annotated[float, typer.Option(help="Share of the GPU's memory the engine takes.")] = 0.9,
    hub: Annotated[bool, typer.Option("--hub", help="Ask the Hugging Face hub (HF_TOKEN is used where set).")] = False,
    revision: Annotated[str | None, typer.Option(help="The model's commit.")] = None,
    format_: Annotated[Literal["text", "json"], typer.Option("--format", help="How to write it.")] = "text",
) -> None:
    """Whether a model fits, on what, how much of it, and for how much. Nothing is downloaded."""
    from infra.preflight import command_fit
    from infra.preflight.fit_candidates import Named

    named = Named(gpu, machine, cloud, region, gpus)
    wish = command_fit.Wish(
        model, named, context, concurrency, kv_dtype, dtype, tp, memory_share, hub, revision, format_
    )
    raise typer.Exit(command_fit.run(wish))


@app.command()
def gate(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack: the NAME of stacks/Pulumi.NAME.yaml.")],
    base: Annotated[str, typer.Option(help="The commit to compare with: the protected branch, like origin/main.")],
    head: Annotated[str | None, typer.Option(help="The commit to judge; default: the working tree.")] = None,
    form: Annotated[str, typer.Option("--format", help="text, md, json or sarif.")] = "text",
    budget: Annotated[float | None, typer.Option(help="US dollars a month that the ceiling must not go over.")] = None,
    out: Annotated[str | None, typer.Option(help="Where to write; default: standard output.")] = None,
) -> None:
    """Judge a change before it costs anything: 0 it may pass, 1 it is blocked, 2 wrongly called."""
    from infra.gate import verdict_front

    raise typer.Exit(verdict_front.gate(stack, base, head, form, budget, out))


@app.command()
def bench(
    url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint; default: the local stack's.")] = None,
    model: Annotated[str | None, typer.Option(help="Default: the stack's first, or the only one there is.")] = None,
    key_env: Annotated[str | None, typer.Option(help="The variable with the key; default: the local demo key.")] = None,
    host_header: Annotated[str | None, typer.Option(help="A Host header other than the address's own.")] = None,
    against: Annotated[str | None, typer.Option(help="Another endpoint, measured in turns in the same run.")] = None,
    against_model: Annotated[str | None, typer.Option(help="Its name of the model; default: the same.")] = None,
    against_key_env: Annotated[str | None, typer.Option(help="The variable with its key; default: none.")] = None,
    against_host_header: Annotated[str | None, typer.Option(help="A Host header for it.")] = None,
    concurrency: Annotated[
        str | None, typer.Option(help="So many at once, one level each; 1,8,32 if nothing else is asked for.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="So many a second whether answered or not, one level each, like 0.5,2.")
    ] = None,
    requests: Annotated[
        int | None, typer.Option(help="Requests of a level and side; default: 4 each at once, 32 at least.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="In place of a number: how long a level and side lasts.")
    ] = None,
    input_tokens: Annotated[int, typer.Option(help="Tokens of a prompt, about.")] = 200,
    output_tokens: Annotated[int, typer.Option(help="Tokens of an answer.")] = 100,
    exact: Annotated[bool, typer.Option(help="Ask for exactly so many (vLLM's ignore_eos), or at most.")] = True,
    stream: Annotated[bool, typer.Option(help="Token by token, or in one piece.")] = True,
    turns: Annotated[int, typer.Option(help="Parts of a level between which the two endpoints take turns.")] = 2,
    warm_up: Annotated[int | None, typer.Option(help="Requests before each level that do not count.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed, the same prompts and times.")] = 1,
    time_limit: Annotated[float, typer.Option(help="Seconds after which a request counts as lost.")] = 900,
    yardstick: Annotated[bool, typer.Option("--yardstick", help="Find the most at once that are served well.")] = False,
    ttft_limit: Annotated[float, typer.Option(help="--yardstick: p90 of the first token under so many seconds.")] = 10,
    tpot_limit: Annotated[float, typer.Option(help="--yardstick: p90 of a token under so many seconds.")] = 0.25,
    most: Annotated[int, typer.Option(help="--yardstick: never more at once than this.")] = 512,
    cold: Annotated[int, typer.Option(help="Wake the sleeping model so many times.")] = 0,
    idle: Annotated[float | None, typer.Option(help="--cold with --url: silence before each.")] = None,
    format_: Annotated[
        Literal["text", "json", "html"], typer.Option("--format", help="How to show it on standard output.")
    ] = "text",
    out: Annotated[str | None, typer.Option(help="Keep the result as JSON in this file.")] = None,
    plot: Annotated[str | None, typer.Option(help="Draw it: a .html, or a .png where Chromium is there.")] = None,
    from_file: Annotated[str | None, typer.Option("--from", help="Show a kept result; measure nothing.")] = None,
) -> None:
    """How quick a served model is: first token, tokens, throughput and errors over concurrency; and its wakes."""
    from infra.bench import command
    from infra.bench.wish import Wish

    wish = Wish(
        url, model, key_env, host_header, against, against_model, against_key_env, against_host_header, concurrency,
        rate, requests, seconds, input_tokens, output_tokens, exact, stream, turns, warm_up, seed, time_limit,
        yardstick, ttft_limit, tpot_limit, most, cold, idle, format_, out, plot, from_file,
    )  # fmt: skip
    # left as it is: an early end has been told of already, and in words of its own
    sys.exit(command.run(wish))


@catalog.command()
def refresh(
    place: Annotated[
        list[str] | None, typer.Option(help="A place whose prices to read; default: all with a list.")
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="A region besides those the catalogue has prices of.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing.")] = False,
) -> None:
    """Read the machines' prices anew from public price lists, without credentials. Needs a network."""
    from infra.preflight import catalog_refresh

    wish = catalog_refresh.Wish(tuple(place or ()), tuple(region or ()), dry_run)
    raise typer.Exit(catalog_refresh.run(wish))


@app.command()
def lock(
    check: Annotated[bool, typer.Option("--check", help="Only say which have none; needs no network.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Read those anew that have one.")] = False,
) -> None:
    """Put the digests of the public images that the project's own start from where it names them by tag."""
    from infra.lock import command

    raise typer.Exit(command.run(command.Wish(check, update)))


_INTERRUPTED = 130


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: a known problem is text and status 1, an interruption status 130; neither is a traceback."""
    signal.signal(signal.SIGTERM, _ended)
    try:
        status = app(standalone_mode=False)
    except LocalProblem as problem:
        console.print(f"error: {problem}", markup=False, soft_wrap=True)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    except Exception as error:
        if isinstance(error, SystemExit) or not hasattr(error, "format_message"):
            raise
        console.print(f"error: {error.format_message()}", markup=False, soft_wrap=True)
        sys.exit(2)
    # typer hands the status of a command that ended early back, also that of an interruption; it does not raise it
    if status == _INTERRUPTED:
        say("interrupted; nothing is lost: the same command goes on from here")
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
