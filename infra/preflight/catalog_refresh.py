"""``ebbtide catalog refresh``: the machine catalogue's prices, read anew from the places' public price lists.

Each place is refreshed as a whole or not at all: where its list cannot be read, its file stays as it is. Exit status: 0
all that was asked for is up to date, 1 something is not, 2 wrong usage.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from components.catalog import machines as catalogue
from components.catalog.machine import Machine
from components.catalog.machines import machines
from infra.preflight.catalog_refresh_file import Change, changes, rewritten, written
from infra.preflight.catalog_refresh_read import NotRead, read

FOLDER = Path(catalogue.__file__).with_name("machines")
DONE, NOT_ALL, USAGE = 0, 1, 2
_ODD = 0.5  # a price that moved by more than this share is one to look at
_FILE = Path(__file__).with_suffix(".yaml")


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
class Wish:
    """What was typed. No places: all that have a list. ``regions`` are read besides those the catalogue has."""

    places: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    dry_run: bool = False


def sources() -> Mapping[str, Source]:
    """``catalog_refresh.yaml``."""
    return _Table.model_validate(yaml.safe_load(_FILE.read_text())).places


def run(
    wish: Wish,
    known: Mapping[str, Source] | None = None,
    folder: Path = FOLDER,
    today: dt.date | None = None,
) -> int:
    """Refresh, and say what changed; gives the exit status. ``known`` None: those of ``catalog_refresh.yaml``."""
    lists = sources() if known is None else known
    strange = [place for place in wish.places if place not in lists]
    if strange:
        print(f"error: --place: {strange[0]!r} has no price list; allowed: {', '.join(lists)}", file=sys.stderr)
        return USAGE
    left = 0
    for place in wish.places or lists:
        source = lists[place]
        if source.form is None:
            print(f"{place}: not refreshed: {source.why_not}")
            left += bool(wish.places)
            continue
        try:
            _say(place, _refreshed(place, source, wish, folder, today or dt.datetime.now(dt.UTC).date()), wish.dry_run)
        except NotRead as failed:
            print(f"error: {place}: {failed}; nothing of it was changed", file=sys.stderr)
            left += 1
    return NOT_ALL if left else DONE


def _refreshed(place: str, source: Source, wish: Wish, folder: Path, today: dt.date) -> list[Change]:
    """Raises ``NotRead``."""
    file, before = folder / f"{place}.yaml", machines(place, folder)
    prices = read(source.form or "", source.address, before, _regions(before.values(), wish.regions))
    if not prices:
        raise NotRead("the price list was read and has none of the catalogue's machines; fix: look at its address")
    text = file.read_text()
    after = rewritten(text, prices, today.isoformat(), source.source)
    found = changes(before, prices)
    if not wish.dry_run:
        written(file, after, place)
        machines.cache_clear()
    return found


def _regions(known: Iterable[Machine], more: Iterable[str]) -> list[str]:
    return sorted({*(region for machine in known for region in machine.prices), *more})


def _say(place: str, found: list[Change], dry_run: bool) -> None:
    for change in found:
        print(f"{place}: {change.told(_ODD)}")
    moved = "no price is another" if not found else f"{len(found)} price{'s' if len(found) > 1 else ''} changed"
    print(f"{place}: {moved}{'; nothing was written (--dry-run)' if dry_run else ''}")
