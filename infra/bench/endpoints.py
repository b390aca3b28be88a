"""Addresses, models and keys that ``ebbtide bench`` uses."""

from __future__ import annotations

import os
from collections.abc import Mapping

from infra.bench.client import Endpoint, base
from infra.bench.options import Options
from infra.errors import LocalProblem
from infra.workspace import Paths
from lab.ask import Access


def endpoints(options: Options, at: Paths, environ: Mapping[str, str] = os.environ) -> tuple[Endpoint, Endpoint | None]:
    """Return the measured endpoint and the other. The local stack's key goes to the local stack alone. ``model`` is
    empty where the endpoint has to be asked which it has. Raises ``LocalProblem``."""
    if options.url is None:
        access = Access.load(at)
        key = _key(options.key_env, environ) if options.key_env else access.key
        measured = Endpoint(base(access.url), options.model or access.models[0], key, options.host_header)
    else:
        measured = Endpoint(base(options.url), options.model or "", _key(options.key_env, environ), options.host_header)
    if options.against is None:
        return measured, None
    other = Endpoint(
        base(options.against),
        options.against_model or measured.model,
        _key(options.against_key_env, environ),
        options.against_host_header,
    )
    return measured, other


def _key(variable: str | None, environ: Mapping[str, str]) -> str | None:
    if variable is None:
        return None
    key = environ.get(variable, "").strip()
    if not key:
        raise LocalProblem(
            f"the environment has no {variable}, or it is empty", f"export {variable} with the endpoint's key in it"
        )
    return key
