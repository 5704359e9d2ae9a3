"""For all tests: interrupts are heeded, wherever the tests were started; collections stay quick."""

from __future__ import annotations

import gc
import signal

# What is started in the background ignores interrupts, and so does whatever it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """The tests and all that they import stay to the end: nobody needs to look through them for garbage."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Libraries that count their objects as the process ends find them gone."""
    gc.unfreeze()
