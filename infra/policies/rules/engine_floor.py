"""The engine is not older than its last grave hole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from infra.policies.model import Graph, NotEvaluated, Outcome, Resource, Rule, each
from infra.policies.pods import Pod, pods
from infra.policies.seen import Unknown, look
from infra.policies.settings import Settings
from infra.policies.stackfile import version


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    floor = version(settings.engine_floor)

    def built(image: Resource) -> Iterator[Outcome]:
        names = [str(look(image.inputs, "buildArgs.BASE", "")), *map(str, look(image.inputs, "tags") or ())]
        engines = [name for name in names if "vllm" in name]
        yield from _below(engines, image, "tags")
        base = str(look(image.inputs, "buildArgs.BASE", ""))
        if base and image.name.startswith("vllm-cuda") and TAG.search(base) is None:
            why = "names no version of vLLM, only a digest or another name"
            yield NotEvaluated(image.urn, "buildArgs.BASE", why)

    def running(pod: Pod) -> Iterator[Outcome]:
        for path, container in pod.main_containers():
            if "vllm" in str(look(container, "image", "")) and pod.gpus:
                yield from _below([str(container["image"])], pod.owner, f"{path}.image")

    def _below(names: list[str], resource: Resource, path: str) -> Iterator[Outcome]:
        for name in names:
            found = TAG.search(name)
            if found is not None and version(found[1]) < floor:
                yield resource.violation(path, f"vLLM {found[1]} is below {settings.engine_floor}")

    images = (r for r in graph.resources if r.type == "docker-build:index:Image")
    yield from each(images, built, "stack:image")
    # an image the stack builds has been judged by its base; only one from elsewhere is looked at here
    foreign = (pod for pod in pods(graph) if not any(_is_built(c) for _, c in pod.main_containers()))
    yield from each(foreign, running, "stack:image")


def _is_built(container: Any) -> bool:
    return isinstance(container.raw.get("image"), Unknown)


TAG = re.compile(r"vllm[^:@]*:v?(\d+\.\d+(?:\.\d+)?)")


RULE = Rule(
    id="engine-floor",
    title="vLLM is at or above the security floor",
    reason="below it the API key of the engine can be passed by",
    key="image.base",
    fix="use the version in components/catalog/versions.yaml",
    scope="stack",
    judge=judge,
)
