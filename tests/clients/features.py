"""What the programs in Python share: where to ask, what to ask for, and a line of JSON for each feature that was tried.

A program takes the names of features as arguments, by default all that it has. Its address, key and models come by
environment: ``EBBTIDE_URL``, ``EBBTIDE_KEY``, ``EBBTIDE_CHAT``, ``EBBTIDE_EMBED``, ``EBBTIDE_TRANSCRIBE``.
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
import wave
from collections.abc import Callable
from typing import Literal, TypeVar

from pydantic import BaseModel

URL, KEY = os.environ["EBBTIDE_URL"], os.environ["EBBTIDE_KEY"]
CHAT, EMBED, TRANSCRIBE = (os.environ.get(f"EBBTIDE_{task}", "") for task in ("CHAT", "EMBED", "TRANSCRIBE"))
HELD_SECONDS = 300
PROMPT = "What is the weather in Paris?"
FEW, ENOUGH = 8, 128
"""Tokens: of an answer that may be cut, and of one that must be whole. A small model may call a tool again and again
until they are used up, and its last call is cut: so libraries that can are told to let it call once."""

E = TypeVar("E", bound=Exception)
FEATURES: dict[str, Callable[[], None]] = {}


class Weather(BaseModel):
    """The weather in a city."""

    city: Literal["Paris", "Rome"]
    sunny: bool


def feature(run: Callable[[], None]) -> Callable[[], None]:
    FEATURES[run.__name__] = run
    return run


def raised(kind: type[E], call: Callable[[], object]) -> E:
    """The error of this kind that a call must end with."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def sound() -> bytes:
    """A second of silence as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(32_000))
    return file.getvalue()


def main() -> None:
    for name in sys.argv[1:] or FEATURES:
        try:
            FEATURES[name]()
            wrong = None
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[1]
            wrong = f"line {line.lineno}, {line.line}: {type(error).__name__}: {error}"[:1000]
        print(json.dumps({"feature": name, "wrong": wrong}), flush=True)
