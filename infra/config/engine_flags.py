"""What a user may not pass to the engine by hand: each flag and variable the product sets itself, with the key to use.

vLLM's parser takes ``_`` for ``-``, ``--flag=value``, ``--no-flag`` and any beginning of a flag that is not ambiguous,
so all of these count as the flag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_GPUS = "set gpus"
_NODES = "set nodes"
_STORE = "the model store gives the path; set id and revision"
_TURNS = "write sharing: {turns: {models: 4}} for the pool; elsewhere nobody would wake the engine"
_PORT = "leave it out; the Service expects the port the product sets"

MANAGED_FLAGS: Mapping[str, str] = {
    "--model": "set id",
    "--served-model-name": "rename the model, or add a name under aliases",
    "--host": _PORT,
    "--port": _PORT,
    "--uds": _PORT,
    "--root-path": _PORT,
    "--max-model-len": "set maxTokens",
    "--max-num-seqs": "set maxSequences",
    "--max-num-queued-reqs": "set maxQueued",
    "--tensor-parallel-size": _GPUS,
    "-tp": _GPUS,
    "--pipeline-parallel-size": "set pipelineParallel",
    "-pp": "set pipelineParallel",
    "--nnodes": _NODES,
    "-n": _NODES,
    "--node-rank": _NODES,
    "-r": _NODES,
    "--master-addr": _NODES,
    "--master-port": _NODES,
    "--headless": _NODES,
    "--data-parallel-size": "set max for more replicas",
    "-dp": "set max for more replicas",
    "--gpu-memory-utilization": "set gpuMemoryUtilization",
    "--dtype": "set dtype",
    "--load-format": _STORE,
    "--download-dir": _STORE,
    "--revision": "set revision",
    "--shutdown-timeout": "set drain",
    "--trust-remote-code": "leave it out; code from a model's repository is not run",
    "--enable-sleep-mode": _TURNS,
    "--config": "leave it out; write the settings themselves here",
}

MANAGED_VARIABLES: Mapping[str, str] = {
    "VLLM_CPU_KVCACHE_SPACE": "set kvCache",
    "EBBTIDE_TURNS": _TURNS,
    "VLLM_PORT": _PORT,
    "VLLM_HOST_IP": _PORT,
    "CUDA_VISIBLE_DEVICES": _GPUS,
    "NVIDIA_VISIBLE_DEVICES": _GPUS,
    "HOME": "leave it out; caches lie on a volume of the pod",
    "HF_HOME": "leave it out; caches lie on a volume of the pod",
    "HF_HUB_OFFLINE": _STORE,
}

SECRET_FLAGS = ("--api-key", "--hf-token", "--ssl-keyfile-password")

UNSAFE_FLAGS = ("--tool-server", "--profiler-config")
UNSAFE_VARIABLES = re.compile(
    r"VLLM_SERVER_DEV_MODE|VLLM_TORCH_PROFILER_.*|VLLM_TORCH_CUDA_PROFILE|VLLM_ALLOW_INSECURE_SERIALIZATION"
)


def flag_name(argument: str) -> str | None:
    """``--Max_Model_Len=9`` → ``--max-model-len``; None where the argument is a value."""
    name = re.split(r"[=\s]", argument.strip(), maxsplit=1)[0]
    if not re.match(r"--?[A-Za-z]", name):
        return None
    return name.replace("_", "-") if name.startswith("--") else name


def managed_flag(argument: str) -> str | None:
    """The managed flag an argument stands for, if any."""
    return _meant(argument, tuple(MANAGED_FLAGS))


def secret_flag(argument: str) -> str | None:
    """The flag with a secret for its value that an argument stands for, if any."""
    return _meant(argument, SECRET_FLAGS)


def unsafe_flag(argument: str) -> str | None:
    """The flag that opens the engine to others that an argument stands for, if any."""
    return _meant(argument, UNSAFE_FLAGS)


def _meant(argument: str, flags: tuple[str, ...]) -> str | None:
    name = flag_name(argument)
    if name is None:
        return None
    if name in flags:
        return name
    positive = name.replace("--no-", "--", 1)
    if positive in flags:
        return positive
    begun = [flag for flag in flags if name.startswith("--") and len(name) >= 5 and flag.startswith(name)]
    return begun[0] if begun else None
