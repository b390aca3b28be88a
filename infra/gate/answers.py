"""What a resource answers under the recorder: what it was given, and late values for all else that it declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.gate.late import Late, Ledger, declared_child, joined
from infra.gate.sdk import declared


class View(dict[str, Any]):
    """A mapping that was sent, read by attribute or key in the SDK's or the wire's spelling. What the SDK declares
    beyond what was sent is late. Passed on as a whole it is what was sent."""

    def __init__(self, ledger: Ledger, source: str, path: str, sent: Mapping[str, Any], kind: Any) -> None:
        super().__init__(sent)
        self.__dict__.update(_of=(ledger, source, path, kind))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: Any) -> Any:
        ledger, source, path, kind = self._of
        if dict.__contains__(self, key) and declared(kind).properties is None:
            return seen(ledger, source, joined(path, key), dict.__getitem__(self, key), declared(kind).element)
        if declared(kind).properties is None and kind is not None:
            raise KeyError(key)  # a mapping with names of the user's own: what was not given is not there
        wire, child = declared_child(kind, key)
        return seen(ledger, source, joined(path, wire), dict.get(self, wire), child)

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


class LateList(list[Any]):
    """A late list, for code that insists on a ``list``: one element in a loop, any element by its number."""

    def __init__(self, ledger: Ledger, source: str, path: str, kind: Any) -> None:
        self._late = Late(ledger, source, path, kind)
        super().__init__(iter(self._late))

    def __getitem__(self, index: Any) -> Any:
        return self if isinstance(index, slice) else self._late[index]


def seen(ledger: Ledger, source: str, path: str, sent: Any, kind: Any) -> Any:
    """How the program sees property ``path`` of ``source``, of which ``sent`` went over the wire (None: nothing)."""
    if sent is None:
        return Late(ledger, source, path, kind)
    if isinstance(sent, str):
        late = ledger.whole(sent)
        return Late(ledger, late.source, late.path, kind) if late is not None else sent
    if isinstance(sent, dict):
        return View(ledger, source, path, sent, kind)
    if isinstance(sent, list):
        element = declared(kind).element
        return [seen(ledger, source, f"{path}[{index}]", item, element) for index, item in enumerate(sent)]
    return sent


def told(ledger: Ledger, source: str, kind: type, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The properties of a provider function's result, by the wire's names: what it was asked by stays, all else is
    late. The SDKs check these classes, so a list is a list and a mapping a mapping; numbers and switches count as
    unset."""
    for wire, child in (declared(kind).properties or {}).items():
        shape = declared(child)
        if wire in given and not isinstance(given[wire], (dict, list)):
            yield wire, given[wire]
        elif "Sequence[" in repr(child) or "List[" in repr(child):
            yield wire, LateList(ledger, source, wire, child)
        elif shape.properties is not None or shape.element is not None or child is dict:
            yield wire, View(ledger, source, wire, {}, child)
        else:
            yield wire, Late(ledger, source, wire, child, truth=child not in (int, float, bool))
