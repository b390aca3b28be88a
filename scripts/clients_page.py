"""Generator of the table in ``docs/clients.md`` that says which client library does what."""

from __future__ import annotations

from collections.abc import Iterator

from infra.workspace import PROJECT
from tests.clients.programs import CLIENTS, VLLM_SEEN, Client

PAGE = PROJECT / "docs" / "clients.md"
_BEGIN, _END = "<!-- written by make docs: -->\n", "<!-- as far as here -->\n"
_FEATURES = {
    "chat": "chat", "stream": "stream", "tools": "tools", "json_schema": "JSON schema", "logprobs": "logprobs",
    "responses": "responses", "errors": "errors", "embeddings": "embeddings", "audio": "audio",
}  # fmt: skip


def clients_page() -> str:
    """Return the page as it is, with the table of today's clients."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    return before + _BEGIN + "".join(_rows()) + _END + after


def _rows() -> Iterator[str]:
    yield f"| client | {' | '.join(_FEATURES.values())} |\n"
    yield "|---" * (len(_FEATURES) + 1) + "|\n"
    for client in CLIENTS:
        yield f"| {client.title} {client.version} | {' | '.join(_evidence(client, name) for name in _FEATURES)} |\n"


def _evidence(client: Client, feature: str) -> str:
    if VLLM_SEEN and feature in client.warm:
        return "vLLM, wake" if feature in client.wake else "vLLM"
    return "stand-in" if feature in (*client.warm, *client.stand_in) else ""
