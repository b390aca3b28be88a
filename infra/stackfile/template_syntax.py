"""A chat template held against what the engine's Jinja takes. Nothing is rendered."""

from __future__ import annotations

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser


class _Generation(Extension):
    """The tag around an assistant's words. Source: transformers 5, utils/chat_template_utils.py."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def problem_of(text: str) -> str | None:
    """Return why the engine's Jinja cannot read a template; None if it can. It is parsed alone: compiling would already
    compute constants, which may take for ever."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols", _Generation])  # noqa: S701  nothing is rendered
    known = {nodes.Filter: environment.filters, nodes.Test: environment.tests}
    try:
        tree = environment.parse(text)
        for kind, names in known.items():
            for used in tree.find_all(kind):
                if used.name not in names:
                    return f"has in line {used.lineno} no {kind.__name__.lower()} of Jinja's: {used.name}"
    except TemplateSyntaxError as error:
        return f"is no Jinja in line {error.lineno}: {error.message}"
    except (RecursionError, MemoryError):
        return "is nested too deeply"
    return None if text.strip() else "is empty"
