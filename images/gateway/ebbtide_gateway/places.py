"""How many requests may wait for a model that nobody answers for yet: as many as its engines take once they are there.

One more would wait as long as the others, only to be refused by a full engine. The interceptor holds one question for
each that waits, so this bounds it as well. Counted in this process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import ApiError
from .settings import Model

_RETRY_AFTER_SECONDS = 5.0


class Places:
    """The counts."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, model: Model) -> Iterator[None]:
        """Hold one. Raises ``ApiError`` 503 when there is none."""
        most = model.most_waiting
        if most is not None and self._taken[model.name] >= most:
            message = f"model {model.name!r} is not up yet, and {most} wait for it, which is all that it will take"
            raise ApiError(503, "queue_full", message, retry_after=_RETRY_AFTER_SECONDS)
        self._taken[model.name] += 1
        try:
            yield
        finally:
            self._taken[model.name] -= 1
