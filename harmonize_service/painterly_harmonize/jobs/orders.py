"""What a supervised worker process is told over its standard input, a line each; the input's end is `stop`, too."""

from __future__ import annotations

import sys
import threading

from painterly_harmonize.jobs.worker import Worker

DRAIN, STOP = "drain", "stop"


def follow_orders(worker: Worker) -> threading.Event:
    """Follow the supervisor's orders, on a thread of their own. The event is set when it went away without a word."""
    is_abandoned = threading.Event()

    def follow() -> None:
        for line in sys.stdin:
            if line.strip() == DRAIN:
                worker.drain()
            elif line.strip() == STOP:
                worker.stop()
                return
        is_abandoned.set()
        worker.stop()

    threading.Thread(target=follow, name="painterly-orders", daemon=True).start()
    return is_abandoned
