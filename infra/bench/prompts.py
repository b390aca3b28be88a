"""Prompts of about so many tokens, no two alike, without the model's tokenizer. Pure.

Each begins with words of its own: an engine that keeps the cache of a common beginning would else answer the second
request, or the second side of a comparison, from what the first one left there. The sides of a comparison get the same
words, each in an order of its own: other words are other numbers of tokens, and a prompt 4 % longer is answered later.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_WORDS = """
river stone light house water green night paper table music garden winter summer morning bread horse road cloud
mountain window letter market bridge forest island engine silver copper candle mirror basket harbour meadow
valley thunder shadow feather blanket lantern orchard pepper ribbon saddle timber velvet walnut anchor butter
circle dragon ember falcon ginger hammer ivory jacket kettle lemon marble needle olive pencil quarry rocket
"""
WORDS = tuple(_WORDS.split())
SHORT, LONG = 20, 220  # words of the two questions that tell how many tokens a word is


@dataclass(frozen=True)
class Scale:
    """How many tokens a prompt of some words comes to: ``fixed`` for the chat template, ``per_word`` for each word."""

    fixed: float = 0.0
    per_word: float = 1.0
    known: bool = False

    def words(self, tokens: int) -> int:
        return max(1, round((tokens - self.fixed) / self.per_word))


def scale(short: int | None, long: int | None) -> Scale:
    """From the server's count for prompts of SHORT and LONG words; a word is a token where it does not count."""
    if short is None or long is None or long <= short:
        return Scale()
    per_word = (long - short) / (LONG - SHORT)
    return Scale(max(0.0, short - SHORT * per_word), per_word, True)


def prompt(words: int, seed: str, order: str = "") -> str:
    """``seed`` chooses the words, ``order`` where each stands."""
    chance = random.Random(seed)  # noqa: S311 - chance for load, not for secrets
    chosen = [chance.choice(WORDS) for _ in range(words)]
    random.Random(f"{seed} {order}").shuffle(chosen)  # noqa: S311 - as above
    return " ".join(chosen)
