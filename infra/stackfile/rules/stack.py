"""Rules between models, pools, groups, keys and the guard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from components.catalog.versions import numbers, pinned
from components.platforms.kinds import kind_of
from components.typed.fields import NAME_ALLOWED, is_name, suggest_name
from components.typed.refusal import ABSENT, Path, Problem
from components.typed.rules.file import (
    GPU_GUARD_TOO_LOW,
    GROUP_MODEL_UNKNOWN,
    INSTANCE_GUARD_TOO_LOW,
    KEY_GROUP_UNKNOWN,
    KEY_HASH_SHARED,
)
from components.typed.rules.pools import (
    PRICE_BELOW_CATALOGUE,
    PRICE_UNCHECKED,
    WAKE_BUDGET_UNUSED,
    WAKE_NOT_ALLOWED,
)
from components.typed.rules.stack import (
    ALIAS_SHARED,
    ARCHITECTURE_MISMATCH,
    COST_ABOVE_GUARD,
    COST_CAP_MISSING,
    ENGINE_BELOW_SECURITY_FLOOR,
    HUB_TOKENS_DIFFER,
    LOCAL_IN_CLOUD,
    MAX_MISSING,
    NAME_INVALID,
    NAME_REPEATED,
    PRICE_UNKNOWN,
    SPOT_ONLY_IN_PRODUCTION,
)
from infra.stackfile.findings.formatting import show_path
from infra.stackfile.findings.owner_needed import AGREE
from infra.stackfile.limits import limits
from infra.stackfile.node_price import NodePrice, node_price
from infra.stackfile.partial import Draft, Part
from infra.stackfile.pool_machine import find
from infra.stackfile.pool_order import users
from infra.stackfile.rules.adapters import (
    adapter_names,
    is_loaded_by_call,
    judge_adapter_names,
    models_that_load,
)
from infra.stackfile.rules.database import judge_database
from infra.stackfile.rules.engine_listed import judge_listed_image, judge_listed_model
from infra.stackfile.rules.fallback import judge_orders, spot_alone
from infra.stackfile.rules.long_prompts import judge_long_prompts
from infra.stackfile.rules.models import judge_model
from infra.stackfile.rules.platform import judge_place
from infra.stackfile.rules.pools import judge_disk, judge_pool, judge_pools
from infra.stackfile.rules.schedules import kept_at_once
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.pool import PoolConfig
from infra.stackfile.schema.stack import ALL_MODELS, GroupConfig


def judge(draft: Draft) -> Iterator[Problem]:
    """Yield every problem that a single field does not show."""
    yield from _environment(draft)
    yield from _names(("pools",), draft.pool_names)
    yield from _names(("models",), draft.model_names, service=True)
    yield from _names(("gateway", "groups"), draft.group_names)
    yield from _names(("gateway", "keys"), tuple(draft.keys))
    for name, pool in draft.pools.items():
        yield from judge_pool(pool, ("pools", name), draft)
        yield from judge_disk(pool, ("pools", name), draft)
    yield from judge_pools(draft)
    for name, model in draft.models.items():
        if model.sound("adapters"):
            yield from _names(("models", name, "adapters"), model.value.adapters)
        yield from judge_model(model, ("models", name), draft)
        yield from judge_listed_model(model, ("models", name), draft)
    yield from judge_orders(draft)
    yield from judge_long_prompts(draft)
    yield from _aliases(draft)
    yield from _hub_tokens(draft)
    yield from judge_adapter_names(draft)
    yield from _groups(draft)
    yield from _keys(draft)
    yield from judge_database(draft)
    yield from _guard(draft)
    yield from judge_cost(draft)
    yield from judge_image(draft)
    yield from judge_listed_image(draft)
    yield from judge_place(draft)


def _environment(draft: Draft) -> Iterator[Problem]:
    if draft.environment == "local" and draft.platform is not None and kind_of(draft.platform).makes_nodes:
        message = (
            f"is for a cluster on this machine, and platform {draft.platform.kind} is a cloud: its rules would rest"
        )
        fix = "write dev, or the environment that it is"
        yield LOCAL_IN_CLOUD.at(("environment",), message, allowed="dev, staging, prod", fix=fix, value="local")


def _names(at: Path, names: Iterable[str], service: bool = False) -> Iterator[Problem]:
    originals: dict[str, str] = {}
    for name in names:
        first = originals.setdefault(name.lower(), name)
        path = (*at, name)
        if first != name:
            message = f"is {show_path((first,))} again: Kubernetes names have no upper case"
            yield NAME_REPEATED.at(path, message, allowed="names that differ in more than case", fix="rename one")
        near = suggest_name(name)
        fix = f"call it {near}" if near else "choose another name"
        if len(name) > 63:
            yield NAME_INVALID.at(path, f"has {len(name)} characters", allowed=NAME_ALLOWED, fix=fix)
        elif not is_name(name):
            yield NAME_INVALID.at(path, "is not a name Kubernetes takes", allowed=NAME_ALLOWED, fix=fix)
        elif service and name[0].isdigit():
            message = "begins with a digit, which a Kubernetes Service may not"
            fix = f"call it m-{name[:61]}"
            yield NAME_INVALID.at(path, message, allowed="a model name that begins with a letter", fix=fix)


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
            yield ALIAS_SHARED.at(
                path, message, allowed="an alias that no other model answers to", fix=fix, value=alias
            )


def _hub_tokens(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for each model whose weights the mirror already copies with another token, or with none."""
    if draft.platform is None or not kind_of(draft.platform).makes_nodes:
        return  # the weights of a cluster that is there are in its own store: nothing copies them
    firsts: dict[tuple[str, str], tuple[str, str | None]] = {}
    for name, part in draft.models.items():
        model = part.value
        if not part.sound("id", "revision", "hub_token", "adapters"):
            continue
        for weights in model.all_weights:
            if not weights.is_pinned:
                continue
            first, token = firsts.setdefault((weights.id, weights.revision), (name, model.hub_token))
            if model.hub_token == token:
                continue
            others = f"hubToken {token}" if token else "no hubToken"
            yield HUB_TOKENS_DIFFER.at(
                ("models", name, "hubToken"),
                f"{'is another' if model.hub_token else 'is missing'}: model {first} has the same weights, which are "
                f"copied once, and {others}",
                fix=f"give {name} and {first} the same",
                value=model.hub_token or ABSENT,
            )
            break


