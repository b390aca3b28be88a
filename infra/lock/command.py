"""``ebbtide lock``: put the digests of public images where the project names them by tag alone.

A tag may mean another image tomorrow, a digest may not. Exit status: 0 every image has one, 1 some has none, 2 wrong
usage.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import httpx

from infra.atomic_write import atomic_write
from infra.lock import registry
from infra.lock.pins import Pin, image_name, locked, pins
from infra.redaction import redact
from infra.workspace import PROJECT

DONE, NOT_ALL, USAGE = 0, 1, 2


@dataclass(frozen=True)
class Options:
    """The command's options. ``check``: ask no registry, write nothing. ``update``: also images that have a digest."""

    check: bool = False
    update: bool = False


def run(options: Options, project: Path = PROJECT, client: httpx.Client | None = None) -> int:
    """Lock, and print the result for each image; return the exit status."""
    if options.check and options.update:
        print("error: --check with --update: one of them; --check asks no registry", file=sys.stderr)
        return USAGE
    all_pins = pins(project)
    if options.check:
        return _checked(all_pins, project)
    with client or registry.client() as asking:
        answers = {image: _digest_or_problem(image, asking) for image in _to_ask(all_pins, options.update)}
    left = 0
    for pin in all_pins:
        answer = answers.get(pin.image.tagged, pin.image.digest)
        if isinstance(answer, registry.NotRead):
            _say(f"error: {_where(pin, project)}: {pin.image.tagged}: {answer}; nothing was changed", file=sys.stderr)
            left += 1
        elif answer is None or answer == pin.image.digest:
            _say(f"{_where(pin, project)}: {pin.image.tagged} has its digest")
        else:
            try:
                atomic_write(pin.file, locked(pin.file.read_text(), pin, answer))
            except OSError as problem:
                why = (problem.strerror or "cannot be written").lower()
                _say(f"error: {_where(pin, project)}: cannot be written: {why}; nothing was changed", file=sys.stderr)
                left += 1
                continue
            before = f", before {pin.image.digest}" if pin.image.digest else ""
            _say(f"{_where(pin, project)}: {pin.image.tagged} is {answer}{before}")
    return NOT_ALL if left else DONE


def _checked(all_pins: list[Pin], project: Path) -> int:
    open_ones = [pin for pin in all_pins if pin.image.digest is None]
    for pin in open_ones:
        _say(f"{_where(pin, project)}: {pin.image.tagged} has no digest; fix: ebbtide lock", file=sys.stderr)
    if not open_ones:
        _say(f"{len(all_pins)} images, each with its digest")
    return NOT_ALL if open_ones else DONE


def _say(line: str, file: TextIO | None = None) -> None:
    print(redact(line), file=file)


def _to_ask(all_pins: list[Pin], update: bool) -> list[str]:
    """Return each image once, however often it is named: all its places get the same digest."""
    return sorted({pin.image.tagged for pin in all_pins if update or pin.image.digest is None})


def _digest_or_problem(tagged: str, client: httpx.Client) -> str | registry.NotRead:
    try:
        return registry.digest_of(image_name(tagged), client)
    except registry.NotRead as problem:
        return problem


def _where(pin: Pin, project: Path) -> str:
    return f"{pin.file.relative_to(project)}:{pin.line}"
