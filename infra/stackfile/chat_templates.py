"""Chat templates beside the stack files: read, and held against what the engine's Jinja takes. Nothing is rendered."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path as FilePath

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from components.typed.refusal import Path, Problem
from components.typed.rules.stack import CHAT_TEMPLATE_UNUSABLE
from infra.stackfile.schema.stack import StackConfig

LARGEST = 128 * 1024
"""Bytes: a ConfigMap holds a MiB, and templates of published models have some thirty KiB."""


class Unusable(Exception):
    """A file that is no template; the text follows its path."""


class _Generation(Extension):
    """The tag around an assistant's words. Source: transformers 5, utils/chat_template_utils.py."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def read(stacks: FilePath, file: str) -> str:
    """Return the text of a template by its path beside the stack files in ``stacks``. Raises ``Unusable``."""
    path = stacks / file
    try:
        status = path.lstat()
        if path.parent.is_symlink() or not stat.S_ISREG(status.st_mode):
            raise Unusable("is no plain file, or its folder is a link")
        if status.st_size > LARGEST:
            raise Unusable(f"has {status.st_size} bytes, more than a template may have")
        return _checked(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise Unusable("is no UTF-8") from None
    except OSError:
        raise Unusable("is not there") from None


def _checked(text: str) -> str:
    """Return the text if the engine's Jinja can read it. It is parsed alone: compiling would already compute constants,
    which may take for ever. Raises ``Unusable``."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols", _Generation])  # noqa: S701  nothing is rendered
    known = {nodes.Filter: environment.filters, nodes.Test: environment.tests}
    try:
        tree = environment.parse(text)
        for kind, names in known.items():
            for used in tree.find_all(kind):
                if used.name not in names:
                    raise Unusable(f"has in line {used.lineno} no {kind.__name__.lower()} of Jinja's: {used.name}")
    except TemplateSyntaxError as error:
        raise Unusable(f"is no Jinja in line {error.lineno}: {error.message}") from None
    except (RecursionError, MemoryError):
        raise Unusable("is nested too deeply") from None
    if not text.strip():
        raise Unusable("is empty")
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
