"""A rehearsal: the real engine runs a stack against clouds that are only a folder, ``EBBTIDE_REHEARSAL_CLOUDS``.

Without that variable the stand-ins of the clouds refuse to start, and images are built. With it images are only
recorded, and ``rehearsal.json`` in the folder says who the credentials belong to and where the clusters' API is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "EBBTIDE_REHEARSAL_CLOUDS"
SETTINGS = "rehearsal.json"


@dataclass(frozen=True)
class Api:
    """The real API server that every cluster of the rehearsal leads to. Paths are of PEM files; a client is identified
    by its certificate or by its token."""

    server: str
    authority: str
    client_certificate: str | None = None
    client_key: str | None = None
    token: str | None = None


@dataclass(frozen=True)
class Rehearsal:
    """Settings of one rehearsal. ``accounts``: the account whose credentials a stand-in finds, by package name."""

    folder: Path
    accounts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    api: Api | None = None

    def save(self) -> None:
        """Write the settings for the plugins' processes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {
                "accounts": {name: dict(account) for name, account in self.accounts.items()},
                "api": vars(self.api) if self.api else None,
            },
            indent=2,
        )
        (self.folder / SETTINGS).write_text(text + "\n")


def current(environ: Mapping[str, str] = os.environ) -> Rehearsal | None:
    """Return the rehearsal this process is part of; None outside of one."""
    named = environ.get(VARIABLE)
    return load(Path(named)) if named else None


def load(folder: Path) -> Rehearsal:
    """Return what `Rehearsal.save` wrote; a folder without settings is a rehearsal without accounts and clusters."""
    try:
        settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text())
    except FileNotFoundError:
        return Rehearsal(folder)
    return Rehearsal(
        folder,
        settings.get("accounts") or {},
        Api(**settings["api"]) if settings.get("api") else None,
    )
