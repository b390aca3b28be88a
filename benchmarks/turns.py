"""What it takes to wake a model that sleeps in main memory: ``python -m benchmarks.turns [rounds]``.

The local stack's two models share their card by turns. Each round asks one after the other, so that each question finds
its model asleep and the other awake: seconds to the first token, beside a wake from no pod and a question to a model
that is awake, all through the gateway. And what the engine that sleeps keeps of main memory. Results go to
``docs/results/turns.json``. On the CPU vLLM frees nothing when it is told to sleep, and has nothing to copy back.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

from benchmarks.at_rest import pod_readings
from benchmarks.load_kit import about, keep, lab
from infra.console import say
from lab.ask import NAMESPACE
from tests.lab.conftest import FIRST, SECOND, Lab
from tests.lab.test_turns import turns

SETTLED_SECONDS = 6.0  # an engine that has just come keeps the card for five


def first_token(at: Lab, model: str) -> float:
    pieces: list[float] = []
    at.stream(model, "What is the capital of France?", lambda _, seconds: pieces.append(seconds), max_tokens=16)
    return round(pieces[0], 3)


def working_sets(at: Lab) -> dict[str, float]:
    """MiB of each model's pod."""
    return {each.name: round(each.working_set / 1024**2) for each in pod_readings(at, [NAMESPACE])}


def rounds_of(at: Lab, count: int) -> dict[str, Any]:
    from_none = {model: first_token(at, model) for model in (FIRST, SECOND)}
    asleep, awake = [], []
    for _ in range(count):
        for model in (FIRST, SECOND):
            time.sleep(SETTLED_SECONDS)
            asleep.append(first_token(at, model))
            awake.append(first_token(at, model))
            say(f"    asleep {asleep[-1]} s, awake {awake[-1]} s")
    middle = statistics.median(asleep)
    return {
        "from_no_pod_seconds": from_none,
        "from_sleep_seconds": asleep,
        "awake_seconds": awake,
        "from_sleep_median_seconds": round(middle, 3),
        "share_of_a_load": round(middle / from_none[FIRST], 3),
        "working_set_mib": working_sets(at),
    }


def main(rounds: int) -> None:
    at = lab()
    for model in (FIRST, SECOND):
        at.until_asleep(model)
    with at.stack_with(turns):
        result = {"what": "a model asleep in main memory: request to first token", **about(), **rounds_of(at, rounds)}
    at.api.close()
    keep("turns.json", result)
    say(f"  from sleep {result['from_sleep_median_seconds']} s: {result['share_of_a_load']} of a load")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
