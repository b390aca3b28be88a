"""The sandbox attacked from inside: a program tries every way out that we know, and reports what it got."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infra.gate import sandbox
from infra.gate.sandbox import record, why_not_confined
from infra.gate.sandbox_use import Sandbox, Use
from infra.gate.system_calls import ALLOW

SECRET = "the-machines-own-secret-4711"
ATTACKS = Path(__file__).with_name("sandbox_attacks.py")

# `make test` installs it, so that in a pipeline nothing is skipped
pytestmark = pytest.mark.skipif(
    bool(why_not_confined()) and not os.environ.get("CI"), reason="no bubblewrap, or no user namespaces"
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """What is worth taking on a machine: a file, a variable, sockets of all kinds, a folder to leave something in."""
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "drop").mkdir(mode=0o777)
    (tmp_path / "drop").chmod(0o777)
    monkeypatch.setenv("EBBTIDE_TEST_TOKEN", SECRET)
    with (
        closing(_unix(str(tmp_path / "socket"))) as by_path,
        closing(_unix(f"\0ebbtide-{tmp_path.name}")) as abstract,
        closing(socket.create_server(("127.0.0.1", 0))) as tcp,
    ):
        for server in (by_path, abstract, tcp):
            threading.Thread(target=_answer, args=(server,), daemon=True).start()
        yield {
            "file": str(tmp_path / "secret"),
            "folder": str(tmp_path / "drop"),
            "socket": str(tmp_path / "socket"),
            "abstract": f"\0ebbtide-{tmp_path.name}",
            "port": str(tcp.getsockname()[1]),
            "repository": str(Path(__file__).parents[2]),
            "key": _key(f"ebbtide-{tmp_path.name}"),
        }


def _key(name: str) -> str:
    """Put a key with the secret into a keyring of this process, in place of the session's, which it must not fill."""
    libc = ctypes.CDLL(None)
    keyctl, add_key = (250, 248) if os.uname().machine == "x86_64" else (219, 217)
    libc.syscall(keyctl, 1, None)  # KEYCTL_JOIN_SESSION_KEYRING
    libc.syscall(add_key, b"user", name.encode(), SECRET.encode(), ctypes.c_size_t(len(SECRET)), -3)
    return name


