"""What a server tells of jobs and of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from painterly_client._events import Progress, ResumePoint


class JobKind(str, Enum):
    """The call that began a job."""

    PASS1 = "pass1"
    PASS2 = "pass2"
    HARMONIZE = "harmonize"


class JobState(str, Enum):
    """How a job is. PARKED: interrupted because nobody listened, with a checkpoint. EXPIRED: nothing is left of it."""

    QUEUED = "queued"
    RUNNING = "running"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


@dataclass(frozen=True, kw_only=True)
class JobFailure:
    """What the status of the job's call was; ``reason`` and ``metadata`` are those of a PainterlyError."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is known of a job. Times are in UTC.

    ``job_id`` is the server's name for it, ``job_key`` the caller's, empty for an unnamed one. ``start_time`` is when a
    device first began with it; at ``expire_time`` what is kept of it is removed. ``position`` counts the jobs before it
    as long as it waits. ``progress`` is the last that was told, without losses. ``checkpoint`` is where it would go on
    after an interruption. ``attempt`` counts how often it was begun.
    """

    job_id: str
    job_key: str
    kind: JobKind
    state: JobState
    create_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    expire_time: datetime | None = None
    position: int | None = None
    estimated_wait_s: float | None = None
    progress: Progress | None = None
    checkpoint: ResumePoint | None = None
    attempt: int = 0
    failure: JobFailure | None = None
    runs_unattended: bool = False


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """Some jobs, the newest first. ``next_page_token`` asks for those that follow; empty on the last page."""

    jobs: tuple[Job, ...]
    next_page_token: str = ""


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """A device with its worker. ``is_alive`` False: the worker has not been heard of for too long."""

    name: str
    is_alive: bool
    available_memory_bytes: int
    precision: str
    torch_version: str


@dataclass(frozen=True, kw_only=True)
class WeightsInfo:
    """A network's weights; ``checksum`` is what they must have."""

    name: str
    is_present: bool
    checksum: str


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """The bounds of a server. ``run_limit_s`` None: a job may run for as long as it takes.

    A named job is parked when nobody has listened for ``orphan_timeout_s``. What is kept of a job stays for
    ``result_retention_s`` after its end, the events before the result for ``event_retention_s``.
    """

    max_message_bytes: int
    max_encoded_image_bytes: int
    max_image_pixel_count: int
    max_image_side_px: int
    queue_size: int
    principal_job_limit: int
    run_limit_s: float | None
    orphan_timeout_s: float
    result_retention_s: float
    event_retention_s: float
    heartbeat_interval_s: float


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """What a server is, holds and bounds. ``is_draining``: it takes no new jobs, because it stops."""

    version: str
    devices: tuple[DeviceInfo, ...]
    weights: tuple[WeightsInfo, ...]
    limits: ServerLimits
    waiting_job_count: int
    running_job_count: int
    is_draining: bool
