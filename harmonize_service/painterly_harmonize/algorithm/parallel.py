"""Pieces of work in threads beside each other, each computing on one core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TypeVar

import torch

Item = TypeVar("Item")
Value = TypeVar("Value")
# How long a question whether to stop may wait for its turn.
_PATIENCE_S = 0.05


class Workers:
    """As many threads as torch would use for one operation, one on a GPU; a context manager.

    By itself torch splits an operation over all cores and waits for the slowest. Where operations are small and many
    that waiting is what takes the time, on a busy machine nearly all of it. Here an operation keeps to its core.
    """

    def __init__(self, device: torch.device, check: Callable[[], None]) -> None:
        """``check`` is called in the caller's thread while it waits, and may raise to end the work."""
        self._check = check
        self._stopped = threading.Event()
        self._threads = torch.get_num_threads()
        self.count = self._threads if device.type == "cpu" else 1
        # The setting is the thread's own.
        self._pool = ThreadPoolExecutor(self.count, initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)
        # It is also what threads that start later begin with: give these back what they had.
        torch.set_num_threads(self._threads)

    def map(self, function: Callable[[Item], Value], items: Iterable[Item]) -> Iterator[Value]:
        """The function's values, in order, computed beside each other. An error in any of them is raised here."""
        for future in [self._pool.submit(function, item) for item in items]:
            self._check()
            while not future.done():
                wait([future], timeout=_PATIENCE_S)
                self._check()
            yield future.result()

    def run(self, function: Callable[[], Value]) -> Value:
        """The function's value, computed by one of the threads."""
        (value,) = self.map(lambda _: function(), (None,))
        return value

    def raise_if_stopped(self) -> None:
        """For a piece of work to call often: raises where its value is no longer wanted."""
        if self._stopped.is_set():
            raise CancelledError
