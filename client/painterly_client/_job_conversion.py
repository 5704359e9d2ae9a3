"""Requests about jobs from their arguments, and jobs from messages. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from google.protobuf.timestamp_pb2 import Timestamp

from painterly.v1 import harmonize_service_pb2 as pb
from painterly_client._conversion import enum_member, enum_number, progress_of, resume_point_of, seconds_of
from painterly_client._errors import invalid
from painterly_client._jobs import (
    DeviceInfo,
    Job,
    JobFailure,
    JobKind,
    JobPage,
    JobState,
    ServerInfo,
    ServerLimits,
    WeightsInfo,
)


def watch_request(job_id: str, after_cursor: str) -> pb.WatchJobRequest:
    """Build the request of WatchJob. Raises: InvalidRequest without an id."""
    return pb.WatchJobRequest(job_id=required_id(job_id), after_cursor=after_cursor)


def get_request(job_id: str, job_key: str) -> pb.GetJobRequest:
    """Build the request of GetJob. Raises: InvalidRequest unless one of the two names is given."""
    if bool(job_id) == bool(job_key):
        raise invalid("FIELD_REQUIRED", "job_id: give either it or job_key", field="job_id")
    return pb.GetJobRequest(job_id=job_id, job_key=job_key)


def list_request(states: Sequence[JobState], page_size: int | None, page_token: str) -> pb.ListJobsRequest:
    """Build the request of ListJobs. Raises: InvalidRequest for an unknown state."""
    descriptor = pb.JobState.DESCRIPTOR
    numbers = [
        pb.JobState.ValueType(enum_number(state, descriptor, f"states[{index}]")) for index, state in enumerate(states)
    ]
    try:
        return pb.ListJobsRequest(states=numbers, page_size=page_size or 0, page_token=page_token)
    except (TypeError, ValueError, OverflowError):
        text = f"page_size: {page_size!r} must be a whole number from 1 to 1000"
        raise invalid("FIELD_OUT_OF_RANGE", text, field="page_size", value=str(page_size)) from None


def required_id(job_id: str) -> str:
    """The id. Raises: InvalidRequest when it is empty."""
    if not job_id:
        raise invalid("FIELD_REQUIRED", "job_id: it is in the Accepted event and in list_jobs()", field="job_id")
    return job_id


def job_of(message: pb.Job) -> Job:
    """What is known of a job."""
    return Job(
        job_id=message.job_id,
        job_key=message.job_key,
        kind=enum_member(message.kind, pb.JobKind.DESCRIPTOR, JobKind),
        state=enum_member(message.state, pb.JobState.DESCRIPTOR, JobState),
        create_time=_time(message.create_time),
        start_time=_time(message.start_time) if message.HasField("start_time") else None,
        end_time=_time(message.end_time) if message.HasField("end_time") else None,
        expire_time=_time(message.expire_time) if message.HasField("expire_time") else None,
        position=message.position if message.HasField("position") else None,
        estimated_wait_s=seconds_of(message.estimated_wait) if message.HasField("estimated_wait") else None,
        progress=progress_of(message.progress) if message.HasField("progress") else None,
        checkpoint=resume_point_of(message.checkpoint) if message.HasField("checkpoint") else None,
        attempt=message.attempt,
        failure=_failure(message.failure) if message.HasField("failure") else None,
        runs_unattended=message.runs_unattended,
    )


def page_of(message: pb.ListJobsResponse) -> JobPage:
    """A page of jobs."""
    return JobPage(jobs=tuple(job_of(each) for each in message.jobs), next_page_token=message.next_page_token)


def server_info_of(message: pb.GetServerInfoResponse) -> ServerInfo:
    """What a server is, holds and bounds."""
    limits = message.limits
    return ServerInfo(
        version=message.version,
        devices=tuple(
            DeviceInfo(
                name=each.name,
                is_alive=each.is_alive,
                available_memory_bytes=each.available_memory_bytes,
                precision=each.precision,
                torch_version=each.torch_version,
            )
            for each in message.devices
        ),
        weights=tuple(
            WeightsInfo(name=each.name, is_present=each.is_present, checksum=each.checksum) for each in message.weights
        ),
        limits=ServerLimits(
            max_message_bytes=limits.max_message_bytes,
            max_encoded_image_bytes=limits.max_encoded_image_bytes,
            max_image_pixel_count=limits.max_image_pixel_count,
            max_image_side_px=limits.max_image_side_px,
            queue_size=limits.queue_size,
            principal_job_limit=limits.principal_job_limit,
            run_limit_s=seconds_of(limits.run_limit) if limits.HasField("run_limit") else None,
            orphan_timeout_s=seconds_of(limits.orphan_timeout),
            result_retention_s=seconds_of(limits.result_retention),
            event_retention_s=seconds_of(limits.event_retention),
            heartbeat_interval_s=seconds_of(limits.heartbeat_interval),
        ),
        waiting_job_count=message.waiting_job_count,
        running_job_count=message.running_job_count,
        is_draining=message.is_draining,
    )


def _failure(message: pb.JobFailure) -> JobFailure:
    return JobFailure(reason=message.reason, message=message.message, metadata=dict(message.metadata))


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=timezone.utc)
