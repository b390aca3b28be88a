"""A model is given time to load, and time to finish."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.model import Outcome, Resource, Rule
from infra.policies.pods import TYPES, Pod, flags, pods_of
from infra.policies.seen import look
from infra.policies.settings import Settings


def judge(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    for pod in pods_of(resource):
        if pod.gpus:
            yield from _pod(resource, pod)


def _pod(resource: Resource, pod: Pod) -> Iterator[Outcome]:
    grace = look(pod.spec, "terminationGracePeriodSeconds", 30)
    for path, container in pod.main_containers():
        # a headless engine has nothing to ask, and its leader's probes ask the whole group
        quiet = pod.led and "--headless" in flags(container)
        for probe in () if quiet else ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe not in container:
                yield resource.violation(f"{path}.{probe}", "is missing")
        before = look(container, "lifecycle.preStop.sleep.seconds", 0)
        drain = flags(container).get("--shutdown-timeout")
        if drain is None:
            yield resource.violation(f"{path}.args", "has no --shutdown-timeout: running answers are cut at once")
        elif grace <= before + float(drain):
            message = f"is {grace} s, not above preStop {before} s + drain {drain} s"
            yield resource.violation(f"{pod.at}.terminationGracePeriodSeconds", message)


RULE = Rule(
    id="probes-and-grace",
    title="Pods with GPUs have probes, and a grace that covers their drain",
    reason="without a startup probe a long load is killed; with too short a grace running answers are cut",
    key="models.<model>.drain",
    fix="leave probes and grace to the product; coldStart and drain set them",
    scope="resource",
    judge=judge,
    types=TYPES,
)
