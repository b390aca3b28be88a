"""Unknown outputs: they only exist once a resource does, and pass through the program as text it cannot take apart."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from infra.recorder.pulumi_internals import declared

_TOKEN: Final = re.compile(r"late[0-9a-f]{16}x", re.IGNORECASE)
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class NoSuchOutput(AttributeError):
    """A read of a property that the SDK does not declare: a misspelling, which an engine would refuse too."""


class OutputRegistry:
    """The unknown output that each token stands for, over one run of the program."""

    def __init__(self) -> None:
        self._outputs: dict[str, tuple[str, str]] = {}

    def token(self, source: str, path: str) -> str:
        """Return a token for property ``path`` of ``source`` (a URN). It has only letters and digits, so that JSON,
        URLs and splitting leave it whole; 21 of them, which no base64 text has, so that decoding it fails instead of
        giving rubbish; and it is a hash of its meaning, so that two runs agree."""
        digest = hashlib.sha256(f"{source}#{path}".encode()).hexdigest()[:16]
        token = f"late{digest}x"
        self._outputs[token] = (source, path)
        return token

    def whole(self, text: str) -> UnknownOutput | None:
        """Return the unknown output if ``text`` is exactly one token, else None."""
        output = self._outputs.get(text)
        return UnknownOutput(self, *output) if output else None

    def tokens_of(self, text: str) -> list[str]:
        """Return the tokens in ``text``, each once, in order."""
        return [token for token in dict.fromkeys(map(str.lower, _TOKEN.findall(text))) if token in self._outputs]

    def written(self, text: str) -> str:
        """Return ``text`` with each token spelled ``${URN#property}``."""
        return _TOKEN.sub(self._spelled, text) if "late" in text.lower() else text

    def _spelled(self, match: re.Match[str]) -> str:
        output = self._outputs.get(match.group().lower())
        return f"${{{output[0]}#{output[1]}}}" if output else match.group()


class UnknownOutput(str):
    """One unknown output. It passes as text; everything read from it (``.name``, ``["key"]``, ``[0]``, a loop) is
    unknown too. ``kind`` is the SDK's type of it, if known: a name that the type does not declare is refused."""

    ledger: OutputRegistry
    source: str
    path: str
    kind: Any
    truth: bool

    def __new__(
        cls, ledger: OutputRegistry, source: str, path: str, kind: Any = None, truth: bool = True
    ) -> UnknownOutput:
        output = super().__new__(cls, ledger.token(source, path))
        output.ledger, output.source, output.path, output.kind, output.truth = ledger, source, path, kind, truth
        return output

    def __getattr__(self, name: str) -> UnknownOutput:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._child(*declared_child(self.kind, name))

    def __getitem__(self, key: Any) -> UnknownOutput:
        if isinstance(key, str):
            return self._child(*declared_child(self.kind, key))
        # part of a text is as unknown as the text; an element of a list has a path of its own
        return self if isinstance(key, slice) else self._child(f"[{key}]", declared(self.kind).element)

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over one element: nobody knows how many there will be."""
        return iter((self._child("[*]", declared(self.kind).element),))

    def __bool__(self) -> bool:
        return self.truth

    # str's own methods, in C, which compare the letters
    __hash__ = str.__hash__
    __eq__ = str.__eq__

    def get(self, key: str, default: Any = None) -> UnknownOutput:
        """Return the item, as a mapping would."""
        return self[key]

    def keys(self) -> list[str]:
        """Return one key, as a mapping would."""
        return ["*"]

    def values(self) -> list[UnknownOutput]:
        """Return one value, as a mapping would."""
        return [self["*"]]

    def items(self) -> list[tuple[str, UnknownOutput]]:
        """Return one item, as a mapping would."""
        return [("*", self["*"])]

    def _child(self, step: str, kind: Any) -> UnknownOutput:
        return UnknownOutput(self.ledger, self.source, joined(self.path, step), kind)


def joined(path: str, step: str) -> str:
    """Return a property path one step further, as Pulumi writes it: ``a.b``, ``a[0]``, ``a["b.c"]``."""
    if step.startswith("["):
        return path + step
    if _PLAIN_KEY.fullmatch(step) or step == "*":
        return f"{path}.{step}" if path else step
    return f'{path}["{step}"]'


def declared_child(kind: Any, name: str) -> tuple[str, Any]:
    """Return the wire's name and the type of a property read as ``name``. Raises ``NoSuchOutput``."""
    shape = declared(kind)
    if shape.properties is None:
        return name, shape.element
    wire = shape.wire_name(name)
    if wire is None:
        raise NoSuchOutput(f"{getattr(kind, '__name__', kind)} has no property {name}")
    return wire, shape.properties[wire]


def tokens_in(value: Any, ledger: OutputRegistry) -> list[str]:
    """Return the tokens in nested values, each once, in order."""
    tokens: dict[str, None] = {}
    queue = [value]
    while queue:
        here = queue.pop(0)
        if isinstance(here, str):
            tokens.update(dict.fromkeys(ledger.tokens_of(str.__str__(here))))
        elif isinstance(here, Mapping):
            queue += dict.values(here) if isinstance(here, dict) else here.values()
        elif isinstance(here, (list, tuple, set, frozenset)):
            queue += list(here)
        elif hasattr(here, "__dict__") and not isinstance(here, type) and not callable(here):
            queue += list(vars(here).values())
    return list(tokens)


def tolerant(
    function: Callable[[Any], Any], ledger: OutputRegistry, note: Callable[[str], None]
) -> Callable[[Any], Any]:
    """Wrap a function for ``apply``, so that it accepts unknown outputs: if it fails on one, its result is as unknown
    as its input. An error without an unknown output in the input is raised; so is ``NoSuchOutput``."""

    def run(value: Any) -> Any:
        try:
            return function(value)
        except NoSuchOutput:
            raise
        except Exception as error:
            tokens = tokens_in(value, ledger)
            if not tokens:
                raise
            note(f"{_called(function)}: {type(error).__name__} on a late value")
            return ledger.whole(tokens[0]) if len(tokens) == 1 else "".join(tokens)

    return run


def _called(function: Callable[[Any], Any]) -> str:
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}.{name}" if name else repr(function)


