"""The errors that callers are told about jobs."""

from __future__ import annotations

import time

from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1.error_reason_pb2 import ErrorReason
from painterly_harmonize.jobs.fairness import estimated_wait_s
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import Failure, JobRecord, Queue

_RETRY_AFTER_DRAINING_S = 5.0
_RETRY_AFTER_STORE_S = 5.0
_RETRY_AFTER_START_S = 2.0
_RETRY_AFTER_LIMITS_S = (1.0, 60.0)


def retry_after_s(queue: Queue) -> float:
    """When a new job may find room: half of what it would wait, within bounds."""
    low, high = _RETRY_AFTER_LIMITS_S
    wait_s = estimated_wait_s(queue, len(queue.waiting), time.time())
    return min(max((wait_s or 0.0) / 2, low), high)


def queue_full(queue: Queue, policy: Policy) -> ServiceError:
    """QUEUE_FULL."""
    return ServiceError(
        reasons.ERROR_REASON_QUEUE_FULL,
        f"{policy.queue_size} jobs wait already; try again later",
        metadata={"queue_size": str(policy.queue_size)},
        retry_after_s=retry_after_s(queue),
    )


def principal_limit(queue: Queue, policy: Policy) -> ServiceError:
    """PRINCIPAL_LIMIT."""
    return ServiceError(
        reasons.ERROR_REASON_PRINCIPAL_LIMIT,
        f"{policy.principal_jobs} jobs of yours wait or run already; try again when one has ended",
        metadata={"limit": str(policy.principal_jobs)},
        retry_after_s=retry_after_s(queue),
    )


def memory_budget(needed: int, available: int) -> ServiceError:
    """MEMORY_BUDGET."""
    return ServiceError(
        reasons.ERROR_REASON_MEMORY_BUDGET,
        f"the requests under way leave {max(available, 0)} bytes, and this one has {needed}; try again later",
        metadata={"needed_bytes": str(needed), "available_bytes": str(max(available, 0))},
        retry_after_s=_RETRY_AFTER_LIMITS_S[0],
    )


def draining() -> ServiceError:
    """DRAINING."""
    return ServiceError(
        reasons.ERROR_REASON_DRAINING,
        "the server is stopping; try again later or elsewhere",
        retry_after_s=_RETRY_AFTER_DRAINING_S,
    )


def starting() -> ServiceError:
    """STARTING."""
    return ServiceError(
        reasons.ERROR_REASON_STARTING, "no worker is ready yet; try again", retry_after_s=_RETRY_AFTER_START_S
    )


def store_unavailable() -> ServiceError:
    """STORE_UNAVAILABLE; what the store said is for the log alone."""
    return ServiceError(
        reasons.ERROR_REASON_STORE_UNAVAILABLE,
        "jobs cannot be stored or read at the moment; try again later",
        retry_after_s=_RETRY_AFTER_STORE_S,
    )


def not_found(field: str, value: str) -> ServiceError:
    """JOB_NOT_FOUND."""
    text = f"{field}: there is no job {value!r} of yours"
    return ServiceError(reasons.ERROR_REASON_JOB_NOT_FOUND, text, field=field)


def expired(job_id: str) -> ServiceError:
    """JOB_EXPIRED."""
    return ServiceError(
        reasons.ERROR_REASON_JOB_EXPIRED,
        f"what was kept of job {job_id} has been removed; ask for it again",
        metadata={"job_id": job_id},
    )


def key_conflict(record: JobRecord, differs_in: str) -> ServiceError:
    """JOB_KEY_CONFLICT."""
    return ServiceError(
        reasons.ERROR_REASON_JOB_KEY_CONFLICT,
        f"job_key: {record.job_key} belongs to another request, which differs in {differs_in}; choose another key",
        metadata={"job_key": record.job_key, "job_id": record.job_id, "differs_in": differs_in},
    )


def cancelled() -> ServiceError:
    """CANCELLED."""
    return ServiceError(reasons.ERROR_REASON_CANCELLED, "the job was cancelled")


def bad_cursor(value: str) -> ServiceError:
    """FIELD_OUT_OF_RANGE of the cursor."""
    return ServiceError(
        reasons.ERROR_REASON_FIELD_OUT_OF_RANGE,
        f"after_cursor: {value!r} is no cursor of this job; leave it out to begin with the first event",
        field="after_cursor",
        metadata={"value": value},
    )


def to_failure(error: ServiceError) -> Failure:
    """An error as it is kept with a job."""
    return Failure(
        reason=ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_"),
        message=error.message,
        field=error.field,
        metadata=error.metadata,
        retry_after_s=error.retry_after_s,
    )


def of_failure(failure: Failure) -> Exception:
    """The error that a kept failure stands for; a bug comes back as one."""
    if failure.reason == "INTERNAL":
        return RuntimeError(failure.message)
    return ServiceError(
        ErrorReason.Value(f"ERROR_REASON_{failure.reason}"),
        failure.message,
        field=failure.field,
        metadata=failure.metadata,
        retry_after_s=failure.retry_after_s,
    )
