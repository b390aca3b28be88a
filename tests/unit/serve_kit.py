"""The engine image's entry point with a stand-in for vLLM's server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from infra.workspace import PROJECT

_SERVE = PROJECT / "images/vllm/serve.sh"


def serve(folder: Path, engine: str, *args: str, **environment: str) -> subprocess.Popen[bytes]:
    """Run the entry point in ``folder``, where `python3 -m` is the program ``engine``, whatever the name in the file
    ``module`` then, and any other use of it is Python itself."""
    (folder / "engine.py").write_text(engine)
    shim = folder / "bin" / "python3"
    shim.parent.mkdir(exist_ok=True)
    shim.write_text(
        '#!/bin/sh\nif [ "$1" = -m ]; then printf %s "$2" > module; shift 2; '
        f'exec {sys.executable} engine.py "$@"; fi\n'
        f'exec {sys.executable} "$@"\n'
    )
    shim.chmod(0o755)
    env = {"PATH": f"{shim.parent}:{os.environ['PATH']}", **environment}
    return subprocess.Popen(["sh", str(_SERVE), *args], cwd=folder, env=env, start_new_session=True)
