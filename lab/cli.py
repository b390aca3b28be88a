"""Commands of the lab, ``ebbtide local``. This module is imported for every command, so it stays light."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The whole stack on this machine, with a real model.")

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


@app.command()
def up(
    context: Context = None,
    registry: OwnRegistry = None,
    gpu_node: GpuNodes = None,
    models_dir: ModelsDir = None,
    gateway_url: GatewayUrl = None,
    quiet: Annotated[bool, typer.Option(help="Do not ask the model at the end.")] = False,
) -> None:
    """Bring everything up, from whatever is there already, and ask the sleeping model."""
    from lab import up as stack
    from lab.clusters.choice import cluster_options

    options = cluster_options(os.environ, context, registry, gpu_node or (), models_dir, gateway_url)
    stack.up(options=options, then_ask=not quiet)


@app.command()
def status() -> None:
    """Show what runs, what sleeps and what is missing."""
    from lab import status as stack

    raise typer.Exit(stack.show())


@app.command()
def ask(
    prompt: str,
    model: Annotated[str | None, typer.Option(help="A model's name or alias; default: the stack's first.")] = None,
    stream: Annotated[bool, typer.Option(help="Print the answer as it comes.")] = False,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="The longest answer; a longer one is cut, and that is said.")
    ] = 256,
) -> None:
    """Ask a model through the gateway; if it sleeps, the phases of its wake are shown."""
    from infra.workspace import paths
    from lab import ask as asking

    asking.show(paths(), model, prompt, stream, max_tokens)


@app.command()
def key() -> None:
    """Print the demo key, for use in a command: $(ebbtide local key)."""
    from infra.workspace import paths
    from lab.ask import Access

    sys.stdout.write(Access.load(paths()).key + "\n")


@app.command()
def logs(
    part: Annotated[str | None, typer.Argument(help="A part of the cluster, a pod's name or a model's.")] = None,
    lines: Annotated[int, typer.Option(min=1, help="Lines from the end.")] = 40,
) -> None:
    """Print the end of one part's log; without a part, the list of parts."""
    from lab import status as stack

    stack.logs(part, lines)


@app.command()
def kubeconfig() -> None:
    """Print the path of the cluster's kubeconfig: export KUBECONFIG="$(ebbtide local kubeconfig)"."""
    from lab import status as stack

    sys.stdout.write(f"{stack.kubeconfig()}\n")


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def kubectl(context: typer.Context) -> None:
    """Run kubectl on the cluster: ebbtide local kubectl get pods --all-namespaces."""
    from lab import status as stack

    stack.kubectl(context.args)


@app.command()
def down(
    purge: Annotated[bool, typer.Option(help="Also delete the cluster's data and the stack's state.")] = False,
) -> None:
    """End everything that `up` started. The cache stays; so does the data, unless --purge."""
    from lab import up as stack

    stack.down(purge=purge)
