"""What Prometheus is told of the work on pictures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, Histogram

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class WorkMetrics:
    """Calls that wait for a thread, and the time that work takes once it has one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waiting = Gauge("painterly_queue_depth", "Calls that wait for a thread.", registry=registry)
        self._seconds = Histogram(
            "painterly_preprocess_seconds",
            "Time of the work on pictures, without waiting.",
            ["method"],
            buckets=_SECONDS,
            registry=registry,
        )

    def note_waiting(self, count: int) -> None:
        """So many calls wait now."""
        self._waiting.set(count)

    def note_work(self, method: str, seconds: float) -> None:
        """Work for a call of a method took so long."""
        self._seconds.labels(method).observe(seconds)
