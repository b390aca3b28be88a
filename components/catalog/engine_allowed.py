"""The list of what the engine may be given without a code owner: ``engine_allowed.yaml``, read once and checked. Pure.

The engine's parser takes any beginning that only one flag has, ``--flag.key=…`` and JSON; none of these is on the list.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from components.catalog.versions import pinned
from components.typed.tables import read_table

_FILE = Path(__file__).with_name("engine_allowed.yaml")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([kKmMgG]i?)?")


class EngineAllowed(BaseModel):
    """The contents of ``engine_allowed.yaml``. ``engine`` is the vLLM version whose flags were read, ``parsers`` are
    the flags of its parsers by the key that may name one."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    date: datetime.date
    engine: str
    source: tuple[str, ...]
    switches: frozenset[str]
    numbers: frozenset[str]
    words: Mapping[str, frozenset[str]]
    parsers: Mapping[str, str]
    variable_numbers: frozenset[str]
    variable_words: Mapping[str, frozenset[str]]
    packages: frozenset[str]
    images: frozenset[str]

    @property
    def flags(self) -> frozenset[str]:
        """Return every flag, whatever its value."""
        return self.switches | self.numbers | frozenset(self.words)

    def unlisted(self, arguments: Sequence[object]) -> Iterator[range]:
        """Yield the places of arguments that are not on the list: a flag, a value that the list does not have for its
        flag, or a value that follows no flag, which the engine takes for a model. Values of such a flag are its own."""
        index = 0
        while index < len(arguments):
            flag, inline, inline_value = str(arguments[index]).partition("=")
            values = _values(arguments, index + 1)
            named = flag.startswith("-")
            name = flag.replace("_", "-")
            takes = name in self.numbers or name in self.words
            value = inline_value if inline else values[0] if takes and values else None
            own = 1 if takes and not inline and values else 0
            if not named or not self._takes(name, value):
                own = len(values) if named else 0
                yield range(index, index + 1 + own)
            index += 1 + own

    def parser_names(self, key: str) -> frozenset[str]:
        """Return the parsers that a key may name."""
        return self.words[self.parsers[key]]

    def variable(self, name: str, value: object) -> bool:
        """Return True if a variable with this value is on the list."""
        text = str(value)
        number = name in self.variable_numbers and _NUMBER.fullmatch(text) is not None
        return number or text in self.variable_words.get(name, ())

    def package(self, text: str) -> bool:
        """Return True if a pinned package is on the list: its name, in any spelling, and its version; no extras."""
        name, _, version = text.partition("==")
        # Source: Python packaging user guide, Names and normalization
        return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}" in self.packages

    def image(self, reference: str) -> bool:
        """Return True if a base image is on the list, or is the catalogue's own. Its digest alone says what it is."""
        known = {*self.images, *([pinned("vllm").reference] if pinned("vllm").digest else [])}
        return reference in known

    def _takes(self, name: str, value: str | None) -> bool:
        if name in self.numbers:
            return value is not None and _NUMBER.fullmatch(value) is not None
        if name in self.words:
            return value in self.words[name]
        return value is None and (name in self.switches or f"--{name.removeprefix('--no-')}" in self.switches)


def _values(arguments: Sequence[object], start: int) -> list[str]:
    """Return the values from ``start`` on, up to the next flag. A negative number is a value."""
    values: list[str] = []
    for argument in map(str, arguments[start:]):
        if argument.startswith("-") and not _NUMBER.fullmatch(argument):
            break
        values.append(argument)
    return values


@cache
def engine_allowed(file: Path = _FILE) -> EngineAllowed:
    """Read the list. Raises ``pydantic.ValidationError`` with the path of what is wrong."""
    return EngineAllowed.model_validate(read_table(file))
