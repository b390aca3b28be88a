"""The same stack, as a running program gets it from Pulumi: everything is text, mappings are JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import config as runtime_config

from infra.stackfile import ConfigError, load_file
from infra.stackfile.pulumi_source import read_pulumi

GOOD = Path(__file__).parents[1] / "fixtures/stackfile/Pulumi.good.yaml"
Given = Callable[..., None]


@pytest.fixture
def as_config(monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    """Sets the program's config as the engine would; ``secret`` names keys that were encrypted."""
    before = dict(runtime_config.CONFIG.get())
    monkeypatch.setattr(pulumi, "get_stack", lambda: "aws-prod")

    def give(changes: dict[str, Any], secret: tuple[str, ...] = ()) -> None:
        values = yaml.safe_load(GOOD.read_text())["config"] | changes
        text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
        runtime_config.set_all_config(text, list(secret))

    yield give
    runtime_config.set_all_config(before, [])


def test_a_program_sees_what_load_file_sees(as_config: Given) -> None:
    as_config({})
    assert read_pulumi().loaded() == load_file(GOOD)


def test_an_override_from_the_command_line_counts(as_config: Given) -> None:
    as_config({"ebbtide:environment": "staging", "ebbtide:guard": {"maxGpus": 4}})
    config = read_pulumi().loaded().config
    assert (config.environment, config.gpu_quota) == ("staging", 4)


def test_errors_name_the_file_the_user_edits_and_unknown_keys_are_refused(as_config: Given) -> None:
    as_config({"ebbtide:guards": {}, "acme:guards": {}, "ebbtide:models": "not json"})
    with pytest.raises(ConfigError) as caught:
        read_pulumi().loaded()
    assert str(caught.value).splitlines() == [
        "stacks/Pulumi.aws-prod.yaml: guards: is not a known key; allowed: database, environment, gateway, gpuLayer, "
        "guard, idleScaling, image, leaderWorkerSet, models, platform, pools; fix: did you mean guard? [EBB050 error]",
        "stacks/Pulumi.aws-prod.yaml: models: 'not json' is not a mapping; allowed: keys with values; "
        "fix: write it as lines of key: value [EBB102 error]",
    ]


def test_a_section_with_an_encrypted_value_is_refused_unseen(as_config: Given) -> None:
    as_config({"ebbtide:gateway": {"keys": {"demo": {"group": "hunter2"}}}}, secret=("ebbtide:gateway",))
    with pytest.raises(ConfigError) as caught:
        read_pulumi().loaded()
    assert str(caught.value) == (
        "stacks/Pulumi.aws-prod.yaml: gateway: is encrypted, so nobody can judge it before it is used; "
        "allowed: a plain value; fix: write the plain value; nothing in these keys is a secret "
        "(of a key only the hash is given) [EBB105 error]"
    )
