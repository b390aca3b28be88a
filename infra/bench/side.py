"""One endpoint while it is measured: its client, its scale of words to tokens, and its engine's version."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from infra.bench.client import Client, Question, Reply
from infra.bench.load import Ask
from infra.errors import LocalProblem

_ADVICE = {
    "401": "name the variable with the endpoint's key: --key-env NAME (for the other endpoint --against-key-env)",
    "403": "this key may not use this model: take another key, or another --model",
    "404": "name a model of the endpoint with --model (for the other one --against-model), and check the address",
    "400": "it may not take exact lengths: --no-exact; or the tokens asked for are beyond the model's context",
    "no connection": "check the address, and that something listens there",
}


class Side:
    def __init__(self, name: str, client: Client) -> None:
        self.name, self.client = name, client
        self.scale = Scale()
        self.version: str | None = None

    async def prepare(self, exact: bool) -> None:
        """Wake the model if it sleeps, and learn how long a word is. Raises ``LocalProblem`` without an answer."""
        await self._choose_model()
        counts = []
        for words in (SHORT, LONG):
            question = Question(prompt(words, f"scale {words}", self.name), 1, stream=False, exact=exact)
            reply = await self.client.ask(question, words)
            if reply.fault is not None:
                raise LocalProblem(
                    f"{self.client.endpoint.url} ({self.client.endpoint.model}): {reply.fault}"
                    + (f": {reply.said}" if reply.said else ""),
                    _ADVICE.get(reply.fault, "ask it with curl first: the benchmark sends plain chat completions"),
                )
            counts.append(reply.prompt_tokens)
        self.scale = scale(*counts)
        self.version = await self.client.version()

    async def _choose_model(self) -> None:
        endpoint = self.client.endpoint
        if endpoint.model:
            return
        models = await self.client.models()
        if len(models) != 1:
            raise LocalProblem(
                f"{endpoint.url} has {len(models)} models" + (f": {', '.join(models)}" if models else ""),
                "name one with --model",
            )
        self.client.endpoint = replace(endpoint, model=models[0])

    def asker(self, seed: str, input_tokens: int, output_tokens: int, stream: bool, exact: bool) -> Ask:
        """Return a function that asks with prompts no other request of this run has."""
        words = self.scale.words(input_tokens)

        async def ask(number: int, due: float) -> Reply:
            text = prompt(words, f"{seed} {number}", self.name)
            return await self.client.ask(Question(text, output_tokens, stream, exact), number, due)

        return ask


# Prompts of about a given number of tokens, no two alike, without the model's tokenizer. Pure.
#
# Each begins with its own words: an engine that caches a common prefix would otherwise answer the second request, or
# the second side of a comparison, from what the first one left there. The sides of a comparison get the same words,
# each in its own order: other words are other numbers of tokens, and a prompt 4 % longer is answered later.

_WORDS = """
river stone light house water green night paper table music garden winter summer morning bread horse road cloud
mountain window letter market bridge forest island engine silver copper candle mirror basket harbour meadow
valley thunder shadow feather blanket lantern orchard pepper ribbon saddle timber velvet walnut anchor butter
circle dragon ember falcon ginger hammer ivory jacket kettle lemon marble needle olive pencil quarry rocket
"""
WORDS = tuple(_WORDS.split())
SHORT, LONG = 20, 220  # words in the two questions that show how many tokens a word is


@dataclass(frozen=True)
class Scale:
    """Scale of words to tokens: ``fixed`` tokens for the chat template, ``per_word`` for each word."""

    fixed: float = 0.0
    per_word: float = 1.0
    known: bool = False

    def words(self, tokens: int) -> int:
        return max(1, round((tokens - self.fixed) / self.per_word))


def scale(short: int | None, long: int | None) -> Scale:
    """Return the scale from the server's counts for SHORT and LONG words; a word is a token where it does not count."""
    if short is None or long is None or long <= short:
        return Scale()
    per_word = (long - short) / (LONG - SHORT)
    return Scale(max(0.0, short - SHORT * per_word), per_word, True)


def prompt(words: int, seed: str, order: str = "") -> str:
    """Return a prompt: ``seed`` chooses the words, ``order`` where each stands."""
    chance = random.Random(seed)  # noqa: S311 - chance for load, not for secrets
    chosen = [chance.choice(WORDS) for _ in range(words)]
    random.Random(f"{seed} {order}").shuffle(chosen)  # noqa: S311 - as above
    return " ".join(chosen)
