"""Address and key of a stack that is up, from its outputs or as they were typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import LocalProblem
from infra.workspace import PROJECT

_KEYS = "api_keys"


@dataclass(frozen=True)
class Access:
    """Way to a gateway. ``url`` is without ``/v1``; the key is never shown. ``models``: the stack's, in its order."""

    url: str
    key: str = field(repr=False)
    models: tuple[str, ...] = ()


def on_stack(stack: str, *arguments: str) -> list[str]:
    """Return this environment's `pulumi …` command for a stack, for callers that cannot answer questions."""
    program = str(Path(sys.executable).with_name("pulumi"))
    return [program, *arguments, "--stack", stack, "--non-interactive", "--color=never"]


def outputs(stack: str) -> dict[str, Any]:
    """Return what a stack exports now, secrets too; empty where it exports nothing. Raises ``LocalProblem``."""
    command = on_stack(stack, "stack", "output", "--json", "--show-secrets")
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    except OSError:
        raise LocalProblem("the pulumi program is not there", "run `make local` or `ebbtide local up`") from None
    if done.returncode != 0:
        raise LocalProblem(f"pulumi stack output: {done.stderr.strip()}", "see the message above")
    exports: dict[str, Any] = json.loads(done.stdout)
    return exports


def find(
    stack: str | None,
    url: str | None,
    key: str | None,
    key_env: str | None,
    environ: Mapping[str, str] = os.environ,
) -> Access:
    """Return the way to a stack, or to a typed address with a key from the environment. ``key`` names one of the keys
    that the stack made. Raises ``LocalProblem``."""
    if (stack is None) == (url is None):
        raise LocalProblem("it is not said which stack", "give either --stack NAME, or --url and --key-env")
    secret = environ.get(key_env, "").strip() if key_env else ""
    if key_env and not secret:
        raise LocalProblem(f"the environment has no {key_env}, or it is empty", f"export {key_env} with a key in it")
    if url is not None:
        if not secret:
            raise LocalProblem("--url has no key", "name the variable that has it: --key-env VARIABLE")
        return Access(url.rstrip("/").removesuffix("/v1").rstrip("/"), secret)
    assert stack is not None
    exports = outputs(stack)
    if not exports.get("endpoint"):
        raise LocalProblem(f"stack {stack} is not up: its state has no endpoint", f"run `pulumi up --stack {stack}`")
    return Access(
        str(exports["endpoint"]).rstrip("/"),
        secret or _own_key(stack, exports, key),
        tuple(exports.get("models") or ()),
    )


def _own_key(stack: str, exports: Mapping[str, Any], name: str | None) -> str:
    keys: Mapping[str, str] = exports.get(_KEYS) or {}
    secret = keys.get(name) if name is not None else next(iter(keys.values()), None)
    if secret is None:
        names = ", ".join(keys) or "none: each has a sha256, so only its owner knows it"
        what = f"stack {stack} has made no key" + (f" called {name}" if name is not None else "")
        raise LocalProblem(what, f"keys that it made: {names}; --key-env VARIABLE takes any other")
    return secret
