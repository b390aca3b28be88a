"""The local stack as a test sees it: the gateway's door in front, the API server behind. Nothing here is a stand-in."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from infra.local import cluster
from infra.local.ask import NAMESPACE, Access
from infra.local.paths import PROJECT, Paths, paths
from infra.local.problem import LocalProblem

FIRST, SECOND = "smollm2-135m", "smollm2-135m-b"
TTL = 60.0
ENGINE = "vllm.entrypoints.openai.api_server"
WAKE_SECONDS = 240.0


def wait_until(check: Callable[[], Any], seconds: float, what: str, every: float = 0.25) -> Any:
    """The first truthy answer of ``check``; a failure that says what was waited for and what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        seen = check()
        if seen:
            return seen
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}; last seen: {seen!r}")
        time.sleep(every)


class Lab:
    """One running local stack."""

    def __init__(self, at: Paths, access: Access, keys: dict[str, str]) -> None:
        self.paths, self.access, self.keys = at, access, keys
        self.api = cluster.api_client(at)

    def get(self, path: str) -> dict[str, Any]:
        answer = self.api.get(path)
        answer.raise_for_status()
        return dict(answer.json())

    def deployment(self, model: str) -> dict[str, Any]:
        return self.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{model}")

    def replicas(self, model: str) -> int:
        return int(self.deployment(model)["spec"].get("replicas", 0))

    def pods(self, model: str, leaving: bool = False) -> list[dict[str, Any]]:
        """The model's pods; those that are on their way out only with ``leaving``."""
        query = f"labelSelector=ebbtide.dev/model={model}"
        found = self.get(f"/api/v1/namespaces/{NAMESPACE}/pods?{query}")["items"]
        return [pod for pod in found if leaving or "deletionTimestamp" not in pod["metadata"]]

    def kill(self, namespace: str, part: str) -> None:
        """One pod with ``part`` in its name that is not on its way out, without a word to it."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        living = [pod["metadata"] for pod in self.get(path)["items"] if "deletionTimestamp" not in pod["metadata"]]
        name = next((each["name"] for each in living if part in each["name"]), None)
        assert name is not None, f"no pod of {part} in {namespace}"
        self.api.delete(f"{path}/{name}", params={"gracePeriodSeconds": 0}).raise_for_status()

    def gateways(self) -> list[str]:
        """The names of the gateway's pods that take requests."""
        found = self.get("/api/v1/namespaces/ebbtide/pods?labelSelector=app.kubernetes.io/name=gateway")["items"]
        ready = {"type": "Ready", "status": "True"}.items()
        return [
            pod["metadata"]["name"]
            for pod in found
            if "deletionTimestamp" not in pod["metadata"]
            and any(ready <= each.items() for each in pod["status"].get("conditions", ()))
        ]

    def gateway_listens(self) -> bool:
        try:
            with self.client(timeout=5) as client:
                return client.get("/health/readiness").status_code == 200
        except httpx.HTTPError:
            return False

    def ready(self, model: str) -> bool:
        return bool(self.deployment(model).get("status", {}).get("readyReplicas"))

    def asleep(self, model: str) -> bool:
        return self.replicas(model) == 0 and not self.pods(model, leaving=True)

    def until_asleep(self, model: str, seconds: float = TTL + 30 + 130) -> None:
        wait_until(lambda: self.asleep(model), seconds, f"{model} asleep, no pod")

    def until_awake(self, model: str, seconds: float = WAKE_SECONDS) -> None:
        wait_until(lambda: self.ready(model), seconds, f"{model} ready")

    def until_rolled_out(self, model: str, seconds: float = WAKE_SECONDS) -> None:
        """A change of the Deployment has reached its pods: every old one is gone, the new ones (if any) are ready."""

        def done() -> bool:
            seen = self.deployment(model)
            status, wanted = seen["status"], int(seen["spec"].get("replicas", 0))
            current = status.get("observedGeneration", 0) >= seen["metadata"]["generation"]
            counts = [int(status.get(key, 0)) for key in ("replicas", "updatedReplicas", "readyReplicas")]
            return current and counts == [wanted] * 3 and len(self.pods(model, leaving=True)) == wanted

        wait_until(done, seconds, f"{model} rolled out")

    @contextmanager
    def loads_for(self, model: str, seconds: float) -> Iterator[None]:
        """The model's load made long: the engine's interpreter sleeps before it reads a line of vLLM. So what a load
        meets is met, by probes and by SIGTERM too. As it was at the end.
        """
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{model}"
        program, where = f"/api/v1/namespaces/{NAMESPACE}/configmaps", f"slow-{model}"
        code = f"import sys, time\nif {ENGINE!r} in sys.orig_argv:\n    time.sleep({seconds})\n"
        made = {"metadata": {"name": where}, "data": {"sitecustomize.py": code}}
        pod = self.deployment(model)["spec"]["template"]["spec"]
        slow = copy.deepcopy({key: pod[key] for key in ("containers", "volumes")})
        slow["volumes"].append({"name": "slow", "configMap": {"name": where}})
        slow["containers"][0]["env"].append({"name": "PYTHONPATH", "value": "/slow"})
        slow["containers"][0]["volumeMounts"].append({"name": "slow", "mountPath": "/slow"})

        def put(spec: dict[str, Any]) -> None:
            patch = {"spec": {"template": {"spec": {key: spec[key] for key in slow}}}}
            headers = {"Content-Type": "application/merge-patch+json"}
            self.api.patch(path, content=json.dumps(patch), headers=headers).raise_for_status()

        self.api.post(program, json=made).raise_for_status()
        try:
            put(slow)
            yield
        finally:
            put(pod)
            self.disown(path)
            self.api.delete(f"{program}/{where}").raise_for_status()

    def disown(self, path: str) -> None:
        """What this client has changed and put back is its own no more: the next `pulumi up` may change it."""
        ours = str(self.api.headers["user-agent"]).partition("/")[0]
        kept = [each for each in self.get(path)["metadata"]["managedFields"] if each["manager"] != ours]
        patch = [{"op": "replace", "path": "/metadata/managedFields", "value": kept}]
        headers = {"Content-Type": "application/json-patch+json"}
        self.api.patch(path, content=json.dumps(patch), headers=headers).raise_for_status()

    def client(self, key: str | None = "demo", timeout: float = 600) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys.get(key, key)}"} if key else {}
        return httpx.Client(base_url=self.access.url, headers=headers, timeout=timeout, trust_env=False)

    def chat(self, model: str, prompt: str = "Say hello.", key: str | None = "demo", **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 8, **more}
        with self.client(key) as client:
            return client.post("/v1/chat/completions", json=body)

    def wake(self, model: str) -> str:
        """Awake and answering; the name of the pod."""
        answer = self.chat(model)
        assert answer.status_code == 200, answer.text
        return str(self.pods(model)[0]["metadata"]["uid"])

    def stream(self, model: str, prompt: str, on_piece: Callable[[str, float], None], **more: Any) -> str | None:
        """A streamed chat; ``on_piece(text, seconds since the request)``; the finish reason the server gave."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True, **more}
        started, finish, done = time.monotonic(), None, False
        with self.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data: "):
                    choice = json.loads(line[6:])["choices"][0]
                    finish = choice.get("finish_reason") or finish
                    if choice["delta"].get("content"):
                        on_piece(choice["delta"]["content"], time.monotonic() - started)
        assert done, "the stream ended without its closing line"
        return finish

    def at_once(self, count: int, call: Callable[[int], httpx.Response]) -> list[httpx.Response]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(call, range(count)))

    def pulumi(self, *args: str, check: bool = True) -> str:
        """The command as a user types it, from the project's root; its output."""
        argv = [str(Path(sys.executable).with_name("pulumi")), *args, "--stack", "local", "--non-interactive"]
        env = {**os.environ, "NO_COLOR": "1"}
        done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, env=env, timeout=600, check=False)
        if check:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    @contextmanager
    def stack_with(self, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """The stack with something else in it; the stack file's own is deployed again at the end."""
        with tempfile.TemporaryDirectory() as folder:
            file = self.changed_stack(Path(folder) / "Pulumi.local.yaml", change)
            try:
                self.pulumi("up", "--yes", "--skip-preview", "--config-file", str(file))
                yield
            finally:
                self.pulumi("up", "--yes", "--skip-preview")

    def changed_stack(self, file: Path, change: Callable[[dict[str, Any]], None]) -> Path:
        """A copy of the stack file with something else in it, for `pulumi --config-file`."""
        document = yaml.safe_load((PROJECT / "stacks/Pulumi.local.yaml").read_text())
        change(document["config"])
        file.write_text(yaml.safe_dump(document))
        return file


def read_keys(at: Paths) -> dict[str, str]:
    argv = [str(Path(sys.executable).with_name("pulumi")), "stack", "output", "api_keys", "--json", "--show-secrets"]
    done = subprocess.run(
        [*argv, "--stack", "local"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The stack that `ebbtide local up` made. That it is not there is a failure, never a skip."""
    at = paths()
    try:
        access = Access.load(at)
    except LocalProblem as missing:
        pytest.fail(str(missing))
    if not cluster.api_ready(at):
        pytest.fail("the local cluster does not answer: run `ebbtide local up`")
    found = Lab(at, access, read_keys(at))
    yield found
    found.api.close()


@pytest.fixture
def sleeping(lab: Lab) -> Lab:
    """The stack with its first model asleep."""
    lab.until_asleep(FIRST)
    return lab


class Steady:
    """A load in the background, stopped at the end of the block."""

    def __init__(self, every: float, call: Callable[[], httpx.Response]) -> None:
        self.answers: list[httpx.Response] = []
        self._every, self._call, self._stop = every, call, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.answers.append(self._call())

    def __enter__(self) -> Steady:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=60)
