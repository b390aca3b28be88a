"""Ask a model that may sleep, be full or be unable to come up.

After ``pip install openai``:

EBBTIDE_URL=http://127.0.0.1:4000 EBBTIDE_KEY=… python docs/examples/ask.py MODEL "Why is the sea salty?"
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import openai


def connect(url: str, key: str) -> openai.OpenAI:
    """Make a client that waits for a sleeping model and comes back to a full one."""
    return openai.OpenAI(
        base_url=f"{url.rstrip('/')}/v1",
        api_key=key,
        # above the model's `hold`: while it comes up nothing is sent, and a client that gives up is not waited for
        timeout=1200,
        # after 429, 5xx and a connection that broke before the answer: when `Retry-After` says, two minutes at most;
        # so many outlast a cold start of 20 minutes
        max_retries=12,
    )


def ask(client: openai.OpenAI, model: str, question: str, max_tokens: int = 512) -> Iterator[str]:
    """Yield the answer, piece by piece. Raises ``openai.APIError``: what came before it is not the whole answer."""
    messages: list[openai.types.chat.ChatCompletionUserMessageParam] = [{"role": "user", "content": question}]
    chat = client.chat.completions.create(model=model, messages=messages, max_tokens=max_tokens, stream=True)
    for chunk in chat:
        for choice in chunk.choices:
            yield choice.delta.content or ""


def main(model: str, question: str) -> str | None:
    """Print the answer. What is returned says why there is none, or not all of it."""
    try:
        for piece in ask(connect(os.environ["EBBTIDE_URL"], os.environ["EBBTIDE_KEY"]), model, question):
            print(piece, end="", flush=True)
    except openai.APIStatusError as refused:
        again = refused.response.headers.get("retry-after")
        # `code` is for programs; of `wake_failed` it is `param` that tells why: quota, image_pull, out_of_memory, …
        words = f"{refused.message} [{' '.join(str(word) for word in (refused.code, refused.param) if word)}]"
        return words + (f", again in {again} s" if again else "")
    except openai.APIError as broken:
        return f"broken off, not the whole answer: {broken}"
    print()
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
