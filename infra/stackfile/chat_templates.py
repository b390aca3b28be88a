"""Chat templates beside the stack files: read, and held against what the engine's Jinja takes. Nothing is rendered."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path as FilePath

from components.typed.refusal import Path, Problem
from components.typed.rules.stack import CHAT_TEMPLATE_UNUSABLE
from infra.stackfile.schema.stack import StackConfig

LARGEST = 128 * 1024
"""Bytes: a ConfigMap holds a MiB, and templates of published models have some thirty KiB."""


class Unusable(Exception):
    """A file that is no template; the text follows its path."""


def read(stacks: FilePath, file: str) -> str:
    """Return the text of a template by its path beside the stack files in ``stacks``. Raises ``Unusable``."""
    path = stacks / file
    try:
        status = path.lstat()
        if path.parent.is_symlink() or not stat.S_ISREG(status.st_mode):
            raise Unusable("is no plain file, or its folder is a link")
        if status.st_size > LARGEST:
            raise Unusable(f"has {status.st_size} bytes, more than a template may have")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Unusable("is no UTF-8") from None
    except OSError:
        raise Unusable("is not there") from None
    from infra.stackfile.template_syntax import problem_of  # what most stack files never need takes a while to import

    if (problem := problem_of(text)) is not None:
        raise Unusable(problem)
    return text


def judge(stack: StackConfig | None, stacks: FilePath) -> Iterator[Problem]:
    """Yield a problem for each model whose template beside the stack files in ``stacks`` cannot be used."""
    for name, model in stack.models.items() if stack is not None else ():
        if model.chat_template is None:
            continue
        try:
            read(stacks, model.chat_template)
        except Unusable as error:
            at: Path = ("models", name, "chatTemplate")
            yield CHAT_TEMPLATE_UNUSABLE.at(at, str(error), value=model.chat_template)
