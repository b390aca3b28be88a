"""Locks of the local back-end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

from lab import stale_locks


def lock(backend: Path, name: str, **held: object) -> Path:
    file = backend / ".pulumi/locks/organization/ebbtide/local" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"hostname": socket.gethostname(), "username": "root", **held}))
    return file


def test_the_lock_of_a_dead_engine_is_taken_away_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, living = lock(tmp_path, "dead", pid=ended.pid), lock(tmp_path, "living", pid=os.getpid())
    assert stale_locks.release(tmp_path) == [dead]
    assert not dead.exists()
    assert living.exists()


def test_a_lock_of_another_host_or_one_that_cannot_be_read_stays(tmp_path: Path) -> None:
    foreign = lock(tmp_path, "foreign", pid=999_999_999, hostname="elsewhere")
    broken = lock(tmp_path, "broken", pid="x")
    assert stale_locks.release(tmp_path) == []
    assert foreign.exists()
    assert broken.exists()


def test_without_a_back_end_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert stale_locks.release(tmp_path / "none") == []


def test_a_living_holder_is_waited_for_and_told_of_once(tmp_path: Path) -> None:
    holder = subprocess.Popen(["sleep", "0.7"])
    lock(tmp_path, "living", pid=holder.pid)
    reaper = threading.Thread(target=holder.wait)
    reaper.start()
    calls: list[int] = []
    assert stale_locks.settle(tmp_path, lambda: calls.append(1), seconds=10)
    reaper.join()
    assert calls == [1]


def test_a_holder_that_does_not_end_is_left_to_the_engine_to_name(tmp_path: Path) -> None:
    held = lock(tmp_path, "living", pid=os.getpid())
    assert not stale_locks.settle(tmp_path, lambda: None, seconds=0.1)
    assert held.exists()
