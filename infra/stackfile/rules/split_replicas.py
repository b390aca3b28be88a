"""Rules for a model whose replica is split: over the GPUs of one machine in two ways, or over several machines."""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.model_service.settings import LONGEST_GROUP_NAME
from components.typed.refusal import Path, Problem
from components.typed.rules.pools import NODES_COUNT, SHARING_INVALID
from components.typed.rules.stack import NAME_INVALID, SPLIT_LEAVES_GPUS_OVER
from infra.stackfile.partial import Draft, Part
from infra.stackfile.schema.model import ModelConfig


def judge_nodes(part: Part[ModelConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Yield all problems of one model's machines and split."""
    if part.sound("nodes", "gpus", "tensor_parallel", "pipeline_parallel"):
        yield from _split(part.value, at)
    if part.sound("nodes") and part.value.nodes > 1:
        yield from _name(part.value, at, draft)
        if part.sound("queue_target") and part.value.queue_target is not None:
            message = "is set, and the queue of a model on several machines is not looked at"
            fix = "leave queueTarget out, or nodes"
            yield NODES_COUNT.at(
                (*at, "queueTarget"), message, allowed="nothing", fix=fix, value=part.value.queue_target
            )
        if part.sound("pool"):
            yield from _pool(part.value, at, draft)


def _split(model: ModelConfig, at: Path) -> Iterator[Problem]:
    (tensor, pipeline), gpus = model.split, model.replica_gpus
    if tensor * pipeline == gpus:
        return
    key = "tensorParallel" if model.tensor_parallel is not None else "pipelineParallel"
    other = f"pipelineParallel {pipeline}" if key == "tensorParallel" else f"tensorParallel {tensor}"
    yield SPLIT_LEAVES_GPUS_OVER.at(
        (*at, key),
        f"and {other} split the model over {tensor * pipeline} GPUs, and a replica has {gpus} "
        f"(nodes {model.nodes} × gpus {model.gpus})",
        allowed=f"tensorParallel × pipelineParallel = {gpus}",
        fix=f"leave both out for tensorParallel: {model.gpus} and pipelineParallel: {model.nodes}, "
        "or change nodes or gpus",
        value=tensor if key == "tensorParallel" else pipeline,
    )


def _name(model: ModelConfig, at: Path, draft: Draft) -> Iterator[Problem]:
    for other in draft.models:
        if re.fullmatch(rf"{re.escape(model.name)}-\d+", other):
            # LeaderWorkerSet would take that model's Service for its group's, and machines would not find each other
            message = f"runs on several machines, and its groups have names like that of model {other}"
            allowed = f"no model called {model.name}-<number> beside it"
            yield NAME_INVALID.at(at, message, allowed=allowed, fix=f"give {other} another name")
    length = len(model.name)
    if length > LONGEST_GROUP_NAME:
        message = f"has {length} characters: a model on several machines has pods with longer names and labels"
        allowed = f"at most {LONGEST_GROUP_NAME} characters where nodes is above 1"
        yield NAME_INVALID.at(at, message, allowed=allowed, fix="choose a shorter name")


def _pool(model: ModelConfig, at: Path, draft: Draft) -> Iterator[Problem]:
    pool, path = draft.pools.get(model.pool), (*at, "nodes")
    if pool is None:
        return
    if pool.sound("device") and pool.value.device == "cpu":
        message = f"is more than one, and pool {model.pool} computes on the CPU, on one machine at a time"
        yield NODES_COUNT.at(
            path, message, allowed="1", fix="leave nodes out, or use a pool with GPUs", value=model.nodes
        )
    elif pool.sound("sharing") and pool.value.sharing is not None:
        message = f"is more than one, and the cards of pool {model.pool} are shared: slices do not work together"
        yield SHARING_INVALID.at(
            path, message, allowed="1", fix="leave nodes out, or use a pool without sharing", value=model.nodes
        )
    elif pool.sound("max") and model.nodes > pool.value.max:
        most = pool.value.max
        message = f"is more machines than pool {model.pool} may have, which is {most}: no replica could start"
        allowed = "1" if most <= 1 else f"1..{most}"
        yield NODES_COUNT.at(
            path,
            message,
            allowed=allowed,
            fix=f"set max of pool {model.pool} to {model.nodes} or more",
            value=model.nodes,
        )
