"""Command line and environment of the engine for one model, as vLLM 0.32 reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from components.model_service import lora_adapters
from components.model_service.chat_template import TEMPLATE
from components.model_service.managed_flags import (
    LEADER_ADDRESS,
    MANAGED_VARIABLES,
    TURNS,
    WORKER_INDEX,
    flag_beside_key,
    managed_flag,
    secret_flag,
)
from components.model_service.settings import PORT, ModelSettings, Task
from components.model_service.timing import startup_budget_seconds
from components.platforms.contract import Device, Weights

CACHE: Final = "/cache"
"""Mount point of the scratch volume that holds everything the engine writes; the root file system is read-only."""

LOGGING: Final = "/usr/local/share/ebbtide/logging.json"
"""Logging configuration, from ``images/vllm/logging.json``: an engine's last words also become its container's
termination message. In the log they stand before the front end's own trace, which is longer than what Kubernetes keeps
of a log."""

_LOGGING: Final = ("VLLM_LOGGING_", "VLLM_CONFIGURE_LOGGING")
"""Variables of ``extra_env`` that replace this logging configuration."""

_CPU_KV_CACHE_BYTES: Final = 1024**3
"""Default if nothing is set: left alone, the CPU back end takes a fraction of the whole machine's memory."""

NOWHERE: Final = "media.invalid"
"""A host that cannot exist (RFC 6761). With an empty list the engine would fetch from anywhere: a request could have it
ask hosts that only the cluster reaches. Source: vLLM 0.32.0, multimodal/media/connector.py."""

STREAMER_LIMIT: Final = "RUNAI_STREAMER_MEMORY_LIMIT"
"""Variable of the streamer; the engine's own ``--model-loader-extra-config`` replaces it."""

_MEETING_SECONDS: Final = 600
_HEADS: Final[Mapping[Task, str]] = {"embed": "embed", "rerank": "classify", "score": "classify"}
"""What the engine makes of a model instead of a generator of text, by task."""


