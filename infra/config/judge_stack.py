"""Rules between models, pools, groups, keys and the guard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from components.typed.fields import NAME_ALLOWED, is_name, suggest_name
from components.typed.refusal import Path, Problem
from infra.config.draft import Draft, Part
from infra.config.findings import show_path
from infra.config.gateway import ALL_MODELS, GroupConfig
from infra.config.judge_cost import judge_cost
from infra.config.judge_disk import judge_disk
from infra.config.judge_fallback import judge_orders
from infra.config.judge_image import judge_image
from infra.config.judge_model import judge_model
from infra.config.judge_place import judge_place
from infra.config.judge_pool import judge_pool, judge_pools
from infra.config.judge_schedule import kept_at_once


def judge(draft: Draft) -> Iterator[Problem]:
    """Every problem that a single field does not show."""
    yield from _names(("pools",), draft.pool_names)
    yield from _names(("models",), draft.model_names, service=True)
    yield from _names(("gateway", "groups"), draft.group_names)
    yield from _names(("gateway", "keys"), tuple(draft.keys))
    for name, pool in draft.pools.items():
        yield from judge_pool(pool, ("pools", name), draft)
        yield from judge_disk(pool, ("pools", name), draft)
    yield from judge_pools(draft)
    for name, model in draft.models.items():
        yield from judge_model(model, ("models", name), draft)
    yield from judge_orders(draft)
    yield from _aliases(draft)
    yield from _groups(draft)
    yield from _keys(draft)
    yield from _guard(draft)
    yield from judge_cost(draft)
    yield from judge_image(draft)
    yield from judge_place(draft)


def _names(at: Path, names: Iterable[str], service: bool = False) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(name.lower(), name)
        path = (*at, name)
        if first != name:
            message = f"is {show_path((first,))} again: Kubernetes names have no upper case"
            yield Problem(34, path, message, "names that differ in more than case", "rename one", has_value=False)
        near = suggest_name(name)
        fix = f"call it {near}" if near else "choose another name"
        if len(name) > 63:
            yield Problem(35, path, f"has {len(name)} characters", NAME_ALLOWED, fix, has_value=False)
        elif not is_name(name):
            yield Problem(35, path, "is not a name Kubernetes takes", NAME_ALLOWED, fix, has_value=False)
        elif service and name[0].isdigit():
            message = "begins with a digit, which a Kubernetes Service may not"
            fix = f"call it m-{name[:61]}"
            yield Problem(35, path, message, "a model name that begins with a letter", fix, has_value=False)


def _aliases(draft: Draft) -> Iterator[Problem]:
    owners: dict[str, str] = {name.lower(): name for name in draft.model_names}
    for name, part in draft.models.items():
        if not part.sound("aliases"):
            continue
        for index, alias in enumerate(part.value.aliases):
            owner = owners.get(alias)
            path = ("models", name, "aliases", index)
            if owner is None:
                owners[alias] = name
                continue
            if owner == name:
                message, fix = "is a name of this model already", "take it out"
            elif owner.lower() == alias:
                message, fix = f"is the name of model {owner}", "give this model another alias"
            else:
                message, fix = f"is an alias of model {owner} too", "keep it on one of the two"
            yield Problem(36, path, message, "an alias that no other model answers to", fix, alias)


def _groups(draft: Draft) -> Iterator[Problem]:
    for group, part in draft.groups.items():
        path = ("gateway", "groups", group)
        if part.sound("models"):
            yield from _known_models(draft, part.value.models, (*path, "models"))
        if part.sound("wake") and part.value.wake is not None:
            yield from _known_models(draft, part.value.wake, (*path, "wake"))
            yield from _wake(draft, part, path)


def _known_models(draft: Draft, models: Iterable[str], at: Path) -> Iterator[Problem]:
    for index, model in enumerate(models):
        if model != ALL_MODELS and model not in draft.model_names:
            allowed = ", ".join([f"'{ALL_MODELS}'", *draft.model_names])
            owner = _alias_owner(draft, model)
            fix = f"write its name, {owner}" if owner else "use one of them, or add the model"
            yield Problem(106, (*at, index), "is not a model of this stack", allowed, fix, model)


def _wake(draft: Draft, part: Part[GroupConfig], path: Path) -> Iterator[Problem]:
    group = part.value
    wake = group.wake or ()
    if part.sound("models"):
        for index, model in enumerate(wake):
            if model in draft.model_names and not group.may_use(model):
                message = "is a model this group may not use, so it cannot wake it"
                allowed = ", ".join(group.models) or "none: the group may use no model"
                fix = "add it to the group's models, or take it out here"
                yield Problem(210, (*path, "wake", index), message, allowed, fix, model)
    if part.sound("max_wakes_per_day") and group.max_wakes_per_day is not None and not wake:
        message = "has no effect: wake is empty, so this group wakes nothing"
        allowed, fix = "a group that may wake a model", "take it out, or name models under wake"
        yield Problem(
            211, (*path, "maxWakesPerDay"), message, allowed, fix, group.max_wakes_per_day, severity="warning"
        )


def _alias_owner(draft: Draft, alias: str) -> str | None:
    parts = draft.models.items()
    return next((name for name, p in parts if p.sound("aliases") and alias in p.value.aliases), None)


def _keys(draft: Draft) -> Iterator[Problem]:
    holders: dict[str, str] = {}
    for name, part in draft.keys.items():
        key, path = part.value, ("gateway", "keys", name)
        if part.sound("group") and key.group not in draft.group_names:
            allowed = ", ".join(draft.group_names) or "none: there is no group yet"
            fix = f"use one of them, or add {show_path((key.group,))} under gateway.groups"
            yield Problem(107, (*path, "group"), "is not a group of this stack", allowed, fix, key.group)
        if part.sound("sha256") and key.sha256:
            first = holders.setdefault(key.sha256, name)
            if first != name:
                message = f"is the hash of key {first} too: nobody could tell the two apart"
                fix = "make another key for one of the two"
                yield Problem(109, (*path, "sha256"), message, "a hash of its own for each key", fix, key.sha256)


def _guard(draft: Draft) -> Iterator[Problem]:
    if draft.guard is None or not draft.guard.sound("max_gpus") or not draft.model_names:
        return
    ceiling, path = draft.guard.value.max_gpus, ("guard", "maxGpus")
    sized = {name: p.value for name, p in draft.models.items() if p.sound("gpus", "nodes")}
    largest = max((model.replica_gpus for model in sized.values()), default=1)
    if ceiling is None:
        message = "is missing: without a ceiling nothing bounds the cost of all models together"
        fix = f"add maxGpus: {largest} or more"
        yield Problem(8, path, message, f"a whole number from {largest}", fix, has_value=False, severity="mandatory")
        return
    kept = {n: m.replica_gpus * m.min for n, m in sized.items() if draft.models[n].sound("min") and m.min}
    warm = kept_at_once(draft.models)
    need = max(largest, sum(kept.values()), warm)
    if ceiling >= need or not sized:
        return
    if need > max(largest, sum(kept.values())):
        message = f"is fewer than the models keep warm at once in their schedules, which is {need}"
    elif need > largest:
        message = f"is fewer than the models with a min keep at all times, which is {need} ({', '.join(kept)})"
    else:
        name = next(name for name, model in sized.items() if model.replica_gpus == largest)
        message = f"is fewer than model {name} needs to start, which is {largest}"
    yield Problem(114, path, message, f"{need} or more", f"set maxGpus: {need} or more", ceiling)
