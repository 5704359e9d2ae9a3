"""The queue of one device: a worker thread runs one job at a time, callers read its events as an asyncio stream.

The queue's state lives on the event loop alone; only :class:`_Mailbox` and stop events are shared with the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import torch

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2
from painterly_harmonize.algorithm.memory import is_out_of_memory, release_memory
from painterly_harmonize.algorithm.stage import Event
from painterly_harmonize.conversion import StreamOptions, to_service_error
from painterly_harmonize.reporting import Finished, Item, Queued, Reporter

logger = logging.getLogger(__name__)

# What a job does: a generator of the algorithm's events, given the question whether to stop.
Work = Callable[[Callable[[], bool]], Generator[Event, None, None]]

_RETRY_AFTER_DRAINING_S = 5.0
_RETRY_AFTER_LIMITS_S = (1.0, 60.0)


class _Mailbox:
    """From the worker thread to one reader: of each droppable kind the newest item, of the others all, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready = asyncio.Event()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._newest: dict[type, tuple[int, Item]] = {}
        self._must_arrive: deque[tuple[int, Item | BaseException]] = deque()
        self._closed = False

    def post(self, item: Item | BaseException) -> None:
        """Put an item or, ending the stream, an error; from any thread. What comes after the end is ignored."""
        with self._lock:
            if self._closed:
                return
            numbered = (next(self._numbers), item)
            if isinstance(item, BaseException) or not item.droppable:
                self._must_arrive.append(numbered)
            else:
                self._newest[type(item)] = (numbered[0], item)
            self._closed = isinstance(item, (BaseException, Finished))
            self._loop.call_soon_threadsafe(self._ready.set)

    def close(self) -> None:
        """Ignore what comes from now on."""
        with self._lock:
            self._closed = True

    async def take(self) -> Item | BaseException:
        """Wait for the oldest item that is still there."""
        while True:
            self._ready.clear()
            item = self._pop()
            if item is not None:
                return item
            await self._ready.wait()

    def _pop(self) -> Item | BaseException | None:
        with self._lock:
            kind = min(self._newest, key=lambda kind: self._newest[kind][0], default=None)
            if kind is not None and (not self._must_arrive or self._newest[kind][0] < self._must_arrive[0][0]):
                return self._newest.pop(kind)[1]
            return self._must_arrive.popleft()[1] if self._must_arrive else None


class Job:
    """One piece of work in the queue and the stream of its events. Made by :meth:`JobQueue.submit`."""

    def __init__(self, work: Work, options: StreamOptions, on_cancel: Callable[[Job], None]) -> None:
        self._work = work
        self._options = options
        self._on_cancel = on_cancel
        self._stop = threading.Event()
        self._mailbox = _Mailbox(asyncio.get_running_loop())
        self._position: int | None = None

    async def events(self) -> AsyncGenerator[Item, None]:
        """The job's events up to :class:`Finished`. Raises what the work raised, in the caller's terms."""
        while True:
            item = await self._mailbox.take()
            if isinstance(item, BaseException):
                raise item
            yield item
            if isinstance(item, Finished):
                return

    def cancel(self) -> None:
        """Stop the work within one iteration, or leave the queue. Does nothing once the job is over."""
        self._mailbox.close()
        self._stop.set()
        self._on_cancel(self)

    def end(self, error: BaseException) -> None:
        """Stop the work and let the stream end with ``error``, after what is already in it."""
        self._mailbox.post(error)
        self._stop.set()

    def show_position(self, position: int) -> None:
        """Tell the reader how many jobs are before this one, when that has changed."""
        if position != self._position:
            self._position = position
            self._mailbox.post(Queued(position=position))

    def run(self) -> None:
        """Do the work and post its events; on the worker thread. Raises what the work raises."""
        reporter = Reporter(self._options)
        with contextlib.closing(self._work(self._stop.is_set)) as events:
            for event in events:
                for item in reporter.items(event):
                    self._mailbox.post(item)


class JobQueue:
    """Jobs of one device in order of arrival; one runs, up to ``size`` wait. Used from one event loop.

    :meth:`close` must be awaited before that loop ends.
    """

    def __init__(self, *, device: torch.device, size: int) -> None:
        self._device = device
        self._size = size
        self._waiting: deque[Job] = deque()
        self._active: Job | None = None
        self._draining = False
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"painterly-{device}")
        self._last_duration_s = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self._active is None and not self._waiting

    def submit(self, work: Work, options: StreamOptions) -> Job:
        """Queue a job. Its caller reads :meth:`Job.events` and calls :meth:`Job.cancel` when it leaves.

        Raises: ServiceError QUEUE_FULL or DRAINING.
        """
        if self._draining:
            raise _draining_error()
        if self._active is not None and len(self._waiting) >= self._size:
            low, high = _RETRY_AFTER_LIMITS_S
            raise ServiceError(
                error_reason_pb2.ERROR_REASON_QUEUE_FULL,
                f"{self._size} jobs wait already; try again later",
                metadata={"queue_size": str(self._size)},
                # On average a running job is half done.
                retry_after_s=min(max(self._last_duration_s / 2, low), high),
            )
        job = Job(work, options, self._forget)
        self._waiting.append(job)
        self._show_positions()
        self._start_next()
        return job

    def drain(self, patience_s: float) -> None:
        """Refuse new jobs and end the waiting ones with DRAINING now, the running one after ``patience_s``."""
        self._draining = True
        while self._waiting:
            self._waiting.popleft().end(_draining_error())
        if self._active is not None:
            asyncio.get_running_loop().call_later(patience_s, self._active.end, _draining_error())

    async def close(self) -> None:
        """Stop everything and wait for the worker thread to end."""
        self.drain(0.0)
        await asyncio.to_thread(self._worker.shutdown)

    def _forget(self, job: Job) -> None:
        with contextlib.suppress(ValueError):
            self._waiting.remove(job)
            self._show_positions()

    def _show_positions(self) -> None:
        for position, job in enumerate(self._waiting):
            job.show_position(position)

    def _start_next(self) -> None:
        if self._active is not None or not self._waiting:
            return
        job = self._active = self._waiting.popleft()
        self._show_positions()
        began_s = time.monotonic()
        running = asyncio.get_running_loop().run_in_executor(self._worker, self._run, job)

        def finish(done: asyncio.Future[None]) -> None:
            self._active = None
            self._last_duration_s = time.monotonic() - began_s
            error = done.exception() or RuntimeError("the work ended without a result")
            job.end(to_service_error(error))
            self._start_next()

        running.add_done_callback(finish)

    def _run(self, job: Job) -> None:
        try:
            job.run()
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("out of memory on %s: %s", self._device, error)
        # Only here, with the error and its frames gone, nothing holds on to the job's tensors.
        release_memory(self._device)
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_DEVICE_OUT_OF_MEMORY,
            f"the memory of {self._device} does not suffice; lower parameters.working_long_side_px",
            metadata={"device": str(self._device)},
        )


def _draining_error() -> ServiceError:
    return ServiceError(
        error_reason_pb2.ERROR_REASON_DRAINING,
        "the server is stopping; try again later or elsewhere",
        retry_after_s=_RETRY_AFTER_DRAINING_S,
    )
