"""Reader of what an engine's own log says of its start: settings, and the memory of one GPU.

The lines differ from version to version; ``_FIGURES`` has every form. Sources: vLLM 0.32.0, v1/worker/gpu_worker.py,
v1/worker/gpu_model_runner.py, v1/core/kv_cache_utils.py, utils/mem_utils.py, config/vllm.py and
entrypoints/serve/utils/api_utils.py; earlier forms from the same files of 0.10 to 0.29, and worker/worker.py of 0.6 to
0.8.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from infra.errors import UsageError
from infra.stackfile.findings.formatting import show

LARGEST_LOG = 100_000_000
_LONGEST_LINE = 100_000
_MOST_GIB = 10_000.0
_N, _W = r"(-?\d{1,9}(?:\.\d{1,9})?)", r"(\d[\d,]{0,15})"

# A figure, how it is taken where every GPU says its own, and the forms in which engines say it.
_FIGURES: Mapping[str, tuple[Callable[[float, float], float], re.Pattern[str]]] = {
    name: (combine, re.compile("|".join(forms)))
    for name, combine, forms in (
        (
            "weights_gib",
            max,
            (
                rf"Model loading took {_N} ?GiB",
                rf"model weights take {_N} ?GiB",
                rf"Actual usage is {_N} GiB for weight",
                rf"weights memory: {_N} ?GiB",
            ),
        ),
        (
            "kv_gib",
            min,
            (
                rf"Available KV cache memory: {_N} GiB",
                rf"memory reserved for KV Cache is {_N} ?GiB",
                rf"available KV cache memory \({_N} GiB\)",
            ),
        ),
        (
            "activation_gib",
            max,
            (
                rf"PyTorch activation peak memory takes {_N} ?GiB",
                rf"weight, {_N} GiB for peak activation",
                rf"torch peak memory increase: {_N} ?GiB",
            ),
        ),
        ("non_torch_gib", max, (rf"non_torch_memory takes {_N} ?GiB", rf"activation, {_N} GiB for non-torch memory")),
        (
            "graph_gib",
            max,
            (rf"Graph capturing finished in \d+ secs, took {_N} GiB", rf"and {_N} GiB for CUDAGraph memory"),
        ),
        (
            "card_gib",
            min,
            (
                rf"total_gpu_memory \({_N} ?GiB\)",
                rf"Free memory on device \({_N[1:-1]}/{_N} GiB\)",
                rf"total capacity of {_N} GiB",
            ),
        ),
        (
            "memory_share",
            max,
            (
                rf"gpu_memory_utilization \({_N}\)",
                rf"Desired GPU memory utilization is \({_N},",
                rf"current --gpu-memory-utilization={_N} is",
                rf"'gpu_memory_utilization': {_N}",
            ),
        ),
        ("kv_tokens", min, (rf"KV cache size: {_W} tokens",)),
        ("concurrency", min, (rf"tokens per request: {_N}x",)),
        ("context", max, (rf"Maximum concurrency for {_W} tokens", rf"max_seq_len={_W}", rf"'max_model_len': {_W}")),
        ("tensor_parallel", max, (rf"\btensor_parallel_size={_W}", rf"'tensor_parallel_size': {_W}")),
        ("pipeline_parallel", max, (rf"\bpipeline_parallel_size={_W}", rf"'pipeline_parallel_size': {_W}")),
        ("sequences", max, (rf"'max_num_seqs': {_W}",)),
        ("batched_tokens", max, (rf"with max_num_batched_tokens={_W}", rf"'max_num_batched_tokens': {_W}")),
        ("lora_rank", max, (rf"'max_lora_rank': {_W}",)),
        ("loras", max, (rf"'max_loras': {_W}",)),
    )
}
_ARGUMENT_FIGURES = ("memory_share", "sequences", "context", "batched_tokens", "lora_rank", "loras")
_SWITCHES = ("enforce_eager", "enable_expert_parallel", "language_model_only", "skip_mm_profiling", "enable_lora")
_SWITCH = re.compile(rf"'({'|'.join(_SWITCHES)})': True|\b(enforce_eager)=True")
_WORDS: Mapping[str, re.Pattern[str]] = {
    "kv_dtype": re.compile(r"\bkv_cache_dtype=([a-z0-9_]{1,40})"),
    "dtype": re.compile(r"\bdtype=torch\.([a-z0-9]{1,20})"),
    "model": re.compile(r"with config: model='([^']{1,500})'"),
    "served": re.compile(r"served_model_name=([^,\s]{1,300}),"),
}
_VERSION = re.compile(r"Initializing an? (?:V\d )?LLM engine \(v(\d{1,4}\.\d{1,4}(?:\.\d{1,4})?)")
_ARGUMENTS = re.compile(r"non-default args: ")
_ARGUMENT = re.compile(r"'([a-z0-9_]{1,60})': ")
_OF_A_START = re.compile(r"GiB|KV cache size|tokens per request|max_num_batched_tokens|non-default args|LLM engine")
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}m")


@dataclass(frozen=True, kw_only=True)
class StartLog:
    """Words of one start. ``figures`` are GiB of one GPU and whole numbers, by the names of ``_FIGURES``; what the log
    does not say is missing. ``arguments`` are the names of those that are not the engine's defaults, None where the
    log does not have them."""

    version: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    switches: frozenset[str] = frozenset()
    words: Mapping[str, str] = field(default_factory=dict)
    arguments: frozenset[str] | None = None

    def whole(self, name: str, default: int) -> int:
        """Return a whole number that the log says, else ``default``."""
        return int(self.figures.get(name, default))

    def names(self, model_id: str) -> bool:
        """Return True if the engine was started with this model: by its id, or from a folder that is called so."""
        name = model_id.lower().rpartition("/")[2]
        path = PurePosixPath(self.words.get("model", "").lower().replace("\\", "/"))
        folders = any(part == name or part.endswith(f"--{name}") for part in path.parts)
        return folders or self.words.get("served", "").lower() == model_id.lower()


def read(file: Path) -> StartLog:
    """Return the last start in a log file. Raises ``UsageError``, which repeats nothing of the log."""
    where = f"--from-log: {show(str(file))}"
    fix = "fix: give the file that has the engine's own output, as kubectl logs writes it"
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{where} is no file; allowed: a text file with a start of vLLM; {fix}")
        if status.st_size > LARGEST_LOG:
            raise UsageError(f"{where} is larger than 100 MB; allowed: a shorter one; fix: cut it to one start")
        with file.open(encoding="utf-8", errors="replace") as lines:
            start = last_start(lines)
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        raise UsageError(f"{where}: {why}; allowed: a text file with a start of vLLM; {fix}") from error
    if "kv_gib" not in start.figures:
        needed = "how much memory its KV cache gets (since 0.6 every vLLM on a GPU does)"
        raise UsageError(f"{where} has no start of vLLM that says {needed}; allowed: a log of a GPU; {fix}")
    if any(abs(value) > _MOST_GIB for name, value in start.figures.items() if name.endswith("_gib")):
        raise UsageError(f"{where} has a figure that no GPU has; allowed: a log as the engine wrote it; {fix}")
    return start


def last_start(lines: Iterable[str]) -> StartLog:
    """Return what the last start in ``lines`` says."""
    start = _Start()
    for raw in lines:
        if not _OF_A_START.search(raw, 0, _LONGEST_LINE):
            continue
        line = _COLOUR.sub("", raw[:_LONGEST_LINE])
        version = _VERSION.search(line)
        if _ARGUMENTS.search(line):
            start = _Start(arguments=frozenset(_ARGUMENT.findall(line)))
        elif version and "kv_gib" in start.figures:  # the engine alone was started again
            start = _Start(arguments=start.arguments, switches=start.switches, figures=start.requested())
        start.take(line)
        if version:
            start.version = version[1]
            start.take_words(line)
    return StartLog(
        version=start.version,
        figures=start.figures,
        switches=frozenset(start.switches),
        words=start.words,
        arguments=start.arguments,
    )


@dataclass
class _Start:
    version: str | None = None
    figures: dict[str, float] = field(default_factory=dict)
    switches: set[str] = field(default_factory=set)
    words: dict[str, str] = field(default_factory=dict)
    arguments: frozenset[str] | None = None

    def take(self, line: str) -> None:
        for name, (merge, form) in _FIGURES.items():
            for match in form.finditer(line):
                text = next(part for part in match.groups() if part is not None)
                value = float(text.replace(",", ""))
                self.figures[name] = merge(self.figures.get(name, value), value)
        self.switches |= {one or other for one, other in _SWITCH.findall(line)}

    def take_words(self, line: str) -> None:
        """Take words from the line with the settings: others say the like of other things."""
        for name, form in _WORDS.items():
            if match := form.search(line):
                self.words[name] = match[1]

    def requested(self) -> dict[str, float]:
        """Return what was asked for, which a second start has too."""
        return {name: value for name, value in self.figures.items() if name in _ARGUMENT_FIGURES}
