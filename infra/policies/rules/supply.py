"""Rules for the supply chain: what runs is what was judged, pinned, new enough, without foreign code or secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from components.catalog.versions import numbers
from components.model_service.managed_flags import (
    CODE_FLAGS,
    CODE_VARIABLES,
    DEVELOPMENT,
    UNSAFE_FLAGS,
    UNSAFE_VARIABLES,
    full_name,
)
from infra.policies.inputs import HIDDEN, Unknown, get_path
from infra.policies.model import Graph, NotEvaluated, Outcome, Resource, each, rule
from infra.policies.pods import TYPES, Pod, flags, pods, pods_of
from infra.policies.settings import Settings
from infra.redaction import REDACTED, SECRET_VARIABLE, redact
from infra.stackfile.schema.pool import PoolConfig

_SECRET_FLAGS = re.compile(r"--(api-key|hf-token|.*-(token|password|secret))(=(?P<value>.+))?", re.IGNORECASE)


@rule(
    id="clear-text-secret",
    title="No secret in clear: not in the stack file, nor in env, args or annotations",
    reason="whoever may read the repository, the state or the pod reads it",
    key="models.<model>.extraEnv",
    fix="take it out, withdraw it where it was made, and keep the new one in the secrets of Pulumi or of the cluster",
    scope="stack",
)
def clear_text_secret(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    for resource in graph.resources:
        if resource.kind == "Secret" and resource.is_kubernetes:
            continue  # where a secret belongs
        for path in texts_with_secrets(resource.inputs.raw):
            yield resource.violation(path, "is a secret in clear")


def texts_with_secrets(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of texts that hold a secret: by its look, or by the name of its variable or flag."""
    if isinstance(value, (Unknown, bool, int, float, type(None))):
        return
    if isinstance(value, str):
        if value != HIDDEN and redact(value) != value and REDACTED not in value:
            yield path
    elif isinstance(value, Mapping):
        name, content = value.get("name"), value.get("value")
        named = isinstance(name, str) and isinstance(content, str) and bool(SECRET_VARIABLE.search(name))
        if named and content not in ("", HIDDEN):
            yield f"{path}.value"
            return
        for key, item in value.items():
            yield from texts_with_secrets(item, f"{path}.{key}" if path else str(key))
    else:
        items = list(value)
        for index, item in enumerate(items):
            match = _SECRET_FLAGS.fullmatch(item) if isinstance(item, str) else None
            following = items[index + 1] if index + 1 < len(items) else ""
            if match and (match["value"] or (isinstance(following, str) and following and following[:2] != "--")):
                yield f"{path}[{index}]"
            else:
                yield from texts_with_secrets(item, f"{path}[{index}]")


TAG = re.compile(r"vllm[^:@]*:v?(\d+\.\d+(?:\.\d+)?)")


