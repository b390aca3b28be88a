"""The flags that the pinned engine's parser takes: ``engine_flags.json``, and how that parser reads arguments. Pure.

It takes ``_`` for ``-``, ``--flag=value``, ``--flag value``, ``--flag.key=value`` for a part of a JSON value, and any
beginning that only one flag has. What it would not take is a ``Fault``: the engine then stops at its start. Source:
vLLM 0.32.0, utils/argparse_utils.py, and Python's argparse.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from components.typed.tables import read_table

_RECORD, _EDITED = Path(__file__).with_name("engine_flags.json"), Path(__file__).with_name("engine_flags.yaml")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?([kKmMgGtT]i?)?|auto|None")
_NOTHING = ("switch", "alone")


@dataclass(frozen=True, kw_only=True)
class EngineFlags:
    """The recorded parser. ``kinds`` says what follows a flag, ``other`` its short and second names, ``gone`` those
    that former versions had, with what to do instead, ``needs`` a flag that another one is nothing without,
    ``measured`` those that a recorded start may have."""

    version: str
    kinds: Mapping[str, str]
    other: Mapping[str, str]
    gone: Mapping[str, str]
    needs: Mapping[str, str]
    files: frozenset[str]
    models: frozenset[str]
    in_image: tuple[str, ...]
    measured: frozenset[str]

    def full_names(self, name: str) -> tuple[str, ...]:
        """Return the flags that a name may stand for: one, or several where it is too short, or none."""
        if not name.startswith("--"):
            return tuple({self.other[name]}) if name in self.other else ()
        if name in self.spellings:
            return (self.spellings[name],)
        return tuple(sorted({flag for spelled, flag in self.spellings.items() if spelled.startswith(name)}))

    @cached_property
    def spellings(self) -> Mapping[str, str]:
        """Return every long spelling with its flag: ``--no-`` forms and second names too."""
        spelled = {flag: flag for flag in self.kinds}
        spelled |= {f"--no-{flag[2:]}": flag for flag, kind in self.kinds.items() if kind == "switch"}
        return spelled | {name: flag for name, flag in self.other.items() if name.startswith("--")}

    def near(self, name: str) -> str | None:
        """Return the flag that a misspelled name most likely means."""
        nearest = difflib.get_close_matches(name, self.spellings, n=1, cutoff=0.75)
        return nearest[0] if nearest else None


@cache
def engine_flags() -> EngineFlags:
    """Return the record, with what is edited beside it."""
    read, edited = json.loads(_RECORD.read_text()), read_table(_EDITED)
    return EngineFlags(
        version=read["version"],
        kinds=read["flags"],
        other=read["other"],
        gone=edited["gone"],
        needs=edited["needs"],
        files=frozenset(edited["files"]),
        models=frozenset(edited["models"]),
        in_image=tuple(edited["inImage"]),
        measured=frozenset(edited["measured"]),
    )


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag as the engine reads it: by its full name, with its values. ``off``: in its ``--no-`` form. ``key``: a
    part of its JSON value. ``index`` is the argument that names it."""

    index: int
    flag: str
    values: tuple[str, ...] = ()
    off: bool = False
    key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An argument at which the engine's parser stops. ``what`` follows the argument, ``fix`` says what to write."""

    index: int
    what: str
    fix: str


def parse(arguments: Sequence[str]) -> tuple[tuple[Flag, ...], tuple[Fault, ...]]:
    """Read arguments as the pinned engine does. Nothing is raised: what it stops at is a fault."""
    flags: list[Flag] = []
    faults: list[Fault] = []
    for each in _read(arguments, engine_flags()):
        (flags if isinstance(each, Flag) else faults).append(each)  # type: ignore[arg-type]
    return tuple(flags), tuple(faults)


def _read(arguments: Sequence[str], known: EngineFlags) -> Iterator[Flag | Fault]:
    index = 0
    while index < len(arguments):
        text, at = arguments[index], index
        index += 1
        if not _is_flag(text) or text == "--":
            continue  # the engine takes it for a model: engine_allowed.py has it agreed to by an owner
        if text.startswith("-O") and not text.startswith("--"):
            continue  # the level of optimization, joined or apart
        head, sign, inline = text.partition("=")
        if " " in head.strip():
            flag, _, rest = text.strip().partition(" ")
            fix = f"write two items: {flag}, and {rest.strip()}; or one: {flag}={rest.strip()}"
            yield Fault(index=at, what="is two words in one item, which the engine takes for one", fix=fix)
            continue
        name, dot, key = head.partition(".") if head.startswith("--") else (head, "", "")
        name = name.replace("_", "-") if head.startswith("--") else name
        full_names = known.full_names(name)
        if len(full_names) != 1:
            yield _unknown(at, name, full_names, known)
            while index < len(arguments) and not _is_flag(arguments[index]):
                index += 1
            continue
        flag, kind = full_names[0], known.kinds[full_names[0]]
        values = [inline] if sign else []
        most = 0 if kind in _NOTHING else 10_000 if kind == "values" else 1
        while not sign and index < len(arguments) and len(values) < most and not _is_flag(arguments[index]):
            values.append(arguments[index])
            index += 1
        off = name.startswith("--no-") and f"--no-{flag[2:]}".startswith(name)
        fault = _fault(at, flag, kind, values, bool(dot))
        if fault is not None:
            yield fault
        else:
            yield Flag(index=at, flag=flag, values=tuple(values), off=off, key=key or None)


def _is_flag(text: str) -> bool:
    return text.startswith("-") and not re.fullmatch(r"-?[0-9.]+", text)


def _unknown(at: int, name: str, full_names: Sequence[str], known: EngineFlags) -> Fault:
    if full_names:
        what = f"is short for {len(full_names)} flags of vLLM {known.version}: {', '.join(full_names[:4])}"
        return Fault(index=at, what=what, fix="write the one that is meant in full")
    if name in known.gone:
        what = f"is a flag that vLLM {known.version} no longer has"
        return Fault(index=at, what=what, fix=known.gone[name])
    near = known.near(name)
    fix = f"did you mean {near}?" if near else "take it out"
    return Fault(index=at, what=f"is no flag of vLLM {known.version}", fix=fix)


def _fault(at: int, flag: str, kind: str, values: Sequence[str], part: bool) -> Fault | None:
    if kind in _NOTHING:
        if not values:
            return None
        spelling = f"--no-{flag[2:]}" if kind == "switch" and values[0].lower() in ("false", "0", "no", "off") else flag
        return Fault(index=at, what="has a value, and the flag takes none", fix=f"write {spelling}")
    if not values and kind != "perhaps":
        return Fault(index=at, what="has no value, and the flag takes one", fix=f"write {flag}=VALUE")
    for value in values:
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and not (kind == "json" and part):
            fix = f"write {flag}={value[1:-1]}, without the shell's quotes"
            return Fault(index=at, what="has a value in quotes, which no shell takes off here", fix=fix)
        if kind == "number" and not _NUMBER.fullmatch(value):
            return Fault(index=at, what="has a value that is no number", fix=f"write {flag}= and a number")
        if kind == "json" and not part and value[:1] in "{[" and not _json(value):
            return Fault(index=at, what="has a value that is no JSON", fix="write JSON with double quotes inside")
    return None


def _json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True
