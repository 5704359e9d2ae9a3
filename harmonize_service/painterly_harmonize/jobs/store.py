"""The two seams: where jobs are kept and where their bytes are. One machine has SQLite and a folder behind them.

Every method may block and may be called from any thread. Time is the store's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from painterly_harmonize.jobs.records import (
    Control,
    Failure,
    JobRecord,
    Lease,
    NewEvent,
    NewJob,
    Place,
    Queue,
    State,
    StoredEvent,
    WorkerRecord,
    WorkerReport,
)


class StoreUnavailable(Exception):
    """Nothing can be stored or read at the moment: the disk is full, or the store is out of reach."""


class StoreFull(StoreUnavailable):
    """The spool holds as much as it may, all of it for jobs that have not ended."""


class QueueFull(Exception):
    """As many jobs wait as may. ``queue`` is what is before a new one."""

    def __init__(self, queue: Queue) -> None:
        super().__init__("the queue is full")
        self.queue = queue


class PrincipalLimit(Exception):
    """The principal has as many jobs as it may have. ``queue`` is what is before a new one."""

    def __init__(self, queue: Queue) -> None:
        super().__init__("the principal has too many jobs")
        self.queue = queue


class KeyTaken(Exception):
    """The principal has a job of that key: ``record``."""

    def __init__(self, record: JobRecord) -> None:
        super().__init__(f"key {record.job_key} is taken")
        self.record = record


class LeaseLost(Exception):
    """The job was given to another worker, or has ended: this one must not write to it any more."""


class BadCursor(ValueError):
    """A cursor that this store did not give out."""


class BlobMissing(Exception):
    """There are no bytes of that name."""


class BlobStore(Protocol):
    """Bytes under the sha256 of their content, 64 hex digits. Raises: StoreUnavailable."""

    def put(self, data: bytes, *, durable: bool = True) -> str:
        """Store bytes; returns their name. Not ``durable`` ones may be lost when the machine stops."""

    def get(self, name: str) -> bytes:
        """The bytes of a name. Raises: BlobMissing."""

    def exists(self, name: str) -> bool:
        """Whether there are bytes of that name."""

    def delete(self, name: str) -> None:
        """Remove bytes; nothing happens where there are none."""

    def names(self) -> Iterable[str]:
        """All names."""

    def total_bytes(self) -> int:
        """How much space all blobs take."""


class JobStore(Protocol):
    """Jobs, their events, and the workers that live. Raises: StoreUnavailable."""

    def change_mark(self) -> object:
        """Something that differs from an earlier one when anything may have changed since; cheap."""

    # Fronts.

    def create(self, job: NewJob) -> JobRecord:
        """Queue a new job. Raises: KeyTaken, QueueFull, PrincipalLimit, BlobMissing."""

    def requeue(self, job_id: str) -> JobRecord | None:
        """Queue a parked job again; any other stays as it is. Raises: QueueFull, PrincipalLimit."""

    def get(self, job_id: str) -> JobRecord | None:
        """A job."""

    def find(self, principal: str, job_key: str) -> JobRecord | None:
        """The principal's job of that key that has not expired."""

    def page(self, principal: str, states: Collection[State], before: int | None, size: int) -> Sequence[JobRecord]:
        """Up to ``size`` jobs of a principal with numbers below ``before``, the newest first; all states for none."""

    def queue(self) -> Queue:
        """What waits and runs."""

    def stamps(self, job_ids: Collection[str]) -> dict[str, object]:
        """For each job something that differs when it or its events have changed; a removed job has none."""

    def events(self, job_id: str, after: str) -> Sequence[StoredEvent]:
        """The kept events behind a cursor ("" for all), in order. Raises: BadCursor, BlobMissing."""

    def watch(self, job_ids: Collection[str], until: float) -> None:
        """Note that somebody listens to these jobs until then; an earlier moment never replaces a later one."""

    def leave(self, job_id: str) -> None:
        """The call of an unnamed job has ended: it is stopped, or, where it has ended, removed."""

    def cancel(self, job_id: str) -> None:
        """Stop a job, at once where it does not run; one that has ended stays as it is."""

    def finish_stage(self, job_id: str) -> None:
        """Wish for the end of the running stage of a running job."""

    # Workers.

    def claim(self, worker_id: str) -> Lease | None:
        """The right to the next job: one whose lease expired before one that waits. None when there is none."""

    def renew(self, lease: Lease) -> None:
        """Keep the right. Raises: LeaseLost."""

    def control(self, lease: Lease) -> Control:
        """What is wished of a running job; cheap while nothing changes. Raises: LeaseLost."""

    def begin(self, lease: Lease, resumed_from: Place | None, restart_reason: str) -> None:
        """Note where a claimed job goes on. Raises: LeaseLost."""

    def append(self, lease: Lease, event: NewEvent) -> None:
        """Store an event. Raises: LeaseLost."""

    def checkpoint(self, lease: Lease, state: bytes, place: Place) -> None:
        """Store a state to go on from, in place of the one before. Raises: LeaseLost."""

    def end(self, lease: Lease, state: State, event: NewEvent | None = None, failure: Failure | None = None) -> None:
        """End a job, together with its last event or its failure. Raises: LeaseLost."""

    def release(self, lease: Lease, state: State) -> None:
        """Give a job back unfinished, QUEUED or PARKED. Raises: LeaseLost."""

    def report(self, report: WorkerReport) -> None:
        """A worker's sign of life."""

    def forget_worker(self, worker_id: str) -> None:
        """A worker is gone: its leases expire now."""

    def workers(self) -> Sequence[WorkerRecord]:
        """The workers and when they last gave a sign of life, the last first."""

    # Anybody, now and then.

    def sweep(self) -> Sequence[str]:
        """Park or end what nobody listens to, give up what was lost too often, remove what has been kept long enough.

        Returns the ids of jobs that failed for having been lost too often.
        """

    def collect(self, names: Iterable[str | None]) -> None:
        """Remove those blobs that nothing refers to."""

    def make_room(self, byte_count: int) -> None:
        """Remove what is kept of ended jobs, the oldest first, until so many bytes fit. Raises: StoreFull."""

    def collect_strays(self) -> None:
        """Remove blobs that nothing refers to, left behind by processes that were killed."""

    def close(self) -> None:
        """Let go of everything."""
