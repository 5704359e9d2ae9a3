"""What a supervised worker process is told over its standard input, a line each; the input's end is `stop`, too."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from painterly_harmonize.jobs.worker import Worker

DRAIN, STOP = "drain", "stop"


def follow_orders(worker: Worker) -> threading.Event:
    """Follow the supervisor's orders, on a thread of their own. The event is set when it went away without a word."""
    is_abandoned = threading.Event()

    def follow() -> None:
        for order in _orders(sys.stdin.fileno()):
            if order == DRAIN:
                worker.drain()
            elif order == STOP:
                worker.stop()
                return
        is_abandoned.set()
        worker.stop()

    threading.Thread(target=follow, name="painterly-orders", daemon=True).start()
    return is_abandoned


def _orders(descriptor: int) -> Iterator[str]:
    # Not by sys.stdin: a thread that waits in it keeps the interpreter from ending.
    rest = b""
    with contextlib.suppress(OSError):
        while read := os.read(descriptor, 1024):
            *orders, rest = (rest + read).split(b"\n")
            yield from (order.decode() for order in orders)
