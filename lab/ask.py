"""A question to a model through the gateway, showing what happens until the answer is there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from infra.console import console, say
from infra.errors import LocalProblem
from infra.kube_client import api_client
from infra.served import access as served
from infra.workspace import Paths
from lab import pulumi_command, wake_phases

if TYPE_CHECKING:
    import openai

NAMESPACE = "ebbtide-models"
HOLD_SECONDS = 900.0
_POLL_SECONDS = 0.2
_START = "run `make local` or `ebbtide local up`"


@dataclass(frozen=True)
class Access:
    """Address, key and models of the stack: written by ``local up``, readable by the owner only."""

    url: str
    key: str
    models: tuple[str, ...]

    @staticmethod
    def load(paths: Paths) -> Access:
        """Return the current access, read anew from the stack where its state is newer, as after the user's own
        `pulumi destroy` and `pulumi up`. Raises ``LocalProblem`` where there is no stack or the file is unreadable."""
        file = paths.state / "access.json"
        try:
            raw = json.loads(file.read_text())
            access = Access(str(raw["url"]), str(raw["key"]), tuple(raw["models"]))
        except FileNotFoundError:
            raise LocalProblem("the local stack is not up", _START) from None
        except (OSError, ValueError, KeyError, TypeError):
            raise LocalProblem(f"{file} cannot be read", "run `ebbtide local up`: it writes that file anew") from None
        if pulumi_command.changed_at(paths) <= file.stat().st_mtime_ns:
            return access
        return Access.record(paths, access.url)

    @staticmethod
    def record(paths: Paths, url: str) -> Access:
        """Read the stack's demo key and models and save them for `ebbtide local ask`, readable by the owner only."""
        outputs = served.outputs(pulumi_command.STACK)
        keys = outputs.get("api_keys") or {}
        if not keys:
            raise LocalProblem("the local stack is not up: its state has no API key", _START)
        access = Access(url, keys.get("demo") or next(iter(keys.values())), tuple(outputs.get("models") or ()))
        access.save(paths)
        return access

    def listed(self) -> dict[str, str]:
        """Return every name that the endpoint takes, aliases too, with the model it stands for."""
        try:
            answer = httpx.get(
                f"{self.url}/v1/models", headers={"Authorization": f"Bearer {self.key}"}, timeout=10, trust_env=False
            )
            models = answer.json()["data"] if answer.status_code == 200 else None
        except httpx.HTTPError as broken:
            raise LocalProblem(f"no connection to {self.url}: {broken}", "run `ebbtide local status`") from None
        except (ValueError, KeyError, TypeError):
            models = None
        if models is None:
            raise LocalProblem(
                f"{self.url}/v1/models answered {answer.status_code}: {answer.text[:200]}",
                "run `ebbtide local status`; if the gateway is ready, `ebbtide local up` writes its key anew",
            )
        return {name: each["id"] for each in models for name in (each["id"], *each.get("aliases", ()))}

    def model(self, name: str | None) -> str:
        """Return the model that a name or alias stands for; without a name, the stack's first."""
        known = self.listed()
        model = known.get(name) if name is not None else next(iter((*self.models, *known)), None)
        if model is None:
            names = ", ".join(known) or "none"
            what = f"there is no model called {name}" if name is not None else "the stack has no model"
            raise LocalProblem(what, f"--model takes: {names}")
        return model

    def save(self, paths: Paths) -> None:
        file = paths.state / "access.json"
        paths.state.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(json.dumps({"url": self.url, "key": self.key, "models": self.models}, indent=1) + "\n")


@dataclass
class Answer:
    """Answer of a model; times in seconds since the request was sent."""

    text: str = ""
    first_token: float | None = None
    total: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    cut: bool = False
    """True if the answer ended only because it reached the requested length."""


def ask(
    paths: Paths,
    access: Access,
    model: str,
    prompt: str,
    on_phase: Callable[[str, float], None],
    on_text: Callable[[str], None],
    max_tokens: int = 64,
) -> Answer:
    """Run one streamed chat. ``on_phase(name, seconds)`` is called as each phase of the wake passes."""
    import openai  # takes a second, which commands that ask no model need not pay

    answer = Answer()
    started = time.monotonic()
    finished = threading.Event()
    watcher = threading.Thread(target=_watch, args=(paths, model, started, finished, answer, on_phase), daemon=True)
    watcher.start()
    client = openai.OpenAI(
        base_url=f"{access.url}/v1",
        api_key=access.key,
        timeout=HOLD_SECONDS,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False, timeout=HOLD_SECONDS),
    )
    try:
        chat = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": prompt}],
            stream=True,
            max_tokens=max_tokens,
            temperature=0,
        )
        for chunk in chat:
            piece = chunk.choices[0].delta.content if chunk.choices else None
            answer.cut = answer.cut or bool(chunk.choices and chunk.choices[0].finish_reason == "length")
            if piece:
                if answer.first_token is None:
                    answer.first_token = time.monotonic() - started
                    finished.set()
                    watcher.join(timeout=5)
                    if "woken" in answer.phases and "engine ready" not in answer.phases:
                        # a fast first token comes before the next look at the pod; it implies that the engine was ready
                        answer.phases["engine ready"] = answer.first_token
                        on_phase("engine ready", answer.first_token)
                    answer.phases["first token"] = answer.first_token
                    on_phase("first token", answer.first_token)
                answer.text += piece
                on_text(piece)
    except openai.APIStatusError as refused:
        raise LocalProblem(
            f"the gateway answered {refused.status_code}: {_message(refused)}", _advice(refused)
        ) from None
    except openai.APIConnectionError as broken:
        raise LocalProblem(
            f"no connection to {access.url}: {broken.__cause__ or broken}", "run `ebbtide local status`"
        ) from None
    except (openai.APIError, httpx.HTTPError) as broken:
        # an answer that has begun can still end in an error as its last event or in a lost connection
        raise LocalProblem(
            f"the answer broke off: {broken}", "ask again; `ebbtide local status` tells what is not well"
        ) from None
    finally:
        finished.set()
    answer.total = time.monotonic() - started
    return answer


