"""What is known of jobs and workers, as stores keep it. Times are seconds since the epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """How a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


@dataclass(frozen=True, kw_only=True)
class Place:
    """How far a job is: ``iteration`` steps of ``stage`` are done, of ``iteration_count`` where that is known."""

    stage: str
    iteration: int
    iteration_count: int = 0


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job failed, as its caller is told. ``reason`` is the short name of an ErrorReason."""

    reason: str
    message: str
    field: str = ""
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    retry_after_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to be stored. ``job_key`` is empty for an unnamed one, which ends with its call.

    ``digest`` maps the request's fields to checksums, for comparing it with another one. ``predicted_s`` is how long it
    will run, 0 when nobody knows; ``watched_until`` until when its reader counts as there.
    """

    job_id: str
    principal: str
    job_key: str
    kind: str
    request_blob: str
    digest: Mapping[str, str]
    watched_until: float
    is_unattended: bool = False
    predicted_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A stored job.

    ``number`` grows with each job of the store. ``attempt`` counts claims and is the fencing token of its lease;
    ``lost_count`` counts workers that were lost with it. ``finish_count`` counts wishes to end the running stage.
    """

    job_id: str
    number: int
    principal: str
    job_key: str
    kind: str
    state: State
    is_unattended: bool
    request_blob: str
    digest: Mapping[str, str]
    predicted_s: float
    created_at: float
    queued_at: float
    started_at: float | None
    ended_at: float | None
    watched_until: float
    attempt: int
    lost_count: int
    is_cancelled: bool
    finish_count: int
    place: Place | None
    checkpoint_blob: str | None
    checkpoint_place: Place | None
    resumed_from: Place | None
    restart_reason: str
    failure: Failure | None
    has_events: bool

    @property
    def is_named(self) -> bool:
        """Whether the job outlives its call."""
        return bool(self.job_key)

    @property
    def is_ended(self) -> bool:
        """Whether nothing of it will change but its removal."""
        return self.state in ENDED


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to run a job, until it expires or a newer attempt is claimed."""

    job_id: str
    attempt: int
    worker_id: str


@dataclass(frozen=True, kw_only=True)
class Control:
    """What a running job's worker has to know."""

    is_cancelled: bool
    finish_count: int
    is_watched: bool


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event to be stored. Of those with the same ``slot`` only the newest is kept, of those without all.

    ``number`` counts the events that were made for the slot, so that a reader knows how many it did not see. ``place``
    is how far the job is by it.
    """

    payload: bytes
    slot: str = ""
    number: int = 0
    place: Place | None = None


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """An event and the cursor of the place behind it."""

    cursor: str
    payload: bytes
    slot: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A job in the queue."""

    job_id: str
    principal: str
    number: int
    queued_at: float
    predicted_s: float


@dataclass(frozen=True, kw_only=True)
class Running:
    """A job on a device."""

    job_id: str
    started_at: float
    predicted_s: float


@dataclass(frozen=True, kw_only=True)
class Queue:
    """What waits, in the order in which it will be claimed, and what runs. ``worker_count`` counts living workers."""

    waiting: tuple[Waiting, ...] = ()
    running: tuple[Running, ...] = ()
    worker_count: int = 0


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """What a worker says of itself each time it gives a sign of life.

    Speeds are per second; ``correction`` is what was learned of them. ``counts`` are sums since it began.
    """

    worker_id: str
    device: str
    precision: str
    torch_version: str
    available_bytes: int
    flop_per_s: float
    bytes_per_s: float
    correction: float
    counts: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A worker's last report, and when it came."""

    report: WorkerReport
    reported_at: float
