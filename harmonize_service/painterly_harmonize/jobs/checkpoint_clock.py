"""When to write a checkpoint: now and then, and so that it costs little."""

from __future__ import annotations

import time
from collections.abc import Callable

# The time that checkpoints may take of a job's.
_SHARE = 0.02


class CheckpointClock:
    """Asks for a checkpoint every ``interval_s``, more rarely when the last one took more than 2 % of that."""

    def __init__(self, interval_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._interval_s, self._now = interval_s, now
        self._last = now()
        self._cost_s = 0.0

    def is_due(self) -> bool:
        """Whether it is time again."""
        return self._now() - self._last >= max(self._interval_s, self._cost_s / _SHARE)

    def note(self, cost_s: float) -> None:
        """A checkpoint was written just now and took so long."""
        self._last, self._cost_s = self._now(), cost_s
