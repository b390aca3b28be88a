"""Removal of the CUDA libraries that the dynamic linker never asks for on a machine without a GPU.

PyPI's torch for Linux is the CUDA build. The libraries that `torch._C` is linked against must stay, or the import
fails; everything else under `nvidia/` is opened only once a GPU is there. The linker itself (`ldd`) says which is
which, so nothing here lists them, and the import that follows in the build proves the remaining ones sufficient.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

# torch opens these two by name when a GPU kernel first needs them; both are linked to nothing else in torch.
OPENED_ON_GPU_ONLY = ("libtorch_cuda_linalg.so", "libcaffe2_nvrtc.so")


def linked(library: Path) -> set[Path]:
    """Return every file the dynamic linker loads for ``library``, links followed. Raises ``ValueError`` for an
    unresolved one.
    """
    listing = subprocess.run(["ldd", library], check=True, capture_output=True, text=True).stdout
    missing = [line.strip() for line in listing.splitlines() if "not found" in line]
    if missing:
        raise ValueError(f"{library}: {'; '.join(missing)}")
    return {Path(word).resolve() for line in listing.splitlines() for word in line.split() if word.startswith("/")}


def unneeded(candidates: Iterable[Path], needed: set[Path]) -> list[Path]:
    """Return the candidates that are not in ``needed``, including links whose target goes."""
    return sorted(path for path in candidates if path.resolve() not in needed)


def main(site: Path) -> None:
    needed = set().union(*(linked(path) for path in (site / "torch").glob("_C*.so")))
    candidates = [
        path for path in (site / "nvidia").rglob("*") if ".so" in path.name or path.suffix in {".a", ".h", ".bc"}
    ]
    candidates += [site / "torch" / "lib" / name for name in OPENED_ON_GPU_ONLY]
    gone = [path for path in unneeded(candidates, needed) if path.is_symlink() or path.is_file()]
    size = sum(path.lstat().st_size for path in gone)
    for path in gone:
        path.unlink()
    print(f"removed {len(gone)} files, {size / 1e6:.0f} MB; the linker needs {len(needed)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(sysconfig.get_path("purelib")))
