"""Settings of the mirror, as plain values."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from components.platforms.folder_store import folder_name

NAMESPACE: Final = "ebbtide-mirror"
SERVICE_ACCOUNT: Final = "ebbtide-mirror"
_REVISION = re.compile(r"[0-9a-f]{40}")
_NAME_LETTERS = 40


@dataclass(frozen=True)
class TokenSecret:
    """Secret in ``NAMESPACE`` with a Hugging Face token. Its owner makes it; the stack never reads its content."""

    name: str
    key: str = "token"


@dataclass(frozen=True)
class MirroredModel:
    """One model at one revision (40 hexadecimal digits). ``allow_pickle``: its weights may be pickles, which run code
    when they are loaded. ``token``: for a gated or private model. Raises ``ValueError``."""

    model_id: str
    revision: str
    allow_pickle: bool = False
    token: TokenSecret | None = None

    def __post_init__(self) -> None:
        if not _REVISION.fullmatch(self.revision):
            raise ValueError(
                f"{self.model_id}: revision is {self.revision!r}, allowed are the 40 hexadecimal digits of a commit: a "
                "branch names other files tomorrow"
            )

    @property
    def folder(self) -> str:
        """Return where its files lie below the store's root: as ``ModelStore.weights`` reads them."""
        return f"{folder_name(self.model_id)}/{self.revision}"

    @property
    def label(self) -> str:
        """Return a readable text fit for a name in Kubernetes: ``llama-3-1-8b-instruct-0e9e39f2``."""
        words = re.sub(r"[^a-z0-9]+", "-", self.model_id.rpartition("/")[2].lower()).strip("-")[:_NAME_LETTERS]
        return f"{words.strip('-')}-{self.revision[:8]}"


@dataclass(frozen=True)
class MirrorSettings:
    """Settings of all copies. ``models``: what the stack serves; the same model at the same revision twice is copied
    once. ``requests`` are a Job's CPU and memory, ``memory_limit`` its bound: it streams, and holds a few parts of 16
    MiB."""

    models: tuple[MirroredModel, ...]
    requests: Mapping[str, str] | None = None
    memory_limit: str = "2Gi"

    @property
    def each(self) -> tuple[MirroredModel, ...]:
        """Return every model and revision once. Raises ``ValueError`` where two of one disagree."""
        by_revision: dict[tuple[str, str], MirroredModel] = {}
        for model in self.models:
            before = by_revision.setdefault((model.model_id, model.revision), model)
            if before != model:
                raise ValueError(
                    f"{model.model_id}@{model.revision[:12]} is mirrored twice, with different tokens or consents: "
                    "give both models the same"
                )
        return tuple(by_revision.values())


def job_name(model: MirroredModel, root: str, environment: Mapping[str, str]) -> str:
    """Return a name that changes with everything that would change the copy, and with nothing else: a Job that ran is
    not run again because the image was rebuilt."""
    inputs: dict[str, Any] = {
        "model": model.model_id,
        "revision": model.revision,
        "pickle": model.allow_pickle,
        "token": [model.token.name, model.token.key] if model.token else None,
        "root": root,
        "environment": dict(sorted(environment.items())),
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:8]
    return f"{model.label}-{digest}"
