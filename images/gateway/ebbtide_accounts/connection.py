"""Way to the database: the mounted Secret with a connection URI, and how its server has to prove itself."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import asyncpg

URI_FILE, AUTHORITY_FILE = "uri", "ca.crt"
FOLDER, TLS = "EBBTIDE_DATABASE_FOLDER", "EBBTIDE_DATABASE_TLS"
Tls = Literal["verify", "encrypt", "off"]


@dataclass(frozen=True)
class Location:
    """Folder of the mounted Secret. ``tls``: ``verify`` asks for a certificate of the Secret's ``ca.crt``, or of a
    public authority where it has none; ``encrypt`` takes any certificate; ``off`` asks for none.
    """

    folder: Path
    tls: Tls = "verify"

    @classmethod
    def from_environment(cls) -> Location:
        """Return the location that this process was started with: another's ``environment``."""
        return cls(Path(os.environ[FOLDER]), cast(Tls, os.environ[TLS]))

    def uri(self) -> str:
        """Return the URI as the Secret has it now: it follows a password that is rotated. What it says after ``?`` is
        left out: TLS is the stack file's to say. Raises ``OSError``.
        """
        return (self.folder / URI_FILE).read_text().strip().partition("?")[0]

    def environment(self) -> dict[str, str]:
        """Return what tells another process of this pod where the database is: the URI is in no environment."""
        return {FOLDER: str(self.folder), TLS: self.tls}

    def ssl(self) -> ssl.SSLContext | Literal[False]:
        """Return what decides about the server's certificate, whatever the URI says of it."""
        if self.tls == "off":
            return False
        authority = self.folder / AUTHORITY_FILE
        context = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
        if self.tls == "encrypt":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


_CONNECT_SECONDS, _STATEMENT_SECONDS = 5.0, 5.0
_MOST_CONNECTIONS = 4
PROBLEMS = (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""Raised when the database is away, refuses, or its address is none. A time-out is an ``OSError``."""


async def connect(location: Location, **more: Any) -> asyncpg.Connection:
    """Return one connection. Raises one of ``PROBLEMS``."""
    return await asyncpg.connect(location.uri(), ssl=location.ssl(), timeout=_CONNECT_SECONDS, **more)


async def open_pool(location: Location) -> asyncpg.Pool:
    """Return a few connections, one of them open. Raises one of ``PROBLEMS``."""
    return await asyncpg.create_pool(
        location.uri(),
        ssl=location.ssl(),
        min_size=1,
        max_size=_MOST_CONNECTIONS,
        timeout=_CONNECT_SECONDS,
        command_timeout=_STATEMENT_SECONDS,
        server_settings={"application_name": "ebbtide-gateway"},
    )


def describe(problem: BaseException) -> str:
    """Return the kind of a problem and PostgreSQL's code for it: a message may repeat the URI, or a value."""
    code = getattr(problem, "sqlstate", None)
    return f"{type(problem).__name__} {code}" if code else type(problem).__name__
