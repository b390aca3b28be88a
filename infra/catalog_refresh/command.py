"""``ebbtide catalog refresh``: the machine catalogue's prices, refreshed from the places' public price lists.

Each place is refreshed as a whole or not at all: if its list cannot be read, its file stays as it is. Exit status: 0
everything asked for is up to date, 1 something is not, 2 wrong usage.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from components.catalog import machines as catalogue
from components.catalog.machine import Machine
from components.catalog.machines import machines
from components.typed.tables import read_table
from infra.atomic_write import atomic_write
from infra.catalog_refresh.price_lists import NotRead, Prices, read

FOLDER = Path(catalogue.__file__).with_name("machines")
DONE, NOT_ALL, USAGE = 0, 1, 2
_ODD = 0.5  # a price that moved by more than this share is marked for review
_FILE = Path(__file__).with_name("price_lists.yaml")


class Source(BaseModel):
    """A place's price list, or why it has none that can be read without credentials."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    form: str | None = None
    address: str = ""
    source: str = ""
    why_not: str | None = None


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    read_on: dt.date
    places: Mapping[str, Source]


@dataclass(frozen=True)
class Options:
    """The command's options. No places: all that have a list. ``regions`` are read beside those of the catalogue."""

    places: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    dry_run: bool = False


def sources() -> Mapping[str, Source]:
    """Return the places' sources from ``price_lists.yaml``."""
    return _Table.model_validate(read_table(_FILE)).places


def run(
    options: Options,
    known: Mapping[str, Source] | None = None,
    folder: Path = FOLDER,
    today: dt.date | None = None,
) -> int:
    """Refresh, and print what changed; return the exit status. ``known`` None: those of ``price_lists.yaml``."""
    lists = sources() if known is None else known
    strange = [place for place in options.places if place not in lists]
    if strange:
        print(f"error: --place: {strange[0]!r} has no price list; allowed: {', '.join(lists)}", file=sys.stderr)
        return USAGE
    left = 0
    for place in options.places or lists:
        source = lists[place]
        if source.form is None:
            print(f"{place}: not refreshed: {source.why_not}")
            left += bool(options.places)
            continue
        try:
            _say(
                place,
                _refreshed(place, source, options, folder, today or dt.datetime.now(dt.UTC).date()),
                options.dry_run,
            )
        except NotRead as failed:
            print(f"error: {place}: {failed}; nothing of it was changed", file=sys.stderr)
            left += 1
    return NOT_ALL if left else DONE


def _refreshed(place: str, source: Source, options: Options, folder: Path, today: dt.date) -> list[Change]:
    """Refresh one place and return what changed. Raises ``NotRead``."""
    file, before = folder / f"{place}.yaml", machines(place, folder)
    prices = read(source.form or "", source.address, before, _regions(before.values(), options.regions))
    if not prices:
        raise NotRead("the price list was read and has none of the catalogue's machines; fix: look at its address")
    text = file.read_text()
    after = rewritten(text, prices, today.isoformat(), source.source)
    changed = changes(before, prices)
    if not options.dry_run:
        written(file, after, place)
        machines.cache_clear()
    return changed


def _regions(known: Iterable[Machine], more: Iterable[str]) -> list[str]:
    return sorted({*(region for machine in known for region in machine.prices), *more})


def _say(place: str, changed: list[Change], dry_run: bool) -> None:
    for change in changed:
        print(f"{place}: {change.description(_ODD)}")
    moved = "no price is another" if not changed else f"{len(changed)} price{'s' if len(changed) > 1 else ''} changed"
    print(f"{place}: {moved}{'; nothing was written (--dry-run)' if dry_run else ''}")


# Writing of prices into a catalogue file that people edit: only the prices' own lines change.

