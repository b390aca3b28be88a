"""`ebbtide catalog refresh` against a price server of the test's own: what is read, what is written, and what is left
alone when anything is missing."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from components.catalog.machines import machines
from infra import cli
from infra.catalog_refresh import command
from infra.catalog_refresh.command import FOLDER, Options, Source, rewritten, run, sources, written
from infra.catalog_refresh.price_lists import MachinePrices

TODAY = dt.date(2026, 12, 24)
Answer = tuple[int, str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped catalogue; the test's own server is never asked through a proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    copy = tmp_path / "machines"
    shutil.copytree(FOLDER, copy)
    return copy


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str, dict[str, list[str]]], Answer]], str]]:
    """Starts a server that answers a path and a query with a status and a text; gives its address."""
    running: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[str, dict[str, list[str]]], Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                assert "Authorization" not in self.headers
                status, text = answer(parts.path, parse_qs(parts.query))
                content = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


COLUMNS = (
    "SKU", "OfferTermCode", "TermType", "PriceDescription", "Unit", "PricePerUnit", "Currency", "Instance Type",
    "Tenancy", "Operating System", "Pre Installed S/W", "CapacityStatus", "MarketOption",
)  # fmt: skip


def offer(machine: str, price: object, **other: str) -> str:
    row = {
        "SKU": "X", "OfferTermCode": "Y", "TermType": "OnDemand", "PriceDescription": 'a "plain", one', "Unit": "Hrs",
        "PricePerUnit": str(price), "Currency": "USD", "Instance Type": machine, "Tenancy": "Shared",
        "Operating System": "Linux", "Pre Installed S/W": "NA", "CapacityStatus": "Used", "MarketOption": "OnDemand",
        **{key.replace("_", " "): value for key, value in other.items()},
    }  # fmt: skip
    return ",".join('"' + row[column].replace('"', '""') + '"' for column in COLUMNS)


def offers(*rows: str) -> str:
    about = ['"FormatVersion","v1.0"', '"Disclaimer","none"', '"Publication Date","2026-12-24"', '"Version","1"']
    return "\n".join([*about, '"OfferCode","AmazonEC2"', ",".join(f'"{name}"' for name in COLUMNS), *rows]) + "\n"


OTHERS = [
    offer("g5.xlarge", 9.0, Tenancy="Dedicated"),
    offer("g5.xlarge", 9.0, Operating_System="Windows"),
    offer("g5.xlarge", 9.0, CapacityStatus="UnusedCapacityReservation"),
    offer("g5.xlarge", 0.3, TermType="Reserved"),
    offer("g5.xlarge", 9.0, Unit="Quantity"),
    offer("g5.xlarge", 4.0, MarketOption="CapacityBlock"),
    offer("m7i.large", 0.1),
    offer("g5.2xlarge", 0),
    offer("g5.2xlarge", "NaN"),
]


def bulk(address: str) -> dict[str, Source]:
    return {"aws": Source(form="offer file", address=address + "/{region}/index.csv", source="the offer files")}


def retail(address: str) -> dict[str, Source]:
    return {"azure": Source(form="retail prices", address=address + "/api", source="the retail prices")}


def at_home(path: str, query: dict[str, list[str]]) -> Answer:
    prices = {"/us-east-1/index.csv": 1.1, "/eu-west-1/index.csv": 1.2}
    return (200, offers(*OTHERS, offer("g5.xlarge", prices[path]))) if path in prices else (404, "")


def snapshot(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_a_new_price_is_written_with_its_day_and_source_and_told(
    folder: Path, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Options(), bulk(serve(at_home)), folder, TODAY) == 0
    price = machines("aws", folder)["g5.xlarge"].prices["us-east-1"]
    assert (price.on_demand, price.read_on, price.source) == (1.1, "2026-12-24", "the offer files")
    assert "aws: g5.xlarge us-east-1 on demand: 1.006 → 1.1 (+9.3%)\n" in capsys.readouterr().out


def test_a_machine_the_list_does_not_have_keeps_its_price_its_day_and_its_source(folder: Path, serve: Any) -> None:
    before = machines("aws", folder)["g5.2xlarge"]
    run(Options(), bulk(serve(at_home)), folder, TODAY)
    assert machines("aws", folder)["g5.2xlarge"] == before


def test_only_the_lines_of_prices_change_in_a_file_that_people_edit(folder: Path, serve: Any) -> None:
    before = (folder / "aws.yaml").read_text().splitlines()
    run(Options(), bulk(serve(at_home)), folder, TODAY)
    after = (folder / "aws.yaml").read_text().splitlines()
    gone = [line for line in before if line not in after]
    new = [line for line in after if line not in before]
    assert gone == ["    onDemand: {us-east-1: 1.006}"]
    assert new == [
        "refreshed:",
        '  2026-12-24: "the offer files"',
        "    readOn: 2026-12-24",
        "    onDemand: {us-east-1: 1.1}",
    ]
    assert [line for line in after if line not in new] == [line for line in before if line not in gone]


def test_a_region_that_is_asked_for_is_read_besides_those_the_catalogue_has(folder: Path, serve: Any) -> None:
    run(Options(regions=("eu-west-1",)), bulk(serve(at_home)), folder, TODAY)
    prices = machines("aws", folder)["g5.xlarge"].prices
    assert {region: price.on_demand for region, price in prices.items()} == {"us-east-1": 1.1, "eu-west-1": 1.2}


def test_a_second_refresh_says_that_nothing_changed_and_forgets_days_no_price_is_of(
    folder: Path, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    known = bulk(serve(at_home))
    run(Options(), known, folder, TODAY)
    capsys.readouterr()
    assert run(Options(), known, folder, TODAY + dt.timedelta(days=1)) == 0
    assert capsys.readouterr().out == "aws: no price is another\n"
    text = (folder / "aws.yaml").read_text()
    assert "2026-12-25" in text
    assert "2026-12-24" not in text


def test_a_dry_run_says_what_would_change_and_writes_nothing(
    folder: Path, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(folder)
    assert run(Options(dry_run=True), bulk(serve(at_home)), folder, TODAY) == 0
    assert "1.006 → 1.1" in capsys.readouterr().out
    assert snapshot(folder) == before


def test_a_price_that_doubled_is_marked_for_a_look(
    folder: Path, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    address = serve(lambda path, query: (200, offers(offer("g5.xlarge", 2.012))))
    run(Options(), bulk(address), folder, TODAY)
    assert "1.006 → 2.012 (+100.0%), look at this one" in capsys.readouterr().out


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_without_a_network_it_says_so_with_status_one_and_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, address = snapshot(folder), closed_port()
    assert run(Options(), {**bulk(address), **retail(address)}, folder, TODAY) == 1
    errors = capsys.readouterr().err
    assert errors.count("cannot be read from here") == 2
    assert errors.count("; nothing of it was changed") == 2
    assert "Traceback" not in errors
    assert snapshot(folder) == before


BROKEN: dict[str, Answer] = {
    "an error": (503, ""),
    "no list": (200, "<html>sign in</html>"),
    "nothing": (200, ""),
    "none of the machines": (200, offers(offer("m7i.large", 0.1))),
    "other columns": (200, '"SKU","Price"\n"X","1"\n'),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("kind", [bulk, retail])
def test_a_list_that_cannot_be_understood_changes_nothing(
    kind: Any, case: str, folder: Path, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(folder)
    assert run(Options(), kind(serve(lambda path, query: BROKEN[case])), folder, TODAY) == 1
    assert "; fix: " in capsys.readouterr().err
    assert snapshot(folder) == before


def test_one_region_that_does_not_answer_leaves_the_whole_place_as_it_was(folder: Path, serve: Any) -> None:
    before = snapshot(folder)
    assert run(Options(regions=("xx-nowhere-1",)), bulk(serve(at_home)), folder, TODAY) == 1
    assert snapshot(folder) == before


def test_two_prices_for_one_machine_are_none(folder: Path, serve: Any) -> None:
    rows = offers(offer("g5.xlarge", 1.1), offer("g5.xlarge", 1.3), offer("g6.xlarge", 0.9))
    run(Options(), bulk(serve(lambda path, query: (200, rows))), folder, TODAY)
    assert machines("aws", folder)["g5.xlarge"].prices["us-east-1"].on_demand == 1.006
    assert machines("aws", folder)["g6.xlarge"].prices["us-east-1"].on_demand == 0.9


T4 = "Standard_NC4as_T4_v3"


def item(price: float, region: str = "eastus", **other: Any) -> dict[str, Any]:
    return {
        "armSkuName": T4, "armRegionName": region, "retailPrice": price, "unitOfMeasure": "1 Hour",
        "type": "Consumption", "productName": "Virtual Machines NCasT4_v3 Series", "meterName": "NC4as T4 v3",
        "currencyCode": "USD",
        "effectiveStartDate": "2026-01-01T00:00:00Z", **other,
    }  # fmt: skip


def pages(address: list[str]) -> Callable[[str, dict[str, list[str]]], Answer]:
    """Of one machine two pages; of the others none."""
    first = [
        item(0.5),
        item(0.9, productName="Virtual Machines NCasT4_v3 Series Windows"),
        item(0.1, meterName="NC4as T4 v3 Low Priority"),
        item(0.2, meterName="NC4as T4 v3 Spot"),
        item(0.4, effectiveStartDate="2025-01-01T00:00:00Z"),
        item(0.1, effectiveStartDate="2999-01-01T00:00:00Z"),
        item(9.0, armSkuName="Standard_NC8as_T4_v3"),
    ]

    def answer(path: str, query: dict[str, list[str]]) -> Answer:
        if T4 not in query.get("$filter", [T4])[0]:
            return 200, json.dumps({"Items": [], "NextPageLink": None})
        if "page" in query:
            return 200, json.dumps({"Items": [item(0.6, "westeurope")], "NextPageLink": None})
        return 200, json.dumps({"Items": first, "NextPageLink": f"{address[0]}/api?page=2"})

    return answer


def test_pages_of_prices_are_read_to_the_last_with_spot_and_without_what_is_no_plain_linux_machine(
    folder: Path, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    address: list[str] = []
    address.append(serve(pages(address)))
    assert run(Options(), retail(address[0]), folder, TODAY) == 0
    prices = machines("azure", folder)[T4].prices
    assert {region: (price.on_demand, price.spot) for region, price in prices.items()} == {
        "eastus": (0.5, 0.2),
        "westeurope": (0.6, None),
    }
    assert f"azure: {T4} swedencentral on demand: 0.558 is no longer listed" in capsys.readouterr().out


def test_a_page_that_sends_on_to_another_server_is_not_followed(folder: Path, serve: Any) -> None:
    before = snapshot(folder)
    assert run(Options(), retail(serve(pages(["http://example.invalid"]))), folder, TODAY) == 1
    assert snapshot(folder) == before


def test_a_file_that_cannot_be_written_is_left_whole(
    folder: Path, serve: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, address = snapshot(folder), serve(at_home)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("infra.atomic_write.os.fsync", full)
    assert run(Options(), bulk(address), folder, TODAY) == 1
    assert "aws.yaml cannot be written: no space left on device" in capsys.readouterr().err
    assert snapshot(folder) == before, "nothing is half written, and no second file is left behind"


def test_a_place_whose_list_wants_a_key_says_so_and_holds_the_others_up_only_when_asked_for(
    folder: Path, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {**bulk(serve(at_home)), "gcp": sources()["gcp"]}
    assert run(Options(), known, folder, TODAY) == 0
    assert (
        "gcp: not refreshed: Google's price list, the Cloud Billing Catalog API, wants a key" in capsys.readouterr().out
    )
    assert run(Options(places=("gcp",)), known, folder, TODAY) == 1


@pytest.mark.parametrize("place", ["aws", "azure", "gcp"])
def test_prices_written_anew_are_read_as_what_was_written_whatever_the_layout(place: str, folder: Path) -> None:
    """Long lists of regions are wrapped; every machine of each file is rewritten with the prices it has."""
    before = machines(place, folder)
    prices = {
        name: MachinePrices(
            {region: price.on_demand for region, price in machine.prices.items() if price.on_demand is not None},
            {region: price.spot for region, price in machine.prices.items() if price.spot is not None},
        )
        for name, machine in before.items()
        if machine.prices
    }
    file = folder / f"{place}.yaml"
    written(file, rewritten(file.read_text(), prices, "2026-12-24", 'a "page": its title'), place)
    machines.cache_clear()
    after = machines(place, folder)
    assert set(after) == set(before)
    for name, machine in after.items():
        assert replace(machine, prices={}) == replace(before[name], prices={})
        for region, price in machine.prices.items():
            had = before[name].prices[region]
            assert (price.on_demand, price.spot) == (had.on_demand, had.spot)
            assert (price.read_on, price.source) == ("2026-12-24", 'a "page": its title')
    assert max(len(line) for line in file.read_text().splitlines() if line.startswith("    ")) <= 120


def test_every_place_of_the_catalogue_has_a_list_or_a_reason() -> None:
    assert set(sources()) == {file.stem for file in FOLDER.glob("*.yaml")}
    assert all(bool(source.form) != bool(source.why_not) for source in sources().values())


def test_the_command_refuses_a_place_nobody_knows() -> None:
    result = CliRunner().invoke(cli.app, ["catalog", "refresh", "--place", "mars"])
    assert result.exit_code == 2
    assert "'mars' has no price list; allowed: aws, azure, gcp" in result.output


def test_the_command_hands_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Options] = []
    monkeypatch.setattr(command, "run", lambda options: asked.append(options) or 0)
    CliRunner().invoke(cli.app, ["catalog", "refresh", "--place", "aws", "--region", "eu-west-1", "--dry-run"])
    assert asked == [Options(("aws",), ("eu-west-1",), True)]
