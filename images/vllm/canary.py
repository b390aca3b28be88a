"""Liveness probe that the kubelet runs inside the engine's container: exit 0 if the engine still computes.

``canary.py PORT MODEL PATIENCE_SECONDS [ANSWER_SECONDS]``

``/health`` of vLLM answers 200 while its engine process is wedged. So the probe looks behind it for a sign of life:

- Requests run or wait: the token counters of ``/metrics`` have moved since the last probe.
- Nothing runs: one token is asked for, straight from here, so it does not count as use and keeps no model awake.

Without a sign the engine may still be busy: a long prefill moves no counter, and the engine's last report may be a
minute old. The probe fails only when there was no sign for PATIENCE_SECONDS; the kubelet then requires some more
failures in a row. A full queue (503) is no sign either way. A model that can neither complete nor embed, an engine that
keeps no counters and one that was put to sleep are judged by ``/health`` alone.

Standard library only, and little of it: it is started every minute beside a busy engine.
"""

import os
import socket
import sys
import time

PROBE_SECONDS = 10.0
STATE = os.path.join(os.environ.get("TMPDIR", "/tmp"), "ebbtide-canary")  # noqa: S108  an emptyDir of this pod
TOKENS = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
REQUESTS = ("vllm:num_requests_running", "vllm:num_requests_waiting")
SLEEP = "vllm:engine_sleep_state"


class Unanswered(Exception):
    """Error for no whole answer in time."""


def ask(port, method, path, seconds, body=b""):
    """Return status and body. One deadline for all of it."""
    end = time.monotonic() + seconds
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as link:
            link.sendall(head.encode() + b"\r\n" + body)
            while True:
                link.settimeout(max(0.01, end - time.monotonic()))
                part = link.recv(65536)
                if not part:
                    break
                answer += part
        head, _, rest = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
    except (OSError, ValueError, IndexError) as error:
        raise Unanswered(f"{method} {path}: {error or 'no answer'}") from None
    return status, unchunked(rest) if b"transfer-encoding: chunked" in head.lower() else rest


def unchunked(body):
    """Return a chunked body as one piece."""
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole


def counters(port):
    """Return requests in the engine, tokens so far, and whether it was put to sleep; None if it keeps no counters."""
    status, body = ask(port, "GET", "/metrics", PROBE_SECONDS)
    sums, asleep = {}, False
    for line in body.decode(errors="replace").splitlines():
        if line.startswith("vllm:"):
            name = line.split("{", 1)[0].split(" ", 1)[0]
            value = float(line.rsplit(" ", 1)[1])
            if name in TOKENS or name in REQUESTS:
                sums[name] = sums.get(name, 0.0) + value
            asleep = asleep or (name == SLEEP and 'sleep_state="awake"' in line and value == 0)
    if status != 200 or not set(REQUESTS) <= set(sums) or not set(TOKENS) & set(sums):
        return None
    return sum(sums[name] for name in REQUESTS), sum(sums.get(name, 0.0) for name in TOKENS), asleep


def answers(port, model, seconds):
    """Return True if one token comes, False if refused or late, None if this model can be asked for none."""
    completion = f'{{"model": "{model}", "prompt": "a", "max_tokens": 1, "temperature": 0}}'
    embedding = f'{{"model": "{model}", "input": "a"}}'
    for path, body in (("/v1/completions", completion), ("/v1/embeddings", embedding)):
        try:
            status, _ = ask(port, "POST", path, seconds, body.encode())
        except Unanswered:
            return False
        if status == 200:
            return True
        if status >= 500 or status == 429:
            return False
    return None


def sign_of_life(port, model, seconds, tokens_before):
    """Return whether there was a sign, what it was or why not, and the tokens by now."""
    try:
        counts = counters(port)
    except Unanswered as error:
        return False, str(error), tokens_before
    if counts is None:
        return True, "no counters, /health alone", None
    requests, tokens, asleep = counts
    if asleep:
        return True, "asleep, /health alone", tokens
    if requests > 0:
        moved = tokens_before is None or tokens != tokens_before
        return moved, f"{requests:.0f} requests, {tokens:.0f} tokens", tokens
    answered = answers(port, model, seconds)
    if answered is None:
        return True, "neither completes nor embeds, /health alone", tokens
    if answered:
        return True, "one token answered", tokens
    try:
        after = counters(port)
    except Unanswered as error:
        return False, str(error), tokens
    moved = after is not None and after[1] != tokens
    return moved, "one token refused or late", after[1] if after else tokens


def engine():
    """Return the start time of the container's process: state of an earlier engine says nothing about this one."""
    try:
        with open("/proc/1/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "unknown"


def recall():
    """Return the tokens at the last probe and since when there is no sign; None for unknown and for never."""
    try:
        with open(STATE) as file:
            known, tokens, silent = file.read().split()
        if known == engine():
            return float(tokens) if tokens != "-" else None, float(silent) if silent != "-" else None
    except (OSError, ValueError):
        pass
    return None, None


def keep(tokens, silent):
    """Write the state for the next probe. It is replaced as a whole: a probe may be killed at any moment."""
    text = " ".join([engine(), *("-" if value is None else repr(value) for value in (tokens, silent))])
    with open(STATE + ".new", "w") as file:
        file.write(text)
    os.replace(STATE + ".new", STATE)


def main(port, model, patience, seconds=20.0):
    try:
        status, _ = ask(port, "GET", "/health", min(PROBE_SECONDS, seconds))
    except Unanswered as error:
        return str(error)
    if status != 200:
        return f"GET /health: {status}"
    tokens_before, silent = recall()
    alive, why, tokens = sign_of_life(port, model, seconds, tokens_before)
    now = time.monotonic()
    silent = None if alive else now if silent is None else silent
    keep(tokens, silent)
    if silent is not None and now - silent >= patience:
        return f"no sign of life for {now - silent:.0f} s: {why}"
    print(why)
    return None


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], *(float(each) for each in sys.argv[3:])))
