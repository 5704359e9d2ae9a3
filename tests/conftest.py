"""For all tests: interrupts are heeded, wherever the tests were started."""

from __future__ import annotations

import signal

# What is started in the background ignores interrupts, and so does whatever it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
