"""A page as a PNG, by the browser that is there: none is installed for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.local.problem import LocalProblem

_WIDTH, _SECONDS = 1280, 120


def program() -> str:
    """Chromium on this machine; ``EBBTIDE_CHROMIUM`` names another. Raises ``LocalProblem``."""
    named = os.environ.get("EBBTIDE_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise LocalProblem(
            "a .png needs Chromium, and there is none on this machine",
            "install it (Debian: apt install chromium), name one in EBBTIDE_CHROMIUM, or ask for a .html",
        )
    return found


def picture(html: str, height: int, file: Path) -> None:
    """``html`` as a window of that height shows it, in pixels. Raises ``LocalProblem``."""
    chromium = program()
    # helpers of the browser may outlive it by a moment, and write into a folder that goes
    with tempfile.TemporaryDirectory(prefix="ebbtide-picture-", ignore_cleanup_errors=True) as folder:
        page = Path(folder) / "page.html"
        page.write_text(html)
        argv = [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            f"--user-data-dir={folder}/profile", f"--window-size={_WIDTH},{height}",
            f"--screenshot={file.absolute()}", page.as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise _none(chromium, f"not within {_SECONDS} s") from None
        except OSError as problem:
            raise _none(chromium, str(problem)) from None
    if done.returncode != 0 or not file.exists():
        raise _none(chromium, done.stderr.strip()[-300:])


def _none(chromium: str, why: str) -> LocalProblem:
    return LocalProblem(f"{chromium} made no picture: {why}", "ask for a .html, and open it in a browser")
