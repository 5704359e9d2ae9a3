"""The front of a store of jobs: takes jobs in, and streams what is stored of them. Used from one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from painterly.service_error import ServiceError, reason_name
from painterly_harmonize.jobs import refusals
from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import JobRecord, NewJob, Queue, State, WorkerRecord
from painterly_harmonize.jobs.store import (
    BlobMissing,
    BlobStore,
    JobStore,
    KeyTaken,
    PrincipalLimit,
    QueueFull,
    StoreUnavailable,
)
from painterly_harmonize.jobs.streaming import Reading, Seen
from painterly_harmonize.jobs.watching import Watching

logger = logging.getLogger(__name__)

_Value = TypeVar("_Value")
_STORE_THREADS = 4
_PUT_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job that a caller asks for. ``digest`` tells its request from another one, field by field."""

    principal: str
    job_key: str
    kind: str
    request: bytes
    digest: Mapping[str, str]
    is_unattended: bool = False
    predicted_s: float = 0.0


class Front:
    """Takes in, streams and answers about the jobs of a store. :meth:`close` ends its threads."""

    def __init__(self, *, store: JobStore, blobs: BlobStore, policy: Policy, observer: Observer) -> None:
        self._store, self._blobs, self.policy, self._observer = store, blobs, policy, observer
        self._pool = ThreadPoolExecutor(_STORE_THREADS, "painterly-store")
        self._watching = Watching(store, policy, observer)
        self._request_bytes = 0
        self.is_draining = self._is_ending = False

    @contextlib.contextmanager
    def holding(self, byte_count: int) -> Iterator[None]:
        """Count a request's bytes as long as they are held. Raises: ServiceError MEMORY_BUDGET, DRAINING."""
        if self.is_draining:
            raise self._refused(refusals.draining())
        available = self.policy.request_bytes - self._request_bytes
        if byte_count > available:
            raise self._refused(refusals.memory_budget(byte_count, available))
        self._request_bytes += byte_count
        try:
            yield
        finally:
            self._request_bytes -= byte_count

    async def submit(self, job: Submission) -> tuple[JobRecord, bool]:
        """Queue a job, or find the one of its key; whether it is new comes second.

        Raises: ServiceError QUEUE_FULL, PRINCIPAL_LIMIT, JOB_KEY_CONFLICT, STORE_UNAVAILABLE.
        """
        return await self._call(self._submit, job)

    def _submit(self, job: Submission) -> tuple[JobRecord, bool]:
        try:
            return self._found(job) or (self._create(job), True)
        except KeyTaken as taken:
            return self._attach(taken.record, job), False

    def _found(self, job: Submission) -> tuple[JobRecord, bool] | None:
        record = self._store.find(job.principal, job.job_key) if job.job_key else None
        return None if record is None else (self._attach(record, job), False)

    def _create(self, job: Submission) -> JobRecord:
        self._store.make_room(len(job.request))
        patience_s = self.policy.orphan_s if job.job_key else self.policy.lease_s
        for tries_left in reversed(range(_PUT_TRIES)):
            blob = self._blobs.put(job.request, durable=bool(job.job_key))
            try:
                return self._store.create(
                    NewJob(
                        job_id=uuid.uuid4().hex,
                        principal=job.principal,
                        job_key=job.job_key,
                        kind=job.kind,
                        request_blob=blob,
                        digest=job.digest,
                        watched_until=time.time() + patience_s,
                        is_unattended=job.is_unattended,
                        predicted_s=job.predicted_s,
                    )
                )
            except BlobMissing:
                if not tries_left:
                    raise
            except BaseException:
                self._store.collect([blob])
                raise
        raise AssertionError

    def _attach(self, record: JobRecord, job: Submission) -> JobRecord:
        ours, theirs = {"method": job.kind, **job.digest}, {"method": record.kind, **record.digest}
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                raise refusals.key_conflict(record, name)
        self._observer.on_resumed()
        return self._requeued(record)

    def _requeued(self, record: JobRecord) -> JobRecord:
        """The job, queued again where it was parked."""
        if record.state is not State.PARKED:
            return record
        self._store.watch([record.job_id], time.time() + self.policy.orphan_s)
        return self._store.requeue(record.job_id) or record

    async def job(self, principal: str, job_id: str) -> JobRecord:
        """A job of the principal's. Raises: ServiceError JOB_NOT_FOUND, STORE_UNAVAILABLE."""
        record = await self._call(self._store.get, job_id)
        if record is None or record.principal != principal:
            raise refusals.not_found("job_id", job_id)
        return record

    async def job_of_key(self, principal: str, job_key: str) -> JobRecord:
        """The principal's job of a key. Raises: ServiceError JOB_NOT_FOUND, STORE_UNAVAILABLE."""
        record = await self._call(self._store.find, principal, job_key)
        if record is None:
            raise refusals.not_found("job_key", job_key)
        return record

    async def resume(self, principal: str, job_id: str) -> JobRecord:
        """A job to be watched, queued again where it was parked.

        Raises: ServiceError JOB_NOT_FOUND, JOB_EXPIRED, QUEUE_FULL, PRINCIPAL_LIMIT, STORE_UNAVAILABLE, DRAINING.
        """
        record = await self.job(principal, job_id)
        if record.state is State.EXPIRED:
            raise refusals.expired(job_id)
        if record.state is State.PARKED and self.is_draining:
            raise self._refused(refusals.draining())
        self._observer.on_resumed()
        return await self._call(self._requeued, record)

    async def page(
        self, principal: str, states: Collection[State], before: int | None, size: int
    ) -> Sequence[JobRecord]:
        """The principal's jobs, the newest first; see the store."""
        return await self._call(self._store.page, principal, states, before, size)

    async def cancel(self, record: JobRecord) -> JobRecord:
        """Stop a job; returns how it then is."""
        await self._call(self._store.cancel, record.job_id)
        return await self._call(self._store.get, record.job_id) or record

    async def finish_stage(self, record: JobRecord) -> JobRecord:
        """Let the running stage of a job end; returns how the job then is."""
        await self._call(self._store.finish_stage, record.job_id)
        return await self._call(self._store.get, record.job_id) or record

    async def queue(self) -> Queue:
        """What waits and runs."""
        return await self._call(self._store.queue)

    async def workers(self) -> Sequence[WorkerRecord]:
        """The workers that have given a sign of life."""
        return await self._call(self._store.workers)

    async def stream(self, record: JobRecord, after: str = "", *, is_new: bool = False) -> AsyncGenerator[Seen, None]:
        """What there is and what comes of a job behind a cursor. Ends with the job.

        When it is closed, an unnamed job is stopped. Raises: ServiceError for the job's failure, CANCELLED,
        JOB_EXPIRED, DRAINING, STORE_UNAVAILABLE, FIELD_OUT_OF_RANGE for the cursor; RuntimeError for a bug.
        """
        subscription = self._watching.subscribe(record.job_id, is_named=record.is_named)
        reading = Reading(
            store=self._store,
            policy=self.policy,
            observer=self._observer,
            record=record,
            subscription=subscription,
            call=self._call,
            requeue=self._requeued,
            must_end=lambda is_running: self._is_ending or (self.is_draining and not is_running),
        )
        try:
            async with contextlib.aclosing(reading.seen(after, is_new=is_new)) as things:
                async for seen in things:
                    yield seen
        finally:
            is_read_on = self._watching.unsubscribe(subscription)
            if not record.is_named and not is_read_on:
                self._leave(record.job_id)

    def _leave(self, job_id: str) -> None:
        def leave() -> None:
            try:
                self._store.leave(job_id)
            except StoreUnavailable as error:  # it ends when nobody has said for a while that somebody listens
                logger.warning("job %s cannot be stopped at once: %s", job_id, error)

        with contextlib.suppress(RuntimeError):  # the front is closed
            self._pool.submit(leave)

    def drain(self) -> None:
        """Take no more jobs, and end the streams of those that do not run."""
        self.is_draining = True
        self._watching.wake_all()

    def end_streams(self) -> None:
        """End all streams with DRAINING."""
        self.is_draining = self._is_ending = True
        self._watching.wake_all()

    async def close(self) -> None:
        """End the front's threads; what was begun is finished."""
        await asyncio.to_thread(self._watching.close)
        await asyncio.to_thread(self._pool.shutdown)

    def _refused(self, error: ServiceError) -> ServiceError:
        self._observer.on_rejected(reason_name(error.reason))
        return error

    async def _call(self, function: Callable[..., _Value], *arguments: object) -> _Value:
        """Ask the store, off the event loop, and tell its troubles as a caller is to see them."""
        began_s = time.monotonic()
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
            self._observer.on_store_op(time.monotonic() - began_s)
            return answer
        except QueueFull as error:
            raise self._refused(refusals.queue_full(error.queue, self.policy)) from None
        except PrincipalLimit as error:
            raise self._refused(refusals.principal_limit(error.queue, self.policy)) from None
        except StoreUnavailable as error:
            logger.warning("the store failed: %s", error)
            self._observer.on_store_error()
            raise self._refused(refusals.store_unavailable()) from error
