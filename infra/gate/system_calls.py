"""Filter of system calls for the sandbox: a program of classic BPF, which the kernel runs before each call.

The kernel hands it the call's number, the architecture whose numbers they are, and the arguments (``struct
seccomp_data``); its answer is to let the call through or to fail it. ``system_calls.yaml`` says which calls there are.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from components.typed.tables import read_table

# Offsets in struct seccomp_data. An argument's lower half comes first, both architectures being little-endian; of every
# argument that is looked at the kernel takes that half alone.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
# Operations of linux/bpf_common.h: load a word, mask it, go on if it equals a constant, return.
_LOAD, _MASK, _IF, _RETURN = 0x20, 0x54, 0x15, 0x06
# Answers of linux/seccomp.h.
ALLOW = 0x7FFF0000
NOT_THERE, NOT_ALLOWED = 0x00050000 | errno.ENOSYS, 0x00050000 | errno.EPERM


@dataclass(frozen=True, kw_only=True)
class Restriction:
    """Values that one argument of a call may have after the mask; arguments are counted from 0."""

    argument: int
    mask: int
    values: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SystemCalls:
    """Calls that are allowed by their numbers in one architecture, each with its restriction if it has one."""

    architecture: int
    allowed: Mapping[int, Restriction | None]


@cache
def read_system_calls(machine: str) -> SystemCalls | None:
    """Return the allowed calls of a machine as ``uname`` names it; None if its numbers are not known."""
    table = read_table(Path(__file__).with_suffix(".yaml"))
    if machine not in table["architectures"]:
        return None
    column = list(table["architectures"]).index(machine)
    allowed: dict[int, Restriction | None] = {}
    for calls in table["allowed"].values():
        allowed |= {numbers[column]: None for numbers in calls.values() if numbers[column] is not None}
    for call in table["restricted"].values():
        allowed[call["numbers"][column]] = Restriction(
            argument=call["argument"], mask=call.get("mask", 0xFFFFFFFF), values=tuple(call["values"])
        )
    return SystemCalls(architecture=table["architectures"][machine], allowed=allowed)


def assemble(calls: SystemCalls) -> bytes:
    """Return the filter. A call that is not allowed, or of another architecture (x32 and 32 bits on x86_64), is not
    there."""
    body = [_instruction(_LOAD, _NUMBER)]
    for number, restriction in sorted(calls.allowed.items(), key=lambda call: call[0]):
        body += _if_equal(number, _check(restriction))
    not_there = _instruction(_RETURN, NOT_THERE)
    known = [_instruction(_LOAD, _ARCHITECTURE), _instruction(_IF, calls.architecture, then=1), not_there]
    return b"".join([*known, *body, not_there])


def _check(restriction: Restriction | None) -> list[bytes]:
    allow = _instruction(_RETURN, ALLOW)
    if restriction is None:
        return [allow]
    argument = [_instruction(_LOAD, _ARGUMENTS + 8 * restriction.argument), _instruction(_MASK, restriction.mask)]
    fits = [instruction for value in restriction.values for instruction in _if_equal(value, [allow])]
    return [*argument, *fits, _instruction(_RETURN, NOT_ALLOWED)]


def _if_equal(value: int, then: list[bytes]) -> list[bytes]:
    """Return instructions that are gone through only if what was loaded is ``value``."""
    return [_instruction(_IF, value, otherwise=len(then)), *then]


def _instruction(operation: int, constant: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """Return one instruction (``struct sock_filter``); a comparison skips as many as it says."""
    return struct.pack("<HBBI", operation, then, otherwise, constant)
