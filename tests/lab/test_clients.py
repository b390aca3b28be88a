"""The libraries that people use, with vLLM and SmolLM2 behind the gateway: while the model wakes, then warm."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients.programs import CLIENTS, Client
from tests.lab.conftest import FIRST, Lab
from tests.lab.constrained import CALLS, WAYS, WELL_FORMED, forms
from tests.on_request import on_request

AT_ONCE = 4
"""Programs: they mostly wait, for the engine or for the disk."""


@pytest.fixture(scope="module")
def clients() -> tuple[Client, ...]:
    """Those that this machine can run."""
    return tuple(client for client in CLIENTS if client.language != "JavaScript" or shutil.which("npm"))


def at_once(lab: Lab, folder: Path, asked: dict[Client, tuple[str, ...]]) -> dict[str, dict[str, str]]:
    """What went wrong, by client and feature."""

    def run(client: Client) -> dict[str, str | None]:
        where = folder / client.title
        return client.run(asked[client], where, lab.access.url, lab.keys["demo"], chat=FIRST)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = zip(asked, pool.map(run, asked), strict=True)
        wrong = {client.title: {name: why for name, why in each.items() if why} for client, each in results}
    return {title: each for title, each in wrong.items() if each}


def test_clients_ask_a_sleeping_model_and_are_answered(
    clients: tuple[Client, ...], sleeping: Lab, tmp_path: Path
) -> None:
    """Streams among them are sent comments meanwhile (``gateway.commentEvery``)."""
    for client in clients:
        client.install()
    asked = {client: client.wake for client in clients if client.wake}
    assert at_once(sleeping, tmp_path, asked) == {}


@on_request
def test_clients_have_their_features_warm(clients: tuple[Client, ...], awake: Lab, tmp_path: Path) -> None:
    assert at_once(awake, tmp_path, {client: client.warm for client in clients}) == {}


@on_request
@pytest.mark.parametrize("way", WAYS)
def test_fifty_constrained_answers_are_all_well_formed(way: str, awake: Lab) -> None:
    """The engine promises it, whatever the model would rather say: to a tool that is strict, to a schema, and by the
    local stack's flag to every tool.
    """
    assert forms(awake, WAYS[way]) == {WELL_FORMED: CALLS}
