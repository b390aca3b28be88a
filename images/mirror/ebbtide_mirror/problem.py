"""Why a copy cannot be made, as the person reads it who looks at the Job's log."""

from __future__ import annotations


class Problem(Exception):
    """What, and how to mend it. Trying again changes nothing."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}; fix: {fix}")


class Passing(Exception):
    """What may be gone on the next try: the network, a busy server."""
