"""Public price lists, read by their form into US dollars an hour by machine and region. No credentials are sent."""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

MOST_DOLLARS = 1000.0  # the catalogue's own bound
_TIMEOUT = httpx.Timeout(60, connect=10)
_MOST_PAGES = 200


class NotRead(Exception):
    """A price list that could not be read; the text says which, why, and what to do."""


@dataclass
class MachinePrices:
    """Prices of one machine by region."""

    on_demand: dict[str, float] = field(default_factory=dict)
    spot: dict[str, float] = field(default_factory=dict)


Prices = Mapping[str, MachinePrices]


def read(form: str, address: str, names: Collection[str], regions: Sequence[str]) -> Prices:
    """Return the prices of those ``names`` that the list has. Raises ``NotRead``, also if one of several answers is
    missing: half a price list is none."""
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
        return READERS[form](client, address, names, regions)


def _offer_file(client: httpx.Client, address: str, names: Collection[str], regions: Sequence[str]) -> Prices:
    """Read one CSV per region, hundreds of megabytes long and therefore read line by line: some lines about the file,
    the columns' names, then a line for each price. Source: beside the address."""
    prices: dict[str, MachinePrices] = {}
    for region in regions:
        where = address.replace("{region}", region)
        with _reading(where), client.stream("GET", where) as answer:
            answer.raise_for_status()
            for name, price in _offers(answer.iter_lines(), names):
                _keep(prices.setdefault(name, MachinePrices()).on_demand, region, price)
    return _sound(prices)


# The columns of a plain machine, among everything that is sold under its name.
_PLAIN = {
    "TermType": ("OnDemand",),
    "Operating System": ("Linux",),
    "Tenancy": ("Shared",),
    "CapacityStatus": ("Used",),
    "Pre Installed S/W": ("NA", ""),
    "MarketOption": ("OnDemand", ""),
    "Unit": ("Hrs",),
    "Currency": ("USD",),
}
_NEEDED = ("SKU", "TermType", "Instance Type", "PricePerUnit", "Operating System", "Tenancy", "CapacityStatus")


def _offers(lines: Iterator[str], names: Collection[str]) -> Iterator[tuple[str, float]]:
    columns: list[str] | None = None
    for line in lines:
        if columns is None:
            head = next(csv.reader([line]), [])
            if head[:1] == ["SKU"]:
                missing = [name for name in _NEEDED if name not in head]
                if missing:
                    raise NotRead(f"the price list has no column {missing[0]}; fix: a newer release of this program")
                columns = head
            continue
        if '"OnDemand"' not in line and ",OnDemand," not in line:
            continue  # most lines are for other terms: not worth parsing
        row = dict(zip(columns, next(csv.reader([line]), []), strict=False))
        name = row.get("Instance Type", "")
        price = _dollars(row.get("PricePerUnit"))
        if name in names and price and all(row.get(key, "") in ("", *able) for key, able in _PLAIN.items()):
            yield name, price
    if columns is None:
        raise NotRead("the answer is no price list: it has no line of columns; fix: look at its address")


def _retail_prices(client: httpx.Client, address: str, names: Collection[str], regions: Sequence[str]) -> Prices:
    """Read pages of JSON for each machine, all its regions together. Source: beside the address."""
    prices: dict[str, MachinePrices] = {}
    for name in names:
        query = f"serviceName eq 'Virtual Machines' and priceType eq 'Consumption' and armSkuName eq '{name}'"
        since: dict[tuple[str, str], str] = {}
        for item in _pages(client, address, {"$filter": query, "currencyCode": "USD"}):
            product, meter = str(item.get("productName", "")), str(item.get("meterName", ""))
            region, price = str(item.get("armRegionName", "")), _dollars(item.get("retailPrice"))
            begins = str(item.get("effectiveStartDate", ""))
            plain = item.get("armSkuName") == name and item.get("unitOfMeasure") == "1 Hour" and item.get("type") in (
                "Consumption", None
            )  # fmt: skip
            other = any(word in product for word in ("Windows", "Cloud Services", "CloudServices", "Dedicated"))
            if not (plain and price and region) or other or "Low Priority" in meter or begins > _now():
                continue
            kind = "spot" if "Spot" in meter else "on_demand"
            if begins < since.get((kind, region), ""):
                continue  # the price that took effect later counts
            by_region: dict[str, float] = getattr(prices.setdefault(name, MachinePrices()), kind)
            if begins > since.get((kind, region), ""):
                by_region.pop(region, None)
            since[kind, region] = begins
            _keep(by_region, region, price)
    return _sound(prices)


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _pages(client: httpx.Client, address: str, query: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    where: str | None = str(httpx.URL(address, params=dict(query)))
    for _ in range(_MOST_PAGES):
        if where is None:
            return
        with _reading(address):
            answer = client.get(where)
            answer.raise_for_status()
            page = answer.json()
        if not isinstance(page, dict) or not isinstance(page.get("Items"), list):
            raise NotRead("the answer is no price list: it has no Items; fix: look at its address")
        yield from (item for item in page["Items"] if isinstance(item, dict))
        where = page.get("NextPageLink") or None
        # the next page must be on the same server: no answer may send this program elsewhere
        if where is not None and urlsplit(str(where)).hostname != urlsplit(address).hostname:
            raise NotRead("the price list goes on at another server; fix: look at its address")
    raise NotRead(f"the price list has no end after {_MOST_PAGES} pages; fix: look at its address")


@contextmanager
def _reading(where: str) -> Iterator[None]:
    host = urlsplit(where).netloc
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise NotRead(
            f"the price list at {host} answered {error.response.status_code}; fix: try again later"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NotRead(
            f"the price list at {host} cannot be read from here; allowed: a network that reaches it; "
            "fix: run it where there is one, or edit the catalogue by hand"
        ) from error
    except ValueError as error:
        raise NotRead(f"the price list at {host} cannot be understood; fix: try again later") from error


def _dollars(value: object) -> float | None:
    """Return a price the catalogue would take; None for a missing, zero or senseless one."""
    try:
        price = round(float(str(value)), 6)
    except (ValueError, OverflowError):
        return None
    return price if math.isfinite(price) and 0 < price < MOST_DOLLARS else None


def _keep(by_region: dict[str, float], region: str, price: float) -> None:
    """Keep a price. Two different prices for one thing count as none: the right one is unknown."""
    by_region[region] = price if by_region.get(region, price) == price else math.nan


def _sound(prices: Mapping[str, MachinePrices]) -> Prices:
    def sure(by_region: Mapping[str, float]) -> dict[str, float]:
        return {region: price for region, price in by_region.items() if not math.isnan(price)}

    both = {name: MachinePrices(sure(each.on_demand), sure(each.spot)) for name, each in prices.items()}
    return {name: each for name, each in both.items() if each.on_demand}


Reader = Callable[[httpx.Client, str, Collection[str], Sequence[str]], Prices]
READERS: Mapping[str, Reader] = {"offer file": _offer_file, "retail prices": _retail_prices}