def engine_arguments(
    model: ModelSettings, weights: Weights, device: Device, headless: bool = False, turns: bool = False
) -> list[str]:
    """Return arguments for the image's entry point, an OpenAI-compatible vLLM server. ``headless``: for a replica's
    machines that serve no requests; ``turns``: for an engine that can sleep while another has its card.

    Raises ``ValueError`` when ``extra_args`` sets a flag that follows from the settings, when one replica on a CPU is
    to span several GPUs or machines, and when the split does not use every GPU once.
    """
    keys = {
        "toolCalling": model.tool_parser,
        "reasoning": model.reasoning_parser,
        "chatTemplate": model.chat_template,
        "quantization": model.quantization,
        "adapters": model.adapters or None,
        "hotAdapters": model.hot_adapters,
    }
    managed = [
        each for each in model.extra_args if managed_flag(each) or secret_flag(each) or flag_beside_key(each, keys)
    ]
    if managed:
        raise ValueError(
            f"{model.name}: extraArgs sets {', '.join(managed)}, which the model's own settings decide: "
            "remove it there and use the setting"
        )
    for name, count in (("gpus", model.gpus), ("nodes", model.nodes)):
        if device == "cpu" and count != 1:
            raise ValueError(
                f"{model.name}: {name} is {count}, allowed is 1 in a pool whose device is cpu: "
                "there is no GPU to spread the model over"
            )
    tensor, pipeline = model.split
    if tensor * pipeline != model.nodes * model.gpus:
        raise ValueError(
            f"{model.name}: tensorParallel {tensor} × pipelineParallel {pipeline} is {tensor * pipeline}, allowed is "
            f"nodes × gpus, {model.nodes * model.gpus}: every GPU has one part of the model"
        )
    arguments = ["--model", weights.path]
    if asks_the_hub(weights):
        arguments += ["--revision", model.revision, "--tokenizer-revision", model.revision]
    # answers carry the first
    names = (model.name, *model.aliases) if model.asked_as is None else (model.asked_as, model.name)
    arguments += ["--served-model-name", *names]
    arguments += ["--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104  the pod's own address; NetworkPolicy guards it
    if weights.load_format is not None:
        arguments += ["--load-format", weights.load_format]
    if (head := _HEADS.get(model.task)) is not None:
        arguments += ["--runner", "pooling", "--convert", head]
    if model.engine != "auto":
        arguments += ["--model-impl", model.engine]
    if model.tool_parser is not None:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", model.tool_parser]
    if model.reasoning_parser is not None:
        arguments += ["--reasoning-parser", model.reasoning_parser]
    if model.chat_template is not None:
        arguments += ["--chat-template", TEMPLATE]
    if model.quantization is not None:
        arguments += ["--quantization", model.quantization]
    arguments += lora_adapters.arguments(model)
    if model.dtype != "auto":
        arguments += ["--dtype", model.dtype]
    if tensor > 1:
        arguments += ["--tensor-parallel-size", str(tensor)]
    if pipeline > 1:
        arguments += ["--pipeline-parallel-size", str(pipeline)]
    if model.max_tokens is not None:
        arguments += ["--max-model-len", str(model.max_tokens)]
    arguments += ["--max-num-seqs", str(model.max_sequences)]
    if model.max_queued is not None:
        # the flag's name misleads: it counts running requests as well as waiting ones
        arguments += ["--max-num-queued-reqs", str(model.max_sequences + model.max_queued)]
    if model.gpu_memory_utilization is not None and device == "cuda":
        arguments += ["--gpu-memory-utilization", str(model.gpu_memory_utilization)]
    kv_cache_bytes = model.kv_cache_bytes
    if kv_cache_bytes is None and device == "cpu":
        kv_cache_bytes = _CPU_KV_CACHE_BYTES
    if kv_cache_bytes is not None:
        arguments += ["--kv-cache-memory-bytes", str(kv_cache_bytes)]
    if turns and device == "cuda":  # the CPU back end can sleep as well, and keeps its memory
        arguments += ["--enable-sleep-mode"]
    arguments += ["--allowed-media-domains", *(model.media_domains or (NOWHERE,))]
    arguments += ["--shutdown-timeout", str(model.drain_seconds)]
    # a probe every two seconds would fill the log
    arguments += ["--disable-access-log-for-endpoints", "/health,/metrics"]
    if model.is_group:
        arguments += _group_arguments(model)
    return [*arguments, *model.extra_args, *(["--headless"] if headless else [])]


def _group_arguments(model: ModelSettings) -> list[str]:
    """Return how the machines of one replica find each other: vLLM's own processes, without Ray. LeaderWorkerSet puts
    both variables before all others of every container, and Kubernetes writes them into the command line."""
    return [
        *("--nnodes", str(model.nodes), "--node-rank", f"$({WORKER_INDEX})", "--master-addr", f"$({LEADER_ADDRESS})"),
        *("--distributed-executor-backend", "mp"),
        # PyTorch waits ten minutes for the others by default; a machine may come a whole cold start later
        *("--distributed-timeout-seconds", str(max(_MEETING_SECONDS, model.cold_start_seconds))),
    ]


def asks_the_hub(weights: Weights) -> bool:
    """Return True if the engine must look for files on the hub: neither a folder in the pod nor a store's URI."""
    return not weights.path.startswith("/") and "://" not in weights.path


def streams(weights: Weights) -> bool:
    """Return True if the engine reads the weights itself through the Run:ai streamer."""
    return (weights.load_format or "").startswith("runai_streamer")


def engine_environment(
    model: ModelSettings, weights: Weights, turns: bool = False, buffer: int | None = None
) -> dict[str, str]:
    """Return the container's environment; ``turns`` as for ``engine_arguments``, ``buffer`` is the most bytes of main
    memory that the weights' streamer may take beside each GPU (None: its own default). Raises ``ValueError`` when
    ``extra_env`` sets what follows from the settings."""
    managed = sorted(MANAGED_VARIABLES.keys() & model.extra_env)
    if managed:
        raise ValueError(
            f"{model.name}: extraEnv sets {', '.join(managed)}, which is decided by the product: remove it there"
        )
    environment = {
        "HOME": CACHE,
        # the uid has no entry in /etc/passwd, and PyTorch asks for a user name
        "USER": "ebbtide",
        "LOGNAME": "ebbtide",
        "TMPDIR": "/tmp",  # noqa: S108  an emptyDir of this pod
        "XDG_CACHE_HOME": f"{CACHE}/xdg",
        "XDG_CONFIG_HOME": f"{CACHE}/config",
        "HF_HOME": f"{CACHE}/huggingface",
        "TRITON_CACHE_DIR": f"{CACHE}/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/torchinductor",
        "NUMBA_CACHE_DIR": f"{CACHE}/numba",
        "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
        "VLLM_CONFIG_ROOT": f"{CACHE}/vllm-config",
        # the front end gives up on its engine after 600 s by default, before a large model is loaded
        "VLLM_ENGINE_READY_TIMEOUT_S": str(startup_budget_seconds(model.cold_start_seconds, model.hold_seconds)),
        # the engine looks at the host of the first address alone
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if not any(name.startswith(_LOGGING) for name in model.extra_env):
        environment["VLLM_LOGGING_CONFIG_PATH"] = LOGGING
    if turns:
        # needed for vLLM to offer /sleep and /wake_up, beside other endpoints: on the engine's port, which the
        # NetworkPolicy opens to the gateway, KEDA's interceptor and the wake keeper; the gateway relays no such path
        environment |= {"VLLM_SERVER_DEV_MODE": "1", TURNS: "1"}
    if buffer is not None:
        environment[STREAMER_LIMIT] = str(buffer)
    environment |= lora_adapters.environment(model)
    if not asks_the_hub(weights):
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return dict(sorted({**environment, **weights.environment, **model.extra_env}.items()))
