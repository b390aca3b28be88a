"""Rules for the database: its kind, the keys that belong to it, and who has the right to what is in it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic.alias_generators import to_camel

from components.platforms.kinds import kind_of
from components.typed.refusal import Path, Problem
from components.typed.rules.database import (
    ADMIN_MISSING,
    ADMIN_WITHOUT_DATABASE,
    DATABASE_KEY_MISSING,
    DATABASE_KEY_UNUSED,
    DATABASE_NOT_KEPT,
    DATABASE_NOT_YET,
    DATABASE_WITHOUT_TLS,
    LIMIT_ABOVE_GROUPS,
    LIMIT_WITHOUT_DATABASE,
)
from infra.stackfile.partial import Draft, Part
from infra.stackfile.schema.stack import DatabaseConfig, GroupConfig, KeyConfig, UsageLimits

_AT = ("database",)
_SUMMED_UP = ("tokens_per_day", "tokens_per_month", "dollars_per_day", "dollars_per_month")
_KEYS = {
    "existing": ("secret", "namespace", "networks", "port", "tls", "limitsWhileAway", "usageDays"),
    "embedded": ("storage", "storageClass", "image", "limitsWhileAway", "usageDays"),
    "none": (),
}


def judge_database(draft: Draft) -> Iterator[Problem]:
    """Yield what is wrong with the database, and with rights that need one."""
    part = draft.database
    if part is None or not part.sound("kind"):
        return
    kind = part.value.kind
    if kind == "managed":
        yield DATABASE_NOT_YET.at((*_AT, "kind"), "is not built yet", value=kind)
        return
    for key in part.raw:
        if key != "kind" and key not in _KEYS[kind] and any(key in keys for keys in _KEYS.values()):
            allowed = ", ".join(_KEYS[kind]) or "no other key with kind none"
            yield DATABASE_KEY_UNUSED.at((*_AT, str(key)), f"has no effect with kind {kind}", allowed=allowed)
    if kind == "existing" and part.sound("secret", "namespace", "networks"):
        yield from _existing(part.value)
    if kind == "existing" and part.sound("tls") and part.value.tls != "verify" and draft.environment != "local":
        says = "takes any server for the database" if part.value.tls == "encrypt" else "sends all of it in clear"
        yield DATABASE_WITHOUT_TLS.at((*_AT, "tls"), says, value=part.value.tls)
    if kind == "embedded":
        yield from _embedded(draft)
    yield from _admins(draft, kind)
    yield from _limits(draft, kind)


def _existing(database: DatabaseConfig) -> Iterator[Problem]:
    if database.secret is None:
        message = "is missing: nothing else says where the database is"
        yield DATABASE_KEY_MISSING.at((*_AT, "secret"), message, fix="name the Secret that has its URI")
    if (database.namespace is None) == (not database.networks):
        message = "is missing, and networks too" if database.namespace is None else "stands beside networks"
        fix = "name the namespace of its pods, or the networks of its addresses: the gateway is let reach no other"
        yield DATABASE_KEY_MISSING.at((*_AT, "namespace"), message, fix=fix)


def _embedded(draft: Draft) -> Iterator[Problem]:
    clouds = draft.platform is not None and kind_of(draft.platform).makes_nodes
    if clouds or draft.environment == "prod":
        where = "a cloud" if clouds else "prod"
        message = f"is one pod with one claim and no backup, in {where}: what is lost is every key and all usage"
        yield DATABASE_NOT_KEPT.at((*_AT, "kind"), message, value="embedded")


def _limits(draft: Draft, kind: str) -> Iterator[Problem]:
    """Yield limits that nobody could count, and those of a key that its group's make useless."""
    holders: dict[Path, Part[GroupConfig] | Part[KeyConfig]] = {
        **{("gateway", "groups", name): part for name, part in draft.groups.items()},
        **{("gateway", "keys", name): part for name, part in draft.keys.items()},
    }
    for path, part in holders.items():
        for limit in _SUMMED_UP if kind == "none" else ():
            if part.sound(limit) and (most := getattr(part.value, limit)) is not None:
                message = "is summed up in a database, and the stack has none"
                yield LIMIT_WITHOUT_DATABASE.at((*path, to_camel(limit)), message, value=most)
    for name, key in draft.keys.items():
        group = draft.groups.get(key.value.group) if key.sound("group") else None
        for limit in sorted(UsageLimits.model_fields) if group is not None else ():
            if not (key.sound(limit) and group is not None and group.sound(limit)):
                continue
            own, most = getattr(key.value, limit), getattr(group.value, limit)
            if own is not None and most is not None and own > most:
                message = f"has no effect: all keys of group {key.value.group} together have {most}"
                at = ("gateway", "keys", name, to_camel(limit))
                yield LIMIT_ABOVE_GROUPS.at(at, message, value=own)


def _admins(draft: Draft, kind: str) -> Iterator[Problem]:
    admins = [name for name, part in draft.groups.items() if part.sound("admin") and part.value.admin]
    if kind == "none":
        for name in admins:
            message = "has no effect: keys that are made while the stack runs need a database"
            yield ADMIN_WITHOUT_DATABASE.at(("gateway", "groups", name, "admin"), message, value=True)
    elif not admins and all(part.sound("admin") for part in draft.groups.values()):
        yield ADMIN_MISSING.at(_AT, "is there, and no group may make keys or read usage")
