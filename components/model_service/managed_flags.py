"""Flags and variables of the engine that a model's own settings decide, each with the key to use instead.

The loader reports them as findings and the component refuses them, from these same lists.

vLLM's parser (0.32.0, FlexibleArgumentParser) takes ``_`` for ``-``, ``--flag=value``, ``--flag.key``, ``--no-flag``
and, as argparse does, any prefix that only one flag has: all of these count as the flag.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from components.platforms.kinds import STORE_VARIABLES

_GPUS = "set gpus"
_NODES = "set nodes"
_STORE = "the model store gives the path; set id and revision"
_TURNS = "write sharing: {turns: {models: 4}} for the pool; elsewhere nobody would wake the engine"
_PORT = "leave it out; the Service expects the port the product sets"
_CACHES = "leave it out; caches lie on a volume of the pod"
_USER = "leave it out; the pod runs as a user of its own"
_QUIET = "leave it out; the engine reports its use to nobody"
_START = "set coldStart; the engine is waited for that long"

TURNS: Final = "EBBTIDE_TURNS"
"""Makes the image's entry point wait until the wake keeper gives the engine its card (``images/vllm/turn.py``)."""

HOT_ADAPTERS: Final = "EBBTIDE_ADAPTERS"
"""Makes the image's entry point start an engine that finds adapters by name in the store's folder for them
(``images/vllm/plugins/ebbtide_adapters.py``)."""

LEADER_ADDRESS, WORKER_INDEX = "LWS_LEADER_ADDRESS", "LWS_WORKER_INDEX"

MANAGED_FLAGS: Final[Mapping[str, str]] = {
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
    "--distributed-executor-backend": _NODES,
    "--distributed-timeout-seconds": _START,
    "--data-parallel-size": "set max for more replicas",
    "-dp": "set max for more replicas",
    "--gpu-memory-utilization": "set gpuMemoryUtilization",
    "--kv-cache-memory-bytes": "set gpuMemoryUtilization, or kvCache on a pool with device: cpu",
    "--dtype": "set dtype",
    "--runner": "set task",
    "--convert": "set task",
    "--task": "set task",
    "--model-impl": "set engine",
    "--load-format": _STORE,
    "--download-dir": _STORE,
    "--revision": "set revision",
    "--tokenizer-revision": "set revision",
    "--shutdown-timeout": "set drain",
    "--disable-access-log-for-endpoints": "leave it out; probes would fill the log",
    "--allowed-media-domains": "set mediaDomains",
    "--trust-remote-code": "leave it out; code from a model's repository is not run",
    "--enable-sleep-mode": _TURNS,
    "--config": "leave it out; write the settings themselves here",
}

MANAGED_VARIABLES: Final[Mapping[str, str]] = {
    "VLLM_CPU_KVCACHE_SPACE": "set kvCache",
    TURNS: _TURNS,
    HOT_ADAPTERS: "set hotAdapters",
    "VLLM_SERVER_DEV_MODE": _TURNS,
    "VLLM_PORT": _PORT,
    "VLLM_HOST_IP": _PORT,
    "VLLM_ENGINE_READY_TIMEOUT_S": _START,
    "VLLM_API_KEY": "leave it out; keys are the gateway's",
    "CUDA_VISIBLE_DEVICES": _GPUS,
    "NVIDIA_VISIBLE_DEVICES": _GPUS,
    LEADER_ADDRESS: _NODES,
    WORKER_INDEX: _NODES,
    "HOME": _CACHES,
    "TMPDIR": _CACHES,
    "XDG_CACHE_HOME": _CACHES,
    "XDG_CONFIG_HOME": _CACHES,
    "HF_HOME": _CACHES,
    "TRITON_CACHE_DIR": _CACHES,
    "TORCHINDUCTOR_CACHE_DIR": _CACHES,
    "NUMBA_CACHE_DIR": _CACHES,
    "VLLM_CACHE_ROOT": _CACHES,
    "VLLM_CONFIG_ROOT": _CACHES,
    "USER": _USER,
    "LOGNAME": _USER,
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "leave it out; a redirect would lead past mediaDomains",
    "VLLM_NO_USAGE_STATS": _QUIET,
    "DO_NOT_TRACK": _QUIET,
    "HF_HUB_OFFLINE": _STORE,
    "TRANSFORMERS_OFFLINE": _STORE,
    **dict.fromkeys(STORE_VARIABLES, _STORE),
}

