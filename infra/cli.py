"""``ebbtide``: the command line."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from infra.local.problem import LocalProblem
from infra.local.progress import console, say

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
local = typer.Typer(no_args_is_help=True, help="The whole stack on this machine, with a real model.")
app.add_typer(local, name="local")

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
