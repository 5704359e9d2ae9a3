"""What is known of jobs and of the server, as messages."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from painterly.limits import MAX_ENCODED_IMAGE_BYTES, MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE_PX, MAX_MESSAGE_BYTES
from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_harmonize.algorithm.stage import Stage
from painterly_harmonize.conversion import STAGE_NUMBERS, duration
from painterly_harmonize.job_events import resume_point
from painterly_harmonize.job_requests import KINDS
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import Failure, JobRecord, Place, State, WorkerRecord
from painterly_harmonize.jobs.streaming import Waits

_STATES = {
    State.QUEUED: pb.JOB_STATE_QUEUED,
    State.RUNNING: pb.JOB_STATE_RUNNING,
    State.PARKED: pb.JOB_STATE_PARKED,
    State.SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    State.FAILED: pb.JOB_STATE_FAILED,
    State.CANCELLED: pb.JOB_STATE_CANCELLED,
    State.EXPIRED: pb.JOB_STATE_EXPIRED,
}
_STATE_OF = {number: state for state, number in _STATES.items()}
_PAGE_SIZES = (1, 1000)
_DEFAULT_PAGE_SIZE = 50


def job_message(record: JobRecord, waits: Waits | None, policy: Policy) -> pb.Job:
    """A job."""
    message = pb.Job(
        job_id=record.job_id,
        job_key=record.job_key,
        kind=KINDS[record.kind].number,
        state=_STATES[record.state],
        create_time=_timestamp(record.created_at),
        start_time=_timestamp(record.started_at),
        end_time=_timestamp(record.ended_at),
        expire_time=_timestamp(_expires_at(record, policy)),
        progress=_progress(record.place),
        checkpoint=resume_point(record.checkpoint_place),
        attempt=record.attempt,
        failure=_failure(record.failure),
        runs_unattended=record.is_unattended,
    )
    if waits is not None:
        message.position = waits.position
        if waits.estimated_wait_s is not None:
            message.estimated_wait.CopyFrom(duration(waits.estimated_wait_s))
    return message


def queued_event(waits: Waits) -> pb.QueuedEvent:
    """Where a job is in the queue."""
    known = waits.estimated_wait_s is not None
    return pb.QueuedEvent(
        position=waits.position, estimated_wait=duration(waits.estimated_wait_s or 0.0) if known else None
    )


def states_of(numbers: Sequence[pb.JobState.ValueType]) -> frozenset[State]:
    """States asked for. Raises: ServiceError UNKNOWN_ENUM_VALUE."""
    for number in numbers:
        if number not in _STATE_OF:
            raise ServiceError(
                reasons.ERROR_REASON_UNKNOWN_ENUM_VALUE,
                f"states: unknown value {number}",
                field="states",
                metadata={"value": str(number)},
            )
    return frozenset(_STATE_OF[number] for number in numbers)


def page_size(asked: int) -> int:
    """How many jobs a page has. Raises: ServiceError FIELD_OUT_OF_RANGE."""
    low, high = _PAGE_SIZES
    if asked and not low <= asked <= high:
        raise _out_of_range("page_size", str(asked), f"must be from {low} to {high}")
    return asked or _DEFAULT_PAGE_SIZE


def page_begin(token: str) -> int | None:
    """The number below which a page begins; None for the first. Raises: ServiceError FIELD_OUT_OF_RANGE."""
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise _out_of_range("page_token", token[:64], "must be the next_page_token of the answer before")
    return int(token)


def device_message(worker: WorkerRecord, now: float, policy: Policy) -> pb.DeviceInfo:
    """A worker's device."""
    report = worker.report
    return pb.DeviceInfo(
        name=report.device,
        is_alive=now - worker.reported_at <= policy.silence_s,
        available_memory_bytes=report.available_bytes,
        precision=report.precision,
        torch_version=report.torch_version,
    )


def limits_message(policy: Policy) -> pb.ServerLimits:
    """What the server bounds."""
    return pb.ServerLimits(
        max_message_bytes=MAX_MESSAGE_BYTES,
        max_encoded_image_bytes=MAX_ENCODED_IMAGE_BYTES,
        max_image_pixel_count=MAX_IMAGE_PIXELS,
        max_image_side_px=MAX_IMAGE_SIDE_PX,
        queue_size=policy.queue_size,
        principal_job_limit=policy.principal_jobs,
        run_limit=duration(policy.run_limit_s) if policy.run_limit_s else None,
        orphan_timeout=duration(policy.orphan_s),
        result_retention=duration(policy.result_retention_s),
        event_retention=duration(policy.event_retention_s),
        heartbeat_interval=duration(policy.heartbeat_s),
    )


def _expires_at(record: JobRecord, policy: Policy) -> float | None:
    if record.state is State.PARKED:
        return record.watched_until + policy.result_retention_s
    if record.ended_at is None or record.state is State.EXPIRED:
        return None
    return record.ended_at + policy.result_retention_s


def _failure(failure: Failure | None) -> pb.JobFailure | None:
    if failure is None:
        return None
    return pb.JobFailure(reason=failure.reason, message=failure.message, metadata=failure.metadata)


def _progress(place: Place | None) -> pb.ProgressEvent | None:
    if place is None:
        return None
    return pb.ProgressEvent(
        stage=STAGE_NUMBERS[Stage(place.stage)], iteration=place.iteration, iteration_count=place.iteration_count
    )


def _timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    message = Timestamp()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


def _out_of_range(field: str, value: str, rule: str) -> ServiceError:
    return ServiceError(
        reasons.ERROR_REASON_FIELD_OUT_OF_RANGE,
        f"{field}: {rule}, got {value!r}",
        field=field,
        metadata={"value": value},
    )
