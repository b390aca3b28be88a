"""What the docs say of client libraries is what their programs ask."""

from __future__ import annotations

import re

import pytest

from scripts.clients_page import PAGE, clients_page
from tests.clients.programs import CLIENTS, HERE, Client


def test_the_docs_have_the_table_of_todays_clients() -> None:
    assert PAGE.read_text() == clients_page(), "write it anew: make docs"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.title)
def test_a_program_has_the_features_that_are_listed_and_no_others(client: Client) -> None:
    text = (HERE / client.program).read_text()
    features = re.findall(r"@feature\ndef (\w+)", text) or re.findall(r"^  async (\w+)\(\) \{", text, re.MULTILINE)
    assert sorted(features) == sorted((*client.warm, *client.stand_in))
    assert set(client.wake) <= set(client.warm)


def test_no_lock_names_where_packages_come_from() -> None:
    for lock in {client.lock for client in CLIENTS}:
        assert not re.search(r"--index-url|\"resolved\"|files\.|://[^\"]*\.(whl|tgz)", (HERE / lock).read_text()), lock