@rule(
    id="engine-floor",
    title="vLLM is at or above the security floor",
    reason="below it the API key of the engine can be passed by",
    key="image.base",
    fix="use the version in components/catalog/versions.yaml",
    scope="stack",
)
def engine_floor(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    floor = numbers(settings.engine_floor)

    def built(image: Resource) -> Iterator[Outcome]:
        names = [str(get_path(image.inputs, "buildArgs.BASE", "")), *map(str, get_path(image.inputs, "tags") or ())]
        engines = [name for name in names if "vllm" in name]
        yield from _below(engines, image, "tags")
        base = str(get_path(image.inputs, "buildArgs.BASE", ""))
        if base and image.name.startswith("vllm-cuda") and TAG.search(base) is None:
            why = "names no version of vLLM, only a digest or another name"
            yield NotEvaluated(image.urn, "buildArgs.BASE", why)

    def running(pod: Pod) -> Iterator[Outcome]:
        for path, container in pod.main_containers():
            if "vllm" in str(get_path(container, "image", "")) and pod.gpus:
                yield from _below([str(container["image"])], pod.owner, f"{path}.image")

    def _below(names: list[str], resource: Resource, path: str) -> Iterator[Outcome]:
        for name in names:
            match = TAG.search(name)
            if match is not None and numbers(match[1]) < floor:
                yield resource.violation(path, f"vLLM {match[1]} is below {settings.engine_floor}")

    images = (r for r in graph.resources if r.type == "docker-build:index:Image")
    yield from each(images, built, "stack:image")
    # an image the stack builds has been judged by its base; only one from elsewhere is checked here
    foreign = (pod for pod in pods(graph) if not any(_is_built(c) for _, c in pod.main_containers()))
    yield from each(foreign, running, "stack:image")


def _is_built(container: Any) -> bool:
    return isinstance(container.raw.get("image"), Unknown)


_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")


@rule(
    id="image-digest",
    title="Every image is named by digest",
    reason="what a tag names can change between two nodes, and with it what was judged",
    key="image.base",
    fix="name it as registry/name:tag@sha256:…; images the stack builds get their digest by themselves",
    scope="resource",
    types=TYPES,
)
def image_digest(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    def judge_container(entry: tuple[str, Any]) -> Iterator[Outcome]:
        path, inputs = entry
        if not _DIGEST.fullmatch(str(get_path(inputs, "image", ""))):
            yield resource.violation(f"{path}.image", "is not named by digest")

    for pod in pods_of(resource):
        yield from each(pod.containers(), judge_container, resource.urn)


_FLAGS = (*CODE_FLAGS, *UNSAFE_FLAGS)


@rule(
    id="no-remote-code",
    title="No model brings code of its own",
    reason="remote code runs with the identity of the pod, and changes with the repository it comes from",
    key="models.<model>.extraArgs",
    fix="take --trust-remote-code out; use a model the engine knows",
    scope="stack",
)
def no_remote_code(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    # an engine that shares a card in turns is put to sleep through the endpoints of this mode
    asleep = {name for name, model in graph.models.items() if _takes_turns(graph.pools.get(model.pool))}

    def judge_pod(pod: Pod) -> Iterator[Outcome]:
        for path, container in pod.containers():
            names = {full_name(argument, _FLAGS) for argument in flags(container)}
            for flag in _FLAGS:
                if flag in names:
                    yield pod.owner.violation(f"{path}.args", f"{flag} lets foreign code or requests in")
            for variable in get_path(container, "env") or ():
                name = str(get_path(variable, "name"))
                opens = name in CODE_VARIABLES or UNSAFE_VARIABLES.fullmatch(name)
                if opens and not (name == DEVELOPMENT and pod.owner.object_name in asleep):
                    yield pod.owner.violation(f"{path}.env", f"{name} opens the engine to whoever reaches it")

    yield from each(pods(graph), judge_pod, "stack:models")


def _takes_turns(pool: PoolConfig | None) -> bool:
    return pool is not None and pool.sharing is not None and pool.sharing.turns is not None


@rule(
    id="operator-floor",
    title="The GPU operator is above its security floor",
    reason="older ones let a container take over its node",
    key="gpuLayer",
    fix="use the version in components/catalog/versions.yaml",
    scope="resource",
    types=r"kubernetes:helm\.sh/v3:Release",
)
def operator_floor(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    if get_path(resource.inputs, "chart") != "gpu-operator":
        return
    version = get_path(resource.inputs, "version")
    if version is None:
        yield resource.violation("version", "is not pinned")
    elif numbers(str(version)) <= numbers(settings.operator_above):
        yield resource.violation("version", f"{version} is not above {settings.operator_above}")


_COMMIT = re.compile(r"[0-9a-f]{40}")


@rule(
    id="pinned-revision",
    title="Every model is pinned to a full commit",
    reason="a branch or tag can change under a running model",
    key="models.<model>.revision",
    fix="copy the 40 hexadecimal digits from the page of the model, under Files and versions, History",
    scope="stack",
)
def pinned_revision(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    def judge_engine(pod: Pod) -> Iterator[Outcome]:
        for path, container in pod.main_containers():
            flag_values = flags(container)
            for flag in ("--revision", "--tokenizer-revision", "--code-revision"):
                if flag in flag_values and not _COMMIT.fullmatch(flag_values[flag]):
                    yield pod.owner.violation(f"{path}.args", f"{flag} is not a full commit")

    yield from each(pods(graph), judge_engine, "stack:models")


@rule(
    id="safetensors",
    title="Weights are safetensors",
    reason="a pickle (.bin, .pt) runs whatever its author put into it, on the node with the GPU",
    key="models.<model>.id",
    fix="use a model, or a revision of it, that has safetensors; leave --load-format alone",
    scope="stack",
)
def safetensors(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from graph.unknown("EBB250")

    def judge_engine(pod: Pod) -> Iterator[Outcome]:
        for path, container in pod.main_containers():
            form = flags(container).get("--load-format")
            if form is not None and form not in settings.safe_load_formats:
                yield pod.owner.violation(f"{path}.args", "--load-format may read weight files that run code")

    yield from each(pods(graph), judge_engine, "stack:models")
