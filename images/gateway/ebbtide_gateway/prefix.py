"""What a request's prompt begins with, so that requests that begin alike meet at one replica and its prefix cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

_LETTERS = 1024


def beginning(document: Mapping[str, Any]) -> bytes:
    """Of a checked body. Of a chat the first message of its user: it stays the same from turn to turn, and differs
    between two chats under one system prompt, which every replica soon has in its cache. Of anything else its start.
    """
    messages = document.get("messages")
    if isinstance(messages, list):
        said = [each for each in messages if isinstance(each, Mapping) and each.get("role") == "user"] or messages
        return _start(said[0].get("content") if said and isinstance(said[0], Mapping) else said)
    return _start(document.get("prompt", document.get("input")))


def _start(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_LETTERS].encode(errors="surrogatepass")


def preferred(prompt: bytes, addresses: Sequence[str]) -> list[str]:
    """All addresses, in the order in which this prompt wants them (rendezvous hashing): one that comes or goes changes
    the first choice of its own share of the prompts alone.
    """
    return sorted(addresses, key=lambda at: hashlib.blake2b(prompt + b"\0" + at.encode(), digest_size=8).digest())
