"""What a worker process observes, told to its supervisor: a line of JSON each."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import IO

from painterly_harmonize.jobs.observer import Observer


class Relay(Observer):
    """Writes what a worker observes to ``stream``; nothing happens when nobody reads it any more."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def on_started(self, kind: str, waited_s: float, attempt: int) -> None:
        """A worker began with a job."""
        self._tell("on_started", kind, waited_s, attempt)

    def on_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """A worker gave a job away."""
        self._tell("on_ended", kind, outcome, seconds)

    def on_failed(self, reason: str) -> None:
        """A job failed."""
        self._tell("on_failed", reason)

    def on_iterations(self, stage: str, count: int, seconds: float) -> None:
        """Iterations were done."""
        self._tell("on_iterations", stage, count, seconds)

    def on_lease_lost(self) -> None:
        """A worker found that its job was another's."""
        self._tell("on_lease_lost")

    def on_checkpoint(self, seconds: float, byte_count: int) -> None:
        """A checkpoint was written."""
        self._tell("on_checkpoint", seconds, byte_count)

    def on_store_error(self) -> None:
        """The store was not to be read or written."""
        self._tell("on_store_error")

    def _tell(self, name: str, *values: str | float) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):  # the pipe is broken, or closed
            self._stream.write(json.dumps([name, *values]) + "\n")
            self._stream.flush()


_NAMES = frozenset(name for name in vars(Relay) if name.startswith("on_"))


def replay(line: bytes, observer: Observer) -> None:
    """Tell ``observer`` what a :class:`Relay` wrote; anything else is passed over."""
    try:
        name, *values = json.loads(line)
    except (ValueError, TypeError):
        return
    if name in _NAMES:
        getattr(observer, name)(*values)
