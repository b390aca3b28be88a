"""Every bad input that one stack file can show, each with the whole message a user reads.

A case changes one thing of tests/fixtures/stackfile/Pulumi.good.yaml and expects exactly the findings listed.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.stackfile import ConfigError, load

FILE = "stacks/Pulumi.aws-prod.yaml"
GOOD = Path(__file__).parents[1] / "fixtures/stackfile/Pulumi.good.yaml"
MODEL = ("models", "llama-8b")
SHA = "ab" * 32
NAME = "at most 63 of a-z, 0-9 and -, beginning and ending with a letter or digit (DNS-1123)"
TIME = "a whole number with a unit from 1s to 720h, like 60s, 20m or 1h"
TIME_FIX = "write a number and its unit, like 20m"
GPUS = "allowed: a whole number from 1 to 64; fix: ask for 1, 2, 4 or 8 GPUs [EBB001 error]"
MINIMUM = "allowed: a whole number from 0 to 10000; fix: use 0 to let it go to zero [EBB007 error]"
SHARE = (
    "is not a share of the GPU's memory; allowed: a number above 0 and at most 1; "
    "fix: write 0.9 for nine tenths, or leave it out [EBB032 error]"
)
HUB_ID = (
    "is not a Hugging Face id; allowed: owner/name of letters, digits, '-', '_' and '.'; "
    "fix: copy it from the model's page, like HuggingFaceTB/SmolLM2-135M-Instruct [EBB018 error]"
)
COMMIT = (
    "is not a full commit: a branch, tag or short form can change under a running model; "
    "allowed: the 40 hexadecimal digits of a commit; "
    "fix: copy the commit from the model's page on Hugging Face, under Files and versions, History [EBB020 mandatory]"
)
NO_CEILING = (
    "is missing: without a ceiling nothing bounds the cost; allowed: a whole number from 0; "
    "fix: add max: 1 or the most that may run at once [EBB008 mandatory]"
)
READ_BY_MANY = "on the engine's command line, where whoever may read the pod reads it; allowed: no secret in clear in a"
MANAGED = "allowed: flags the product does not set; fix:"
UNSAFE = (
    "opens the engine's development, profiling or tool interface to whoever reaches the pod; "
    "allowed: an engine that only answers requests; fix: take it out [EBB052 mandatory]"
)
REMOVED = object()
EXISTING = {
    "kind": "existing",
    "context": "theirs",
    "registry": {"address": "registry.example.com/ebbtide"},
    "modelStore": {"claim": "weights"},
}


def stack(*changes: tuple[tuple[Any, ...], Any]) -> dict[str, Any]:
    """The good stack with values put at paths (or taken out: REMOVED)."""
    config = yaml.safe_load(GOOD.read_text())["config"]
    raw = {k.partition(":")[2]: v for k, v in config.items() if k.startswith("ebbtide:")}
    for path, value in changes:
        at: Any = raw
        for key in path[:-1]:
            at = at.setdefault(key, {}) if isinstance(at, dict) else at[key]
        if value is REMOVED:
            del at[path[-1]]
        else:
            at[path[-1]] = copy.deepcopy(value)
    return raw


def messages(raw: dict[str, Any]) -> list[str]:
    try:
        return [str(warning) for warning in load(raw, FILE).warnings]
    except ConfigError as error:
        return str(error).splitlines()


def model(**fields: Any) -> list[tuple[tuple[Any, ...], Any]]:
    return [((*MODEL, key), value) for key, value in fields.items()]


OTHER = {**stack()["models"]["llama-8b"], "max": 1}

CASES: dict[str, tuple[list[tuple[tuple[Any, ...], Any]], list[str]]] = {
    "1 gpus 0": (model(gpus=0), [f"models.llama-8b.gpus: 0 is less than 1; {GPUS}"]),
    "1 gpus negative": (model(gpus=-2), [f"models.llama-8b.gpus: -2 is less than 1; {GPUS}"]),
    "1 gpus fractional": (model(gpus=0.5), [f"models.llama-8b.gpus: 0.5 is not a whole number; {GPUS}"]),
    "17 a split over more GPUs than a replica has": (
        [*model(gpus=8, nodes=2, tensorParallel=16), (("guard", "maxGpus"), 16)],
        [
            "models.llama-8b.tensorParallel: 16 and pipelineParallel 2 split the model over 32 GPUs, and a replica has "
            "16 (nodes 2 × gpus 8); allowed: tensorParallel × pipelineParallel = 16; fix: leave both out for "
            "tensorParallel: 8 and pipelineParallel: 2, or change nodes or gpus [EBB017 error]"
        ],
    ),
    "17 a split that leaves GPUs idle": (
        model(gpus=8, pipelineParallel=2, tensorParallel=2),
        [
            "models.llama-8b.tensorParallel: 2 and pipelineParallel 2 split the model over 4 GPUs, and a replica has 8 "
            "(nodes 1 × gpus 8); allowed: tensorParallel × pipelineParallel = 8; fix: leave both out for "
            "tensorParallel: 8 and pipelineParallel: 1, or change nodes or gpus [EBB017 error]"
        ],
    ),
    "17 stages alone that are more than the GPUs": (
        model(gpus=4, pipelineParallel=2),
        [
            "models.llama-8b.pipelineParallel: 2 and tensorParallel 4 split the model over 8 GPUs, and a replica has 4 "
            "(nodes 1 × gpus 4); allowed: tensorParallel × pipelineParallel = 4; fix: leave both out for "
            "tensorParallel: 4 and pipelineParallel: 1, or change nodes or gpus [EBB017 error]"
        ],
    ),
    "17 no number of stages": (
        model(pipelineParallel=0),
        [
            "models.llama-8b.pipelineParallel: 0 is less than 1; allowed: a whole number from 1 to 1024; "
            "fix: leave it out: gpus and nodes give it [EBB017 error]"
        ],
    ),
    "200 more machines than the pool may have": (
        [*model(gpus=8, nodes=3), (("guard", "maxGpus"), 24)],
        [
            "models.llama-8b.nodes: 3 is more machines than pool gpu-8xa100 may have, which is 2: no replica could "
            "start; allowed: 1..2; fix: set max of pool gpu-8xa100 to 3 or more [EBB200 error]"
        ],
    ),
    "200 a queue on several machines": (
        [*model(gpus=8, nodes=2, queueTarget=4), (("guard", "maxGpus"), 16)],
        [
            "models.llama-8b.queueTarget: 4 is set, and the queue of a model on several machines is not looked at; "
            "allowed: nothing; fix: leave queueTarget out, or nodes [EBB200 error]"
        ],
    ),
    "200 no machine": (
        model(nodes=0),
        [
            "models.llama-8b.nodes: 0 is less than 1; allowed: a whole number from 1 to 64; "
            "fix: leave nodes out for one machine a replica [EBB200 error]"
        ],
    ),
    "200 machines that compute on the CPU": (
        [*model(nodes=2), (("pools", "gpu-8xa100", "device"), "cpu")],
        [
            "models.llama-8b.nodes: 2 is more than one, and pool gpu-8xa100 computes on the CPU, on one machine at a "
            "time; allowed: 1; fix: leave nodes out, or use a pool with GPUs [EBB200 error]"
        ],
    ),
    "114 a guard below one replica on two machines": (
        model(gpus=8, nodes=2),
        [
            "guard.maxGpus: 8 is fewer than model llama-8b needs to start, which is 16; allowed: 16 or more; "
            "fix: set maxGpus: 16 or more [EBB114 error]"
        ],
    ),
    "114 a guard below the replicas that are kept, two machines each": (
        [*model(gpus=4, nodes=2, min=2), (("guard", "maxGpus"), 15)],
        [
            "guard.maxGpus: 15 is fewer than the models with a min keep at all times, which is 16 (llama-8b); "
            "allowed: 16 or more; fix: set maxGpus: 16 or more [EBB114 error]"
        ],
    ),
    "35 a name too long for a group": (
        [(("models", "a" * 48), {**OTHER, "nodes": 2}), (("guard", "maxGpus"), 16)],
        [
            f"models.{'a' * 48}: has 48 characters: a model on several machines has pods with longer names and "
            "labels; allowed: at most 47 characters where nodes is above 1; fix: choose a shorter name [EBB035 error]"
        ],
    ),
    "35 a name that a group's own names would be": (
        [
            (("models", "large"), {**OTHER, "nodes": 2}),
            (("models", "large-0"), OTHER),
            (("models", "large-b"), OTHER),
            (("guard", "maxGpus"), 16),
        ],
        [
            "models.large: runs on several machines, and its groups have names like that of model large-0; "
            "allowed: no model called large-<number> beside it; fix: give large-0 another name [EBB035 error]"
        ],
    ),
    "51 a flag of several machines": (
        model(extraArgs=["--nnodes=2", "--headless"]),
        [
            f"models.llama-8b.extraArgs[0]: '--nnodes=2' overrides --nnodes, which the product sets; {MANAGED} set "
            "nodes [EBB051 error]",
            "models.llama-8b.extraArgs[1]: '--headless' overrides --headless, which the product sets; "
            f"{MANAGED} set nodes [EBB051 error]",
        ],
    ),
    "46 one volume for one replica on two machines": (
        [
            *model(gpus=8, nodes=2, max=1),
            (("guard", "maxGpus"), 16),
            (("platform", "modelStore", "accessMode"), "ReadWriteOnce"),
        ],
        [
            "platform.modelStore.accessMode: 'ReadWriteOnce' is mounted on one node at a time, and the models' "
            "replicas may run on 2; allowed: ReadOnlyMany or ReadWriteMany; fix: keep the weights on a claim that many "
            "nodes may read, or let one pool with max: 1 serve all models [EBB046 error]"
        ],
    ),
    "1 gpus a truth value": (model(gpus=True), [f"models.llama-8b.gpus: true is not a whole number; {GPUS}"]),
    "1 gpus as text": (model(gpus="1"), [f"models.llama-8b.gpus: '1' is not a whole number; {GPUS}"]),
    "1 gpus of a node 0": (
        [(("pools", "gpu-8xa100", "gpu", "count"), 0)],
        [f"pools.gpu-8xa100.gpu.count: 0 is less than 1; {GPUS}"],
    ),
    "2 more gpus than a node has": (
        [*model(gpus=9), (("guard", "maxGpus"), 9)],
        [
            "models.llama-8b.gpus: 9 is more than a node of pool gpu-8xa100 has, which is 8; allowed: 1..8; "
            "fix: set gpus: 8, or use a pool with more GPUs a node [EBB002 error]"
        ],
    ),
    "6 min above max": (
        model(min=3),
        [
            "models.llama-8b.min: 3 is more than max, which is 2; allowed: 0..2; "
            "fix: lower min to 2 or raise max to 3 [EBB006 error]"
        ],
    ),
    "6 min of a pool above max": (
        [(("pools", "gpu-8xa100", "min"), 4)],
        [
            "pools.gpu-8xa100.min: 4 is more than max, which is 2; allowed: 0..2; "
            "fix: lower min to 2 or raise max to 4 [EBB006 error]"
        ],
    ),
    "7 negative min": (model(min=-1), [f"models.llama-8b.min: -1 is less than none; {MINIMUM}"]),
    "8 no max": (model(max=REMOVED), [f"models.llama-8b.max: {NO_CEILING}"]),
    "8 no max of a pool": ([(("pools", "gpu-8xa100", "max"), REMOVED)], [f"pools.gpu-8xa100.max: {NO_CEILING}"]),
    "8 no guard": (
        [(("guard",), REMOVED), *model(gpus=4)],
        [
            "guard.maxGpus: is missing: without a ceiling nothing bounds the cost of all models together; "
            "allowed: a whole number from 4; fix: add maxGpus: 4 or more [EBB008 mandatory]"
        ],
    ),
    "11 time without unit": (
        model(idleTtl=60),
        [f"models.llama-8b.idleTtl: 60 has no unit; allowed: {TIME}; fix: {TIME_FIX} [EBB011 error]"],
    ),
    "11 time as text without unit": (
        model(idleTtl="60"),
        [f"models.llama-8b.idleTtl: '60' has no unit; allowed: {TIME}; fix: {TIME_FIX} [EBB011 error]"],
    ),
    "11 negative time": (
        model(idleTtl="-5m"),
        [f"models.llama-8b.idleTtl: '-5m' is not a length of time; allowed: {TIME}; fix: {TIME_FIX} [EBB011 error]"],
    ),
    "11 time not a number": (
        model(idleTtl=float("nan")),
        [f"models.llama-8b.idleTtl: nan is not a length of time; allowed: {TIME}; fix: {TIME_FIX} [EBB011 error]"],
    ),
    "11 no time at all": (
        model(drain="0s"),
        [f"models.llama-8b.drain: '0s' is too short; allowed: {TIME}; fix: {TIME_FIX} [EBB011 error]"],
    ),
    "12 idle time shorter than the load": (
        model(idleTtl="1m", coldStart="5m"),
        [
            "models.llama-8b.idleTtl: '1m' is shorter than coldStart, 5m: the idle timer would end a model that still "
            "loads; allowed: 5m or more; fix: set idleTtl: 5m, or a lower coldStart if a load never takes that long "
            "[EBB012 error]"
        ],
    ),
    "13 idle time of a model that never sleeps": (
        model(min=1, idleTtl="20m"),
        [
            "models.llama-8b.idleTtl: '20m' has no effect: min is 1, so it never goes to zero; "
            "allowed: an idleTtl where min is 0; fix: take idleTtl out, or set min: 0 [EBB013 warning]"
        ],
    ),
    "17 stages that are not written with the key for them": (
        model(extraArgs=["--pipeline-parallel-size", "2"]),
        [
            "models.llama-8b.extraArgs[0]: '--pipeline-parallel-size' overrides --pipeline-parallel-size, which the "
            f"product sets; {MANAGED} set pipelineParallel [EBB051 error]"
        ],
    ),
    "18 id without owner": (model(id="llama"), [f"models.llama-8b.id: 'llama' {HUB_ID}"]),
    "18 id with a path": (model(id="a/b/c"), [f"models.llama-8b.id: 'a/b/c' {HUB_ID}"]),
    "18 id that leaves its folder": (model(id="a/.."), [f"models.llama-8b.id: 'a/..' {HUB_ID}"]),
    "20 a branch": (model(revision="main"), [f"models.llama-8b.revision: 'main' {COMMIT}"]),
    "20 a short commit": (model(revision="0e9e39f"), [f"models.llama-8b.revision: '0e9e39f' {COMMIT}"]),
    "32 no memory": (model(gpuMemoryUtilization=0), [f"models.llama-8b.gpuMemoryUtilization: 0 {SHARE}"]),
    "32 more memory than there is": (
        model(gpuMemoryUtilization=1.01),
        [f"models.llama-8b.gpuMemoryUtilization: 1.01 {SHARE}"],
    ),
    "32 memory not a number": (
        model(gpuMemoryUtilization=float("nan")),
        [f"models.llama-8b.gpuMemoryUtilization: nan {SHARE}"],
    ),
    "34 names that differ in case": (
        [(("models", "Llama-8b"), OTHER)],
        [
            "models.Llama-8b: is llama-8b again: Kubernetes names have no upper case; "
            "allowed: names that differ in more than case; fix: rename one [EBB034 error]",
            f"models.Llama-8b: is not a name Kubernetes takes; allowed: {NAME}; fix: call it llama-8b [EBB035 error]",
        ],
    ),
    "35 a long name": (
        [(("models", "m" * 64), OTHER)],
        [f"models.{'m' * 64}: has 64 characters; allowed: {NAME}; fix: call it {'m' * 63} [EBB035 error]"],
    ),
    "35 a dot in a pool's name": (
        [(("pools", "gpu.1"), {"gpu": {"count": 1}, "max": 1, "labels": {"a": "b"}, "taints": []})],
        [f"pools['gpu.1']: is not a name Kubernetes takes; allowed: {NAME}; fix: call it gpu-1 [EBB035 error]"],
    ),
    "35 a model that begins with a digit": (
        [(("models", "8b"), OTHER)],
        [
            "models.8b: begins with a digit, which a Kubernetes Service may not; "
            "allowed: a model name that begins with a letter; fix: call it m-8b [EBB035 error]"
        ],
    ),
    "35 an alias": (
        model(aliases=["Small_One"]),
        [
            "models.llama-8b.aliases[0]: 'Small_One' is not a name Kubernetes takes; "
            f"allowed: {NAME}; fix: call it small-one [EBB035 error]"
        ],
    ),
    "36 one alias for two models": (
        [*model(aliases=["small"]), (("models", "other"), {**OTHER, "aliases": ["small"]})],
        [
            "models.other.aliases[0]: 'small' is an alias of model llama-8b too; "
            "allowed: an alias that no other model answers to; fix: keep it on one of the two [EBB036 error]"
        ],
    ),
    "36 an alias that is another model's name": (
        [(("models", "other"), {**OTHER, "aliases": ["llama-8b"]})],
        [
            "models.other.aliases[0]: 'llama-8b' is the name of model llama-8b; "
            "allowed: an alias that no other model answers to; fix: give this model another alias [EBB036 error]"
        ],
    ),
    "37 a pool that is not there": (
        model(pool="gpu-1xa10"),
        [
            "models.llama-8b.pool: 'gpu-1xa10' is not a pool of this stack; allowed: gpu-8xa100; "
            "fix: use one of them, or add gpu-1xa10 under pools [EBB037 error]"
        ],
    ),
    "40 an endpoint without TLS": (
        [(("platform", "ingress", "url"), "http://llm.example.com:8080")],
        [
            "platform.ingress.url: 'http://llm.example.com:8080' has no TLS: keys and prompts would "
            "cross the network in "
            "clear; allowed: https://host, without /v1; http only for this machine itself; "
            "fix: write https://llm.example.com:8080, with a certificate at the load balancer or ingress [EBB040 error]"
        ],
    ),
    "44 a drain without the engine's own flag for it": (
        model(extraArgs=["--shutdown-timeout=900"]),
        [
            "models.llama-8b.extraArgs[0]: '--shutdown-timeout=900' overrides --shutdown-timeout, which the product "
            f"sets; {MANAGED} set drain [EBB051 error]"
        ],
    ),
    "50 an unknown key": (
        model(idlettl="5m"),
        [
            "models.llama-8b.idlettl: is not a known key; allowed: adapterSlots, adapters, "
            "aliases, allowPickle, chatTemplate, coldStart, "
            "concurrencyTarget, drain, dtype, engine, "
            "extraArgs, extraEnv, fallbackPools, gpuMemoryUtilization, gpus, hold, hotAdapters, hubToken, id, "
            "idleTtl, kvCache, licenceAccepted, longPrompts, max, maxQueued, maxSequences, maxTokens, mediaDomains, "
            "min, minReason, nodes, pipelineParallel, pool, preset, quantization, queueTarget, reasoning, revision, "
            "routing, schedules, sleepTtl, stall, task, tensorParallel, toolCalling, weights; "
            "fix: did you mean idleTtl? [EBB050 error]"
        ],
    ),
    "50 an unknown section": (
        [(("model",), {})],
        [
            "model: is not a known key; allowed: database, environment, gateway, gpuLayer, guard, idleScaling, image, "
            "leaderWorkerSet, models, platform, pools; fix: did you mean models? [EBB050 error]"
        ],
    ),
    "50 an unknown key nothing is near to": (
        [(("guard", "colour"), "red")],
        [
            "guard.colour: is not a known key; allowed: maxDollarsPerHour, maxGpus, maxInstances, waitLimit, "
            "whenFull; fix: remove it [EBB050 error]"
        ],
    ),
    "51 a flag the product sets": (
        model(extraArgs=["--max-model-len=4096"]),
        [
            "models.llama-8b.extraArgs[0]: '--max-model-len=4096' overrides --max-model-len, which the product sets; "
            f"{MANAGED} set maxTokens [EBB051 error]"
        ],
    ),
    "51 the same flag with underscores, shortened and negated": (
        model(extraArgs=["--gpu_memory_utilization", "0.5", "--served", "x", "-tp", "2", "--no-trust-remote-code"]),
        [
            "models.llama-8b.extraArgs[0]: '--gpu_memory_utilization' overrides --gpu-memory-utilization, which the "
            f"product sets; {MANAGED} set gpuMemoryUtilization [EBB051 error]",
            "models.llama-8b.extraArgs[2]: '--served' overrides --served-model-name, which the product sets; "
            f"{MANAGED} rename the model, or add a name under aliases [EBB051 error]",
            f"models.llama-8b.extraArgs[4]: '-tp' overrides -tp, which the product sets; {MANAGED} set "
            f"gpus [EBB051 error]",
            "models.llama-8b.extraArgs[6]: '--no-trust-remote-code' overrides --trust-remote-code, which the product "
            f"sets; {MANAGED} leave it out; code from a model's repository is not run [EBB051 error]",
        ],
    ),
    "51 a variable the product sets": (
        model(extraEnv={"VLLM_CPU_KVCACHE_SPACE": "4"}),
        [
            "models.llama-8b.extraEnv.VLLM_CPU_KVCACHE_SPACE: '4' overrides a variable the product sets; "
            "allowed: variables the product does not set; fix: set kvCache [EBB051 error]"
        ],
    ),
    "52 development mode": (
        model(extraEnv={"VLLM_SERVER_DEV_MODE": "1"}),
        [f"models.llama-8b.extraEnv.VLLM_SERVER_DEV_MODE: '1' {UNSAFE}"],
    ),
    "52 the profiler and the tool server": (
        model(extraArgs=["--tool-server", "demo"], extraEnv={"VLLM_TORCH_PROFILER_DIR": "/tmp"}),
        [
            f"models.llama-8b.extraArgs[0]: '--tool-server' {UNSAFE}",
            f"models.llama-8b.extraEnv.VLLM_TORCH_PROFILER_DIR: '/tmp' {UNSAFE}",
        ],
    ),
    "56 no model": ([(("models",), {}), (("guard",), REMOVED), (("gateway",), REMOVED)], []),
    "a required key is missing": (
        model(id=REMOVED),
        [
            "models.llama-8b.id: is missing; allowed: owner/name on Hugging Face; "
            "fix: add id: HuggingFaceTB/SmolLM2-135M-Instruct, or a preset [EBB103 error]"
        ],
    ),
    "a place that does not exist": (
        [(("platform",), {"kind": "existng"})],
        [
            "platform.kind: 'existng' is not one of the choices; allowed: local, existing, aws, azure, gcp; "
            "fix: did you mean existing? [EBB104 error]"
        ],
    ),
    "text where a list belongs": (
        model(extraArgs="--enforce-eager"),
        [
            "models.llama-8b.extraArgs: '--enforce-eager' is not a list; allowed: a list; "
            "fix: write it as [a, b] or as lines that begin with - [EBB102 error]"
        ],
    ),
    "a model that is no mapping": (
        [(("models", "b"), "x")],
        [
            "models.b: 'x' is not a mapping; allowed: keys with values; fix: write it as lines of key: "
            "value [EBB102 error]"
        ],
    ),
    "a variable that is a number": (
        model(extraEnv={"VLLM_X": 1}),
        ["models.llama-8b.extraEnv.VLLM_X: 1 is not text; allowed: text; fix: put it in quotes [EBB102 error]"],
    ),
    "an encrypted value": (
        [(("gateway", "keys", "demo", "sha256"), {"secure": "v1:abc:def"})],
        [
            "gateway.keys.demo.sha256: is encrypted, so nobody can judge it before it is used; allowed: a plain value; "
            "fix: write the plain value; nothing in these keys is a secret (of a key only the hash is "
            "given) [EBB105 error]"
        ],
    ),
    "a group with an unknown model": (
        [(("gateway", "groups", "everyone", "models"), ["llama"])],
        [
            "gateway.groups.everyone.models[0]: 'llama' is not a model of this stack; allowed: '*', llama-8b; "
            "fix: use one of them, or add the model [EBB106 error]"
        ],
    ),
    "a group that may wake an unknown model": (
        [(("gateway", "groups", "everyone", "wake"), ["llama"])],
        [
            "gateway.groups.everyone.wake[0]: 'llama' is not a model of this stack; allowed: '*', llama-8b; "
            "fix: use one of them, or add the model [EBB106 error]"
        ],
    ),
    "a group that may wake what it may not use": (
        [(("gateway", "groups", "everyone"), {"models": [], "wake": ["llama-8b"]})],
        [
            "gateway.groups.everyone.wake[0]: 'llama-8b' is a model this group may not use, so it cannot wake it; "
            "allowed: none: the group may use no model; fix: add it to the group's models, or take it out here "
            "[EBB210 error]"
        ],
    ),
    "a number of wakes for a group that wakes nothing": (
        [(("gateway", "groups", "everyone"), {"models": ["*"], "wake": [], "maxWakesPerDay": 3})],
        [
            "gateway.groups.everyone.maxWakesPerDay: 3 has no effect: wake is empty, so this group wakes nothing; "
            "allowed: a group that may wake a model; fix: take it out, or name models under wake [EBB211 warning]"
        ],
    ),
    "a gateway of no pod": (
        [(("gateway", "replicas"), 0)],
        [
            "gateway.replicas: 0 is less than 1; allowed: a whole number from 1 to 100; "
            "fix: give the number of its pods, or leave it out [EBB111 error]"
        ],
    ),
    "requests a minute that are none": (
        [(("gateway", "groups", "everyone", "requestsPerMinute"), 0)],
        [
            "gateway.groups.everyone.requestsPerMinute: 0 is less than 1; allowed: a whole number from 1 to 100000; "
            "fix: give a whole number, or leave it out for no limit [EBB111 error]"
        ],
    ),
    "a key of an unknown group": (
        [(("gateway", "keys", "demo", "group"), "all")],
        [
            "gateway.keys.demo.group: 'all' is not a group of this stack; allowed: everyone; "
            "fix: use one of them, or add all under gateway.groups [EBB107 error]"
        ],
    ),
    "a database that nobody makes yet": (
        [(("database",), {"kind": "managed"})],
        [
            "database.kind: 'managed' is not built yet; allowed: none, existing, embedded; fix: make the database "
            "yourself, and use kind existing with a Secret that has its URI [EBB290 error]"
        ],
    ),
    "an existing database without its Secret, its place and its certificate, whose keys nobody makes": (
        [(("database",), {"kind": "existing", "tls": "off", "storage": "1Gi"})],
        [
            "database: is there, and no group may make keys or read usage; allowed: a group with admin; "
            "fix: add admin: true to a group of its own [EBB296 warning]",
            "database.tls: 'off' sends all of it in clear; allowed: tls verify; "
            "fix: put the server's authority into the Secret as ca.crt, and leave tls out [EBB293 mandatory]",
            "database.storage: has no effect with kind existing; allowed: secret, namespace, networks, port, tls, "
            "limitsWhileAway, usageDays; fix: take it out, or set kind [EBB292 error]",
            "database.secret: is missing: nothing else says where the database is; allowed: secret, and one of "
            "namespace and networks; fix: name the Secret that has its URI [EBB291 error]",
            "database.namespace: is missing, and networks too; allowed: secret, and one of namespace and networks; "
            "fix: name the namespace of its pods, or the networks of its addresses: the gateway is let reach no other "
            "[EBB291 error]",
        ],
    ),
    "an embedded database in production": (
        [(("database",), {"kind": "embedded"}), (("gateway", "groups", "everyone", "admin"), True)],
        [
            "database.kind: 'embedded' is one pod with one claim and no backup, in prod: what is lost is every key "
            "and all usage; allowed: existing there; fix: use kind existing [EBB294 mandatory]"
        ],
    ),
    "a network of the database that is none": (
        [
            (("database",), {"kind": "existing", "secret": "accounts", "networks": ["db.example.com"]}),
            (("gateway", "groups", "everyone", "admin"), True),
        ],
        [
            "database.networks[0]: 'db.example.com' is not a network of IPv4 addresses; allowed: an address and the "
            "length of its prefix, like 10.40.0.0/16; fix: write the networks that the database's addresses are in "
            "[EBB297 error]"
        ],
    ),
    "a right to keys without a database": (
        [(("gateway", "groups", "everyone", "admin"), True)],
        [
            "gateway.groups.everyone.admin: true has no effect: keys that are made while the stack runs need a "
            "database; allowed: admin in a stack with a database; fix: add a database, or take admin out [EBB295 error]"
        ],
    ),
    "tokens of a day and a month without a database": (
        [
            (("gateway", "groups", "everyone", "tokensPerDay"), 1000),
            (("gateway", "keys", "demo", "tokensPerMonth"), 5000),
            (("gateway", "keys", "demo", "dollarsPerDay"), 2.5),
        ],
        [
            "gateway.groups.everyone.tokensPerDay: 1000 is summed up in a database, and the stack has none; allowed: "
            "tokensPerDay, tokensPerMonth, dollarsPerDay and dollarsPerMonth in a stack with a database; fix: add a "
            "database, or use tokensPerMinute [EBB285 error]",
            "gateway.keys.demo.tokensPerMonth: 5000 is summed up in a database, and the stack has none; allowed: "
            "tokensPerDay, tokensPerMonth, dollarsPerDay and dollarsPerMonth in a stack with a database; fix: add a "
            "database, or use tokensPerMinute [EBB285 error]",
            "gateway.keys.demo.dollarsPerDay: 2.5 is summed up in a database, and the stack has none; allowed: "
            "tokensPerDay, tokensPerMonth, dollarsPerDay and dollarsPerMonth in a stack with a database; fix: add a "
            "database, or use tokensPerMinute [EBB285 error]",
        ],
    ),
    "dollars that are none": (
        [(("gateway", "groups", "everyone", "dollarsPerDay"), "5 USD")],
        [
            "gateway.groups.everyone.dollarsPerDay: '5 USD' is not an amount of dollars; allowed: a number above 0, in "
            "US dollars; fix: write it like 12.50, without a currency [EBB192 error]"
        ],
    ),
    "a key's limit above its group's": (
        [
            (("gateway", "groups", "everyone", "requestsPerMinute"), 60),
            (("gateway", "keys", "demo", "requestsPerMinute"), 61),
        ],
        [
            "gateway.keys.demo.requestsPerMinute: 61 has no effect: all keys of group everyone together have 60; "
            "allowed: less than the group's; fix: lower it, or leave it out [EBB286 warning]"
        ],
    ),
    "a hash that is none": (
        [(("gateway", "keys", "demo", "sha256"), "abc")],
        [
            "gateway.keys.demo.sha256: 'abc' is not a SHA-256; allowed: 64 hexadecimal digits; fix: "
            "give the hash of the "
            'key (printf %s "$KEY" | sha256sum), or leave it out and a key is made [EBB108 error]'
        ],
    ),
    "an origin with a path": (
        [(("gateway", "cors"), {"origins": ["https://chat.example.com/", "http://localhost:3000"]})],
        [
            "gateway.cors.origins[0]: 'https://chat.example.com/' is not an origin as a browser sends it; allowed: "
            "scheme and host in small letters, with the port if it is not the usual one, or '*'; fix: copy it from the "
            "browser: location.origin in its console, without a path or a slash at its end [EBB212 error]"
        ],
    ),
    "two keys with one hash": (
        [
            (("gateway", "keys", "demo", "sha256"), SHA),
            (("gateway", "keys", "ci"), {"group": "everyone", "sha256": SHA.upper()}),
        ],
        [
            f"gateway.keys.ci.sha256: '{SHA}' is the hash of key demo too: nobody could tell the two apart; "
            "allowed: a hash of its own for each key; fix: make another key for one of the two [EBB109 error]"
        ],
    ),
    "a hold shorter than the load": (
        model(hold="5m"),
        [
            "models.llama-8b.hold: '5m' is shorter than coldStart, 10m: a request would be given up during a load that "
            "goes well; allowed: 10m or more; fix: leave hold out for one and a half times coldStart [EBB110 error]"
        ],
    ),
    "a limit of nothing": (
        model(maxTokens=0),
        [
            "models.llama-8b.maxTokens: 0 is less than 1; allowed: a whole number from 1 to 10000000; "
            "fix: give a whole number above 0 [EBB111 error]"
        ],
    ),
    "memory without unit": (
        [(("pools", "gpu-8xa100", "gpu", "memory"), 80)],
        [
            "pools.gpu-8xa100.gpu.memory: 80 is not an amount of memory; allowed: a number with a unit "
            "(Ki, Mi, Gi, Ti, k, M, G, T), like 80Gi; fix: write a number and its unit, like 24Gi [EBB112 error]"
        ],
    ),
    "a cache in main memory on a GPU pool": (
        model(kvCache="1Gi"),
        [
            "models.llama-8b.kvCache: '1Gi' has no effect: pool gpu-8xa100 computes on cuda, where the "
            "GPU's memory holds "
            "it; allowed: kvCache on a pool with device: cpu; fix: take kvCache out; "
            "gpuMemoryUtilization sets the share "
            "of the GPU's memory [EBB113 error]"
        ],
    ),
    "a guard no model fits under": (
        [*model(gpus=4), (("guard", "maxGpus"), 2)],
        [
            "guard.maxGpus: 2 is fewer than model llama-8b needs to start, which is 4; allowed: 4 or more; "
            "fix: set maxGpus: 4 or more [EBB114 error]"
        ],
    ),
    "a guard below what is kept awake": (
        [*model(gpus=4, min=2), (("guard", "maxGpus"), 4)],
        [
            "guard.maxGpus: 4 is fewer than the models with a min keep at all times, which is 8 (llama-8b); "
            "allowed: 8 or more; fix: set maxGpus: 8 or more [EBB114 error]"
        ],
    ),
    "287 fewer instances than are kept awake": (
        [*model(gpus=1, min=2), (("guard", "maxInstances"), 1)],
        [
            "guard.maxInstances: 1 is fewer than the models with a min keep at all times, which is 2 (llama-8b); "
            "allowed: 2 or more; fix: set maxInstances: 2 or more [EBB287 error]"
        ],
    ),
    "no instance at all": (
        [(("guard", "maxInstances"), 0)],
        [
            "guard.maxInstances: 0 is less than 1; allowed: a whole number from 1 to 10000; "
            "fix: give the most replicas of all models that may run at once [EBB111 error]"
        ],
    ),
    "a guard of nothing over a model whose own size is wrong": (
        [*model(gpus=0), (("guard", "maxGpus"), 0)],
        [f"models.llama-8b.gpus: 0 is less than 1; {GPUS}"],
    ),
    "a key called as pydantic calls its marks": (
        [(("guard", "[key]"), 1)],
        [
            "guard['[key]']: is not a known key; allowed: maxDollarsPerHour, maxGpus, maxInstances, waitLimit, "
            "whenFull; fix: remove it [EBB050 error]"
        ],
    ),
    "a package that is not pinned": (
        [(("image",), {"extraPackages": ["--index-url"]})],
        [
            "image.extraPackages[0]: '--index-url' is not a pinned package; allowed: name==version; "
            "fix: pin it, like hf-transfer==0.1.9 [EBB119 error]"
        ],
    ),
    "a registry with a scheme": (
        [(("platform", "registry", "address"), "https://r.example.com")],
        [
            "platform.registry.address: 'https://r.example.com' is not the address of a registry; allowed: host, an "
            "optional port and path, without scheme, tag or trailing slash; "
            "fix: write it like registry.example.com/ebbtide [EBB120 error]"
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_whole_message_of_a_bad_input(case: str) -> None:
    changes, expected = CASES[case]
    assert messages(stack(*changes)) == [f"{FILE}: {line}" for line in expected]


def test_manifests_are_for_the_local_platform_alone() -> None:
    raw = stack((("platform",), EXISTING), (("idleScaling",), {"install": "manifests"}))
    with pytest.raises(ConfigError) as refused:
        load(raw, FILE)
    assert str(refused.value) == (
        f"{FILE}: idleScaling.install: 'manifests' is what the local set-up renders, for the local platform alone; "
        "allowed: helm or existing on this platform; "
        "fix: write helm, or existing where the cluster has KEDA and its HTTP add-on [EBB121 error]"
    )


def test_the_good_stack_has_no_findings() -> None:
    assert messages(stack()) == []


def test_one_wrong_field_does_not_hide_what_the_others_show_together() -> None:
    lines = messages(stack(*model(gpus=9, maxTokens="many", coldStart="an hour", min=5, pool="gpu-8xa100")))
    codes = [line.split()[-2].strip("[") for line in lines]
    assert codes == ["EBB111", "EBB002", "EBB011", "EBB006", "EBB114"]


def test_fifty_mistakes_come_out_in_one_run_in_the_order_of_the_file() -> None:
    broken = {f"model-{number:02d}": {**OTHER, "gpus": 0} for number in range(50)}
    lines = messages(stack((("models",), broken)))
    assert lines == [f"{FILE}: models.model-{n:02d}.gpus: 0 is less than 1; {GPUS}" for n in range(50)]
