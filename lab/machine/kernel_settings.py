"""Host-wide kernel settings that a kubelet changes: saved before it runs, restored after."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from infra.atomic_write import atomic_write

# the kernel tunables that kubelet sets; none of them belongs to a namespace
CHANGED = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)

ROOT = Path("/proc/sys")


def remember(state: Path, root: Path = ROOT) -> None:
    """Save the current values, unless an earlier run saved them and they have not been restored since."""
    file = state / "kernel-settings.json"
    if file.exists():
        return
    values = {name: (root / name).read_text().strip() for name in CHANGED if (root / name).exists()}
    atomic_write(file, json.dumps(values, indent=1) + "\n")


def restore(state: Path, root: Path = ROOT) -> None:
    """Restore the saved values; a value that is already in place is not written."""
    file = state / "kernel-settings.json"
    try:
        values = json.loads(file.read_text())
    except (OSError, ValueError):
        return
    for name, value in values.items():
        with contextlib.suppress(OSError):
            if (root / name).read_text().strip() != value:
                (root / name).write_text(value)
    file.unlink()
