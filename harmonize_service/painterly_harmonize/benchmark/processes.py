"""One measurement, one process: fresh memory, fresh caches, and nothing left of the measurement before."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from painterly_harmonize.benchmark.errors import BenchmarkError

_Spec = TypeVar("_Spec")
_Figures = TypeVar("_Figures")


def in_fresh_process(measure: Callable[[_Spec], _Figures], spec: _Spec) -> _Figures:
    """``measure(spec)``, run in a new process; both are picklable. Interrupted, it ends the process.

    Raises: BenchmarkError, also when the process dies.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, measure, spec), daemon=True)
    try:
        with _interrupts_held_back():
            process.start()
        sender.close()
        succeeded, answer = receiver.recv()
    except EOFError:
        process.join()
        raise BenchmarkError(
            f"the measuring process ended with exit code {process.exitcode}; if it was killed for its memory, "
            "choose a smaller --size"
        ) from None
    finally:
        receiver.close()
        if process.pid is not None:
            process.terminate()
            process.join()
    if succeeded:
        figures: _Figures = answer
        return figures
    raise answer


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """A Ctrl-C waits until the process is started whole, and never reaches it: it inherits what is held back."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # The system may hand the signal to another thread, for which Python would interrupt this one all the same.
    held_back: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: held_back.append(number)) if is_main else None
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        if is_main:
            signal.signal(signal.SIGINT, handler)
    if held_back:
        raise KeyboardInterrupt


def _work(sender: Connection, measure: Callable[[Any], Any], spec: Any) -> None:
    try:
        sender.send((True, measure(spec)))
    except BenchmarkError as error:
        sender.send((False, error))
    except Exception:  # noqa: BLE001 (whatever it is, it must reach the process that asked)
        sender.send((False, BenchmarkError(f"the measuring process failed:\n{traceback.format_exc()}")))
