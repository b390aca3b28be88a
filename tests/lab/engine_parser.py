"""Program for the engine's own Python: prints its parser as JSON, in the terms of ``engine_flags.json``.

``flags`` has the kind of each flag, ``other`` its short and second names, ``choices`` the words of those that take only
such.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

NUMBERS = ("int", "float", "human_readable_int", "human_readable_int_or_auto")


def kind(action: Any) -> str:
    """What follows a flag. A type that may be None is the same in a wrapper."""
    if isinstance(action, argparse.BooleanOptionalAction):
        return "switch"
    if action.nargs == 0:
        return "alone"
    if action.nargs == "?":
        return "perhaps"
    if action.nargs in ("+", "*"):
        return "values"
    name = type_name(action.type)
    return "number" if name in NUMBERS else "json" if name in JSON else "value"


JSON = ("parse_dataclass", "union_dict_and_str", "loads")


def type_name(action: Any) -> str:
    """The function by which the value is read, without what lets None through."""
    while getattr(action, "__closure__", None):
        inner = [cell.cell_contents for cell in action.__closure__ if callable(cell.cell_contents)]
        if action.__name__ in JSON or not inner:
            break
        action = inner[0]
    return getattr(action, "__name__", "str")


def main() -> None:
    """Print what the parser takes."""
    sys.argv = ["serve"]
    from vllm import __version__  # type: ignore[import-not-found]
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # type: ignore[import-not-found]
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found]

    flags: dict[str, str] = {}
    other: dict[str, str] = {}
    choices: dict[str, list[str]] = {}
    for action in make_arg_parser(FlexibleArgumentParser())._actions:
        long = [name for name in action.option_strings if name.startswith("--") and not name.startswith("--no-")]
        if not long or long[0] == "--help":
            continue
        flags[long[0]] = kind(action)
        second = [name for name in action.option_strings if name not in (long[0], f"--no-{long[0][2:]}")]
        other |= {name: long[0] for name in second if not name.startswith("--no-")}
        if action.choices:
            choices[long[0]] = [str(word) for word in action.choices if word is not None]
    print(json.dumps({"version": __version__, "flags": flags, "other": other, "choices": choices}))


if __name__ == "__main__":
    main()
