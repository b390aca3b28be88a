"""Settings of the whole host's kernel that a kubelet changes: remembered before it runs, put back after."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

# what kubelet sets (its kernel tunables); none of them belongs to a namespace
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
    """Write today's values down, unless an earlier run did and nobody has put them back since."""
    file = state / "kernel-settings.json"
    if file.exists():
        return
    values = {name: (root / name).read_text().strip() for name in CHANGED if (root / name).exists()}
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=1) + "\n")
    partial.replace(file)


def restore(state: Path, root: Path = ROOT) -> None:
    """Put the remembered values back; a value that is already there is not written."""
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