def _unix(address: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    return server


def _answer(server: socket.socket) -> None:
    while True:
        try:
            taken, _ = server.accept()
        except OSError:
            return
        with taken:
            taken.sendall(SECRET.encode())


def attack(tree: Path, machine: dict[str, str], confined: bool) -> dict[str, str]:
    """Run the attacks in place of a program; return what each got, by its name."""
    (tree / "infra" / "gate").mkdir(parents=True)
    for package in (tree / "infra", tree / "infra" / "gate"):
        (package / "__init__.py").touch()
    (tree / "infra" / "gate" / "record_process.py").write_text(f"MACHINE = {machine!r}\n{ATTACKS.read_text()}")
    recorded = record(tree, "any", confined=confined)
    assert recorded.graph is not None, recorded.problem
    return {str(entry["name"]): str(entry["inputs"]["got"]) for entry in recorded.graph}


def test_fifty_ways_out_lead_nowhere(tmp_path: Path, machine: dict[str, str]) -> None:
    got = attack(tmp_path / "tree", machine, confined=True)
    assert len(got) >= 50
    assert {name: what for name, what in got.items() if what} == {}


def test_the_attacks_are_real_ones(tmp_path: Path, machine: dict[str, str]) -> None:
    """Without the sandbox those that only look get something: an attack that never can would prove nothing."""
    got = attack(tmp_path / "tree", {**machine, "looking": "only"}, confined=False)
    taken = {name for name, what in got.items() if what}
    assert len(taken) >= 13, sorted(taken)
    assert sum(SECRET in what for what in got.values()) >= 4


def test_the_filter_is_what_stands_against_calls(
    tmp_path: Path, machine: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shut in with a filter that lets every call through, they reach the kernel, keys and sockets of other families."""
    monkeypatch.setattr(sandbox, "assemble", lambda calls: struct.pack("<HBBI", 0x06, 0, 0, ALLOW))
    got = attack(tmp_path / "tree", machine, confined=True)
    assert len(got["look_which_calls_reach_the_kernel"].split()) >= 15
    taken = {name for name, what in got.items() if what}
    assert taken >= {
        "look_for_sockets_of_other_families",
        "be_traced",
        "keep_memory_in_a_file_without_a_name",
        "keep_memory_that_is_shared",
        "keep_memory_in_locks",
        "keep_more_memory_in_a_socket",
        "keep_more_memory_in_a_pipe",
        "hide_what_it_takes",
        "change_the_limit_on_core_dumps",
    }


def test_the_kernel_ends_it_first_and_gives_no_core_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = []

    def looking(self: Sandbox) -> Use:
        badness = Path(f"/proc/{self.first}/oom_score_adj").read_text(encoding="ascii").strip()
        readings.append((badness, resource.prlimit(self.first, resource.RLIMIT_CORE)[0]))
        return Use(memory=0, threads=1)

    monkeypatch.setattr(Sandbox, "use", looking)
    _program(tmp_path, "pass")
    record(tmp_path, "any", confined=True)
    assert readings[0] == ("1000", 1)


def _program(tree: Path, program: str) -> None:
    gate = tree / "infra" / "gate"
    gate.mkdir(parents=True)
    body = "\n".join(f"    {line}" for line in program.splitlines())
    (gate / "record_process.py").write_text(f"import sys\ndef main():\n{body}\n")


WORKING = """
import asyncio, json, os, subprocess, tempfile, threading
import grpc, pulumi
done = []
threads = [threading.Thread(target=done.append, args=(number,)) for number in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(done) == 20
said = subprocess.run([sys.executable, "-I", "-c", "print(1)"], capture_output=True, check=True, start_new_session=True)
assert said.stdout == b"1\\n"
async def say():
    child = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", "print(2)", stdout=subprocess.PIPE)
    return (await child.communicate())[0]
assert asyncio.run(say()) == b"2\\n"
with tempfile.TemporaryFile() as file:
    file.write(b"x")
server = grpc.server(None)
assert server.add_insecure_port("unix:/tmp/served")
server.start()
grpc.channel_ready_future(grpc.insecure_channel("unix:/tmp/served")).result(5)
with open(int(sys.argv[3]), "wb") as file:
    file.write(json.dumps({"graph": []}).encode())
os._exit(0)
"""


def test_python_works_with_threads_subprocesses_files_and_grpc(tmp_path: Path) -> None:
    _program(tmp_path, WORKING)
    recorded = record(tmp_path, "any", confined=True)
    assert recorded.graph == [], recorded.problem


HOGS = {
    "processes": "import os\nfor _ in range(3):\n    if not os.fork():\n        break\nheld = bytearray(20 * 2**20)",
    "a thread of a process that looks dead": (
        "import ctypes, threading, time\n"
        "def hold():\n    held = bytearray(80 * 2**20)\n    time.sleep(20)\n"
        "threading.Thread(target=hold).start()\nctypes.CDLL(None).pthread_exit(0)"
    ),
    "files": "held = open('/tmp/full', 'wb')\nheld.write(bytes(2**20) * 60)\nheld.flush()",
    "empty files": "for number in range(80_000):\n    open(f'/tmp/{number}', 'w').close()",
    "sockets": "import socket\nheld = [socket.socketpair() for _ in range(110)]",
}


@pytest.mark.parametrize("program", HOGS.values(), ids=HOGS.keys())
def test_memory_is_bounded_over_all_that_holds_some(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 20.0)
    monkeypatch.setattr(sandbox, "MEMORY_BYTES", 64 * 2**20)
    _program(tmp_path, f"{program}\nimport time\ntime.sleep(30)")
    assert record(tmp_path, "any", confined=True).problem == (
        "the program took more than 64 MiB of memory in all of its processes"
    )


@pytest.mark.parametrize(
    "program",
    [
        "import os\nfor _ in range(20):\n    if not os.fork():\n        break",
        "import threading, time\nfor _ in range(20):\n    threading.Thread(target=time.sleep, args=(30,)).start()",
    ],
    ids=["processes", "threads"],
)
def test_the_number_of_processes_is_bounded_for_root_too(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 20.0)
    monkeypatch.setattr(sandbox, "THREADS", 8)
    _program(tmp_path, f"{program}\nimport time\ntime.sleep(30)")
    assert record(tmp_path, "any", confined=True).problem == "the program ran more than 8 processes and threads"


def test_a_machine_without_a_filter_or_a_view_of_the_processes_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "read_system_calls", lambda machine: None)
    assert "no filter of system calls" in why_not_confined.__wrapped__()
    monkeypatch.undo()
    monkeypatch.setattr(Sandbox, "use", lambda self: Use(memory=0, threads=0))
    assert why_not_confined.__wrapped__() == "its processes cannot be seen"


def _writing(graph: str) -> str:
    return (
        "import json, os\n"
        "def deep(levels):\n    return {'a': deep(levels - 1)} if levels else {}\n"
        f"with open(int(sys.argv[3]), 'wb') as file:\n    file.write(json.dumps({{'graph': {graph}}}).encode())\n"
        "os._exit(0)"
    )


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import time\ntime.sleep(60)", "took more than"),
        ("held = bytearray(2**32)", "gave no graph"),
        ("import os\nos.write(int(sys.argv[3]), b'x' * 2**20)", "is no graph"),
        ("import os\nfor _ in range(70):\n    os.write(int(sys.argv[3]), b'x' * 2**20)", "larger than 64 MiB"),
        ("import os\nos.kill(os.getpid(), 9)", "gave no graph"),
        (_writing("[{'urn': 'a', 'type': 'b', 'name': 'c', 'inputs': 'x'}]"), "is no graph"),
        (_writing("[{'urn': 'a', 'type': 'b', 'name': 'c', 'ignoreChanges': 5}]"), "is no graph"),
        (_writing("[{'urn': 'a', 'type': 'b', 'name': 'c', 'aliases': [[]]}]"), "is no graph"),
        (_writing("[{'urn': 'a', 'type': 'b', 'name': 'c', 'inputs': deep(900)}]"), "is no graph"),
        ("open('/tmp/full', 'wb').write(b'x' * 2**27)", "gave no graph"),
    ],
    ids=[
        "sleeps",
        "eats memory",
        "writes rubbish",
        "writes without end",
        "dies",
        "odd inputs",
        "odd options",
        "odd aliases",
        "deep inputs",
        "fills its disk",
    ],
)
def test_a_program_that_takes_too_much_gives_no_graph(
    program: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 5.0)
    _program(tmp_path, program)
    recorded = record(tmp_path, "any", confined=True)
    assert recorded.graph is None
    assert words in recorded.problem


def test_a_sandbox_that_is_not_shut_in_yet_has_no_files_of_this_machine_counted() -> None:
    """On a loaded machine bubblewrap takes longer to begin than the judge to look."""
    assert Sandbox(first=os.getpid(), namespace=0, scratch="/tmp")._files() == 0
