"""How long each tier and its slowest tests took: kept while they run, printed by ``python -m tests.times`` at the end
of `make test`, so that it is noticed when it grows.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SLOWEST = 5
"""Tests of a tier that are named."""


@dataclass
class Tier:
    """``seconds`` by test, with what its fixtures took; ``count`` of those that passed or failed."""

    count: int = 0
    seconds: Counter[str] = field(default_factory=Counter)

    @staticmethod
    def load(file: Path) -> Tier:
        if not file.exists():
            return Tier()
        kept = json.loads(file.read_text())
        return Tier(kept["count"], Counter(kept["seconds"]))

    def save(self, file: Path) -> None:
        """Added to what is there: a tier may be run in parts."""
        before = Tier.load(file)
        total = {"count": before.count + self.count, "seconds": before.seconds + self.seconds}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(total, indent=1) + "\n")


def add_step(folder: Path, name: str, seconds: float) -> None:
    """As ``.ci/timed`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "steps").open("a") as steps:
        steps.write(f"{round(seconds)} {name}\n")


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def report(folder: Path) -> str:
    """Minutes of each step as a clock on the wall shows them, then of each tier's tests, which may run side by side."""
    steps: Counter[str] = Counter()
    if (folder / "steps").exists():
        for line in (folder / "steps").read_text().splitlines():
            seconds, _, name = line.partition(" ")
            steps[name] += int(seconds)
    lines = ["minutes by step:", *(f"  {minutes(steps[name]):>6}  {name}" for name in steps)]
    for file in sorted(folder.glob("*.json")):
        tier = Tier.load(file)
        lines.append(f"{file.stem}: {tier.count} tests, {minutes(tier.seconds.total())} minutes of work; the slowest:")
        lines += [f"  {seconds:>6.1f}  {name}" for name, seconds in tier.seconds.most_common(SLOWEST)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(Path(os.environ.get("EBBTIDE_TIERS", ".tiers"))))
