"""Single key presses at a terminal while a command works."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator

_PATIENCE_S = 2.0


def can_read_keys() -> bool:
    """Whether standard input is a terminal whose keys are this process's to read."""
    try:
        import termios  # noqa: F401 (absent on Windows)

        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (ImportError, OSError, ValueError):
        return False


@contextlib.contextmanager
def key_presses(on_key: Callable[[str], None]) -> Iterator[None]:
    """Call ``on_key``, in a thread of its own, with each key that is pressed; nothing where keys cannot be read.

    Ctrl-C stays an interrupt. The terminal is left as it was.
    """
    if not can_read_keys():
        yield
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    wake_reader, wake_writer = os.pipe()
    thread = threading.Thread(target=_read, args=(terminal, wake_reader, on_key), name="painterly-keys", daemon=True)
    try:
        tty.setcbreak(terminal)
        thread.start()
        yield
    finally:
        os.write(wake_writer, b"x")
        thread.join(_PATIENCE_S)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        if not thread.is_alive():  # else it still uses them, and ends with the process
            os.close(wake_reader)
            os.close(wake_writer)


def _read(terminal: int, wake: int, on_key: Callable[[str], None]) -> None:
    while True:
        ready, _, _ = select.select([terminal, wake], [], [])
        if wake in ready:
            return
        pressed = os.read(terminal, 1)
        if not pressed:  # the terminal is gone
            return
        on_key(pressed.decode("ascii", "ignore"))
