"""Keys, usage and cost of a stack that is up, through its gateway's admin API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import httpx

from infra.errors import LocalProblem
from infra.served.access import Access
from infra.served.gateway import headers, no_connection, refused

Change = Literal["suspend", "resume", "rotate", "expire", "limit"]
Key = dict[str, Any]
Group = dict[str, Any]


def every_key(access: Access) -> list[Key]:
    """Return all keys that were made at run time. Raises ``LocalProblem``, as all of these do."""
    return [dict(key) for key in _asked(access, "GET", "/admin/keys")["keys"]]


def create_key(
    access: Access, name: str, group: str, expires_at: str | None, limits: Mapping[str, float | None]
) -> tuple[Key, str]:
    """Return a new key's entry, and the key itself, which is shown no second time."""
    body = {"name": name, "group": group, "expires_at": expires_at, **({"limits": dict(limits)} if limits else {})}
    made = _asked(access, "POST", "/admin/keys", body)
    return dict(made["key"]), str(made["secret"])


def change_key(access: Access, name: str, change: Change, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what became of a key: its entry as ``key``, and of a rotated one the new key as ``secret``."""
    return _asked(access, "POST", f"/admin/keys/{name}/{change}", body)


def delete_key(access: Access, name: str) -> Key:
    """Return the entry of a key that is no more."""
    return dict(_asked(access, "DELETE", f"/admin/keys/{name}")["key"])


def every_group(access: Access) -> list[Group]:
    """Return all groups that were made at run time."""
    return [dict(group) for group in _asked(access, "GET", "/admin/groups")["groups"]]


def create_group(access: Access, name: str, rights: Mapping[str, Any]) -> Group:
    """Return a new group. ``rights``: its ``models``, and if they are given ``wake`` and ``limits``."""
    return dict(_asked(access, "POST", "/admin/groups", {"name": name, **rights})["group"])


def change_group(access: Access, name: str, rights: Mapping[str, Any]) -> Group:
    """Return what became of a group."""
    return dict(_asked(access, "POST", f"/admin/groups/{name}/change", rights)["group"])


def delete_group(access: Access, name: str) -> Group:
    """Return a group that is no more."""
    return dict(_asked(access, "DELETE", f"/admin/groups/{name}")["group"])


def usage(access: Access, by: Sequence[str], since: str | None, until: str | None) -> list[dict[str, Any]]:
    """Return the sums of each combination of ``by``."""
    return [dict(row) for row in _asked(access, "GET", "/admin/usage", query=_period(by, since, until))["usage"]]


def cost(access: Access, by: Sequence[str], since: str | None, until: str | None) -> dict[str, Any]:
    """Return what was charged, as ``cost``, and the period, as ``since`` and ``until``."""
    return _asked(access, "GET", "/admin/cost", query=_period(by, since, until))


def _period(by: Sequence[str], since: str | None, until: str | None) -> dict[str, str]:
    asked = {"by": ",".join(by), "since": since, "until": until}
    return {name: value for name, value in asked.items() if value}


def _asked(
    access: Access,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    try:
        answer = httpx.request(
            method,
            access.url + path,
            json=body,
            params=query,
            headers=headers(access),
            timeout=90,  # a month is charged within a minute
            trust_env=False,
        )
    except httpx.HTTPError as broken:
        raise no_connection(access, broken) from None
    if answer.status_code == 404 and _code(answer) == "unknown_path":
        fix = "give the stack a database (docs/stack-file.md), or name the address of its gateway"
        raise LocalProblem(f"{access.url} keeps no keys: its stack has no database", fix)
    if answer.status_code >= 300:
        raise refused(answer.status_code, answer.content, answer.headers)
    try:
        document: dict[str, Any] = answer.json()
    except ValueError:
        raise LocalProblem(f"{access.url}{path} is no gateway", "name the address of a gateway") from None
    return document


def _code(answer: httpx.Response) -> str | None:
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return None
