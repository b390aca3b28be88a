"""Settings of the Job, from its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ebbtide_mirror.problem import Problem

_REVISION = re.compile(r"[0-9a-f]{40}")
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Settings:
    """Settings of one copy. ``target``: URI of the folder for this revision's files; ``token`` is secret and never
    printed.
    """

    model_id: str
    revision: str
    target: str
    allow_pickle: bool = False
    token: str | None = None

    def __repr__(self) -> str:
        return f"{self.model_id}@{self.revision} to {self.target}"


def settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings. Raises ``Problem`` for a value that cannot be right."""
    model_id, revision = _one(environ, "EBBTIDE_MODEL_ID"), _one(environ, "EBBTIDE_REVISION")
    if not _MODEL_ID.fullmatch(model_id):
        raise Problem(f"EBBTIDE_MODEL_ID is {model_id!r}, allowed is owner/name", "set it as on the model's page")
    if not _REVISION.fullmatch(revision):
        message = f"EBBTIDE_REVISION is {revision!r}, allowed are the 40 hexadecimal digits of a commit"
        raise Problem(message, "a branch or a tag names other files tomorrow: copy the commit from the model's page")
    token = environ.get("HF_TOKEN", "").strip() or None
    pickle = environ.get("EBBTIDE_ALLOW_PICKLE", "false") == "true"
    return Settings(model_id, revision, _one(environ, "EBBTIDE_TARGET"), pickle, token)


def _one(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise Problem(f"{name} is not set", "start this program from the Job that the stack makes")
    return value
