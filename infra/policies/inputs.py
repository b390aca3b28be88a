"""Inputs as a rule sees them: reading a value that is not known yet stops the rule instead of passing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HIDDEN = "[secret]"
LATER = "is only known after "


class Unknown:
    """Placeholder for a value that only exists once a resource does; ``of`` names where it will come from, ``text`` is
    what is known of a text around it."""

    def __init__(self, of: str = "", text: str = "") -> None:
        self.of = of
        self.text = text


class UnknownValue(Exception):
    """A read of a value that is not known. The rule must end up as *not evaluated*, never as passed. ``hidden``: the
    program keeps it from the rules, and no later run will show it."""

    def __init__(self, path: str, why: str, hidden: bool = False) -> None:
        super().__init__(f"{path} {why}")
        self.path = path
        self.why = why
        self.hidden = hidden


class InputsMap(Mapping[str, Any]):
    """A mapping of inputs. ``in``, ``len`` and the keys are known; every value is checked before it is handed out."""

    def __init__(self, inner: Mapping[str, Any], path: str = "") -> None:
        self._inner = inner
        self._path = path

    def __getitem__(self, key: str) -> Any:
        return checked_value(self._inner[key], f"{self._path}.{key}" if self._path else str(key))

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)

    @property
    def path(self) -> str:
        return self._path

    @property
    def raw(self) -> Mapping[str, Any]:
        """Return the raw values, unknown ones as ``Unknown``: for rules that look for what must not be there."""
        return self._inner


class InputsList(Sequence[Any]):
    """A list of inputs, checked in the same way."""

    def __init__(self, inner: Sequence[Any], path: str) -> None:
        self._inner = inner
        self._path = path

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self._inner)))]
        return checked_value(self._inner[index], f"{self._path}[{index}]")

    def __len__(self) -> int:
        return len(self._inner)


def checked_value(value: Any, path: str) -> Any:
    """Return ``value`` for a rule. Raises ``UnknownValue`` if it is unknown, or a secret that was hidden on the way."""
    if isinstance(value, Unknown):
        raise UnknownValue(path, LATER + (value.of or "`up`"))
    if value == HIDDEN:
        raise UnknownValue(path, "is a secret, which is not shown to rules", hidden=True)
    if isinstance(value, Mapping):
        return InputsMap(value, path)
    if isinstance(value, (list, tuple)):
        return InputsList(value, path)
    return value


def get_path(value: Any, path: str, default: Any = None) -> Any:
    """Return the value at ``path`` (``spec.ports[0].port``) of a ``InputsMap``; ``default`` if there is none. Raises
    ``UnknownValue`` if a value on the path is unknown."""
    here = value
    for step in _steps(path):
        if isinstance(here, Mapping) and isinstance(step, str):
            if step not in here:
                return default
            here = here[step]
        elif isinstance(here, InputsList) and isinstance(step, int):
            if step >= len(here):
                return default
            here = here[step]
        else:
            return default
    return default if here is None else here


def _steps(path: str) -> Iterator[str | int]:
    for part in path.split("."):
        name, _, rest = part.partition("[")
        yield name.replace("~", ".")  # a key with dots in it is written with ~ in the data files
        while rest:
            index, _, rest = rest.partition("]")
            yield int(index)
            rest = rest.removeprefix("[")
