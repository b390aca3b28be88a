"""Rules for what reaches the engine by data alone: what is not on the list of known things needs an owner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.catalog.engine_allowed import engine_allowed
from components.model_service.managed_flags import (
    MANAGED_VARIABLES,
    UNSAFE_VARIABLES,
    managed_flag,
    secret_flag,
    unsafe_flag,
)
from components.typed.refusal import Path, Problem
from components.typed.rules.stack import ENGINE_NEEDS_OWNER
from infra.stackfile.findings.owner_needed import AGREE
from infra.stackfile.partial import Draft, Part
from infra.stackfile.rules.engine_flags import readable
from infra.stackfile.schema.model import ModelConfig

_LIST = "components/catalog/engine_allowed.yaml"


def judge_listed_model(part: Part[ModelConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Yield flags and variables of a model that are not on the list. Those that other rules refuse are theirs."""
    arguments = readable(part.raw.get("extraArgs"))
    for places in engine_allowed().unlisted(arguments):
        at_each, flag = [(*at, "extraArgs", index) for index in places], arguments[places[0]]
        refused = not flag or managed_flag(flag) or unsafe_flag(flag) or secret_flag(flag)
        if not refused and draft.secrets.isdisjoint(at_each):
            # with its values: an owner agrees to both
            text = " ".join(arguments[index] for index in places)
            yield _not_listed(at_each[0], text, "is no flag on", _whole(flag))
    for name, value in _mapping(part.raw.get("extraEnv")).items():
        path = (*at, "extraEnv", name)
        if name in MANAGED_VARIABLES or UNSAFE_VARIABLES.fullmatch(name) or path in draft.secrets:
            continue
        if isinstance(value, str) and not engine_allowed().variable(name, value):
            yield _not_listed(path, value, "is no variable with this value on")


def judge_listed_image(draft: Draft) -> Iterator[Problem]:
    """Yield packages and a base image that are not on the list: what they hold runs in the engine."""
    if draft.image is None:
        return
    image = draft.image.value
    for index, package in enumerate(image.extra_packages if draft.image.sound("extra_packages") else ()):
        if not engine_allowed().package(package):
            yield _not_listed(("image", "extraPackages", index), package, "is no package on")
    if draft.image.sound("base") and image.base is not None and not engine_allowed().image(image.base):
        yield _not_listed(("image", "base"), image.base, "is no image on")


def _not_listed(path: Path, value: str, what: str, whole: str | None = None) -> Problem:
    message = f"{what} the list of those known to load no foreign code: {AGREE}"
    fix = f"write {whole} in full" if whole else "take it out, or have an owner add it to the list with a source"
    return ENGINE_NEEDS_OWNER.at(path, message, allowed=f"what {_LIST} has, spelled in full", fix=fix, value=value)


def _whole(argument: str) -> str | None:
    """Return the one flag on the list that an argument shortens; None if there is none."""
    name = argument.partition("=")[0].replace("_", "-")
    begun = [flag for flag in engine_allowed().flags if flag.startswith(name) and flag != name and len(name) > 2]
    return begun[0] if len(begun) == 1 else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