def _groups(draft: Draft) -> Iterator[Problem]:
    for group, part in draft.groups.items():
        path = ("gateway", "groups", group)
        if part.sound("models"):
            yield from _known_models(draft, part.value.models, (*path, "models"))
        if part.sound("wake") and part.value.wake is not None:
            yield from _known_models(draft, part.value.wake, (*path, "wake"))
            yield from _wake(draft, part, path)
        if part.sound("load_adapters"):
            yield from _loading(draft, part.value.load_adapters, (*path, "loadAdapters"))


def _known_models(draft: Draft, models: Iterable[str], at: Path) -> Iterator[Problem]:
    named = (*draft.model_names, *adapter_names(draft))
    for index, model in enumerate(models):
        if model != ALL_MODELS and model not in named and not is_loaded_by_call(draft, model):
            allowed = ", ".join([f"'{ALL_MODELS}'", *named])
            owner = _alias_owner(draft, model)
            fix = f"write its name, {owner}" if owner else "use one of them, or add the model"
            yield GROUP_MODEL_UNKNOWN.at(
                (*at, index), "is not a model of this stack", allowed=allowed, fix=fix, value=model
            )


def _loading(draft: Draft, models: Iterable[str], at: Path) -> Iterator[Problem]:
    """Yield a problem for each model of a group's ``loadAdapters`` into which nothing can be loaded."""
    taking = models_that_load(draft)
    for index, model in enumerate(models):
        if model not in taking:
            yield GROUP_MODEL_UNKNOWN.at(
                (*at, index),
                "is not a model with hotAdapters",
                allowed=", ".join(taking) or "nothing: no model has hotAdapters",
                fix="give the model hotAdapters, or take it out here",
                value=model,
            )


