"""Rules for ``extraArgs`` by the pinned engine's own parser: what it stops at is known before it costs anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from components.catalog.engine_flags import EngineFlags, Fault, Flag, engine_flags, parse
from components.model_service.managed_flags import managed_flag, secret_flag, unsafe_flag
from components.typed.refusal import Path, Problem, Severity
from components.typed.rules.stack import FLAG_LACKS_ANOTHER, FLAG_NAMES_NOTHING, FLAG_NOT_TAKEN
from infra.stackfile.partial import Draft

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def readable(raw: Any) -> list[str]:
    """Return the items of ``extraArgs``; an empty text in the place of what is no text."""
    return [each if isinstance(each, str) else "" for each in raw] if isinstance(raw, list) else []


def own_image(draft: Draft) -> bool:
    """Return True if the stack starts from an image of its own, whose engine may be another version."""
    return draft.image is not None and (not draft.image.sound("base") or draft.image.value.base is not None)


def faults(arguments: Sequence[str], draft: Draft) -> Iterator[Fault]:
    """Yield what the engine stops at, but for flags that other rules refuse, and secrets, which they report."""
    for fault in parse(arguments)[1]:
        text = arguments[fault.index]
        if text and not (managed_flag(text) or unsafe_flag(text) or secret_flag(text)):
            yield fault


def judge_flags(raw: Any, at: Path, draft: Draft) -> Iterator[Problem]:
    """Yield flags that the engine does not take, that lack another, or that name a file or model that is not there."""
    arguments, known = readable(raw), engine_flags()
    severity: Severity = "warning" if own_image(draft) else "error"
    for fault in faults(arguments, draft):
        path = (*at, "extraArgs", fault.index)
        if path in draft.secrets:
            continue
        yield FLAG_NOT_TAKEN.at(
            path,
            f"{fault.what}: the engine does not start",
            allowed=f"the flags of vLLM {known.version}, an item each",
            fix=fault.fix,
            value=arguments[fault.index],
            severity=severity,
        )
    flags = parse(arguments)[0]
    on = {each.flag for each in flags if not each.off}
    for each in flags:
        path = (*at, "extraArgs", each.index)
        needed = known.needs.get(each.flag)
        if needed is not None and not each.off and needed not in on:
            yield FLAG_LACKS_ANOTHER.at(
                path,
                f"is nothing without {needed}: the engine does not start, or does not heed it",
                allowed=f"{each.flag} with {needed}",
                fix=f"add {needed}, or take it out",
                value=arguments[each.index],
            )
        yield from _named(each, path, known, arguments[each.index], own_image(draft))


def _named(flag: Flag, path: Path, known: EngineFlags, text: str, own: bool) -> Iterator[Problem]:
    for value in _targets(flag, known):
        # a file of the stack's own image cannot be looked for here
        if flag.flag in known.files and value.startswith("/") and not own and not value.startswith(known.in_image):
            what = "names a path that the pod has not: its image is the engine's, and its volumes are the product's"
            fix = "start from an image of your own that has it (image.base), or take it out"
        elif flag.flag in known.models and _HUB_ID.fullmatch(value) and not value.startswith(known.in_image):
            what = "names a model of the hub, and the engine is offline: it has the stack's own model alone"
            fix = "take it out, or start from an image of your own that has it (image.base) and give its path"
        else:
            continue
        yield FLAG_NAMES_NOTHING.at(path, what, allowed="what is in the pod", fix=fix, value=text)


def _targets(flag: Flag, known: EngineFlags) -> Iterator[str]:
    """Yield the values that may be a path or a model: plain ones, behind ``name=``, and a JSON object's ``model``."""
    if flag.key is not None:
        yield from flag.values if flag.key in ("model", "path") else ()
        return
    for value in flag.values:
        if value.startswith("{"):
            yield from _in_json(value)
        else:
            yield value.partition("=")[2] if flag.flag == "--lora-modules" else value


def _in_json(value: str) -> Iterator[str]:
    try:
        read = json.loads(value)
    except ValueError:
        return
    yield from (read[key] for key in ("model", "path") if isinstance(read.get(key), str))
