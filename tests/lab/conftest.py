"""The local stack as a test sees it: the gateway's door in front, the API server behind. All is real but the
GPUs and, where a test asks for it (``quick``), the engine: ``quick_engine.py`` is a stand-in for vLLM.

A test names the state it begins in (``sleeping``, ``awake``), and the fixture brings it about, so tests may come in any
order. They stand in the order that needs the fewest wakes: a model woken by one test serves the next ones.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from components.idle_scaling.timing import USUAL
from components.wake_keeper import access
from infra.errors import LocalProblem
from infra.workspace import PROJECT, Paths, paths
from lab.ask import NAMESPACE, Access
from lab.machine import kubernetes

FIRST, SECOND = "smollm2-135m", "smollm2-135m-b"
TTL = 60.0
SHORT = 10
"""Seconds: a TTL for a moment, where what is shown is not how long the stack file's is."""
MERGE = {"Content-Type": "application/merge-patch+json"}
PAUSED = "autoscaling.keda.sh/paused-replicas"
QUEUES = "/api/v1/namespaces/keda/services/keda-add-ons-http-interceptor-admin:9090/proxy/queue"
KEEPER = f"/api/v1/namespaces/ebbtide/services/{access.NAME}:{access.PORT}/proxy"
ENGINE = "vllm.entrypoints.openai.api_server"
PROGRAMS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
PROGRAM = {"ebbtide.dev/test": "starts-with"}
QUICK = Path(__file__).with_name("quick_engine.py")
WAKE_SECONDS = 240.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What one wake of vLLM can serve stands together, what begins asleep before it; what takes the stack down comes
    last.
    """
    first = (
        "test_doors.py",
        "test_engine.py",
        "test_clients.py",
        "test_paths.py",
        "test_request_options.py",
        "test_engine_flags.py",
    )
    order = {name: place for place, name in enumerate(first)} | {"test_interruptions.py": len(first) + 1}

    def place(item: pytest.Item) -> tuple[bool, int]:
        asleep = item.path.name in first and "sleeping" in getattr(item, "fixturenames", ())
        return not asleep, order.get(item.path.name, len(first))

    items.sort(key=place)


def wait_until(check: Callable[[], Any], seconds: float, what: str, every: float = 0.25) -> Any:
    """The first truthy answer of ``check``; a failure that says what was waited for and what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}; last seen: {answer!r}")
        time.sleep(every)


def without_program(spec: dict[str, Any]) -> dict[str, Any]:
    """Containers and volumes of a model's pod without what ``Lab.starts_with`` puts into them."""
    plain = copy.deepcopy({key: spec[key] for key in ("containers", "volumes")})
    plain["volumes"] = [each for each in plain["volumes"] if each["name"] != "start"]
    engine = plain["containers"][0]
    engine["env"] = [each for each in engine["env"] if each["name"] != "PYTHONPATH"]
    engine["volumeMounts"] = [each for each in engine["volumeMounts"] if each["name"] != "start"]
    return plain


def scaler(model: str) -> str:
    """The path of the model's ScaledObject."""
    return f"/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects/{model}"


def is_current(deployment: dict[str, Any]) -> bool:
    """A change of the Deployment has reached its pods: as many as are wanted, all of the newest kind and ready."""
    status, replicas = deployment["status"], int(deployment["spec"].get("replicas", 0))
    counts = [int(status.get(key, 0)) for key in ("replicas", "updatedReplicas", "readyReplicas")]
    return status.get("observedGeneration", 0) >= deployment["metadata"]["generation"] and counts == [replicas] * 3


def deployment_of(part: str) -> str:
    """The path of the Deployment of the gateway or the keeper."""
    return f"/apis/apps/v1/namespaces/ebbtide/deployments/{part}"


