"""Kernel settings that a kubelet changes for the whole host."""

from __future__ import annotations

from pathlib import Path

from lab.machine import kernel_settings


def kernel(root: Path, **values: str) -> None:
    for name, value in values.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n")


def test_what_the_kubelet_changed_is_put_back(tmp_path: Path) -> None:
    root, state = tmp_path / "sys", tmp_path / "state"
    state.mkdir()
    kernel(root, vm__overcommit_memory="0", kernel__panic="0", kernel__panic_on_oops="0")
    kernel_settings.remember(state, root)
    kernel(root, vm__overcommit_memory="1", kernel__panic="10", kernel__panic_on_oops="1")
    kernel_settings.restore(state, root)
    assert (root / "kernel/panic").read_text().strip() == "0"
    assert (root / "vm/overcommit_memory").read_text().strip() == "0"
    assert list(state.iterdir()) == []


def test_a_second_start_does_not_take_the_changed_values_for_the_hosts_own(tmp_path: Path) -> None:
    root, state = tmp_path / "sys", tmp_path / "state"
    state.mkdir()
    kernel(root, kernel__panic="0")
    kernel_settings.remember(state, root)
    kernel(root, kernel__panic="10")
    kernel_settings.remember(state, root)
    kernel_settings.restore(state, root)
    assert (root / "kernel/panic").read_text().strip() == "0"


def test_without_a_record_nothing_is_written(tmp_path: Path) -> None:
    kernel(tmp_path / "sys", kernel__panic="10")
    kernel_settings.restore(tmp_path, tmp_path / "sys")
    assert (tmp_path / "sys/kernel/panic").read_text().strip() == "10"
