"""The commands ``ebbtide groups …``: groups made, listed, changed and deleted while a stack runs."""

from __future__ import annotations

import json
from typing import Any

from infra.commands.keys import at, limited, limits, print_as_is, table
from infra.commands.options import GroupOptions, GroupRightsOptions, KeysListOptions
from infra.console import say
from infra.errors import LocalProblem
from infra.served import accounts
from infra.served.accounts import Group

_SHOWN = ("name", "models", "wakes", "made by", "made at", "limits")


def create(options: GroupRightsOptions) -> int:
    """Make a group. Returns the exit status. Raises ``LocalProblem``, as all of these do."""
    rights = _rights(options)
    if "models" not in rights:
        raise LocalProblem("no model is given", "give --models NAME,NAME, or '*' for all")
    _show(accounts.create_group(at(options), options.name, rights), options.format)
    return 0


def change(options: GroupRightsOptions) -> int:
    """Set some of what a group may use and wake, and of its limits."""
    rights = _rights(options)
    if not rights:
        raise LocalProblem("nothing is given", "give some of --models, --wake and the limits")
    _show(accounts.change_group(at(options), options.name, rights), options.format)
    return 0


def show(options: KeysListOptions) -> int:
    """List the groups."""
    groups = accounts.every_group(at(options))
    if options.format == "json":
        print_as_is(json.dumps({"groups": groups}, indent=1))
    elif groups:
        for line in table([_SHOWN, *(_row(group) for group in groups)]):
            say(line)
    else:
        say("no group was made at run time; those of the stack file are in the stack file")
    return 0


def delete(options: GroupOptions) -> int:
    """Delete a group that has no keys."""
    group = accounts.delete_group(at(options), options.name)
    if options.format == "json":
        print_as_is(json.dumps({"group": group}, indent=1))
    else:
        say(f"group {group['name']} is deleted")
    return 0


def _rights(options: GroupRightsOptions) -> dict[str, Any]:
    """Return what is given, by the API's names."""
    rights: dict[str, Any] = {}
    if options.models is not None:
        rights["models"] = _names(options.models)
    if options.wake is not None:
        rights["wake"] = None if options.wake == "all" else _names(options.wake)
    if own := limits(options):
        rights["limits"] = own
    return rights


def _names(text: str) -> list[str]:
    """Return the names of a list with commas; ``none`` is no name at all."""
    return [] if text == "none" else [name.strip() for name in text.split(",") if name.strip()]


def _row(group: Group) -> tuple[Any, ...]:
    wakes = "all of them" if group["wake"] is None else ", ".join(group["wake"]) or "none"
    return group["name"], ", ".join(group["models"]), wakes, group["made_by"], group["made_at"], limited(group) or None


def _show(group: Group, form: str) -> None:
    if form == "json":
        print_as_is(json.dumps({"group": group}, indent=1))
        return
    name, models, wakes, *_, most = _row(group)
    say(f"group {name}: uses {models}; wakes {wakes}{f'; at most {most}' if most else ''}")
