"""Who is let in, to what, and what the others are told. None of it may wake a model."""

from __future__ import annotations

import hashlib
import time

import pytest

from tests.lab.conftest import FIRST, SECOND, Lab


def error(answer: object) -> dict[str, str]:
    return dict(answer.json()["error"])  # type: ignore[attr-defined]


def stays_asleep(lab: Lab, model: str, seconds: float = 4.0) -> None:
    """A wake decision takes well under a second: watch several times that long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert lab.replicas(model) == 0, f"{model} was woken"
        time.sleep(0.2)


def test_no_key_and_a_wrong_key_get_401_and_wake_nobody(sleeping: Lab) -> None:
    for key in (None, "sk-not-a-key-of-this-stack"):
        answer = sleeping.chat(FIRST, key=key)
        assert answer.status_code == 401
        assert "key" in error(answer)["message"].lower()
        assert "sk-not-a-key" not in answer.text
    stays_asleep(sleeping, FIRST)


def test_a_group_that_may_not_use_the_model_gets_403_and_the_model_sleeps_on(sleeping: Lab) -> None:
    answer = sleeping.chat(SECOND, key="restricted")
    assert answer.status_code == 403
    assert SECOND in error(answer)["message"]
    stays_asleep(sleeping, SECOND)


def test_an_unknown_model_gets_404_with_the_names_there_are(lab: Lab) -> None:
    answer = lab.chat("gpt-none")
    assert answer.status_code == 404
    assert FIRST in error(answer)["message"]
    assert SECOND in error(answer)["message"]


def test_each_key_sees_only_its_models(lab: Lab) -> None:
    listed = {}
    for key in ("demo", "restricted"):
        with lab.client(key) as client:
            listed[key] = sorted(m["id"] for m in client.get("/v1/models").json()["data"])
    assert {FIRST, SECOND} <= set(listed["demo"])
    assert FIRST in listed["restricted"]
    assert SECOND not in listed["restricted"]


@pytest.mark.parametrize("path", ["/", "/ui", "/docs", "/key/generate", "/config/yaml", "/metrics", "/v1/../metrics"])
def test_paths_that_are_not_on_the_list_are_404(lab: Lab, path: str) -> None:
    with lab.client() as client:
        assert client.get(path).status_code == 404


def test_no_key_stands_in_any_object_of_the_cluster(lab: Lab) -> None:
    secrets = lab.get("/api/v1/namespaces/ebbtide/secrets")["items"]
    config = lab.get("/api/v1/namespaces/ebbtide/configmaps")["items"]
    text = str(secrets) + str(config)
    import base64

    decoded = "".join(
        base64.b64decode(value).decode(errors="replace") for s in secrets for value in s.get("data", {}).values()
    )
    for key in lab.keys.values():
        assert key not in text
        assert key not in decoded
        assert hashlib.sha256(key.encode()).hexdigest() in decoded
