"""What ``routing: prefix`` does for vLLM's prefix cache: ``python -m benchmarks.prefix_routing [rounds]``.

Two replicas of the local stack's first model with real vLLM, chats of several turns; in each round once by prefix and
once by fewest requests, with the same replicas and prompts that no other run had. Results go to
``docs/results/prefix-routing.json``.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.load_kit import about, keep, lab
from infra.console import say
from tests.lab import prefix_load
from tests.lab.conftest import FIRST, SECOND


def main(rounds: int) -> None:
    at = lab()
    load = {
        "replicas": 2,
        "chats": prefix_load.CHATS,
        "turns": prefix_load.TURNS,
        "chats_at_once": prefix_load.AT_ONCE,
        "words_of_the_first_message": prefix_load.FIRST_WORDS,
        "tokens_of_an_answer": prefix_load.TOKENS,
    }
    result: dict[str, Any] = {"what": "vLLM's prefix cache under two ways of routing", **about(), "load": load}
    result |= {"model": FIRST, "rounds": []}
    at.put_to_sleep(FIRST, SECOND)
    with prefix_load.two_replicas(at):
        for number in range(rounds):
            by_prefix = prefix_load.run(at, f"prefix {number}")
            say(f"    prefix: {by_prefix}")
            with at.with_setting("gateway", *prefix_load.BY_PREFIX):
                fewest_requests = prefix_load.run(at, f"fewest {number}")
            say(f"    fewestRequests: {fewest_requests}")
            result["rounds"].append({"prefix": by_prefix, "fewestRequests": fewest_requests})
            keep("prefix-routing.json", result)
    at.api.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
