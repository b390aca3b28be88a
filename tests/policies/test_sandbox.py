"""The sandbox attacked from inside: a program tries every way out that we know, and reports what it got."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infra.gate import sandbox
from infra.gate.sandbox import record, why_not_confined

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
        }


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


def test_thirty_ways_out_lead_nowhere(tmp_path: Path, machine: dict[str, str]) -> None:
    got = attack(tmp_path / "tree", machine, confined=True)
    assert len(got) >= 30
    assert {name: what for name, what in got.items() if what} == {}


def test_the_attacks_are_real_ones(tmp_path: Path, machine: dict[str, str]) -> None:
    """Without the sandbox those that only look get something: an attack that never can would prove nothing."""
    got = attack(tmp_path / "tree", {**machine, "looking": "only"}, confined=False)
    taken = {name for name, what in got.items() if what}
    assert len(taken) >= 10, sorted(taken)
    assert sum(SECRET in what for what in got.values()) >= 4


def _writing(graph: str) -> str:
    return (
        "import json, os\n"
        "def deep(levels):\n    return {'a': deep(levels - 1)} if levels else {}\n"
        f"with open(int(sys.argv[3]), 'wb') as file:\n    file.write(json.dumps({{'graph': {graph}}}).encode())\n"
        "os._exit(0)"
    )


@pytest.mark.parametrize(
    ("program", "said"),
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
    program: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 5.0)
    gate = tmp_path / "infra" / "gate"
    gate.mkdir(parents=True)
    body = "\n".join(f"    {line}" for line in program.splitlines())
    (gate / "record_process.py").write_text(f"import sys\ndef main():\n{body}\n")
    recorded = record(tmp_path, "any", confined=True)
    assert recorded.graph is None
    assert said in recorded.problem