# Outputs of a resource under the recorder: the inputs it was given, and unknown outputs for all else it declares.


class View(dict[str, Any]):
    """A mapping that was sent, read by attribute or key in the SDK's or the wire's spelling. Properties that the SDK
    declares and that were not sent are unknown. Passed on as a whole, it is what was sent."""

    def __init__(self, ledger: OutputRegistry, source: str, path: str, sent: Mapping[str, Any], kind: Any) -> None:
        super().__init__(sent)
        self.__dict__.update(_of=(ledger, source, path, kind))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: Any) -> Any:
        ledger, source, path, kind = self._of
        if dict.__contains__(self, key) and declared(kind).properties is None:
            return program_view(ledger, source, joined(path, key), dict.__getitem__(self, key), declared(kind).element)
        if declared(kind).properties is None and kind is not None:
            raise KeyError(key)  # a mapping with the user's own names: a name not given is not there
        wire, child = declared_child(kind, key)
        return program_view(ledger, source, joined(path, wire), dict.get(self, wire), child)

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


class UnknownMap(View):
    """An unknown mapping of names that are not declared, for code that insists on a ``dict``: any name may be in it."""

    def __init__(self, ledger: OutputRegistry, source: str, path: str, kind: Any) -> None:
        super().__init__(ledger, source, path, {}, kind)

    def __getitem__(self, key: Any) -> Any:
        ledger, source, path, kind = self._of
        return UnknownOutput(ledger, source, joined(path, key), declared(kind).element)


class UnknownList(list[Any]):
    """An unknown list, for code that insists on a ``list``: one element in a loop, any element by its number."""

    def __init__(self, ledger: OutputRegistry, source: str, path: str, kind: Any) -> None:
        self._late = UnknownOutput(ledger, source, path, kind)
        super().__init__(iter(self._late))

    def __getitem__(self, index: Any) -> Any:
        return self if isinstance(index, slice) else self._late[index]


def program_view(ledger: OutputRegistry, source: str, path: str, sent: Any, kind: Any) -> Any:
    """Return property ``path`` of ``source`` as the program sees it; ``sent`` went over the wire (None: nothing)."""
    if sent is None:
        return UnknownOutput(ledger, source, path, kind)
    if isinstance(sent, str):
        late = ledger.whole(sent)
        return UnknownOutput(ledger, late.source, late.path, kind) if late is not None else sent
    if isinstance(sent, dict):
        return View(ledger, source, path, sent, kind)
    if isinstance(sent, list):
        element = declared(kind).element
        return [program_view(ledger, source, f"{path}[{index}]", item, element) for index, item in enumerate(sent)]
    return sent


def result_properties(
    ledger: OutputRegistry, source: str, kind: type, arguments: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield the properties of a provider function's result, by the wire's names: arguments that are neither list nor
    mapping stay, all else is unknown. The SDKs check these classes, so a list is a list and a mapping a mapping;
    numbers and booleans count as unset."""
    for wire, child in (declared(kind).properties or {}).items():
        shape = declared(child)
        if wire in arguments and not isinstance(arguments[wire], (dict, list)):
            yield wire, arguments[wire]
        elif "Sequence[" in repr(child) or "List[" in repr(child):
            yield wire, UnknownList(ledger, source, wire, child)
        elif shape.element is not None:
            yield wire, UnknownMap(ledger, source, wire, child)
        elif shape.properties is not None or child is dict:
            yield wire, View(ledger, source, wire, {}, child)
        else:
            yield wire, UnknownOutput(ledger, source, wire, child, truth=child not in (int, float, bool))
