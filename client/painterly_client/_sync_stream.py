"""The blocking client's streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

import grpc

from painterly_client._conversion import EventResponse
from painterly_client._errors import PainterlyError
from painterly_client._events import Event
from painterly_client._reading import Attempt, StreamReader

if TYPE_CHECKING:
    from typing_extensions import Self

Call: TypeAlias = "grpc._CallIterator[EventResponse]"


class EventStream(Iterator[Event]):
    """The events of a job: an iterator and a context manager.

    Leaving the context, :meth:`cancel` and dropping the last reference each end the call at once. That stops an unnamed
    job; a named one goes on. A named job's stream that is lost is taken up again by itself, and no event comes twice.
    Iterating raises any :class:`PainterlyError`; a stream that ends without one has brought its ``Result``.
    """

    def __init__(self, open_call: Callable[[Attempt], Call | None], reader: StreamReader) -> None:
        self._open_call = open_call
        self._reader = reader
        self._cancelled = threading.Event()
        self._call: Call | None = None
        self._watchdog: _Watchdog | None = None
        self._open()

    def __iter__(self) -> Self:
        return self

    @property
    def job_id(self) -> str:
        """The server's name for the job, for ``watch_job``; empty until it has accepted the job."""
        return self._reader.job_id

    @property
    def is_named(self) -> bool:
        """Whether the job outlives this stream."""
        return self._reader.named

    @property
    def cursor(self) -> str:
        """The place behind the last event, for ``watch_job``; empty before the first that is kept."""
        return self._reader.cursor

    def __next__(self) -> Event:
        if self._reader.is_over:
            raise StopIteration
        while True:
            try:
                event = self._next_event()
            except grpc.RpcError as error:
                self._recover(error)
                continue
            if event is not None:
                return event
            self._stop_watching()
            self._reader.finish()
            raise StopIteration

    def cancel(self) -> None:
        """End the call: an unnamed job stops within one iteration. Without effect once the stream has ended."""
        self._cancelled.set()
        self._stop_watching()
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __del__(self) -> None:
        self.cancel()

    def _open(self) -> None:
        attempt = self._reader.attempt()
        self._call = self._open_call(attempt)
        if self._call is not None and attempt.idle_timeout_s is not None:
            self._watchdog = _Watchdog(self._call, attempt)
        if self._cancelled.is_set():  # meanwhile, from another thread
            self.cancel()

    def _next_event(self) -> Event | None:
        """The next event to tell; None at the stream's end."""
        watchdog = self._watchdog
        if watchdog:
            watchdog.begin_waiting()
        for response in self._call or ():
            if watchdog:
                watchdog.end_waiting()
            event = self._reader.read(response)
            if event is not None:
                return event
            if watchdog:
                watchdog.begin_waiting()
        return None

    def _recover(self, error: grpc.RpcError) -> None:
        """Open the next call. Raises: PainterlyError when there is to be none."""
        is_silent = self._watchdog is not None and self._watchdog.has_bitten
        self._stop_watching()
        if self._cancelled.is_set():
            raise self._reader.cancelled() from error
        delay_s = self._delay_s(error, is_silent)
        if self._cancelled.wait(delay_s):
            raise self._reader.cancelled()
        self._open()
        if self._call is None:  # the client was closed
            raise self._reader.cancelled()

    def _delay_s(self, error: grpc.RpcError, is_silent: bool) -> float:
        try:
            return self._reader.retry_delay_s(None if is_silent else error)
        except PainterlyError as final:
            raise final from error

    def _stop_watching(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog:
            watchdog.stop()


class _Watchdog:
    """Cancels a call of which nothing comes for too long while somebody waits; the first answer may take longer."""

    def __init__(self, call: Call, attempt: Attempt) -> None:
        self._call, self._timeout_s = call, (attempt.idle_timeout_s or 0.0) + attempt.upload_s
        self._later_timeout_s = attempt.idle_timeout_s or 0.0
        self._ended = threading.Event()
        self._waits_since_s: float | None = None
        self.has_bitten = False
        threading.Thread(target=self._watch, name="painterly-silence", daemon=True).start()

    def begin_waiting(self) -> None:
        self._waits_since_s = time.monotonic()

    def end_waiting(self) -> None:
        self._waits_since_s, self._timeout_s = None, self._later_timeout_s

    def stop(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(max(self._left_s(), 0.01)):
            if self._left_s() <= 0:
                self.has_bitten = True
                self._call.cancel()
                return

    def _left_s(self) -> float:
        since_s = self._waits_since_s
        return self._later_timeout_s if since_s is None else since_s + self._timeout_s - time.monotonic()