class Lab:
    """One running local stack."""

    def __init__(self, at: Paths, access: Access, keys: dict[str, str]) -> None:
        self.paths, self.access, self.keys = at, access, keys
        self.api = kubernetes.api_client(at)
        self._last_word = time.monotonic()

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
        pods = self.get(f"/api/v1/namespaces/{NAMESPACE}/pods?{query}")["items"]
        return [pod for pod in pods if leaving or "deletionTimestamp" not in pod["metadata"]]

    def kill(self, namespace: str, part: str) -> None:
        """One pod with ``part`` in its name that is not on its way out, without a word to it."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        living = [pod["metadata"] for pod in self.get(path)["items"] if "deletionTimestamp" not in pod["metadata"]]
        name = next((each["name"] for each in living if part in each["name"]), None)
        assert name is not None, f"no pod of {part} in {namespace}"
        self.api.delete(f"{path}/{name}", params={"gracePeriodSeconds": 0}).raise_for_status()

    def gateways(self) -> list[str]:
        """The names of the gateway's pods that take requests."""
        pods = self.get("/api/v1/namespaces/ebbtide/pods?labelSelector=app.kubernetes.io/name=gateway")["items"]
        ready = {"type": "Ready", "status": "True"}.items()
        return [
            pod["metadata"]["name"]
            for pod in pods
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

    def put_to_sleep(self, *models: str) -> None:
        """At zero by KEDA's own pause, without waiting for the TTL. Nobody may be asking; the pause is over when this
        returns, and nothing that came before wakes the model again.
        """
        awake = [model for model in models if not self.asleep(model)]
        self._pause(awake, "0")
        try:
            for model in awake:
                self.until_asleep(model)
                self.until_forgotten(model)
        finally:
            self._pause(awake, None)

    def _pause(self, models: list[str], at: str | None) -> None:
        for model in models:
            pause = {"metadata": {"annotations": {PAUSED: at}}}
            self.api.patch(scaler(model), content=json.dumps(pause), headers=MERGE).raise_for_status()

    def counted(self, model: str) -> dict[str, int]:
        """What the interceptor tells of the model: requests now, and all that there ever were."""
        return dict(self.get(QUEUES)[f"{NAMESPACE}/{model}"])

    def until_forgotten(self, model: str) -> None:
        """Nobody is counted, and nobody came within the time for which the scaler counts who came: nothing wakes it."""

        def forgotten() -> bool:
            load = self.api.get(f"{KEEPER}/load/{model}")  # refused while a gateway does not tell its count
            unused = load.status_code == 200 and load.json()["inFlight"] == 0
            quiet = time.monotonic() - self._last_word > USUAL.window_seconds + 1
            return quiet and unused and self.counted(model)["Concurrency"] == 0

        wait_until(forgotten, 60, f"no request for {model} counted any more")

    @contextmanager
    def short_ttl(self, model: str) -> Iterator[None]:
        """The model's TTL made short, for all of it and for a replica that is one too many; as it was at the end."""
        before = self.get(scaler(model))["spec"]
        advanced = copy.deepcopy(before.get("advanced", {}))
        if behavior := advanced.get("horizontalPodAutoscalerConfig", {}).get("behavior"):
            behavior["scaleDown"]["stabilizationWindowSeconds"] = SHORT

        def put(spec: dict[str, Any]) -> None:
            patch = json.dumps({"spec": spec})
            self.api.patch(scaler(model), content=patch, headers=MERGE).raise_for_status()
            self.disown(scaler(model))

        put({"cooldownPeriod": SHORT, "advanced": advanced})
        try:
            yield
        finally:
            put({key: before[key] for key in ("cooldownPeriod", "advanced") if key in before})

    def until_awake(self, model: str, seconds: float = WAKE_SECONDS) -> None:
        wait_until(lambda: self.ready(model), seconds, f"{model} ready")

    def until_rolled_out(self, model: str, seconds: float = WAKE_SECONDS) -> None:
        """A change of the Deployment has reached its pods: every old one is gone, the new ones (if any) are ready."""

        def done() -> bool:
            deployment = self.deployment(model)
            return is_current(deployment) and len(self.pods(model, leaving=True)) == int(
                deployment["spec"].get("replicas", 0)
            )

        wait_until(done, seconds, f"{model} rolled out")

    @contextmanager
    def starts_with(self, model: str, program: str, **files: str) -> Iterator[None]:
        """The engine's interpreter runs ``program`` before it reads a line of vLLM; ``files`` lie beside it in
        /start. The pod, its entry point and its probes are the product's. As it was at the end.
        """
        content = {"sitecustomize.py": f"import sys\nif {ENGINE!r} in sys.orig_argv:\n    {program}\n", **files}
        where = f"start-{hashlib.sha256(json.dumps([model, content]).encode()).hexdigest()[:8]}"
        before = self.deployment(model)["spec"]["template"]["spec"]
        changed = without_program(before)
        engine = changed["containers"][0]
        engine["env"].append({"name": "PYTHONPATH", "value": "/start"})
        engine["volumeMounts"].append({"name": "start", "mountPath": "/start"})
        changed["volumes"].append({"name": "start", "configMap": {"name": where}})
        config_map = {"metadata": {"name": where, "labels": PROGRAM}, "data": content}
        self.api.post(PROGRAMS, json=config_map).raise_for_status()
        try:
            self._set_pod(model, changed)
            yield
        finally:
            self._set_pod(model, before)
            self.api.delete(f"{PROGRAMS}/{where}").raise_for_status()

    def _set_pod(self, model: str, spec: dict[str, Any]) -> None:
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{model}"
        patch = {"spec": {"template": {"spec": {key: spec[key] for key in ("containers", "volumes")}}}}
        self.api.patch(path, content=json.dumps(patch), headers=MERGE).raise_for_status()
        self.disown(path)

    def forget_last_run(self) -> None:
        """Take back what a run that was killed has left: of ``starts_with``, and of ``put_to_sleep``."""
        self._pause([FIRST, SECOND], None)
        for model in (FIRST, SECOND):
            spec = self.deployment(model)["spec"]["template"]["spec"]
            if any(volume["name"] == "start" for volume in spec["volumes"]):
                self._set_pod(model, without_program(spec))
        self.api.delete(PROGRAMS, params={"labelSelector": "=".join(*PROGRAM.items())}).raise_for_status()

    def loads_for(self, model: str, seconds: float) -> AbstractContextManager[None]:
        """The model's load made long. So what a load meets is met, by probes and by SIGTERM too."""
        return self.starts_with(model, f"import time; time.sleep({seconds})")

    def quick(self, model: str, load_seconds: float = 0, token_seconds: float = 0.02) -> AbstractContextManager[None]:
        """The stand-in of ``quick_engine.py`` in vLLM's place."""
        pace = f"init_globals={{'TOKEN_SECONDS': {token_seconds}}}"
        program = f"import runpy, time; time.sleep({load_seconds}); runpy.run_path('/start/quick_engine.py', {pace})"
        return self.starts_with(model, program, **{QUICK.name: QUICK.read_text()})

    @contextmanager
    def with_setting(self, part: str, old: str, new: str, **pod: Any) -> Iterator[None]:
        """A setting of the gateway or the keeper that no stack file has, ``new`` for ``old`` in its file, and fields of
        its pods; as it was at the end. Its pods are new ones each time.
        """
        settings = f"/api/v1/namespaces/ebbtide/configmaps/{part}"
        ((file, text),) = self.get(settings)["data"].items()
        assert text.count(old) == 1, text
        before = self.get(deployment_of(part))["spec"]["template"]["spec"]

        def put(settings_text: str, spec: dict[str, Any]) -> None:
            self.api.patch(
                settings, content=json.dumps({"data": {file: settings_text}}), headers=MERGE
            ).raise_for_status()
            self.disown(settings)
            self.roll(part, settings_text, spec)

        put(text.replace(old, new), pod)
        try:
            yield
        finally:
            put(text, {name: before[name] for name in pod})

    def roll(self, part: str, mark: str, spec: dict[str, Any] | None = None) -> None:
        """New pods for a part of the platform, as any change of its pods brings them; ready when this returns."""
        annotations = {"ebbtide.dev/test": hashlib.sha256(mark.encode()).hexdigest()[:8]}
        template = {"metadata": {"annotations": annotations}, "spec": spec or {}}
        patch = json.dumps({"spec": {"template": template}})
        self.api.patch(deployment_of(part), content=patch, headers=MERGE).raise_for_status()
        self.disown(deployment_of(part))
        self.until_current(part)

    def until_current(self, part: str, seconds: float = 90) -> None:
        """As many pods of a part as are wanted, all of its newest kind and ready."""
        wait_until(lambda: is_current(self.get(deployment_of(part))), seconds, f"{part}'s pods are current")

    def disown(self, path: str) -> None:
        """What this client has changed and put back is its own no more: the next `pulumi up` may change it."""
        ours = str(self.api.headers["user-agent"]).partition("/")[0]
        kept = [each for each in self.get(path)["metadata"]["managedFields"] if each["manager"] != ours]
        patch = [{"op": "replace", "path": "/metadata/managedFields", "value": kept}]
        headers = {"Content-Type": "application/json-patch+json"}
        self.api.patch(path, content=json.dumps(patch), headers=headers).raise_for_status()

    def client(self, key: str | None = "demo", timeout: float = 600) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys.get(key, key)}"} if key else {}
        heard = {"request": [self._heard], "response": [self._heard]}
        return httpx.Client(
            base_url=self.access.url, headers=headers, timeout=timeout, trust_env=False, event_hooks=heard
        )

    def _heard(self, _: object) -> None:
        self._last_word = time.monotonic()

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
                    event = json.loads(line[6:])
                    assert "choices" in event, line
                    choice = event["choices"][0]
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
    if not kubernetes.api_ready(at):
        pytest.fail("the local cluster does not answer: run `ebbtide local up`")
    stack = Lab(at, access, read_keys(at))
    stack.forget_last_run()
    yield stack
    stack.api.close()


@pytest.fixture(scope="module")
def quick(lab: Lab) -> Iterator[Lab]:
    """The stack with a stand-in for the engine in its models' pods, for the rest of the file: for what is proven of
    everything around the engine. vLLM itself takes most of a minute to start.
    """
    lab.put_to_sleep(FIRST, SECOND)
    with lab.quick(FIRST), lab.quick(SECOND):
        yield lab
        lab.put_to_sleep(FIRST, SECOND)


@pytest.fixture
def sleeping(lab: Lab) -> Lab:
    """The stack with all its models asleep."""
    lab.put_to_sleep(FIRST, SECOND)
    return lab


@pytest.fixture
def awake(lab: Lab) -> Lab:
    """The stack with its first model awake."""
    lab.wake(FIRST)
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
