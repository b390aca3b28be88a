"""``ebbtide``: the command line."""

from __future__ import annotations

import functools
import inspect
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any, NoReturn, TypeVar, get_type_hints

import typer

from infra.bench.options import Options as BenchOptions
from infra.commands.options import (
    AskOptions,
    CostOptions,
    DoctorOptions,
    FitOptions,
    GroupOptions,
    GroupRightsOptions,
    KeyCreateOptions,
    KeyExpireOptions,
    KeyOptions,
    KeyRotateOptions,
    KeysListOptions,
    LimitOptions,
    PlanOptions,
    StatusOptions,
    UsageOptions,
)
from infra.errors import LocalProblem
from infra.recorder.collection import collection_paused
from lab import cli as local

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(local.app, name="local")
catalog = typer.Typer(no_args_is_help=True, help="Machines, prices and models that are known.")
app.add_typer(catalog, name="catalog")

keys = typer.Typer(no_args_is_help=True, help="Keys that are made while a stack runs; it needs a database.")
app.add_typer(keys, name="keys")

groups = typer.Typer(no_args_is_help=True, help="Groups of keys that are made while a stack runs; it needs a database.")
app.add_typer(groups, name="groups")

Options = TypeVar("Options")


def _takes(kind: type[Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Make a command from a function of one dataclass: its fields carry what Typer reads from parameters."""
    hints = get_type_hints(kind, include_extras=True)

    def command(function: Callable[[Options], None]) -> Callable[..., None]:
        @functools.wraps(function)
        def typed(**values: Any) -> None:
            function(kind(**values))

        named = inspect.signature(kind).parameters.values()
        parameters = [each.replace(annotation=hints[each.name]) for each in named]
        vars(typed).update(__signature__=inspect.Signature(parameters), __annotations__=hints)
        return typed

    return command


@app.command()
def graph(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack: the NAME of stacks/Pulumi.NAME.yaml.")],
    config_file: Annotated[str | None, typer.Option(help="Another stack file to read in its place.")] = None,
    out: Annotated[str | None, typer.Option(help="Where to write; default: standard output.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say where the program could not read a late value.")
    ] = False,
) -> None:
    """Write the resources a stack asks for as JSON: without an engine, credentials or a network."""
    with collection_paused():
        from infra.recorder import command

        raise typer.Exit(command.show(stack, config_file, out, verbose))


@app.command()
@_takes(PlanOptions)
def plan(options: PlanOptions) -> None:
    """Show what a stack would be: what fits, how long a wake takes, what it costs, what is wrong. Creates nothing."""
    with collection_paused():
        from infra.commands import plan

        raise typer.Exit(plan.run(options))


@app.command()
@_takes(DoctorOptions)
def doctor(options: DoctorOptions) -> None:
    """Ask the place, before a first deploy, for all that an `up` would need: with your own credentials, in less than a
    minute, changing nothing. 0 nothing is wrong, 1 something is, each with its fix."""
    from infra.commands import doctor

    raise typer.Exit(doctor.run(options))


@app.command()
@_takes(StatusOptions)
def status(options: StatusOptions) -> None:
    """Show what each model of a stack does: asleep, waking (in which phase, for how long, of how long), awake, failing;
    what it costs an hour, and how long its last wakes took."""
    from infra.commands import status

    raise typer.Exit(status.run(options))


@app.command()
@_takes(AskOptions)
def ask(options: AskOptions) -> None:
    """Ask a model of a stack through its gateway; if it sleeps, the phases of its wake are shown."""
    from infra.commands import ask

    raise typer.Exit(ask.run(options))


@groups.command("create")
@_takes(GroupRightsOptions)
def groups_create(options: GroupRightsOptions) -> None:
    """Make a group. Needs a key of a group with `admin`, as all of these do."""
    from infra.commands import groups

    raise typer.Exit(groups.create(options))


@groups.command("list")
@_takes(KeysListOptions)
def groups_list(options: KeysListOptions) -> None:
    """List the groups that were made here: models, what they may wake, limits."""
    from infra.commands import groups

    raise typer.Exit(groups.show(options))


@groups.command("change")
@_takes(GroupRightsOptions)
def groups_change(options: GroupRightsOptions) -> None:
    """Set what a group may use and wake, and its limits; what is not named stays as it is."""
    from infra.commands import groups

    raise typer.Exit(groups.change(options))


@groups.command("delete")
@_takes(GroupOptions)
def groups_delete(options: GroupOptions) -> None:
    """Delete a group that has no keys."""
    from infra.commands import groups

    raise typer.Exit(groups.delete(options))


@keys.command("create")
@_takes(KeyCreateOptions)
def keys_create(options: KeyCreateOptions) -> None:
    """Make a key for a group, and show it this once. Needs a key of a group with `admin`, as all of these do."""
    from infra.commands import keys

    raise typer.Exit(keys.create(options))


@keys.command("list")
@_takes(KeysListOptions)
def keys_list(options: KeysListOptions) -> None:
    """List the keys that were made here: group, last four letters, state, last use."""
    from infra.commands import keys

    raise typer.Exit(keys.show(options))


@keys.command("suspend")
@_takes(KeyOptions)
def keys_suspend(options: KeyOptions) -> None:
    """Refuse a key until it is resumed; every gateway does so within 5 s while it reaches the database."""
    from infra.commands import keys

    raise typer.Exit(keys.change(options, "suspend"))


@keys.command("resume")
@_takes(KeyOptions)
def keys_resume(options: KeyOptions) -> None:
    """Take a suspension back."""
    from infra.commands import keys

    raise typer.Exit(keys.change(options, "resume"))


@keys.command("rotate")
@_takes(KeyRotateOptions)
def keys_rotate(options: KeyRotateOptions) -> None:
    """Give a key a new secret, shown this once; the old one is refused within 5 s, or after an overlap."""
    from infra.commands import keys

    raise typer.Exit(keys.rotate(options))


@keys.command("limit")
@_takes(LimitOptions)
def keys_limit(options: LimitOptions) -> None:
    """Set limits of a key, beside its group's; those that are not named stay as they are."""
    from infra.commands import keys

    raise typer.Exit(keys.limit(options))


@keys.command("expire")
@_takes(KeyExpireOptions)
def keys_expire(options: KeyExpireOptions) -> None:
    """Set when a key ends."""
    from infra.commands import keys

    raise typer.Exit(keys.expire(options))


@keys.command("delete")
@_takes(KeyOptions)
def keys_delete(options: KeyOptions) -> None:
    """Delete a key for good; what it used stays in the sums."""
    from infra.commands import keys

    raise typer.Exit(keys.delete(options))


@app.command()
@_takes(UsageOptions)
def usage(options: UsageOptions) -> None:
    """Sum up what was asked of a stack: requests, tokens and wakes, by group, key, model and day. Needs a database."""
    from infra.commands import usage

    raise typer.Exit(usage.run(options))


@app.command()
@_takes(CostOptions)
def cost(options: CostOptions) -> None:
    """Say what nodes cost, by who caused it: serving, wakes, idle time, what is kept warm. Needs a database."""
    from infra.commands import usage

    raise typer.Exit(usage.cost(options))


@app.command()
@_takes(FitOptions)
def fit(options: FitOptions) -> None:
    """Say whether a model fits, on what, how much of it, and for how much. Nothing is downloaded."""
    from infra.commands import fit

    raise typer.Exit(fit.run(options))


@app.command()
def gate(
    base: Annotated[str, typer.Option(help="The commit to compare with: the protected branch, like origin/main.")],
    head: Annotated[str | None, typer.Option(help="The commit to judge; default: the working tree.")] = None,
    stack: Annotated[
        list[str] | None, typer.Option("--stack", "-s", help="A stack to judge; default: all that the change concerns.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text, md, json or sarif.")] = "text",
    budget: Annotated[float | None, typer.Option(help="US dollars a month that GPU nodes at max may cost.")] = None,
    out: Annotated[str | None, typer.Option(help="Where to write; default: standard output.")] = None,
    reports: Annotated[str | None, typer.Option(help="A folder for each stack's report in every format.")] = None,
    unconfined: Annotated[
        bool, typer.Option("--unconfined", help="Run the change's program even where it cannot be shut in.")
    ] = False,
) -> None:
    """Judge a change before it costs anything: 0 it may pass, 1 it is blocked, 2 wrongly called, 3 a code owner has to
    agree."""
    from infra.gate import command

    options = command.Options(
        base=base,
        head=head,
        stacks=tuple(stack or ()),
        form=form,
        budget=budget,
        out=out,
        reports=reports,
        unconfined=unconfined,
    )
    raise typer.Exit(command.gate(options))


@app.command()
@_takes(BenchOptions)
def bench(options: BenchOptions) -> None:
    """How quick a served model is: first token, tokens, throughput and errors over concurrency; and its wakes."""
    from infra.bench import command

    # sys.exit passes the status on untouched: bench has already reported an early end, in words of its own
    sys.exit(command.run(options))


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
    from infra.catalog_refresh import command

    options = command.Options(tuple(place or ()), tuple(region or ()), dry_run)
    raise typer.Exit(command.run(options))


@catalog.command()
def add(
    model: Annotated[str, typer.Argument(help="The model's id, owner/name.")],
    model_dir: Annotated[
        str | None, typer.Option(help="A folder with its config.json at least; default: the hub is asked.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="The commit, 40 hexadecimal digits.")] = None,
) -> None:
    """Record the facts of a model outside the catalogue beside the stack files, so that every command can judge it."""
    from infra.commands import catalog_add

    raise typer.Exit(catalog_add.run(catalog_add.Options(model=model, folder=model_dir, revision=revision)))


@app.command()
def lock(
    check: Annotated[bool, typer.Option("--check", help="Only say which have none; needs no network.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Read those anew that have one.")] = False,
) -> None:
    """Put the digests of the public images that the project's own start from where it names them by tag."""
    from infra.lock import command

    raise typer.Exit(command.run(command.Options(check, update)))


_INTERRUPTED = 130


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    """Print one line; the console takes a tenth of the time in which ``plan`` starts, and most runs have none."""
    from infra.console import say

    say(line)


def main() -> None:
    """Run the command line: a known problem is text and status 1, an interruption status 130, neither a traceback."""
    signal.signal(signal.SIGTERM, _ended)
    try:
        status = app(standalone_mode=False)
    except LocalProblem as problem:
        _say(f"error: {problem}")
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    except Exception as error:
        if isinstance(error, SystemExit) or not hasattr(error, "format_message"):
            raise
        _say(f"error: {error.format_message()}")
        sys.exit(2)
    # typer returns the status of a command that ended early, also that of an interruption; it does not raise it
    if status == _INTERRUPTED:
        _say("interrupted; nothing is lost: the same command goes on from here")
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