_WIDTH = 116
_NAME = re.compile(r"  (\S+):\s*")
_KEY = re.compile(r"(?: {4})?(\w+):")
_REFRESHED = ("onDemand", "spot", "readOn", "priceReason")  # lines of a machine that a refresh rewrites
_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One price that changed; None is unknown."""

    machine: str
    region: str
    kind: str
    before: float | None
    after: float | None

    def description(self, odd: float) -> str:
        """Return one line about it. A price that moved by more than the share ``odd`` is marked."""
        where = f"{self.machine} {self.region} {self.kind}"
        if self.before is None:
            return f"{where}: {self.after} is new"
        if self.after is None:
            return f"{where}: {self.before} is no longer listed"
        share = self.after / self.before - 1
        return f"{where}: {self.before} → {self.after} ({share:+.1%}){', look at this one' if abs(share) > odd else ''}"


def changes(before: Mapping[str, Machine], prices: Prices) -> list[Change]:
    """Return the prices that changed, machine by machine; spot prices only if the list has some."""
    changed: list[Change] = []
    for name, new in prices.items():
        had = before[name].prices
        kinds = [("on demand", {r: p.on_demand for r, p in had.items()}, new.on_demand)]
        if new.spot:
            kinds.append(("spot", {r: p.spot for r, p in had.items()}, new.spot))
        for kind, old, now in kinds:
            changed += [
                Change(machine=name, region=region, kind=kind, before=old.get(region), after=now.get(region))
                for region in sorted({*old, *now})
                if old.get(region) != now.get(region)
            ]
    return changed


def rewritten(text: str, prices: Prices, read_on: str, source: str) -> str:
    """Return the file's text with ``prices`` in place of the old ones of these machines, each with the day it was read;
    machines that the list does not have keep prices and day, and spot prices stay if it has none."""
    lines: list[str] = []
    for machine, key, chunk in _chunks(text):
        new = prices.get(machine or "")
        if machine is None and key == "refreshed":
            continue
        if machine is None and key == "machines":
            lines += [_SLOT]
        if new is None:
            lines += chunk
        elif key == "onDemand":
            lines += [f"    readOn: {read_on}", *_mapping("onDemand", new.on_demand)]
            lines += _mapping("spot", new.spot) if new.spot else _own(text, machine or "", "spot")
        elif key not in _REFRESHED:
            lines += chunk
    return _dated("\n".join(lines) + "\n", text, read_on, source)


_SLOT = "refreshed: {}"


def _dated(text: str, before: str, read_on: str, source: str) -> str:
    """Return ``text`` with this refresh, and the earlier ones that some machine's price is still from."""
    earlier = yaml.safe_load(before).get("refreshed") or {}
    used = {str(row.get("readOn")) for row in yaml.safe_load(text)["machines"].values() if "readOn" in row}
    days = {str(day): origin for day, origin in earlier.items() if str(day) in used} | {read_on: source}
    # a quoted JSON string is also a YAML string
    block = [
        "refreshed:",
        *(f"  {day}: {json.dumps(origin, ensure_ascii=False)}" for day, origin in sorted(days.items())),
    ]
    return text.replace(_SLOT, "\n".join(block), 1)


def _chunks(text: str) -> Iterator[tuple[str | None, str | None, list[str]]]:
    """Yield the lines, grouped by the machine and the key they belong to."""
    machine: str | None = None
    key: str | None = None
    chunk: list[str] = []
    inside = False
    for line in text.splitlines():
        named = _NAME.fullmatch(line) if inside else None
        keyed = _KEY.match(line) if not line.startswith("    }") else None
        if named or (keyed and (machine is not None) == line.startswith("    ")):
            yield machine, key, chunk
            chunk = []
            machine, key = (named[1], None) if named else (machine, keyed[1] if keyed else None)
            inside = inside or key == "machines"
        chunk.append(line)
    yield machine, key, chunk


def _own(text: str, machine: str, key: str) -> list[str]:
    return [line for name, at, chunk in _chunks(text) if (name, at) == (machine, key) for line in chunk]


def _mapping(key: str, prices: Mapping[str, float]) -> list[str]:
    """Return ``key: {region: price, …}``, on one line if it is short enough."""
    pairs = [f"{region}:{_NO_BREAK}{price!r}" for region, price in sorted(prices.items())]
    short = f"    {key}: {{{', '.join(pairs)}}}".replace(_NO_BREAK, " ")
    if len(short) <= _WIDTH:
        return [short]
    wrapped = textwrap.wrap(", ".join(pairs) + ",", _WIDTH - 6, break_long_words=False, break_on_hyphens=False)
    return [f"    {key}: {{", *(f"      {line}".replace(_NO_BREAK, " ") for line in wrapped), "    }"]


def written(file: Path, text: str, place: str) -> None:
    """Replace the file by ``text`` at once, after reading it as the catalogue would. Raises ``NotRead``."""
    try:
        with tempfile.TemporaryDirectory(prefix="ebbtide-catalog-") as folder:
            (Path(folder) / file.name).write_text(text)
            machines(place, Path(folder))
        atomic_write(file, text)
    except OSError as error:
        reason = (error.strerror or "cannot be written").lower()
        raise NotRead(f"{file.name} cannot be written: {reason}; fix: run it where the catalogue is yours") from error
    except (ValueError, yaml.YAMLError) as error:
        raise NotRead(f"{file.name} would not be a catalogue any more; fix: mend its layout by hand") from error