SECRET_FLAGS: Final = ("--api-key", "--hf-token", "--ssl-keyfile-password")

UNSAFE_FLAGS: Final = (
    *("--tool-server", "--profiler-config", "--enable-prompt-embeds", "--allowed-local-media-path"),
    *("--enable-scale-out", "--grpc", "--enable-tokenizer-info-endpoint", "--trust-request-chat-template"),
    "--trust-request-mm-kwargs",
)
_LORA_FLAGS = ("--enable-lora", "--lora-modules", "--max-loras", "--max-lora-rank", "--max-cpu-loras")
KEY_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "toolCalling": ("--tool-call-parser", "--enable-auto-tool-choice"),
    "reasoning": ("--reasoning-parser",),
    "chatTemplate": ("--chat-template",),
    "quantization": ("--quantization", "-q"),
    "adapters": _LORA_FLAGS,
    "hotAdapters": _LORA_FLAGS,
}
"""Flags that a key of the model sets where it is given, and that may be given by hand where it is not."""
DEVELOPMENT: Final = "VLLM_SERVER_DEV_MODE"
UNSAFE_VARIABLES: Final = re.compile(
    rf"{DEVELOPMENT}|VLLM_TORCH_PROFILER_.*|VLLM_TORCH_CUDA_PROFILE|VLLM_ALLOW_INSECURE_SERIALIZATION|VLLM_ALLOW_RUNTIME_LORA_UPDATING"
)

# What the loader leaves to a code owner and the rule against foreign code blocks, beside all that is unsafe.
CODE_FLAGS: Final = (
    *("--trust-remote-code", "--tool-parser-plugin", "--reasoning-parser-plugin", "--middleware"),
    "--logits-processors",
)
CODE_VARIABLES: Final = frozenset({"VLLM_PLUGINS"})

# engine flags that are also a prefix of a listed one: given whole, they are themselves
_WHOLE_FLAGS = ("--tokenizer", "--ssl-keyfile", "--reasoning-parser")
_SHORTEST_BEGINNING = len("--ud")


def flag_name(argument: str) -> str | None:
    """Return the flag of an argument with dashes (``--max_model_len=9`` → ``--max-model-len``); None for a value."""
    name = re.split(r"[=\s]", argument.strip(), maxsplit=1)[0]
    if not re.match(r"--?[A-Za-z]", name):
        return None
    name = name.split(".", 1)[0]
    return name.replace("_", "-") if name.startswith("--") else name


def managed_flag(argument: str) -> str | None:
    """Return the managed flag an argument stands for, if any."""
    return full_name(argument, MANAGED_FLAGS)


def flag_beside_key(argument: str, keys: Mapping[str, object]) -> tuple[str, str] | None:
    """Return the flag (``KEY_FLAGS``) that an argument stands for and the key that sets it, if that key has a value."""
    for key, flags in KEY_FLAGS.items():
        if keys[key] is not None and (flag := full_name(argument, flags)) is not None:
            return flag, key
    return None


def secret_flag(argument: str) -> str | None:
    """Return the flag with a secret value that an argument stands for, if any."""
    return full_name(argument, SECRET_FLAGS)


def unsafe_flag(argument: str) -> str | None:
    """Return the flag opening the engine to others that an argument stands for, if any."""
    return full_name(argument, UNSAFE_FLAGS)


def full_name(argument: str, flags: Collection[str]) -> str | None:
    """Return the one of ``flags`` that the engine's parser takes an argument for, spelled in full or cut short."""
    name = flag_name(argument)
    if name is None or (name in _WHOLE_FLAGS and name not in flags):
        return None
    if not name.startswith("--"):
        return next((flag for flag in flags if _is_short_form(name, flag)), None)
    candidates = (name, name.replace("--no-", "--", 1)) if name.startswith("--no-") else (name,)
    for spelling in candidates:
        if spelling in flags:
            return spelling
        begun = (flag for flag in flags if len(spelling) >= _SHORTEST_BEGINNING and flag.startswith(spelling))
        if flag := next(begun, None):
            return flag
    return None


def _is_short_form(name: str, flag: str) -> bool:
    """Return True for ``-tp`` or a prefix of it (``-t``), and for ``-n`` with its value behind it (``-n2``)."""
    return not flag.startswith("--") and (flag.startswith(name) or (len(flag) == 2 and name.startswith(flag)))
