"""Choice of a revision's files that an engine needs: all but the same weights in formats that nothing here reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePosixPath

from ebbtide_mirror.checksum import File
from ebbtide_mirror.problem import Problem

_PICKLE = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_FOREIGN = {".gguf", ".ggml", ".onnx", ".h5", ".msgpack", ".tflite", ".mlmodel", ".ot", ".llamafile"}
_OF_OTHER_PROGRAMS = {"original", "metal"}
INDEX = "model.safetensors.index.json"
_NOT_A_FILE_OF_THE_MODEL = {".gitattributes", ".gitignore"}


def indexed(index: bytes) -> frozenset[str]:
    """Return the files that an index of weights names; none if it is not one."""
    try:
        return frozenset(str(name) for name in json.loads(index)["weight_map"].values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return frozenset()


def chosen(
    files: Iterable[File], allow_pickle: bool, index: frozenset[str] = frozenset()
) -> tuple[list[File], list[File]]:
    """Return the files to copy and those left out. ``index`` are the weights that the model's index names: beside them
    no others are copied. Raises ``Problem`` if there are no weights to copy, or only pickles, which run code when they
    are loaded, and they are not allowed."""
    everything = sorted(files, key=lambda file: file.name)
    safe = [file for file in everything if file.name.endswith(".safetensors")]
    pickles = [file for file in everything if _suffix(file) in _PICKLE]
    if not safe and not pickles:
        raise Problem("this revision has no weights in safetensors", "choose a revision or a model that has them")
    if not safe and not allow_pickle:
        raise Problem(
            f"this revision has its weights as pickles only ({pickles[0].name}), which run code when they are loaded",
            "choose a revision or build with safetensors: from a bucket the engine reads nothing else",
        )
    named = index if index <= {file.name for file in safe} else frozenset()
    once = [file for file in safe if "/" not in file.name and not _second(file, named)]
    out = {id(file) for file in everything if _left_out(file, keep_pickles=not safe) or (once and _second(file, named))}
    return [file for file in everything if id(file) not in out], [file for file in everything if id(file) in out]


def _second(file: File, index: frozenset[str]) -> bool:
    """Return True for weights that a publisher gives a second time, for its own programs, and for those that the index
    leaves out: the engine takes from a disk what the index names, and from a bucket whatever is there. Sources: vLLM
    0.32.0, model_executor/model_loader; vllm-project/vllm 40765, run-ai/runai-model-streamer 25."""
    top, _, rest = file.name.partition("/")
    if rest:
        return top in _OF_OTHER_PROGRAMS
    return top.endswith(".safetensors") and (top not in index if index else top.startswith("consolidated"))


def _left_out(file: File, *, keep_pickles: bool) -> bool:
    suffix = _suffix(file)
    if PurePosixPath(file.name).name in _NOT_A_FILE_OF_THE_MODEL or suffix in _FOREIGN or ".onnx" in file.name:
        return True
    return suffix in _PICKLE and not keep_pickles


def _suffix(file: File) -> str:
    return PurePosixPath(file.name).suffix.lower()
