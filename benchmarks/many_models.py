"""Hundreds of sleeping models in one stack: ``python -m benchmarks.many_models [models] [wakes]``.

On the local stack: its first model is woken a few times, then the stack gets as many copies of that model as make
``models`` of them (500 unless told otherwise), all asleep, and the first is woken as often again. Written down: how
long `pulumi up` takes to make them, to find nothing to do, and to remove them; how many API objects there are; CPU and
memory of the platform's pods at rest, and the wake, each before and with all of them. Results go to
``docs/results/many-models.json``, step by step.

Pulumi writes the whole state of a stack after every step, to a file or bucket: with thousands of resources that is
nearly all that it does. So it runs here as the README tells for such stacks, and writes at the end.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.at_rest import pod_readings, used
from benchmarks.load_kit import about, keep, lab
from infra.console import say
from infra.workspace import PROJECT
from lab.ask import NAMESPACE, ask
from tests.lab.conftest import FIRST, Lab, wait_until

PROMPT = "What is the capital of France?"
REST_SECONDS = 60.0
QUIET_SECONDS = 30.0
KINDS = {
    "Deployment": f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
    "Service": f"/api/v1/namespaces/{NAMESPACE}/services",
    "NetworkPolicy": f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies",
    "ScaledObject": f"/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects",
    "HorizontalPodAutoscaler": f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers",
    "InterceptorRoute": f"/apis/http.keda.sh/v1beta1/namespaces/{NAMESPACE}/interceptorroutes",
}


def pulumi(*args: str) -> tuple[float, str]:
    """Seconds and the output's end; ends the program where the command failed."""
    argv = [str(Path(sys.executable).with_name("pulumi")), *args, "--stack", "local", "--non-interactive"]
    started = time.monotonic()
    env = {**os.environ, "NO_COLOR": "1", "PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"}
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, env=env, check=False)
    took = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"pulumi {args[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return took, done.stdout


def wakes(at: Lab, count: int) -> list[float]:
    """Seconds from the request at zero pods to the first token, through the gateway."""
    seconds = []
    for _ in range(count):
        at.until_asleep(FIRST)
        answer = ask(at.paths, at.access, FIRST, PROMPT, lambda *_: None, lambda _: None, max_tokens=16)
        if answer.first_token is None:
            raise SystemExit("no token")
        seconds.append(round(answer.first_token, 2))
        say(f"    a wake: {seconds[-1]} s")
    return seconds


def at_rest(at: Lab) -> dict[str, Any]:
    at.until_asleep(FIRST)
    before, began = pod_readings(at), time.monotonic()
    time.sleep(REST_SECONDS)
    after = pod_readings(at)
    usages = used(before, after, time.monotonic() - began, {})
    return {
        "cores": round(sum(each.cores for each in usages), 3),
        "working_set_mib": round(sum(each.working_set_mib for each in usages)),
        "components": {
            each.component: {"cores": round(each.cores, 4), "working_set_mib": round(each.working_set_mib)}
            for each in usages
            if each.cores >= 0.001
        },
    }


def objects(at: Lab) -> dict[str, int]:
    counts = {}
    for kind, path in KINDS.items():
        answer = at.api.get(path)
        counts[kind] = len(answer.json()["items"]) if answer.status_code == 200 else 0
    return counts


def until_settled(at: Lab, models: int) -> float:
    """Seconds until KEDA has made its part of each ScaledObject and has left them all alone for a while; at rest is
    only what comes after.
    """
    began = time.monotonic()
    wait_until(lambda: objects(at)["HorizontalPodAutoscaler"] >= models, 1200, f"{models} autoscalers", every=2)
    before: list[str] = []

    def quiet() -> bool:
        nonlocal before
        last, before = before, [each["metadata"]["resourceVersion"] for each in at.get(KINDS["ScaledObject"])["items"]]
        return before == last

    wait_until(quiet, 1200, "no ScaledObject written any more", every=QUIET_SECONDS)
    return round(time.monotonic() - began, 1)


def many(config: dict[str, Any], models: int) -> None:
    declared = config["ebbtide:models"]
    copied = {key: value for key, value in declared[FIRST].items() if key != "aliases"}
    for number in range(models - len(declared)):
        declared[f"sleeper-{number + 1}"] = dict(copied)


def changes(output: str) -> str:
    """Pulumi's own closing count of what it did."""
    match = re.search(r"Resources:\n((?:\s+.+\n)+)", output)
    return ", ".join(line.strip() for line in match.group(1).splitlines() if line.strip()) if match else ""


def main(models: int, rounds: int) -> None:
    at = lab()
    result: dict[str, Any] = {
        "what": f"{models} sleeping models in one stack",
        **about(),
        "models": models,
        "before": {"wake_seconds": wakes(at, rounds), "at_rest": at_rest(at), "objects": objects(at)},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = at.changed_stack(Path(folder) / "Pulumi.local.yaml", lambda config: many(config, models))
        up = ("up", "--yes", "--skip-preview", "--config-file", str(file))
        try:
            took, output = pulumi(*up)
            result["with_all"] = {"up_seconds": round(took, 1), "up": changes(output)}
            say(f"  {models} models are up after {took:.0f} s ({changes(output)})")
            keep("many-models.json", result)
            took, output = pulumi(*up)
            result["with_all"] |= {"up_again_seconds": round(took, 1), "up_again": changes(output)}
            say(f"  again, with nothing to do: {took:.0f} s ({changes(output)})")
            keep("many-models.json", result)
            result["with_all"]["settled_seconds"] = until_settled(at, models)
            result["with_all"] |= {"objects": objects(at), "at_rest": at_rest(at)}
            result["with_all"]["wake_seconds"] = wakes(at, rounds)
        finally:
            took, output = pulumi("up", "--yes", "--skip-preview")
            result["removed_seconds"] = round(took, 1)
            say(f"  the stack as it was after {took:.0f} s ({changes(output)})")
    ratio = statistics.median(result["with_all"]["wake_seconds"]) / statistics.median(result["before"]["wake_seconds"])
    result["wake_ratio"] = round(ratio, 3)
    at.api.close()
    keep("many-models.json", result)
    say(f"  a wake takes {ratio:.3f} of what it took (goal: within 10 %) → docs/results/many-models.json")


if __name__ == "__main__":
    main(*(int(value) for value in (sys.argv[1:] + ["500", "3"][len(sys.argv) - 1 :])[:2]))
