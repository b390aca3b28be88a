"""Things done once: what counts as the same inputs, when a result is finished, and that two clones take turns."""

from __future__ import annotations

import fcntl
import selectors
import subprocess
import sys
from pathlib import Path

import pytest

from lab import build_stamps

HOLDER = """
import sys
from pathlib import Path
from lab.build_stamps import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_key_changes_with_a_value_and_with_the_order_of_values() -> None:
    assert build_stamps.key("a", 1) == build_stamps.key("a", 1)
    assert (
        len(
            {
                build_stamps.key("a", 1),
                build_stamps.key("a", 2),
                build_stamps.key(1, "a"),
                build_stamps.key("a1"),
                build_stamps.key(["a", 1]),
            }
        )
        == 5
    )


def test_a_key_does_not_depend_on_the_order_within_a_mapping() -> None:
    assert build_stamps.key({"a": 1, "b": 2}) == build_stamps.key({"b": 2, "a": 1})


def test_a_key_changes_with_a_files_content_its_name_and_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "module"
    (folder / "sub").mkdir(parents=True)
    file = folder / "go.sum"
    file.write_text("one")
    keys = [build_stamps.key(folder)]
    file.write_text("two")
    keys.append(build_stamps.key(folder))
    file.rename(folder / "go.mod")
    keys.append(build_stamps.key(folder))
    (folder / "go.mod").rename(folder / "sub" / "go.mod")
    keys.append(build_stamps.key(folder))
    assert len(set(keys)) == 4


def test_a_key_is_the_same_in_another_clone(tmp_path: Path) -> None:
    for clone in ("here", "there"):
        (tmp_path / clone / "module").mkdir(parents=True)
        (tmp_path / clone / "module" / "go.sum").write_text("same")
    assert build_stamps.key(tmp_path / "here" / "module") == build_stamps.key(tmp_path / "there" / "module")


def test_only_the_stamp_of_these_very_inputs_means_done(tmp_path: Path) -> None:
    stamp = tmp_path / "deep" / ".stamp"
    assert not build_stamps.is_done(stamp, "abc")
    build_stamps.mark_done(stamp, "abc")
    assert build_stamps.is_done(stamp, "abc")
    assert not build_stamps.is_done(stamp, "abd")
    build_stamps.mark_done(stamp, "abd")
    assert build_stamps.is_done(stamp, "abd")


def test_a_stamp_that_was_not_renamed_into_place_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", power_cut)
    with pytest.raises(KeyboardInterrupt):
        build_stamps.mark_done(tmp_path / ".stamp", "abc")
    assert not build_stamps.is_done(tmp_path / ".stamp", "abc")


def holder(lock: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def says_held(process: subprocess.Popen[str], seconds: float) -> bool:
    assert process.stdout is not None
    with selectors.DefaultSelector() as ready:  # select() takes no descriptor above 1023
        ready.register(process.stdout, selectors.EVENT_READ)
        readable = bool(ready.select(seconds))
    return readable and process.stdout.readline() == "held\n"


def test_a_second_process_waits_for_the_first_and_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "shared" / "toolchain.lock"
    first = holder(lock)
    second = None
    try:
        assert says_held(first, 20)
        with lock.open("a") as handle, pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        second = holder(lock)
        assert not says_held(second, 0.5)
        first.kill()
        assert says_held(second, 20)
    finally:
        for process in filter(None, (first, second)):
            process.kill()
            process.communicate()
    with build_stamps.exclusive(lock):
        pass
