"""The filter of system calls, run as the kernel runs it, for both architectures whatever this machine is."""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
from pathlib import Path

import pytest

from components.typed.tables import read_table
from infra.gate import system_calls
from infra.gate.sandbox_use import Use, use_of_process
from infra.gate.system_calls import ALLOW, NOT_ALLOWED, NOT_THERE, SystemCalls, assemble, read_system_calls

MACHINES = ("x86_64", "aarch64")
TABLE = read_table(Path(system_calls.__file__).with_suffix(".yaml"))
CLONE_NEWUSER, SIGCHLD = 0x10000000, 17


def calls_of(machine: str) -> SystemCalls:
    calls = read_system_calls(machine)
    assert calls is not None
    return calls


def answer(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Return the filter's answer to a call."""
    calls = calls_of(machine)
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, architecture or calls.architecture, 0, *padded)
    program = list(struct.iter_unpack("<HBBI", assemble(calls)))
    at, loaded = 0, 0
    while True:
        operation, then, otherwise, constant = program[at]
        at += 1
        if operation == 0x20:
            (loaded,) = struct.unpack_from("<I", data, constant)
        elif operation == 0x54:
            loaded &= constant
        elif operation == 0x15:
            at += then if loaded == constant else otherwise
        else:
            assert operation == 0x06
            return int(constant)


def number(machine: str, name: str) -> int:
    everything = {name: call["numbers"] for name, call in TABLE["restricted"].items()}
    for calls in TABLE["allowed"].values():
        everything |= calls
    return int(everything[name][MACHINES.index(machine)])


@pytest.mark.parametrize("machine", MACHINES)
def test_a_call_is_let_through_if_it_is_in_the_table(machine: str) -> None:
    calls = calls_of(machine)
    free = [call for call, restriction in calls.allowed.items() if restriction is None]
    assert len(free) > 100
    assert {answer(machine, call) for call in free} == {ALLOW}
    assert {answer(machine, call) for call in range(1200) if call not in calls.allowed} == {NOT_THERE}


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_other_architectures_are_not_there(machine: str) -> None:
    read = number(machine, "read")
    i386, arm, big_endian = 0x40000003, 0x40000028, 0x800000B7
    assert {answer(machine, read, architecture=other) for other in (i386, arm, big_endian)} == {NOT_THERE}
    x32 = 0x40000000
    assert answer(machine, x32 | read) == NOT_THERE


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("clone", [(SIGCHLD,), (0x3D0F00,)], [(SIGCHLD | CLONE_NEWUSER,), (0x20000,), (0x40000000,)]),
        (
            "mmap",
            [(0, 1, 3, 0x22), (0, 1, 1, 0x1), (0, 1, 1, 0x2)],
            [(0, 1, 3, 0x21), (0, 1, 3, 0x23), (0, 1, 3, 0x40022)],
        ),
        ("socket", [(1, 1), (1 << 32 | 1, 1)], [(family, 1) for family in (0, 2, 10, 16, 17, 38, 40)]),
        ("socketpair", [(1, 1)], [(30, 1)]),
        ("ioctl", [(0, 0x5401), (0, 0x5421)], [(0, 0x5412), (0, 0x541C)]),  # TIOCSTI, TIOCLINUX
        ("prctl", [(15,), (38,)], [(4,), (22,), (35,), (0x59616D61,)]),
        ("prlimit64", [(0, 7)], [(0, 4)]),
        ("fcntl", [(0, 1030)], [(0, 6), (0, 37), (0, 1031)]),
        ("setsockopt", [(0, 1, 2)], [(0, 1, 7), (0, 1, 26)]),
    ],
)
def test_a_restricted_call_is_let_through_with_some_arguments(
    name: str, allowed: list[tuple[int, ...]], refused: list[tuple[int, ...]], machine: str
) -> None:
    call = number(machine, name)
    assert {answer(machine, call, *arguments) for arguments in allowed} == {ALLOW}
    assert {answer(machine, call, *arguments) for arguments in refused} == {NOT_ALLOWED}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_kernel_takes_a_filter_of_that_length(machine: str) -> None:
    assert len(assemble(calls_of(machine))) // 8 <= 4096


def test_the_numbers_are_those_of_libseccomp() -> None:
    """Debian and Ubuntu have it for apt; it knows the numbers of every architecture."""
    library = ctypes.util.find_library("seccomp")
    if library is None:
        pytest.skip("no libseccomp on this machine")
    resolve = ctypes.CDLL(library).seccomp_syscall_resolve_name_arch
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    named = {name: numbers for calls in TABLE["allowed"].values() for name, numbers in calls.items()}
    named |= {name: call["numbers"] for name, call in TABLE["restricted"].items()}
    for column, machine in enumerate(MACHINES):
        known = {name: resolve(TABLE["architectures"][machine], name.encode()) for name in named}
        # below zero: a call that this architecture does not have
        assert {name: number if number >= 0 else None for name, number in known.items()} == {
            name: numbers[column] for name, numbers in named.items()
        }


def test_a_machine_whose_numbers_are_not_known_has_no_filter() -> None:
    assert read_system_calls("riscv64") is None


def test_a_process_counts_what_it_holds_what_was_swapped_out_and_its_page_tables() -> None:
    status = "Name:\tpython\nVmPeak:\t  900 kB\nVmRSS:\t  100 kB\nVmPTE:\t   20 kB\nVmSwap:\t    3 kB\nThreads:\t4\n"
    assert use_of_process(status) == Use(memory=123 * 1024, threads=4)
    assert use_of_process("Name:\tgone\nState:\tZ (zombie)\nThreads:\t1\n") == Use(memory=0, threads=1)
