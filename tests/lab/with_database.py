"""The stack with two gateways over a real PostgreSQL that stands beside the nodes, as a database of a cloud would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from components.gateway.access import METRICS_PORT
from lab.machine import namespaces
from lab.machine.control_plane import CONTROL_ADDRESS
from tests.lab.conftest import FIRST, Lab, read_keys, wait_until
from tests.unit.postgres import Postgres, running

SECRET = "accounts"
SECRETS = "/api/v1/namespaces/ebbtide/secrets"


@pytest.fixture(scope="module")
def database(lab: Lab) -> Iterator[Postgres]:
    machine = namespaces.running(lab.paths)
    assert machine is not None
    with running(CONTROL_ADDRESS, Path(f"/proc/{machine.pid}/ns/net")) as cluster:
        yield cluster


@contextmanager
def stack_with(lab: Lab, database: Postgres) -> Iterator[None]:
    """The first model is awake from the first test to the last."""

    def change(config: dict[str, Any]) -> None:
        networks = [f"{CONTROL_ADDRESS}/32"]
        config["ebbtide:database"] = {
            "kind": "existing",
            "secret": SECRET,
            "networks": networks,
            "port": database.port,
        }
        gateway = config["ebbtide:gateway"]
        gateway["replicas"] = 2
        gateway["groups"]["owners"] = {"models": [], "admin": True}
        gateway["keys"]["root"] = {"group": "owners"}
        config["ebbtide:models"][FIRST]["idleTtl"] = "10m"

    files = {file.name: file.read_text() for file in database.mounted.iterdir()}
    # one that a killed run has left is of another database
    lab.api.delete(f"{SECRETS}/{SECRET}")
    secret = {"metadata": {"name": SECRET}, "stringData": files}
    lab.api.post(SECRETS, json=secret).raise_for_status()
    before = dict(lab.keys)
    try:
        with lab.stack_with(change):
            lab.until_current("gateway")
            lab.keys |= read_keys(lab.paths)
            wait_until(lambda: both_follow(lab), 60, "both gateways follow the database")
            lab.wake(FIRST)
            yield
    finally:
        lab.keys = before
        lab.api.delete(f"{SECRETS}/{SECRET}").raise_for_status()


def metrics(lab: Lab) -> dict[str, str]:
    """The metrics of each gateway."""
    pods = "/api/v1/namespaces/ebbtide/pods"
    return {name: lab.api.get(f"{pods}/{name}:{METRICS_PORT}/proxy/metrics").text for name in lab.gateways()}


def both_follow(lab: Lab) -> bool:
    texts = metrics(lab).values()
    return len(texts) == 2 and all("ebbtide_gateway_database_up 1.0" in text for text in texts)


def neither_follows(lab: Lab) -> bool:
    return all("ebbtide_gateway_database_up 0.0" in text for text in metrics(lab).values())
