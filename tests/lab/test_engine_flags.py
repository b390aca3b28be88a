"""The record of the engine's flags beside the parser of the engine that the image holds."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from components.catalog.engine_allowed import engine_allowed
from components.catalog.engine_flags import engine_flags
from lab.ask import NAMESPACE
from tests.lab.conftest import FIRST, Lab

PROGRAM = Path(__file__).with_name("engine_parser.py")


def test_the_recorded_parser_is_the_one_in_the_image(awake: Lab) -> None:
    (pod,) = awake.pods(FIRST)
    kubectl = (str(awake.paths.bin / "kubectl"), "--kubeconfig", str(awake.paths.kubeconfig), "--namespace", NAMESPACE)
    inside = ("exec", "--stdin", pod["metadata"]["name"], "--container", "vllm", "--", "python3", "-")
    program = PROGRAM.read_text()
    done = subprocess.run(
        [*kubectl, *inside], input=program, capture_output=True, text=True, check=False, timeout=120
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    compare(json.loads(done.stdout.splitlines()[-1]))


def compare(read: dict[str, dict[str, object]]) -> None:
    """Names, what follows each, short names, and the words that the list allows."""
    known, allowed = engine_flags(), engine_allowed()
    assert read["version"] == known.version
    assert read["flags"] == known.kinds
    assert read["other"] == known.other
    for flag, words in allowed.words.items():
        assert set(words) <= set(read["choices"].get(flag, words)), flag  # type: ignore[call-overload]
