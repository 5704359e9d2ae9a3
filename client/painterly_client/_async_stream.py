"""The asyncio client's streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from painterly_client._conversion import EventResponse
from painterly_client._errors import PainterlyError
from painterly_client._events import Event
from painterly_client._reading import Attempt, StreamReader

if TYPE_CHECKING:
    from typing_extensions import Self

Call: TypeAlias = "grpc.aio.UnaryStreamCall[Any, EventResponse]"


class AsyncEventStream(AsyncIterator[Event]):
    """The events of a job: an asynchronous iterator and context manager.

    Leaving the context, :meth:`cancel` and dropping the last reference each end the call at once. That stops an unnamed
    job; a named one goes on. A named job's stream that is lost is taken up again by itself, and no event comes twice.
    Iterating raises any :class:`PainterlyError`; a stream that ends without one has brought its ``Result``.
    """

    def __init__(self, open_call: Callable[[Attempt], Call | None], reader: StreamReader) -> None:
        self._open_call = open_call
        self._reader = reader
        self._ending = asyncio.Event()
        self._is_cut = False
        self._call: Call | None = None
        self._open()

    def __aiter__(self) -> Self:
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

    async def __anext__(self) -> Event:
        if self._reader.is_over:
            raise StopAsyncIteration
        while True:
            if self._is_cut:
                raise self._reader.cancelled()
            watch = _Watch(self._call, self._attempt.idle_timeout_s, self._upload_s)
            try:
                event = await self._next_event(watch)
            except grpc.RpcError as error:
                if self._ending.is_set():
                    raise self._reader.cancelled() from error
                await self._recover(error)
                continue
            except asyncio.CancelledError:
                # A call that was cancelled here ends like a task that was cancelled from outside; only the latter
                # goes on.
                if task_is_cancelled() or not (self._is_cut or watch.has_bitten):
                    self.cancel()
                    raise
                if self._is_cut:
                    raise self._reader.cancelled() from None
                await self._recover(None)
                continue
            finally:
                watch.stop()
            if event is not None:
                return event
            self._reader.finish()
            raise StopAsyncIteration

    def cancel(self) -> None:
        """End the call: an unnamed job stops within one iteration. Without effect once the stream has ended."""
        self._ending.set()
        if self._call is not None:
            self._is_cut = self._call.cancel() or self._is_cut

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __del__(self) -> None:
        self.cancel()

    def _open(self) -> None:
        self._attempt = self._reader.attempt()
        self._upload_s = self._attempt.upload_s
        self._call = self._open_call(self._attempt)

    async def _next_event(self, watch: _Watch) -> Event | None:
        """The next event to tell; None at the stream's end."""
        if self._call is None:
            return None
        async for response in self._call:
            self._upload_s = 0.0
            watch.restart()
            event = self._reader.read(response)
            if event is not None:
                return event
        return None

    async def _recover(self, error: grpc.RpcError | None) -> None:
        """Wait and open the next call. Raises: PainterlyError when there is to be none."""
        try:
            delay_s = self._reader.retry_delay_s(error)
        except PainterlyError as final:
            raise final from error
        self._call = None
        try:
            await asyncio.wait_for(self._ending.wait(), delay_s)
        except (TimeoutError, asyncio.TimeoutError):
            self._open()
        if self._call is None:  # cancelled, or the client was closed
            raise self._reader.cancelled()


def task_is_cancelled() -> bool:
    """Whether the running task was cancelled from outside. Python 3.10 cannot tell; there the answer is no."""
    task = asyncio.current_task()
    return task is not None and hasattr(task, "cancelling") and task.cancelling() > 0


class _Watch:
    """Cancels a call of which nothing comes for ``timeout_s``, at first ``more_s`` longer; None for never."""

    def __init__(self, call: Call | None, timeout_s: float | None, more_s: float) -> None:
        self._call, self._timeout_s = call, timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self.has_bitten = False
        self.restart(more_s)

    def restart(self, more_s: float = 0.0) -> None:
        self.stop()
        if self._timeout_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self._timeout_s + more_s, self._bite)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _bite(self) -> None:
        if self._call is not None:
            self.has_bitten = self._call.cancel()
