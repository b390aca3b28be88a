"""Largest number of people at once who are all served well, found by doubling, then halving the gap. Pure.

The sizing guide's words, under *Max Real-Time Concurrency*: "the number of concurrent queries (each with a few hundred
tokens) that can be served while maintaining a good user experience: responses start in under 10 seconds; token
generation speed exceeds the average reading pace". It gives no figure for that pace. A quarter of a second per token is
ours: adults read 238 words of English a minute (M. Brysbaert, 2019, doi:10.1016/j.jml.2019.104047), one in 0.252 s,
with a word taken for one token. Where a word is 1.3 tokens the same pace is 0.19 s per token: ``--tpot-limit 0.19``.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from infra.bench.options import MOST, TPOT_LIMIT, TTFT_LIMIT
from infra.bench.statistics import Summary

_PRECISION = 0.05  # relative to the result: the last few per cent are not worth a try each


@dataclass(frozen=True)
class Row:
    model: str
    gpus: str
    concurrency: int


# the guide's table, to compare a result with
TABLE = (
    Row("Llama-3.1-8B", "1x A10", 30),
    Row("Llama-3.1-70B", "8x A100", 50),
    Row("Mistral-7B", "1x A10", 30),
    Row("Mixtral-8x7B", "8x A100", 50),
    Row("Gemma-2-9B", "1x A10", 5),
    Row("Llama-3.1-8B", "1x L40", 50),
)


@dataclass(frozen=True)
class Verdict:
    """Verdict on one concurrency. ``why`` is empty where all were served well."""

    concurrency: int
    why: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.why


def judge(
    concurrency: int, summary: Summary, ttft_limit: float = TTFT_LIMIT, tpot_limit: float = TPOT_LIMIT
) -> Verdict:
    why = [f"{count} requests: {fault}" for fault, count in summary.errors.items()]
    if not summary.whole:
        why.append("no answer")
    if summary.ttft and summary.ttft.p90 >= ttft_limit:
        why.append(f"p90 of the first token {summary.ttft.p90:.2f} s, not under {ttft_limit:g} s")
    if summary.tpot and summary.tpot.p90 >= tpot_limit:
        why.append(f"p90 a token {summary.tpot.p90:.3f} s, not under {tpot_limit:g} s")
    return Verdict(concurrency, tuple(why))


def search(most: int = MOST) -> Generator[int, bool, int]:
    """Yield a number to try and receive whether it was good; return the largest good one tried, 0 for none. At most
    ``most`` is tried, and no number twice."""
    good, bad, at = 0, most + 1, 1
    while at <= most and bad > most:
        if (yield at):
            good = at
            at = min(2 * at, most) if at < most else most + 1
        else:
            bad = at
    while bad <= most and bad - good > max(1, good * _PRECISION):
        middle = (good + bad) // 2
        if (yield middle):
            good = middle
        else:
            bad = middle
    return good
