"""What a worker has done since it began, for its reports: the front tells it to whoever watches."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from painterly_harmonize.jobs.observer import Observer

OUT_OF_MEMORY = "DEVICE_OUT_OF_MEMORY"


class Counts(Observer):
    """Sums by name. A name ends in what it counts: ``_count``, ``_seconds`` or ``_bytes``."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()
        self._lock = threading.Lock()

    def sums(self) -> Mapping[str, float]:
        """The sums until now."""
        with self._lock:
            return dict(self._sums)

    def _add(self, **values: float) -> None:
        with self._lock:
            for name, value in values.items():
                self._sums[name] += value  # type: ignore[assignment]

    def on_started(self, waited_s: float, attempt: int) -> None:
        """A worker began with a job."""
        if attempt == 1:
            self._add(wait_count=1, wait_seconds=waited_s)
        self._add(attempt_count=1)

    def on_ended(self, outcome: str, seconds: float) -> None:
        """A worker gave a job away."""
        self._add(**{f"{outcome}_count": 1, "job_seconds": seconds})

    def on_failed(self, reason: str) -> None:
        """A job failed."""
        if reason == OUT_OF_MEMORY:
            self._add(out_of_memory_count=1)

    def on_iterations(self, stage: str, count: int, seconds: float) -> None:
        """Iterations of a stage were done."""
        self._add(**{f"{stage}_iteration_count": count, f"{stage}_iteration_seconds": seconds})

    def on_lease_lost(self) -> None:
        """A worker found that its job was another's."""
        self._add(lease_lost_count=1)

    def on_checkpoint(self, seconds: float, byte_count: int) -> None:
        """A checkpoint was written."""
        self._add(checkpoint_count=1, checkpoint_seconds=seconds, checkpoint_bytes=byte_count)

    def on_store_error(self) -> None:
        """The store was not to be read or written."""
        self._add(store_error_count=1)
