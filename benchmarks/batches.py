"""The largest batch through one gateway: ``python -m benchmarks.batches [lines] [bytes a line]``.

50,000 lines of 4 KB are sent, read in, answered by an upstream that answers at once, and fetched. Written down: the
seconds of each step, and the most memory of the gateway and of the process that reads the input.
Results go to ``docs/results/batches.json``.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks.gateway_overhead import KEY, MODEL, gateway, resident_mib, upstream
from benchmarks.load_kit import about, keep
from tests.unit import gateway_kit as kit
from tests.unit import postgres

LINES, BYTES = 50_000, 4_000
CHAT = "/v1/chat/completions"


def content(count: int, size: int) -> bytes:
    """The input of a batch."""
    words = "word " * (size // 5)
    body = {"model": MODEL, "messages": [{"role": "user", "content": words}]}
    return b"".join(
        json.dumps({"custom_id": str(number), "method": "POST", "url": CHAT, "body": body}).encode() + b"\n"
        for number in range(count)
    )


class Children(threading.Thread):
    """Looks for the process that reads the input, as long as there is one, and keeps its most memory in MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0.0

    def run(self) -> None:
        while True:
            for status in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    if b"ebbtide_batch.intake" in status.read_bytes():
                        peak = status.with_name("status").read_text().partition("VmHWM:")[2].split()[0]
                        self.most = max(self.most, int(peak) / 1024)
            time.sleep(0.05)


@contextlib.contextmanager
def timed(steps: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    steps[name] = round(time.perf_counter() - began, 1)


def main() -> int:
    """Measure and write."""
    numbers = [int(word) for word in sys.argv[1:]]
    count, size = [*numbers, *(LINES, BYTES)[len(numbers) :]]
    kube = kit.KubeApi()
    kube.scale(MODEL, 1)
    steps: dict[str, float] = {}
    children = Children()
    children.start()
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(upstream())
        kube.replicas(MODEL, url.removeprefix("http://"))
        database = stack.enter_context(postgres.running())
        target = stack.enter_context(gateway("this", kit.IMAGE, url, kube, database))
        assert target.process is not None
        headers = {"authorization": f"Bearer {KEY}"}
        client = stack.enter_context(httpx.Client(base_url=target.url, headers=headers, timeout=600))
        before = resident_mib(target.process)
        file = content(count, size)
        with timed(steps, "sent"):
            sent = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", file)}).json()
        asked = {"input_file_id": sent["id"], "endpoint": CHAT, "completion_window": "24h"}
        batch = client.post("/v1/batches", json=asked).json()["id"]

        def page() -> dict[str, Any]:
            return dict(client.get(f"/v1/batches/{batch}").json())

        def until(condition: Callable[[dict[str, Any]], bool], what: str) -> None:
            with timed(steps, what):
                kit.until(lambda: condition(page()), what, 1800)

        until(lambda job: job["status"] == "in_progress", "read_in")
        until(lambda job: job["request_counts"]["completed"] == count or job["status"] == "completed", "answered")
        until(lambda job: job["status"] == "completed", "written")
        with timed(steps, "fetched"):
            answer = client.get(f"/v1/files/{page()['output_file_id']}/content")
        ids = [json.loads(line)["custom_id"] for line in answer.text.splitlines()]
        assert ids == [str(number) for number in range(count)]
        after = resident_mib(target.process)
    kube.served.stop()
    memory = {"gateway_before": before, "gateway_after": after, "reader_at_most": children.most}
    memory = {name: round(mebibytes, 1) for name, mebibytes in memory.items()}
    result = {"lines": count, "megabytes": round(len(file) / 1e6), "seconds": steps, "memory_mib": memory}
    keep("batches.json", about() | result)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
