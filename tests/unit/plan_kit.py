"""Stacks and models for the tests of plans: small, and of the tests' own making."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from infra.planner.facts import build, config_json
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.plan import Plan, plan_stack
from infra.stackfile.load import load_file
from infra.stackfile.schema.stack import StackConfig

COMMIT = "0" * 40
ID = "test/eight"
CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}

STACK: Mapping[str, Any] = {
    "environment": "prod",
    "platform": {
        "kind": "aws",
        "region": "us-east-1",
        "account": "123456789012",
        "cluster": {"version": "1.35", "systemPool": {"machine": "m7i.large", "min": 2, "max": 4}},
        "network": {"cidr": "10.40.0.0/16", "zones": ["us-east-1a", "us-east-1b"]},
        "ingress": {
            "host": "llm.example.com",
            "certificate": "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-0000-0000-000000000000",
            "allowedNetworks": ["10.0.0.0/8"],
        },
    },
    "pools": {"one": {"machine": "g5.8xlarge", "max": 2}},
    "models": {
        "eight": {
            "id": ID, "revision": COMMIT, "pool": "one", "max": 2, "maxTokens": 8192, "coldStart": "10m",
            "idleTtl": "20m",
        }
    },
    "guard": {"maxGpus": 8, "whenFull": "refuse", "maxDollarsPerHour": 1_000_000},
    "gateway": {"groups": {"all": {"models": ["*"]}}, "keys": {"first": {"group": "all"}}},
}  # fmt: skip


def facts(task: Any = None, **config: Any) -> ModelFacts:
    """Of a Llama of eight billion parameters, with other values where given."""
    raw = {**CONFIG, **config}
    shape = config_json.read(raw)
    weights, parameters = build.weights(shape, raw, None)
    return build.facts(
        raw, shape, model_id=ID, revision=COMMIT, weights=weights, parameters=parameters, chat_template=True,
        weight_files=("safetensors",), disk_bytes=weights.total, source="the test", gated=False, task=task,
    )  # fmt: skip


EIGHT = facts()
BY_ID = {ID: EIGHT}


def sections(changes: Mapping[str, Any] | None = None, **models: Any) -> dict[str, Any]:
    """The stack's sections. ``changes`` maps a dotted path to a value; keywords change the model ``eight``."""
    document = copy.deepcopy(dict(STACK))
    document["models"]["eight"] |= models
    for path, value in (changes or {}).items():
        here = document
        *steps, last = path.split(".")
        for step in steps:
            here = here.setdefault(step, {})
        here[last] = copy.deepcopy(value)
    return document


def write(folder: Path, document: Mapping[str, Any], name: str = "Pulumi.test.yaml") -> Path:
    """As a stack file."""
    file = folder / name
    file.write_text(yaml.safe_dump({"config": {f"ebbtide:{key}": value for key, value in document.items()}}))
    return file


def stack(folder: Path, changes: Mapping[str, Any] | None = None, **models: Any) -> StackConfig:
    """Judged, so that a test does not plan what nobody could write."""
    return load_file(write(folder, sections(changes, **models))).config


def plan(
    folder: Path, known: ModelFacts | None = EIGHT, changes: Mapping[str, Any] | None = None, **models: Any
) -> Plan:
    """With ``known`` for the one model."""
    return plan_stack(stack(folder, changes, **models), lambda _: known)


def renamed(model_facts: ModelFacts, **changes: Any) -> ModelFacts:
    return replace(model_facts, **changes)


def problems_of(planned: Plan) -> dict[str, Any]:
    """The planner's problems by code and place."""
    return {f"{int(p.code[3:])} {'.'.join(map(str, p.path))}": p for p in planned.problems}
