"""The programs of this folder, run as their users would: each with its own library, in an environment of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.installed import locked_python, node_packages

HERE = Path(__file__).parent
# a client that asks anybody but the server of a test fails at once
NOBODY_ELSE = {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}
MOST_SECONDS = 400


@dataclass(frozen=True, kw_only=True)
class Client:
    """A line of ``clients.yaml``."""

    name: str
    language: str
    program: str
    lock: str
    warm: tuple[str, ...]
    wake: tuple[str, ...] = ()
    stand_in: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.name} ({self.language})"

    @cached_property
    def version(self) -> str:
        """What the lock names."""
        text = (HERE / self.lock).read_text()
        if self.language == "JavaScript":
            return str(json.loads(text)["packages"][f"node_modules/{self.name}"]["version"])
        return next(
            line.split()[0].partition("==")[2] for line in text.splitlines() if line.startswith(f"{self.name}==")
        )

    def install(self) -> Path:
        """Its interpreter; of JavaScript the packages."""
        if self.language == "JavaScript":
            return node_packages("clients", HERE)
        return locked_python(Path(self.lock).stem, HERE / self.lock)

    def command(self, folder: Path) -> list[str]:
        """How it is started. JavaScript finds packages beside the program alone, so it is copied to them."""
        installed = self.install()
        if self.language == "Python":
            return [str(installed), str(HERE / self.program)]
        for source in HERE.glob("*.mjs"):
            shutil.copy(source, folder)
        (folder / "node_modules").symlink_to(installed)
        return ["node", str(folder / self.program)]

    def run(self, features: tuple[str, ...], folder: Path, url: str, key: str, **models: str) -> dict[str, str | None]:
        """What went wrong with each feature; ``models``: their names by task."""
        folder.mkdir()
        asked = {"URL": url, "KEY": key} | {task.upper(): name for task, name in models.items()}
        names = {f"EBBTIDE_{name}": value for name, value in asked.items()}
        done = subprocess.run(
            [*self.command(folder), *features],
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **NOBODY_ELSE, **names},
            cwd=folder, capture_output=True, text=True, timeout=MOST_SECONDS, check=False,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"feature"')]
        faults = {each["feature"]: each["wrong"] for each in lines}
        missing = f"exit status {done.returncode}: {done.stderr[-2000:]}"
        return {name: faults.get(name, missing) for name in features}


def _read(line: dict[str, Any]) -> Client:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in line.items()}
    return Client(**values)


_LISTED = yaml.safe_load((HERE / "clients.yaml").read_text())
VLLM_SEEN: date | None = _LISTED["vllm_seen"]
CLIENTS = tuple(map(_read, _LISTED["clients"]))
