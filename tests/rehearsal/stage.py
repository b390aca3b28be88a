"""A stage for rehearsals: the real engine, stand-in clouds in a folder, a real API server where their clusters lead."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.plugins import install
from lab.plugins.clouds import failures
from lab.plugins.clouds.cloud import Cloud, Record
from lab.plugins.launchers import install_clouds
from lab.plugins.rehearsal import VARIABLE, Api, Rehearsal
from tests.program.conftest import Outcome, engine_environment, tool

PROJECT = Path(__file__).parents[2]
LINKED = ("infra", "components", "images", ".venv")
# the project's program, with stand-ins for the charts that cannot be fetched here
REHEARSED = f"""
import pathlib, runpy, sys
sys.path.append({str(PROJECT)!r})
from tests.rehearsal import charts
charts.take_stand_ins(pathlib.Path("charts").absolute())
runpy.run_module("infra", run_name="__main__")
"""
ACCOUNTS = {
    "aws": {"account": "123456789012"},
    "azure-native": {
        "subscription": "11111111-1111-1111-1111-111111111111",
        "tenant": "22222222-2222-2222-2222-222222222222",
    },
    "gcp": {"project": "ebbtide-rehearsal", "projectNumber": "123456789012"},
}
SECONDS = 900
"""For one run of the engine; a hang must end as a failure, and nothing else should."""


class Stage:
    """A Pulumi project of its own in ``root``, whose clouds are a folder. ``stack`` is its only stack."""

    stack = "test"

    def __init__(self, root: Path, api: Api | None = None, accounts: Mapping[str, Any] | None = None) -> None:
        self.root, self.folder = root, root / "clouds"
        self.settings = Rehearsal(self.folder, accounts or ACCOUNTS, api)
        self.settings.save()
        (root / "state").mkdir()
        python = Path(sys.executable)
        install(root / "plugins", python)
        install_clouds(root / "plugins", python)
        self.env = {**engine_environment(root, root / "no-kubeconfig"), VARIABLE: str(self.folder)}
        self.lay_out()
        self.run("stack", "init", self.stack)

    def lay_out(self) -> None:
        """The project's files."""
        (self.root / "Pulumi.yaml").write_text("name: probe\nruntime: python\nmain: program\n")
        (self.root / "program").mkdir()

    def program(self, text: str) -> None:
        """What the program is from now on; ``pulumi`` is imported."""
        (self.root / "program" / "__main__.py").write_text("import pulumi\n" + text)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The engine, in a session of its own, so that it and its plugins can be killed together."""
        return subprocess.Popen(
            [tool("pulumi"), *arguments, "--non-interactive", "--color=never"], cwd=self.root, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def run(self, *arguments: str, fails: bool = False) -> Outcome:
        """Run the engine; ``fails`` says which end is the right one."""
        began = time.monotonic()
        process = self.start(*arguments)
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            pytest.fail(f"pulumi {' '.join(arguments)} took more than {SECONDS} s:\n{output}")
        outcome = Outcome(process.returncode, output, time.monotonic() - began)
        assert bool(outcome.code) == fails, f"pulumi {' '.join(arguments)} ended with {outcome.code}:\n{output}"
        return outcome

    def _on_stack(self, command: str, *more: str, fails: bool = False) -> Outcome:
        return self.run(command, "--yes", "--skip-preview", f"--stack={self.stack}", *more, fails=fails)

    def up(self, *more: str, fails: bool = False) -> Outcome:
        return self._on_stack("up", *more, fails=fails)

    def refresh(self, *more: str) -> Outcome:
        return self._on_stack("refresh", *more)

    def destroy(self, *more: str, fails: bool = False) -> Outcome:
        return self._on_stack("destroy", *more, fails=fails)

    def preview(self, *more: str, fails: bool = False) -> Outcome:
        return self.run("preview", f"--stack={self.stack}", *more, fails=fails)

    def steady(self) -> None:
        """Neither preview nor refresh finds anything to do."""
        self.preview("--expect-no-changes")
        self.refresh("--expect-no-changes")

    def exported(self) -> dict[str, Any]:
        """The state as the engine exports it."""
        exported = json.loads(self.run("stack", "export", f"--stack={self.stack}").output)
        deployment: dict[str, Any] = exported["deployment"]
        return deployment

    def resources(self) -> list[dict[str, Any]]:
        """What is in the state."""
        return list(self.exported().get("resources") or [])

    def cloud(self, package: str) -> Cloud:
        return Cloud(self.folder, package)

    def live(self, package: str, kind: str | None = None) -> list[Record]:
        """What is in a cloud; of one kind, the last part of its type."""
        resources = (r for r in self.cloud(package).all() if not r.gone)
        return [r for r in resources if kind is None or r.type.endswith(f":{kind}")]

    def one(self, package: str, kind: str, name: str = "") -> Record:
        """The only resource of a kind whose id has ``name`` in it."""
        resources = [r for r in self.live(package, kind) if name in r.id]
        assert len(resources) == 1, [r.id for r in resources]
        return resources[0]

    def drift(self, package: str, record: Record, **outputs: Any) -> None:
        """Somebody else, such as the autoscaler, changes a resource in the cloud."""
        with self.cloud(package).locked():
            self.cloud(package).put(replace(record, outputs={**record.outputs, **outputs}))

    def fail(self, *ordered: failures.Failure) -> None:
        """Have these failures happen from now on, and no others."""
        failures.order(self.folder, *ordered)

    def as_account(self, package: str, **account: str) -> None:
        """Run with other credentials from now on."""
        accounts = {**self.settings.accounts, package: {**self.settings.accounts[package], **account}}
        replace(self.settings, accounts=accounts).save()


class StackStage(Stage):
    """One of the project's own stacks: the real program, and a copy of its stack file that a test may edit."""

    def __init__(self, root: Path, stack: str, api: Api) -> None:
        self.stack = stack
        file = PROJECT / "stacks" / f"Pulumi.{stack}.yaml"
        super().__init__(root, api, accounts(yaml.safe_load(file.read_text())["config"]["ebbtide:platform"]))

    def lay_out(self) -> None:
        project = (PROJECT / "Pulumi.yaml").read_text()
        (self.root / "Pulumi.yaml").write_text(project.replace("main: infra", "main: rehearsed"))
        (self.root / "rehearsed").mkdir()
        (self.root / "rehearsed" / "__main__.py").write_text(REHEARSED)
        for name in LINKED:
            (self.root / name).symlink_to(PROJECT / name)
        (self.root / "stacks").mkdir()
        shutil.copy(PROJECT / "stacks" / f"Pulumi.{self.stack}.yaml", self.root / "stacks")

    @property
    def file(self) -> Path:
        """The stack file of this stage."""
        return self.root / "stacks" / f"Pulumi.{self.stack}.yaml"

    def graph(self) -> list[dict[str, Any]]:
        """What `ebbtide graph` says of the stack file as it is now."""
        ebbtide = str(Path(sys.executable).with_name("ebbtide"))
        argv = [ebbtide, "graph", "--stack", self.stack, "--config-file", str(self.file)]
        process = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert process.returncode == 0, process.stderr
        return list(json.loads(process.stdout))

    def config(self) -> dict[str, Any]:
        """The stack file's values as they are now."""
        values: dict[str, Any] = yaml.safe_load(self.file.read_text())["config"]
        return values

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the stack file's values, in place."""
        whole = yaml.safe_load(self.file.read_text())
        change(whole["config"])
        self.file.write_text(yaml.safe_dump(whole, sort_keys=False))


def accounts(platform: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Credentials that belong to the account which the stack file names."""
    return {
        "aws": {"account": str(platform.get("account"))},
        "azure-native": {"subscription": str(platform.get("subscription")), "tenant": str(platform.get("tenant"))},
        "gcp": {"project": str(platform.get("project")), "projectNumber": "123456789012"},
    }
