"""The calls about jobs and the server, over both clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timezone
from typing import Any

import pytest
from google.protobuf.message import Message

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_client import (
    DeviceInfo,
    InvalidRequest,
    Job,
    JobFailure,
    JobKind,
    JobNotFound,
    JobPage,
    JobState,
    Progress,
    ResumePoint,
    ServerInfo,
    ServerLimits,
    Stage,
    WeightsInfo,
)
from tests.client.kit import Harmonize, MakeTwin, Stream, serving


def answering(response: Message) -> Stream:
    async def handler(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        yield response

    return handler


def job_message() -> pb.Job:
    message = pb.Job(
        job_id="j1",
        job_key="k",
        kind=pb.JOB_KIND_HARMONIZE,
        state=pb.JOB_STATE_PARKED,
        position=0,
        progress=pb.ProgressEvent(stage=pb.STAGE_PASS2, iteration=3, iteration_count=9),
        checkpoint=pb.ResumePoint(stage=pb.STAGE_PASS2, iteration=2),
        attempt=2,
        failure=pb.JobFailure(reason="WORKER_LOST", message="gone", metadata={"job_id": "j1"}),
        runs_unattended=True,
    )
    message.create_time.FromSeconds(1000)
    message.start_time.FromMilliseconds(2500)
    message.end_time.FromSeconds(3000)
    message.expire_time.FromSeconds(4000)
    message.estimated_wait.FromMilliseconds(1500)
    message.progress.elapsed.FromSeconds(4)
    return message


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


JOB = Job(
    job_id="j1",
    job_key="k",
    kind=JobKind.HARMONIZE,
    state=JobState.PARKED,
    create_time=at(1000),
    start_time=at(2.5),
    end_time=at(3000),
    expire_time=at(4000),
    position=0,
    estimated_wait_s=1.5,
    progress=Progress(stage=Stage.PASS2, iteration=3, iteration_count=9, losses={}, elapsed_s=4.0),
    checkpoint=ResumePoint(stage=Stage.PASS2, iteration=2),
    attempt=2,
    failure=JobFailure(reason="WORKER_LOST", message="gone", metadata={"job_id": "j1"}),
    runs_unattended=True,
)


@pytest.mark.parametrize(
    ("name", "arguments", "request_message", "response"),
    [
        ("get_job", {"job_id": "j1"}, pb.GetJobRequest(job_id="j1"), pb.GetJobResponse(job=job_message())),
        ("get_job", {"job_key": "k"}, pb.GetJobRequest(job_key="k"), pb.GetJobResponse(job=job_message())),
        ("cancel_job", {"job_id": "j1"}, pb.CancelJobRequest(job_id="j1"), pb.CancelJobResponse(job=job_message())),
        ("finish_job", {"job_id": "j1"}, pb.FinishJobRequest(job_id="j1"), pb.FinishJobResponse(job=job_message())),
    ],
)
def test_a_job_is_asked_for(
    make_twin: MakeTwin, name: str, arguments: dict[str, str], request_message: Message, response: Message
) -> None:
    servicer = Harmonize(answering(response))
    with serving(servicer) as endpoint:
        assert getattr(make_twin(harmonize_endpoint=endpoint), name)(**arguments) == JOB
    assert servicer.requests == [request_message]


def test_what_a_server_does_not_say_is_none(make_twin: MakeTwin) -> None:
    message = pb.Job(job_id="j2", kind=pb.JOB_KIND_PASS1, state=pb.JOB_STATE_QUEUED)
    message.create_time.FromSeconds(1000)
    with serving(Harmonize(answering(pb.GetJobResponse(job=message)))) as endpoint:
        job = make_twin(harmonize_endpoint=endpoint).get_job("j2")
    assert job == Job(
        job_id="j2", job_key="", kind=JobKind.PASS1, state=JobState.QUEUED, create_time=at(1000), attempt=0
    )


def test_jobs_are_listed(make_twin: MakeTwin) -> None:
    servicer = Harmonize(answering(pb.ListJobsResponse(jobs=[job_message()] * 2, next_page_token="more")))
    with serving(servicer) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint)
        page = twin.list_jobs(states=[JobState.RUNNING, JobState.PARKED], page_size=2, page_token="t")
        twin.list_jobs()
    assert page == JobPage(jobs=(JOB, JOB), next_page_token="more")
    states = [pb.JOB_STATE_RUNNING, pb.JOB_STATE_PARKED]
    assert servicer.requests == [
        pb.ListJobsRequest(page_size=2, page_token="t", states=states),
        pb.ListJobsRequest(),
    ]


def test_the_server_tells_of_itself(make_twin: MakeTwin) -> None:
    limits = pb.ServerLimits(
        max_message_bytes=1,
        max_encoded_image_bytes=2,
        max_image_pixel_count=3,
        max_image_side_px=4,
        queue_size=5,
        principal_job_limit=6,
    )
    limits.orphan_timeout.FromSeconds(60)
    limits.result_retention.FromSeconds(86400)
    limits.event_retention.FromSeconds(3600)
    limits.heartbeat_interval.FromSeconds(10)
    message = pb.GetServerInfoResponse(
        version="0.1.0",
        devices=[
            pb.DeviceInfo(name="cpu", is_alive=True, available_memory_bytes=7, precision="float32", torch_version="2.6")
        ],
        weights=[pb.WeightsInfo(name="vgg16", is_present=True, checksum="sha256:ab")],
        limits=limits,
        waiting_job_count=1,
        running_job_count=2,
        is_draining=True,
    )
    with serving(Harmonize(answering(message))) as endpoint:
        info = make_twin(harmonize_endpoint=endpoint).get_server_info()
    assert info == ServerInfo(
        version="0.1.0",
        devices=(
            DeviceInfo(name="cpu", is_alive=True, available_memory_bytes=7, precision="float32", torch_version="2.6"),
        ),
        weights=(WeightsInfo(name="vgg16", is_present=True, checksum="sha256:ab"),),
        limits=ServerLimits(
            max_message_bytes=1,
            max_encoded_image_bytes=2,
            max_image_pixel_count=3,
            max_image_side_px=4,
            queue_size=5,
            principal_job_limit=6,
            run_limit_s=None,
            orphan_timeout_s=60.0,
            result_retention_s=86400.0,
            event_retention_s=3600.0,
            heartbeat_interval_s=10.0,
        ),
        waiting_job_count=1,
        running_job_count=2,
        is_draining=True,
    )


def test_an_unknown_job_is_an_error_of_its_own(make_twin: MakeTwin) -> None:
    async def refuse(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        raise ServiceError(error_reason_pb2.ERROR_REASON_JOB_NOT_FOUND, "there is no job 'x' of yours", field="job_id")
        yield

    with serving(Harmonize(refuse)) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint)
        for call in (twin.get_job, twin.cancel_job, twin.finish_job):
            with pytest.raises(JobNotFound) as caught:
                call("x")
            assert caught.value.field == "job_id"


def test_what_need_not_be_sent_is_refused_here(make_twin: MakeTwin) -> None:
    twin = make_twin(harmonize_endpoint="127.0.0.1:1")
    for call in (twin.get_job, twin.cancel_job, twin.finish_job, twin.watch_job):
        with pytest.raises(InvalidRequest) as caught:
            call(*([] if call == twin.get_job else [""]))
        assert caught.value.field == "job_id"
    with pytest.raises(InvalidRequest):
        twin.get_job("j", job_key="k")
    with pytest.raises(InvalidRequest) as caught:
        twin.list_jobs(states=["asleep"])
    assert (caught.value.reason, caught.value.field) == ("UNKNOWN_ENUM_VALUE", "states[0]")
