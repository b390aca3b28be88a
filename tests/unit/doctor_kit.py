"""A place that answers ``ebbtide doctor`` as its documentation says: calls are kept, none leaves the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx

from components.platforms.checkup import Answer, CannotAsk, Tools
from infra.commands import doctor
from infra.stackfile.load import load_file
from infra.stackfile.schema.stack import StackConfig

PROJECT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)

Handle = Callable[[httpx.Request], httpx.Response]


@dataclass
class Simulated:
    """One simulated place. ``handle`` answers; ``programs`` are outputs by the beginning of a command; ``ahead`` is how
    many seconds this machine's clock is before the place's."""

    handle: Handle
    programs: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    ahead: float = 0
    asked: list[httpx.Request] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.asked.append(request)
        answer = self.handle(request)
        date = datetime.fromtimestamp(NOW.timestamp() - self.ahead, UTC)
        answer.headers.setdefault("date", format_datetime(date, usegmt=True))
        return answer

    def tools(self) -> Tools:
        return Tools(
            client=httpx.Client(transport=httpx.MockTransport(self)),
            environ=self.environ,
            run=self._run,
            cluster=lambda kubeconfig, context: httpx.Client(
                transport=httpx.MockTransport(self), base_url="https://cluster.test"
            ),
            documents=PROJECT / "docs/clouds",
            now=NOW,
        )

    def _run(self, command: Sequence[str]) -> str:
        line = " ".join(command)
        self.ran.append(line)
        for beginning, output in self.programs.items():
            if line.startswith(beginning):
                return output
        raise CannotAsk(f"`{command[0]}` is not on this machine", f"install {command[0]}")


def stack(name: str, **changes: Any) -> StackConfig:
    """Return a shipped stack, its place changed by ``changes``."""
    config = load_file(PROJECT / f"stacks/Pulumi.{name}.yaml").config
    return config.model_copy(update={"platform": config.platform.model_copy(update=changes)}) if changes else config


def report(place: Simulated, config: StackConfig, name: str, seconds: float = 10) -> dict[str, Answer]:
    """Return the answers by subject; one of several is the worst."""
    answers: dict[str, Answer] = {}
    for subject, answer in doctor.answered(doctor.checks(config, name, place.tools()), seconds):
        if subject not in answers or answers[subject].outcome == "ok":
            answers[subject] = answer
    return answers


def problems(lines: Mapping[str, Answer]) -> dict[str, str]:
    """Return text and fix of what is wrong, by subject."""
    return {subject: f"{each.text}; fix: {each.fix}" for subject, each in lines.items() if each.outcome == "problem"}


def unknown(lines: Mapping[str, Answer]) -> dict[str, str]:
    """Return the reasons for what could not be asked, by subject."""
    return {subject: f"{each.text}; fix: {each.fix}" for subject, each in lines.items() if each.outcome == "unknown"}
