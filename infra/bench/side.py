"""One endpoint while it is measured: its client, its scale of words to tokens, and what it answered."""

from __future__ import annotations

from dataclasses import replace

from infra.bench.client import Client, Question
from infra.bench.load import Ask
from infra.bench.prompts import LONG, SHORT, Scale, prompt, scale
from infra.bench.replies import Reply
from infra.local.problem import LocalProblem

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
        """Wakes the model if it sleeps, and learns how long a word is. Raises ``LocalProblem`` when nobody answers."""
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
        """Asks with prompts that nobody else in this run asks with."""
        words = self.scale.words(input_tokens)

        async def ask(number: int, due: float) -> Reply:
            text = prompt(words, f"{seed} {number}", self.name)
            return await self.client.ask(Question(text, output_tokens, stream, exact), number, due)

        return ask
