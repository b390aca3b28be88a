"""KEDA's own rhythm, for whoever reckons with it without wanting Pulumi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Rhythm:
    """How often each model is looked at. ``poll_seconds``: KEDA asks what the model has to do. ``push_milliseconds``:
    the add-on's scaler tells KEDA whether somebody waits, which is what wakes a model.
    """

    poll_seconds: int = 5
    push_milliseconds: int = 200

    @property
    def window_seconds(self) -> int:
        """A short request stays visible this long, which is added to the idle TTL; longer than the polling interval, so
        that KEDA sees it even while its push stream is broken (it retries that one only after up to a minute), and
        shorter than the first pause after a failed wake, or who was refused would wake the model once more.
        """
        return self.poll_seconds + 5


USUAL: Final = Rhythm()
_BY_MODELS: Final = ((100, USUAL), (250, Rhythm(10, 500)))
_SLOWEST: Final = Rhythm(20, 1000)


def rhythm(models: int) -> Rhythm:
    """What a stack of so many models can have at a rest that costs little: at most some 500 pushes and 50 questions a
    second, measured in ``docs/results/many-models.json``. In steps, so that one model more leaves the others as they
    are.
    """
    return next((found for most, found in _BY_MODELS if models <= most), _SLOWEST)
