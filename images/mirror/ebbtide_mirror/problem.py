"""Reasons why a copy cannot be made, for the reader of the Job's log."""

from __future__ import annotations


class Problem(Exception):
    """Problem and how to fix it. Trying again changes nothing."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}; fix: {fix}")


class Passing(Exception):
    """Problem that may be gone on the next try: the network, a busy server."""