def _wake(draft: Draft, part: Part[GroupConfig], path: Path) -> Iterator[Problem]:
    group = part.value
    wake = group.wake or ()
    if part.sound("models"):
        for index, model in enumerate(wake):
            is_known = model in (*draft.model_names, *adapter_names(draft)) or is_loaded_by_call(draft, model)
            if is_known and not group.may_use(model):
                message = "is a model this group may not use, so it cannot wake it"
                allowed = ", ".join(group.models) or "none: the group may use no model"
                fix = "add it to the group's models, or take it out here"
                yield WAKE_NOT_ALLOWED.at((*path, "wake", index), message, allowed=allowed, fix=fix, value=model)
    if part.sound("max_wakes_per_day") and group.max_wakes_per_day is not None and not wake:
        message = "has no effect: wake is empty, so this group wakes nothing"
        allowed, fix = "a group that may wake a model", "take it out, or name models under wake"
        yield WAKE_BUDGET_UNUSED.at(
            (*path, "maxWakesPerDay"), message, allowed=allowed, fix=fix, value=group.max_wakes_per_day
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
            yield KEY_GROUP_UNKNOWN.at(
                (*path, "group"), "is not a group of this stack", allowed=allowed, fix=fix, value=key.group
            )
        if part.sound("sha256") and key.sha256:
            first = holders.setdefault(key.sha256, name)
            if first != name:
                message = f"is the hash of key {first} too: nobody could tell the two apart"
                fix = "make another key for one of the two"
                yield KEY_HASH_SHARED.at(
                    (*path, "sha256"), message, allowed="a hash of its own for each key", fix=fix, value=key.sha256
                )


def _guard(draft: Draft) -> Iterator[Problem]:
    if draft.guard is None or not draft.model_names:
        return
    guard = draft.guard.value
    sized = {name: p.value for name, p in draft.models.items() if p.sound("gpus", "nodes")}
    if draft.guard.sound("max_gpus") and guard.max_gpus is None:
        largest = max((model.replica_gpus for model in sized.values()), default=1)
        message = "is missing: without a ceiling nothing bounds the cost of all models together"
        fix = f"add maxGpus: {largest} or more"
        yield MAX_MISSING.at(("guard", "maxGpus"), message, allowed=f"a whole number from {largest}", fix=fix)
    if not sized:
        return
    if draft.guard.sound("max_gpus") and guard.max_gpus is not None:
        for message, need in _too_low(draft, sized, guard.max_gpus, _gpus):
            allowed, fix = f"{need} or more", f"set maxGpus: {need} or more"
            yield GPU_GUARD_TOO_LOW.at(("guard", "maxGpus"), message, allowed=allowed, fix=fix, value=guard.max_gpus)
    if draft.guard.sound("max_instances") and guard.max_instances is not None:
        for message, need in _too_low(draft, sized, guard.max_instances, _one):
            allowed, fix = f"{need} or more", f"set maxInstances: {need} or more"
            yield INSTANCE_GUARD_TOO_LOW.at(
                ("guard", "maxInstances"), message, allowed=allowed, fix=fix, value=guard.max_instances
            )


def _gpus(model: ModelConfig) -> int:
    return model.replica_gpus


def _one(_: ModelConfig) -> int:
    return 1


def _too_low(
    draft: Draft, sized: Mapping[str, ModelConfig], ceiling: int, amount: Callable[[ModelConfig], int]
) -> Iterator[tuple[str, int]]:
    """Yield why a ceiling is too low, and what would do, if the models cannot start below it or hold more at some
    moment of the week. ``amount``: what one replica takes of it.
    """
    largest = max(amount(model) for model in sized.values())
    always_on = {n: amount(m) * m.min for n, m in sized.items() if draft.models[n].sound("min") and m.min}
    need = max(largest, sum(always_on.values()), kept_at_once(draft.models, amount))
    if ceiling >= need:
        return
    if need > max(largest, sum(always_on.values())):
        yield f"is fewer than the models keep warm at once in their schedules, which is {need}", need
    elif need > largest:
        yield f"is fewer than the models with a min keep at all times, which is {need} ({', '.join(always_on)})", need
    else:
        name = next(name for name, model in sized.items() if amount(model) == largest)
        yield f"is fewer than model {name} needs to start, which is {largest}", need


# Cost of a stack: every pool at its max, at a known price, under the cap; no production on spot alone.


def judge_cost(draft: Draft) -> Iterator[Problem]:
    """Yield prices that are unknown or too low, a cap that is exceeded or missing, and production on spot alone."""
    yield from _prices(draft)
    yield from _own_prices(draft)
    yield from _cap(draft)
    yield from _spot(draft)


def priced(draft: Draft, region: str | None) -> Iterator[tuple[PoolConfig, NodePrice]]:
    """Yield pools that may hold a billed node, with its price, as far as they can be read."""
    for part in draft.pools.values():
        if part.sound("machine", "max", "capacity", "price_per_hour") and part.value.max > 0:
            price = node_price(part.value, region)
            if price.billed:
                yield part.value, price


def _region(draft: Draft) -> str | None:
    return draft.platform.region if draft.platform is not None else None


def _prices(draft: Draft) -> Iterator[Problem]:
    region = _region(draft)
    if region is None:
        return
    for pool, price in priced(draft, region):
        if price.paid is None:
            message = f"has no known price in {region}: nobody could say what this pool may cost"
            fix = "add pricePerHour: and what one node costs you in US dollars"
            allowed = "a machine with a price, or a pricePerHour beside it"
            at = ("pools", pool.name, "machine")
            yield PRICE_UNKNOWN.at(at, message, allowed=allowed, fix=fix, value=pool.machine)


def _own_prices(draft: Draft) -> Iterator[Problem]:
    """Check ``pricePerHour`` of machines that are bought: a lower figure than the catalogue's does not count."""
    for pool, price in priced(draft, _region(draft)):
        own, path = pool.price_per_hour, ("pools", pool.name, "pricePerHour")
        if own is None or find(pool.place, pool.machine) is None:
            continue
        fix = "leave it out, or have the catalogue's price corrected with a source"
        if price.known is None:
            message = f"is all that is known of the price of {pool.machine}, of which there may be {pool.max}: {AGREE}"
            allowed = "a machine with a price in the catalogue"
            fix = "have its price added to the catalogue with a source, or show the owner where this is from"
            yield PRICE_UNCHECKED.at(path, message, allowed=allowed, fix=fix, value=own)
        elif own < price.known:
            # the catalogue's price on demand is what discounts are counted from
            least = limits().least_price.share * (price.on_demand or price.known)
            message = f"is less than the catalogue's {price.known:.2f}, which counts instead"
            if own >= least:
                yield PRICE_BELOW_CATALOGUE.at(path, message, allowed=f"{price.known:.2f} or more", fix=fix, value=own)
                continue
            message += f", and less than any discount explains ({limits().least_price.source})"
            yield PRICE_BELOW_CATALOGUE.at(
                path, message, allowed=f"{least:.2f} or more", fix=fix, value=own, severity="mandatory"
            )


def _cap(draft: Draft) -> Iterator[Problem]:
    if draft.guard is None or not draft.guard.sound("max_dollars_per_hour"):
        return
    cap = draft.guard.value.max_dollars_per_hour
    if cap is None:
        if draft.pool_names and draft.platform is not None and kind_of(draft.platform).makes_nodes:
            path, fix = ("guard", "maxDollarsPerHour"), "add maxDollarsPerHour: and what a bad day may cost an hour"
            message = "is missing: nothing but the environment's ceiling bounds the cost of all pools at their max"
            yield COST_CAP_MISSING.at(path, message, allowed="an amount of US dollars an hour", fix=fix)
        return
    costs = [(pool, price) for pool, price in priced(draft, _region(draft)) if price.paid is not None]
    total = sum(price.for_nodes(pool.max) or 0 for pool, price in costs)
    if total > cap:
        sums = ", ".join(f"{pool.name} {pool.max} × {price.paid:.2f}" for pool, price in costs)
        yield COST_ABOVE_GUARD.at(
            ("guard", "maxDollarsPerHour"),
            f"is less than all pools at their max cost, which is {total:.2f} ({sums})",
            allowed=f"{total:.2f} or more",
            fix="lower max of a pool, take a cheaper machine, or raise the cap",
            value=cap,
        )


def _spot(draft: Draft) -> Iterator[Problem]:
    if draft.environment != "prod":
        return
    for name, part in draft.pools.items():
        first = {n: m for n, m in draft.models.items() if m.sound("pool") and m.value.pool == name}
        on_it = [n for n, model in first.items() if spot_alone(model, draft)]
        if part.sound("capacity") and part.value.capacity == "spot" and on_it:
            message = f"is all that carries {', '.join(on_it)} in prod, where spot nodes go at short notice"
            fix = "set capacity: onDemand, or give these models a pool with it under pool or fallbackPools"
            path = ("pools", name, "capacity")
            yield SPOT_ONLY_IN_PRODUCTION.at(
                path, message, allowed="onDemand for models of prod", fix=fix, value="spot"
            )


# Rules for the engine's image: new enough, and built for the processors it will run on.


def judge_image(draft: Draft) -> Iterator[Problem]:
    """Yield an engine below the security floor, or one built for other processors than a pool has."""
    yield from _floor(draft)
    yield from _architecture(draft)


def _too_old(path: tuple[str | int, ...], version: str, value: str | None) -> Iterator[Problem]:
    floor, release = limits().engine_floor, numbers(version)
    if release and release < numbers(floor.version):
        message = f"is vLLM {version.lstrip('v')}, below the security floor ({floor.source})"
        fix = f"take vLLM {floor.version} or newer, or leave it out for {pinned('vllm').version}"
        allowed = f"vLLM {floor.version} or newer"
        yield ENGINE_BELOW_SECURITY_FLOOR.at(
            path, message, allowed=allowed, fix=fix, value=value if value is not None else ABSENT
        )


def _floor(draft: Draft) -> Iterator[Problem]:
    yield from _too_old(("image",), pinned("vllm").version, None)
    if draft.image is None:
        return
    # read from the raw value: an image by tag alone is refused for that, and may be too old as well
    base = draft.image.raw.get("base")
    if isinstance(base, str):
        yield from _too_old(("image", "base"), base.partition("@")[0].rpartition(":")[2], base)
    for index, package in enumerate(draft.image.value.extra_packages if draft.image.sound("extra_packages") else ()):
        name, _, version = package.partition("==")
        if name.partition("[")[0].lower() == "vllm":
            yield from _too_old(("image", "extraPackages", index), version, package)


def _architecture(draft: Draft) -> Iterator[Problem]:
    if draft.image is None or not draft.image.sound("architecture"):
        return
    built = draft.image.value.architecture
    for name, part in draft.pools.items():
        machine = find(part.value.place, part.value.machine) if part.sound("machine") else None
        if machine is not None and users(draft, name) and machine.architecture != built:
            message = f"does not run on pool {name}, whose machine {machine.name} is {machine.architecture}"
            fix = f"set architecture: {machine.architecture}, or take a machine with {built} processors"
            yield ARCHITECTURE_MISMATCH.at(
                ("image", "architecture"), message, allowed=machine.architecture, fix=fix, value=built
            )
