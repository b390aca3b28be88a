"""Chats of several turns for a model with two replicas: how much of their prompts lay in the engines' prefix caches, by
vLLM's own counters, and how long their first tokens took.
"""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from lab.ask import NAMESPACE
from tests.lab.conftest import FIRST, WAKE_SECONDS, Lab, wait_until

CHATS, TURNS, AT_ONCE, FIRST_WORDS, TOKENS = 12, 4, 4, 500, 8
BY_PREFIX: Final = ("byPrefix: true\n", "byPrefix: false\n")
"""The setting of the gateway by which a model's routing is changed while its replicas stay as they are."""

_WORDS: Final = ("river", "stone", "cloud", "seven", "market", "window", "paper", "garden", "silver", "bridge")
_COUNTER: Final = re.compile(r"^vllm:prefix_cache_(queries|hits)_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.M)


def two_by_prefix(config: dict[str, Any]) -> None:
    config["ebbtide:models"][FIRST] |= {"min": 2, "max": 2, "routing": "prefix", "coldStart": "4m", "idleTtl": "4m"}


@contextmanager
def two_replicas(lab: Lab) -> Iterator[None]:
    """The first model with two replicas of real vLLM and ``routing: prefix``."""
    with lab.stack_with(two_by_prefix):
        wait_until(lambda: len(lab.pods(FIRST)) == 2, 60, "two pods")
        lab.until_rolled_out(FIRST, 2 * WAKE_SECONDS)
        run(lab, "warm-up", chats=AT_ONCE)
        yield


def run(lab: Lab, name: str, chats: int = CHATS) -> dict[str, Any]:
    """Return what ``chats`` chats found, which no other ``name`` shares a prompt with: the share of prompt tokens that
    lay in a cache, seconds to the first token of first and of later turns, and requests by replica.
    """
    before = _counters(lab)

    def talk(number: int) -> list[float]:
        words = random.Random(f"{name} {number}")
        messages = [{"role": "user", "content": " ".join(words.choices(_WORDS, k=FIRST_WORDS))}]
        seconds = []
        for turn in range(TURNS):
            pieces: list[tuple[str, float]] = []
            more = {"messages": messages, "max_tokens": TOKENS, "ignore_eos": True}
            lab.stream(FIRST, "", lambda text, at: pieces.append((text, at)), **more)  # noqa: B023
            seconds.append(pieces[0][1])
            messages.append({"role": "assistant", "content": "".join(text for text, _ in pieces)})
            messages.append({"role": "user", "content": f"Go on, part {turn}."})
        return seconds

    with ThreadPoolExecutor(AT_ONCE) as pool:
        talks = list(pool.map(talk, range(chats)))
    after = _counters(lab)
    new = {pod: {kind: after[pod][kind] - before[pod][kind] for kind in ("queries", "hits")} for pod in after}
    asked = sum(each["queries"] for each in new.values())
    return {
        "prompt_tokens": round(asked),
        "hit_rate": round(sum(each["hits"] for each in new.values()) / asked, 3),
        "share_of_tokens_by_replica": sorted(round(each["queries"] / asked, 2) for each in new.values()),
        "first_turns_first_token_seconds": _times([each[0] for each in talks]),
        "later_turns_first_token_seconds": _times([seconds for each in talks for seconds in each[1:]]),
    }


def _counters(lab: Lab) -> dict[str, dict[str, float]]:
    """Tokens that each engine looked up in its cache and found there."""
    counters = {}
    for pod in lab.pods(FIRST):
        name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:8000/proxy/metrics"
        text = lab.api.get(path, timeout=60).raise_for_status().text
        counters[name] = {kind: float(value) for kind, value in _COUNTER.findall(text)}
    return counters


def _times(seconds: list[float]) -> dict[str, float]:
    return {
        "mean": round(statistics.fmean(seconds), 3),
        "p50": round(statistics.median(seconds), 3),
        "p90": round(statistics.quantiles(seconds, n=10)[-1], 3),
    }
