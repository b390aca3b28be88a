"""Cross-origin requests: which pages in a browser may read the answers, by the origins in the configuration.

A key is in a header that only a page which has it can send, never in a cookie; so an origin is no right by itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

ANY_ORIGIN = "*"
ALLOWED = "access-control-allow-origin"
_NAMES = re.compile(r"[A-Za-z0-9-]{1,64}(\s*,\s*[A-Za-z0-9-]{1,64}){0,63}")
_EXPOSED = "retry-after, x-request-id, x-ebbtide-model, x-ebbtide-wait-seconds, x-ebbtide-woken, x-ebbtide-usd-per-hour"
_KEEP_SECONDS = 600


def allowing(origins: Collection[str], origin: str | None) -> dict[str, str]:
    """Return the headers that let a page of this origin read an answer; none if it may not."""
    if origin is None or not origins:
        return {}
    if origin not in origins and ANY_ORIGIN not in origins:
        return {"vary": "origin"}
    return {ALLOWED: origin, "access-control-expose-headers": _EXPOSED, "vary": "origin"}


def permitting(methods: Collection[str], request_headers: Mapping[str, str]) -> dict[str, str]:
    """Return what a page may send, in answer to a browser that asks first. Any header: none of them is sent on."""
    if "access-control-request-method" not in request_headers:
        return {}
    names = request_headers.get("access-control-request-headers", "")
    headers = {"access-control-allow-headers": names} if _NAMES.fullmatch(names) else {}
    caching = {"access-control-max-age": str(_KEEP_SECONDS)}
    return {"access-control-allow-methods": ", ".join(methods), **headers, **caching}
