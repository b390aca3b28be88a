"""Generator of ``docs/stack-file.md``: every key of a stack file, from the classes that read it."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from components.platforms.kinds import KINDS
from components.typed.fields import StackModel
from components.typed.units import Duration, Quantity, TimeOfDay
from infra.stackfile.schema.stack import StackConfig

_HEAD = """\
# The stack file

`stacks/Pulumi.NAME.yaml` says everything about one stack. This page lists every key; it is written out of the program
by `make docs`, so it cannot lag behind. Whole files to copy are in [`stacks/`](../stacks).

Times are a number and `s`, `m` or `h` (`20m`); amounts of memory a number and `Gi`, `Mi`, `G`, … (`80Gi`). A wrong key
or value is refused before anything is made, all of them at once, each with where, value, allowed and fix.

## When a pool changes

| change | what happens |
|---|---|
| `max`, `min` | in place; of a managed group on AWS by a command that `up` prints ([why](clouds/aws.md#changing-it)) |
| `machine`, `reservation`, `disk`, `nodeImage`, `zones` | other nodes; a pool replaced by that is protected in `prod` |
| its name | another pool: the old one's nodes go, with what they serve |

To rename a pool add the new one, move the models, and take the old one out in a later change. A stack file alone cannot
show a rename; `ebbtide gate` does (EBB055), from the base's pools and the head's. A waiver for EBB055 lets it pass.
"""
_WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def stack_file_page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    yield "## `ebbtide:` keys\n"
    yield from _table(StackConfig, skip=("platform",))
    for kind in KINDS.values():
        settings = kind.settings()
        yield f"## `platform:` with `kind: {kind.name}`\n"
        yield _words(settings) + "\n"
        yield from _tree(settings, "platform", skip=("kind",))
    for key, field in StackConfig.model_fields.items():
        shape, many = _shape(field.annotation)
        if key == "platform" or shape is None:
            continue
        name = field.alias or key
        yield f"## `{name}:`\n"
        yield _words(shape) + "\n"
        yield from _tree(shape, f"{name}.<name>" if many else name)


def schema_words() -> frozenset[str]:
    """Return every key of the stack file, on any platform, and every word of a key's fixed choices."""
    shapes: list[type[StackModel]] = [StackConfig, *(kind.settings() for kind in KINDS.values())]
    words: set[str] = set()
    while shapes:
        shape = shapes.pop()
        for key, field in shape.model_fields.items():
            words |= {field.alias or key, *_choices(field.annotation)}
            inner, _ = _shape(field.annotation)
            if inner is not None:
                shapes.append(inner)
    return frozenset(words)


def _choices(annotation: Any) -> Iterator[str]:
    if hasattr(annotation, "__metadata__"):
        yield from _choices(annotation.__origin__)
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for argument in get_args(annotation):
            yield from _choices(argument)


def _tree(shape: type[StackModel], at: str, skip: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the table of a shape, then those of the shapes in it."""
    yield from _table(shape, skip)
    for key, field in _fields(shape, skip):
        inner, many = _shape(field.annotation)
        if inner is not None:
            path = f"{at}.{field.alias or key}" + (".<name>" if many == "mapping" else "[]" if many else "")
            yield f"### `{path}`\n"
            yield _words(inner) + "\n"
            yield from _tree(inner, path)


def _table(shape: type[StackModel], skip: tuple[str, ...] = ()) -> Iterator[str]:
    rows = [_row(key, field) for key, field in _fields(shape, skip)]
    if rows:
        yield "| key | value | default | meaning |\n|---|---|---|---|"
        yield from rows
        yield ""


def _fields(shape: type[StackModel], skip: tuple[str, ...]) -> Iterator[tuple[str, FieldInfo]]:
    for key, field in shape.model_fields.items():
        if key not in skip and not (field.alias or "").startswith("<"):
            yield key, field


def _row(key: str, field: FieldInfo) -> str:
    cells = (f"`{field.alias or key}`", _type(field.annotation), _default(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default_factory is not None:
        return ""  # empty, or derived from other keys, as the meaning says
    value = field.default
    if value is None or value is PydanticUndefined or isinstance(value, StackModel) or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def _type(annotation: Any) -> str:
    """Return an annotation in a reader's words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _type(annotation.__origin__)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"name: {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, StackModel):
        return "keys"
    return {Duration: "time", Quantity: "amount of memory", TimeOfDay: "time of day"}.get(annotation) or _WORDS.get(
        annotation, "text"
    )


def _shape(annotation: Any) -> tuple[type[StackModel] | None, str]:
    """Return the shape inside an annotation, and whether there are many: ``mapping``, ``list`` or empty."""
    if hasattr(annotation, "__metadata__"):
        return _shape(annotation.__origin__)
    if isinstance(annotation, type) and issubclass(annotation, StackModel):
        return annotation, ""
    origin = get_origin(annotation)
    for argument in get_args(annotation):
        shape, many = _shape(argument)
        if shape is not None:
            mapping = isinstance(origin, type) and issubclass(origin, Mapping)
            return shape, "mapping" if mapping else "list" if origin is tuple else many
    return None, ""


def _words(shape: type[StackModel]) -> str:
    """Return the shape's docstring as a paragraph, with names as the stack file spells them."""
    text = " ".join((shape.__doc__ or "").split())
    keys = {name: field.alias or name for name, field in shape.model_fields.items()}
    return re.sub(r"``([^`]*)``", lambda match: f"`{keys.get(match[1], match[1])}`", text)
