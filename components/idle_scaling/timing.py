"""KEDA's own rhythm, for modules that use it without Pulumi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Rhythm:
    """Intervals at which each model is looked at. ``poll_seconds``: KEDA polls for the model's load.
    ``push_milliseconds``: the add-on's scaler pushes to KEDA whether a request waits, which wakes a model.
    """

    poll_seconds: int = 5
    push_milliseconds: int = 200

    @property
    def window_seconds(self) -> int:
        """Return how long a short request stays visible, which is added to the idle TTL; longer than the polling
        interval, so that KEDA notices it even while its push stream is broken (retried only after up to a minute), and
        shorter than the first pause after a failed wake, or a refused request would wake the model once more.
        """
        return self.poll_seconds + 5


USUAL: Final = Rhythm()
_BY_MODELS: Final = ((100, USUAL), (250, Rhythm(10, 500)))
_SLOWEST: Final = Rhythm(20, 1000)


def rhythm(models: int) -> Rhythm:
    """Return a rhythm that costs a stack of so many models little at rest: at most some 500 pushes and 50 questions a
    second, measured in ``docs/results/many-models.json``. In steps, so that one more model leaves the others as they
    are.
    """
    return next((candidate for most, candidate in _BY_MODELS if models <= most), _SLOWEST)
