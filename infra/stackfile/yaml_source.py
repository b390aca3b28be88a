"""Reading of a stack file's YAML into plain values, as Pulumi's engine reads it, never with a traceback."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from components.typed.refusal import Path, Problem
from components.typed.rules.file import FILE_UNREADABLE, VALUE_MISREAD
from components.typed.rules.stack import NAME_REPEATED

MOST_VALUES = 20_000
DEEPEST = 40
_LARGEST_FILE = 1_000_000


class Unreadable(Exception):
    """A text that cannot be read as YAML; ``problem`` says where and why."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


@dataclass(frozen=True)
class Read:
    """Plain values, the keys that were given twice (``value`` has the last one), the keys and values that readers of
    YAML do not agree on, and the text they were read from."""

    value: Any
    repeated: tuple[Problem, ...]
    misread: tuple[Problem, ...] = ()
    text: str = field(default="", repr=False)


class _Loader(yaml.SafeLoader):
    """A loader of YAML 1.2's plain values, as in Pulumi's engine: ``on`` and ``1:30`` are text, not true and 90."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012
    yaml_constructors = {
        f"tag:yaml.org,2002:{name}": getattr(yaml.SafeLoader, f"construct_yaml_{name}")
        for name in ("null", "bool", "float", "str")
    } | {None: yaml.SafeLoader.construct_undefined}


_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_STR, _INT, _MERGE, _SEQ, _MAP = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "merge", "seq", "map"))
_OLD = yaml.SafeLoader("")  # reads YAML 1.1
# What only Pulumi's engine takes for a number or a date. Source: gopkg.in/yaml.v3 3.0.1, resolve.go
_ENGINES_OWN = re.compile(
    r"[-+]?0[bBoOxX][-+]?[0-9a-fA-F_]+|(?=.*_)[-+0-9][-+0-9._a-fA-FoOxX]*|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"
)
# Longer ones become floating-point numbers there.
_PLAIN_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def read(path: FilePath, what: str = "a stack file", fix: str = "make the stack with: pulumi stack init") -> Read:
    """Read a file. Raises Unreadable when it is missing, no file, not text, too large, or not YAML. ``what`` it should
    be, and ``fix`` where it is missing, are for the reader of the problem."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            # a pipe or a device may have no end
            raise Unreadable(_problem("is no file", what, "put a file of text in its place"))
        if status.st_size > _LARGEST_FILE:
            raise Unreadable(_problem("is larger than a megabyte", what, "take out what is not config"))
        return parse(path.read_bytes().decode())
    except FileNotFoundError:
        raise Unreadable(_problem("there is no such file", what, f"check the name, or {fix}")) from None
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise Unreadable(_problem(f"cannot be read: {reason}", "a readable file", "check it with ls -l")) from None
    except UnicodeDecodeError:
        raise Unreadable(_problem("is not text in UTF-8", "UTF-8", "save it as UTF-8")) from None


def parse(text: str) -> Read:
    """Read YAML text. Raises Unreadable."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        plain = _Plain(loader)
        value = plain.value(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = re.sub(r"[^ -~]", "?", str(error.problem or error.context or "not YAML"))
        raise Unreadable(_broken(reason, mark)) from None
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
        position = getattr(error, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else None
        deep = isinstance(error, RecursionError)
        reason = "nested too deeply" if deep else "a character or number YAML does not have"
        raise Unreadable(_broken(f"{reason}{f' in line {line}' if line else ''}", None)) from None
    return Read(value, tuple(plain.repeated), tuple(plain.misread), text)


class _Plain:
    """Conversion of YAML nodes to values. It counts them: a few lines of anchors can stand for billions of values."""

    def __init__(self, loader: _Loader) -> None:
        self.loader = loader
        self.repeated: list[Problem] = []
        self.misread: list[Problem] = []
        self.value_count = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.value_count += 1
        if self.value_count > MOST_VALUES or len(path) > DEEPEST:
            what = "holds too many values" if self.value_count > MOST_VALUES else "is nested too deeply"
            allowed = f"{MOST_VALUES} values in {DEEPEST} levels, with anchors written out"
            raise Unreadable(_problem(what, allowed, "take out anchors that repeat one another"))
        if self._is_misread(node):
            self.misread.append(_misread(path, node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        # read by Python's int: YAML 1.1 would read 010 as 8 and 1_0 as 10
        return int(node.value) if node.tag == _INT else self.loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise Unreadable(_broken("a key that is a list or a mapping", key_node.start_mark))
            # as written: a model called 7b or on keeps its name
            key = str(key_node.value)
            if key in own or (key_node.tag == _MERGE and merged):
                self.repeated.append(_repeated((*path, key), key_node.start_mark))
            if key_node.tag == _MERGE:
                for source in self._sources(value_node, path):
                    merged = source | merged
                continue
            if self._is_misread(key_node, as_key=True):
                self.misread.append(_misread((*path, key), key_node))
            own[key] = self.value(value_node, (*path, key))
        return merged | own

    def _is_misread(self, node: yaml.Node, as_key: bool = False) -> bool:
        """Return True where YAML 1.1, YAML 1.2 and Pulumi's engine may read different things; ``as_key``: and for a
        name that any of them takes for something else than text, which the engine refuses."""
        if not isinstance(node, yaml.ScalarNode):
            return node.tag not in (_SEQ, _MAP)
        if node.style is not None:  # in quotes, or a block
            return node.tag != _STR
        resolve: list[Callable[..., str]] = [self.loader.resolve, _OLD.resolve]
        new, old = (each(yaml.ScalarNode, node.value, (True, False)) for each in resolve)
        if node.tag != new:
            return node.tag != _STR  # said by a tag of its own
        if new == _INT and not as_key:
            return not _PLAIN_INT.fullmatch(node.value)
        return old != new or (as_key and new != _STR) or _ENGINES_OWN.fullmatch(node.value) is not None

    def _sources(self, node: yaml.Node, path: Path) -> list[dict[str, Any]]:
        value = self.value(node, (*path, "<<"))
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise Unreadable(_broken("<< merges something that is no mapping", node.start_mark))
        return sources


def _repeated(path: Path, mark: Any) -> Problem:
    message = f"is given twice, again in line {mark.line + 1}: only the last would count"
    return NAME_REPEATED.at(path, message, allowed="each name once", fix="rename one of the two or take it out")


def _misread(path: Path, node: yaml.Node) -> Problem:
    message = f"in line {node.start_mark.line + 1} is not read alike by YAML 1.1, YAML 1.2 and Pulumi's engine"
    return VALUE_MISREAD.at(path, message, value=node.value if isinstance(node, yaml.ScalarNode) else None)


def _broken(reason: str, mark: Any) -> Problem:
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    fix = "mend that place: often it is the indentation or a missing colon"
    return _problem(f"is not YAML{where}: {reason}", "YAML", fix)


def _problem(message: str, allowed: str, fix: str) -> Problem:
    return FILE_UNREADABLE.at((), message, allowed=allowed, fix=fix)