def _message(refused: openai.APIStatusError) -> str:
    body: Any = refused.body
    if isinstance(body, dict):
        body = body.get("error", body)
        return str(body.get("message", body)) if isinstance(body, dict) else str(body)
    return str(body or refused.message)


def _advice(refused: openai.APIStatusError) -> str:
    advice = {
        401: "the key is not one of the stack's: `ebbtide local up` writes the right one anew",
        404: "name one of the stack's models with --model",
        503: f"ask again in {refused.response.headers.get('retry-after', 'a few')} seconds",
    }
    return advice.get(refused.status_code, "see `ebbtide local logs`")


def _watch(
    paths: Paths,
    model: str,
    started: float,
    finished: threading.Event,
    answer: Answer,
    on_phase: Callable[[str, float], None],
) -> None:
    """Watch the model's Deployment and pod until the first token; go on through moments without an answer."""
    reported: set[str] = set()
    reason = ""
    try:
        client = api_client(paths)
    except (OSError, LocalProblem):
        return  # nothing to watch; the answer, or the reason why there is none, comes anyway
    with client as api:
        asleep = not _ready(api, model)
        while asleep and not finished.wait(_POLL_SECONDS):
            try:
                replicas, pod, log = observe(api, model)
            except (httpx.HTTPError, KeyError, ValueError):
                continue
            for phase in wake_phases.passed(replicas, pod, log):
                if phase not in reported:
                    reported.add(phase)
                    answer.phases[phase] = time.monotonic() - started
                    on_phase(phase, answer.phases[phase])
            new = wake_phases.trouble(pod) or ""
            if new and new != reason:
                say(f"      {new}")
                reason = new


def _ready(api: httpx.Client, model: str) -> bool:
    try:
        deployment = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{model}").json()
    except (httpx.HTTPError, ValueError):
        return False
    status = deployment.get("status") if isinstance(deployment, dict) else None
    return isinstance(status, dict) and bool(status.get("readyReplicas"))  # in a refusal ``status`` is a text


def observe(api: httpx.Client, model: str) -> tuple[int, dict[str, Any] | None, str]:
    """Return the wanted replicas, the newest live pod, and its log so far."""
    deployment = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{model}").json()
    query = {"labelSelector": f"ebbtide.dev/model={model}"}
    pods = api.get(f"/api/v1/namespaces/{NAMESPACE}/pods", params=query).json()["items"]
    live = [p for p in pods if not p["metadata"].get("deletionTimestamp")]
    if not live:
        return int(deployment["spec"].get("replicas", 0)), None, ""
    pod = max(live, key=lambda p: p["metadata"]["creationTimestamp"])
    log = ""
    if wake_phases.passed(1, pod, "")[-1] in ("image", "engine ready"):
        response = api.get(
            f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}/log", params={"limitBytes": 200000}
        )
        log = response.text if response.status_code == 200 else ""
    return int(deployment["spec"].get("replicas", 0)), pod, log


def show(paths: Paths, model: str | None, prompt: str, stream: bool, max_tokens: int = 64) -> Answer:
    """Run `ebbtide local ask`: print phases while they pass, then the answer (piece by piece with ``stream``).
    ``model`` is any name that the endpoint lists."""
    access = Access.load(paths)
    name = access.model(model)
    say(f"  asking {name}: {prompt}")
    last = [0.0]

    def phase(title: str, at: float) -> None:
        say(f"    {at:6.1f} s  {title}  (+{at - last[0]:.1f} s)")
        last[0] = at

    def piece(text: str) -> None:
        if stream:
            console.print(text, end="", markup=False, soft_wrap=True)

    answer = ask(paths, access, name, prompt, phase, piece, max_tokens)
    say("" if stream else f"  {answer.text.strip()}")
    if answer.cut:
        say(f"  (cut after {max_tokens} tokens; --max-tokens N lets it go on for longer)")
    return answer


def next_lines(access: Access) -> str:
    """Return the two commands with which the user can ask next. Neither contains the key, which stays in its file."""
    key = "$(.venv/bin/ebbtide local key)"
    body = json.dumps({"model": access.models[0], "messages": [{"role": "user", "content": "Hello"}]})
    python = (
        "import openai, subprocess; key = subprocess.getoutput('.venv/bin/ebbtide local key'); "
        f"print(openai.OpenAI(base_url='{access.url}/v1', api_key=key, timeout=600).chat.completions.create("
        f"model='{access.models[0]}', messages=[{{'role': 'user', 'content': 'Hello'}}]).choices[0].message.content)"
    )
    return (
        f'curl -sS {access.url}/v1/chat/completions -H "Authorization: Bearer {key}" '
        f"-H 'Content-Type: application/json' -d '{body}'\n"
        f'.venv/bin/python -c "{python}"'
    )
