"""Generator of ``docs/commands.md``, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command

from infra.cli import app

_HEAD = """\
# Commands

Every command of `ebbtide` with what may be typed after it. The page is written by `make docs`, out of the command line
itself. Exit status of all: 0 done; 1 it could not, or its answer is no; 2 wrongly called; 130 interrupted;
of `ebbtide gate` also 3: nothing blocks, and a code owner has to agree.
"""


def commands_page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *_commands(get_command(app), "ebbtide")]).rstrip() + "\n"


def _commands(command: Any, name: str) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        for part, inner in command.commands.items():
            yield from _commands(inner, f"{name} {part}")
        return
    arguments = [each for each in command.params if isinstance(each, TyperArgument)]
    options = [each for each in command.params if isinstance(each, TyperOption)]
    usage = " ".join([name, *(_usage(each) for each in arguments), *(["[OPTIONS]"] if options else [])])
    yield f"## `{usage}`\n"
    yield f"{_line(command.help)}\n"
    for argument in arguments:
        if argument.help:
            yield f"`{(argument.name or '').upper()}`: {_line(argument.help)}\n"
    if options:
        yield "| option | default | what it does |\n|---|---|---|"
        yield from (_row(each) for each in options)
        yield ""


def _usage(argument: TyperArgument) -> str:
    name = (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def _row(option: TyperOption) -> str:
    names = ", ".join(f"`{each}`" for each in (*option.opts, *option.secondary_opts))
    default = "required" if option.required else _default(option.default)
    annotation: Any = option.type_descriptor.annotation
    choices = get_args(annotation) if get_origin(annotation) == Literal else ()
    text = " ".join(part for part in (_line(option.help), f"One of {', '.join(choices)}." if choices else "") if part)
    return f"| {names} | {default} | {text.replace('|', chr(92) + '|')} |"


def _default(value: Any) -> str:
    if value is None or value is False or value == () or callable(value):
        return ""
    return f"`{'true' if value is True else value}`"


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
