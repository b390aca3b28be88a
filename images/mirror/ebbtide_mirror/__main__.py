"""Entry point of one run: status 0 when the copy is complete, 1 when another try may succeed, 2 when none can."""

from __future__ import annotations

import os
import sys

from ebbtide_mirror.hub import Hub
from ebbtide_mirror.mirror import mirror
from ebbtide_mirror.problem import Passing, Problem
from ebbtide_mirror.settings import settings
from ebbtide_mirror.store import Store

PASSING, FINAL = 1, 2


def main() -> int:
    """Copy the model that the environment names."""
    try:
        job = settings(os.environ)
        mirror(job, Hub(job.model_id, job.revision, job.token), Store.at(job.target), _say)
    except Problem as problem:
        _say(f"error: {problem}")
        return FINAL
    except Passing as passing:
        _say(f"error: {passing}; the next try goes on from what is there")
        return PASSING
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
