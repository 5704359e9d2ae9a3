"""One reader's stream of a job: what is stored of it, its place in the queue, and signs of life."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from painterly_harmonize.jobs import refusals
from painterly_harmonize.jobs.fairness import estimated_wait_s, position
from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import JobRecord, Queue, State, StoredEvent
from painterly_harmonize.jobs.store import BadCursor, BlobMissing, JobStore
from painterly_harmonize.jobs.watching import Subscription

# The slot whose events are counted, those that a reader did not get among them.
FRAME_SLOT = "frame"


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The stream begins, or the job goes on after an interruption."""

    record: JobRecord


@dataclass(frozen=True, kw_only=True)
class Waits:
    """The job waits behind ``position`` others."""

    position: int
    estimated_wait_s: float | None


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Nothing has happened for a while."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One thing of a stream, and the cursor behind it."""

    what: Accepted | Waits | Silence | StoredEvent
    cursor: str


def wait_of(queue: Queue, job_id: str) -> Waits | None:
    """Where a job is in the queue; None when it does not wait."""
    for index, waiting in enumerate(queue.waiting):
        if waiting.job_id == job_id:
            return Waits(position=position(queue, index), estimated_wait_s=estimated_wait_s(queue, index, time.time()))
    return None


@dataclass(kw_only=True)
class Reading:
    """What a stream needs. ``call`` asks the store off the event loop, ``requeue`` queues a parked job again.

    ``must_end`` says whether the stream has to end now, given whether its job runs.
    """

    store: JobStore
    policy: Policy
    observer: Observer
    record: JobRecord
    subscription: Subscription
    call: Callable[..., Any]
    requeue: Callable[[JobRecord], JobRecord]
    must_end: Callable[[bool], bool]

    async def seen(self, cursor: str, *, is_new: bool) -> AsyncGenerator[Seen, None]:
        """All there is and comes behind a cursor; see :meth:`Front.stream`."""
        record, subscription = self.record, self.subscription
        yield Seen(what=Accepted(record=record), cursor=cursor)
        waits: Waits | None = None
        numbers = {FRAME_SLOT: 0} if is_new else {}
        began_s = spoke_s = time.monotonic()
        while True:
            subscription.changed.clear()
            now_record, events, queue = await self.call(self._look, record.job_id, cursor)
            if now_record is None:
                raise refusals.cancelled()
            subscription.is_waiting = now_record.state is State.QUEUED
            found = wait_of(queue, record.job_id) if queue is not None else None
            if found is None and is_new and waits is None:
                found = Waits(position=0, estimated_wait_s=0.0)
            if found is not None and (waits is None or found.position != waits.position):
                waits = found
                yield Seen(what=found, cursor=cursor)
                spoke_s = time.monotonic()
            for event in events:
                self._count(event, numbers, began_s)
                cursor = event.cursor
                yield Seen(what=event, cursor=cursor)
                spoke_s = time.monotonic()
            if events:
                continue
            if now_record.is_ended:
                _raise_end(now_record)
                return
            if self.must_end(now_record.state is State.RUNNING):
                raise refusals.draining()
            if now_record.state is State.PARKED:
                await self.call(self.requeue, now_record)
                continue
            silence_s = self.policy.heartbeat_s - (time.monotonic() - spoke_s)
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(subscription.changed.wait(), max(silence_s, 0.001))
            if time.monotonic() - spoke_s >= self.policy.heartbeat_s:
                yield Seen(what=Silence(), cursor=cursor)
                spoke_s = time.monotonic()

    def _look(self, job_id: str, cursor: str) -> tuple[JobRecord | None, Sequence[StoredEvent], Queue | None]:
        # The job first: what ended before it was read has its last event among those read after.
        record = self.store.get(job_id)
        if record is None:
            return None, (), None
        try:
            events = self.store.events(job_id, cursor) if record.state is not State.EXPIRED else ()
        except BadCursor:
            raise refusals.bad_cursor(cursor) from None
        except BlobMissing:
            record = self.store.get(job_id)
            if record is not None and record.state is not State.EXPIRED:
                return record, (), None  # the newest took its place meanwhile
            raise refusals.expired(job_id) from None
        return record, events, self.store.queue() if record.state is State.QUEUED else None

    def _count(self, event: StoredEvent, numbers: dict[str, int], began_s: float) -> None:
        if event.slot != FRAME_SLOT:
            return
        before = numbers.get(event.slot)
        if before == 0:
            self.observer.on_first_frame(time.monotonic() - began_s)
        if before is not None and event.number > before + 1:
            self.observer.on_frames_dropped(event.number - before - 1)
        numbers[event.slot] = event.number
        self.observer.on_frames_sent(1)


def _raise_end(record: JobRecord) -> None:
    """Nothing for a job that succeeded. Raises: what a caller is told about any other."""
    if record.state is State.FAILED and record.failure is not None:
        raise refusals.of_failure(record.failure)
    if record.state is State.CANCELLED:
        raise refusals.cancelled()
    if record.state is State.EXPIRED:
        raise refusals.expired(record.job_id)
