"""Named jobs over the wire, with the real pipeline: attach, replay, resume, cancel, finish, list; the server's info."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from painterly.errors import ErrorDetails, read_details
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_harmonize.jobs.policy import Policy
from tests.harmonize.toy import Gate, failure, last_of, networks_of, request, running, toy_network, until

QUICK = Policy(lease_s=1.0, renewal_s=0.2, orphan_s=0.5, sweep_s=0.1, checkpoint_s=0.0, queue_size=4)


def named(key: str = "job.1", iteration_count: int = 3) -> pb.HarmonizeRequest:
    message = request(pb.HarmonizeRequest, iteration_count)
    message.job_key = key
    message.stream.omit_frames = True
    return message


async def refused(call: Any) -> ErrorDetails:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read_details(caught.value)


async def accepted(call: Any) -> pb.AcceptedEvent:
    event = await anext(aiter(call))
    assert event.HasField("accepted")
    found: pb.AcceptedEvent = event.accepted
    return found


async def until_progress(call: Any, stage: pb.Stage.ValueType, iteration: int) -> str:
    """Read until an iteration; the cursor behind it."""
    async for event in call:
        if event.progress.stage == stage and event.progress.iteration >= iteration:
            cursor: str = event.cursor
            return cursor
    raise AssertionError("the call ended before")


async def test_an_interrupted_job_gives_the_bytes_of_an_uninterrupted_one() -> None:
    """Parked in either pass and between them, resumed by key and by id: nothing of the result tells of it."""
    async with running() as service:
        plain = (await last_of(service.stub.Harmonize(named(iteration_count=12)))).result
    async with running(policy=QUICK) as service:
        for key, stage, iteration in (
            ("pass1", pb.STAGE_PASS1, 5),
            ("between", pb.STAGE_PASS1, 12),
            ("pass2", pb.STAGE_PASS2, 5),
        ):
            asked = named(key, 12)
            call = service.stub.Harmonize(asked)
            job_id = (await accepted(call)).job_id
            await until_progress(call, stage, iteration)
            call.cancel()
            await until(lambda: service.idle)
            result = await last_of(service.stub.Harmonize(asked))
            assert result.result.image == plain.image, key
            told = (await service.stub.GetJob(pb.GetJobRequest(job_id=job_id))).job
            assert told.state == pb.JOB_STATE_SUCCEEDED


async def test_a_parked_job_goes_on_where_it_was_and_says_so() -> None:
    slow = toy_network(delay_s=0.03)
    async with running(networks_of(toy_network())) as service:
        plain = (await last_of(service.stub.Harmonize(named(iteration_count=50)))).result
    async with running(networks_of(slow), policy=QUICK) as service:
        call = service.stub.Harmonize(named("k", 50))
        first = await accepted(call)
        cursor = await until_progress(call, pb.STAGE_PASS2, 3)
        call.cancel()

        def state() -> str:
            record = service.store.get(first.job_id)
            assert record is not None
            return record.state.value

        await until(lambda: state() == "parked")
        parked = (await service.stub.GetJob(pb.GetJobRequest(job_key="k"))).job
        watch = service.stub.WatchJob(pb.WatchJobRequest(job_id=first.job_id, after_cursor=cursor))
        events = [event async for event in watch]
    assert (first.named, first.attempt, first.HasField("resumed_from")) == (True, 0, False)
    assert parked.state == pb.JOB_STATE_PARKED
    assert parked.checkpoint.stage == pb.STAGE_PASS2
    assert parked.checkpoint.iteration >= 3
    assert parked.HasField("expire_time")
    again = [event.accepted for event in events if event.HasField("accepted")]
    assert again[-1].attempt == 2
    assert again[-1].resumed_from == parked.checkpoint
    assert again[-1].restart_reason == pb.RESTART_REASON_UNSPECIFIED
    steps = [event.progress.iteration for event in events if event.progress.stage == pb.STAGE_PASS2]
    assert min(steps) > 3
    assert max(steps) == 50
    result = events[-1].result
    assert result.image == plain.image
    assert [each.stage for each in result.stage_times] == [pb.STAGE_PASS1, pb.STAGE_PASS2, pb.STAGE_POSTPROCESSING]


async def test_a_second_reader_of_a_job_that_was_never_interrupted_is_told_so() -> None:
    async with running(networks_of(toy_network(delay_s=0.02)), policy=QUICK) as service:
        call = service.stub.Harmonize(named("k", 10_000))
        job_id = (await accepted(call)).job_id
        await until_progress(call, pb.STAGE_PASS1, 5)
        record = service.store.get(job_id)
        again = await accepted(service.stub.WatchJob(pb.WatchJobRequest(job_id=job_id)))
        await service.stub.CancelJob(pb.CancelJobRequest(job_id=job_id))
    assert record is not None
    assert record.checkpoint_place is not None
    assert (again.attempt, again.HasField("resumed_from")) == (1, False)


async def test_a_checkpoint_of_other_weights_restarts_the_job_and_says_so(tmp_path: Path) -> None:
    async with running(networks_of(toy_network(delay_s=0.03)), policy=QUICK, folder=tmp_path) as service:
        call = service.stub.Harmonize(named("k", 60))
        job_id = (await accepted(call)).job_id
        await until_progress(call, pb.STAGE_PASS1, 5)
        call.cancel()
    other = toy_network()
    other.name = "another"
    async with running(networks_of(other), policy=replace(QUICK, orphan_s=60.0), folder=tmp_path) as service:
        events = [event async for event in service.stub.WatchJob(pb.WatchJobRequest(job_id=job_id))]
    again = [event.accepted for event in events if event.HasField("accepted")][-1]
    assert again.restart_reason == pb.RESTART_REASON_WEIGHTS_DIFFER
    assert not again.HasField("resumed_from")
    assert events[-1].HasField("result")


async def test_the_same_key_replays_and_another_request_names_the_field() -> None:
    async with running() as service:
        first = await last_of(service.stub.Harmonize(named()))
        again = [event async for event in service.stub.Harmonize(named())]
        other = named()
        other.parameters.seed = 7
        seed = await failure(service.stub.Harmonize(other))
        other = named()
        other.mask.CopyFrom(other.composite)
        mask = await failure(service.stub.Harmonize(other))
        shown = named()
        shown.stream.ClearField("omit_frames")
        assert (await last_of(service.stub.Harmonize(shown))).result == first.result
    assert again[0].accepted.job_id
    assert again[-1].result == first.result
    assert (seed.code, seed.reason) == (grpc.StatusCode.ALREADY_EXISTS, "JOB_KEY_CONFLICT")
    assert (seed.metadata["differs_in"], mask.metadata["differs_in"]) == ("parameters.seed", "mask")


async def test_jobs_are_told_of_listed_finished_and_cancelled() -> None:
    async with running(networks_of(toy_network(delay_s=0.01))) as service:
        done = await last_of(service.stub.Harmonize(named("a")))
        assert done.HasField("result")
        call = service.stub.Harmonize(named("b", 10_000))
        job_id = (await accepted(call)).job_id
        await until_progress(call, pb.STAGE_PASS1, 3)
        finished = (await service.stub.FinishJob(pb.FinishJobRequest(job_id=job_id))).job
        await until_progress(call, pb.STAGE_PASS2, 3)
        pages = [await service.stub.ListJobs(pb.ListJobsRequest(page_size=1))]
        pages.append(await service.stub.ListJobs(pb.ListJobsRequest(page_token=pages[0].next_page_token)))
        running_only = await service.stub.ListJobs(pb.ListJobsRequest(states=[pb.JOB_STATE_RUNNING]))
        await service.stub.CancelJob(pb.CancelJobRequest(job_id=job_id))
        error = await failure(call)
        await until(lambda: service.idle)
        cancelled = (await service.stub.GetJob(pb.GetJobRequest(job_id=job_id))).job
        info = await service.stub.GetServerInfo(pb.GetServerInfoRequest())
    assert (finished.state, finished.kind) == (pb.JOB_STATE_RUNNING, pb.JOB_KIND_HARMONIZE)
    assert [[job.job_key for job in page.jobs] for page in pages] == [["b"], ["a"]]
    assert pages[1].next_page_token == ""
    assert [job.job_key for job in running_only.jobs] == ["b"]
    assert error.reason == "CANCELLED"
    assert (cancelled.state, cancelled.progress.stage) == (pb.JOB_STATE_CANCELLED, pb.STAGE_PASS2)
    assert cancelled.HasField("end_time")
    assert [device.name for device in info.devices] == ["cpu"]
    assert info.limits.queue_size == 4
    assert info.version


async def test_what_is_wrong_with_names_ids_and_pages_is_told() -> None:
    unattended = request(pb.HarmonizeRequest)
    unattended.runs_unattended = True
    async with running() as service:
        stub = service.stub
        found = [
            await failure(stub.Harmonize(named("a b"))),
            await failure(stub.Harmonize(named("x" * 129))),
            await failure(stub.Harmonize(unattended)),
            await failure(stub.WatchJob(pb.WatchJobRequest(job_id="nobody"))),
            await refused(stub.GetJob(pb.GetJobRequest(job_key="nobody"))),
            await refused(stub.GetJob(pb.GetJobRequest())),
            await refused(stub.GetJob(pb.GetJobRequest(job_id="a", job_key="b"))),
            await refused(stub.CancelJob(pb.CancelJobRequest(job_id="nobody"))),
            await refused(stub.FinishJob(pb.FinishJobRequest())),
            await refused(stub.ListJobs(pb.ListJobsRequest(page_size=1001))),
            await refused(stub.ListJobs(pb.ListJobsRequest(page_token="x"))),
            await refused(stub.ListJobs(pb.ListJobsRequest(states=[99]))),  # type: ignore[list-item]
        ]
    assert [(each.reason, each.metadata["field"]) for each in found] == [
        ("FIELD_OUT_OF_RANGE", "job_key"),
        ("FIELD_OUT_OF_RANGE", "job_key"),
        ("FIELD_REQUIRED", "job_key"),
        ("JOB_NOT_FOUND", "job_id"),
        ("JOB_NOT_FOUND", "job_key"),
        ("FIELD_REQUIRED", "job_id"),
        ("FIELDS_CONFLICT", "job_key"),
        ("JOB_NOT_FOUND", "job_id"),
        ("FIELD_REQUIRED", "job_id"),
        ("FIELD_OUT_OF_RANGE", "page_size"),
        ("FIELD_OUT_OF_RANGE", "page_token"),
        ("UNKNOWN_ENUM_VALUE", "states"),
    ]


async def test_an_expired_job_is_told_as_such() -> None:
    policy = replace(QUICK, result_retention_s=0.3, event_retention_s=0.1, orphan_s=60.0)
    async with running(policy=policy) as service:
        call = service.stub.Harmonize(named())
        job_id = (await accepted(call)).job_id
        await last_of(call)

        async def is_expired() -> bool:
            try:
                job = (await service.stub.GetJob(pb.GetJobRequest(job_id=job_id))).job
            except grpc.aio.AioRpcError:
                return True
            return job.state == pb.JOB_STATE_EXPIRED

        while not await is_expired():
            pass
        error = await failure(service.stub.WatchJob(pb.WatchJobRequest(job_id=job_id)))
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert error.reason in ("JOB_EXPIRED", "JOB_NOT_FOUND")


async def test_a_queued_event_estimates_the_wait() -> None:
    gate = Gate()
    async with running(networks_of(toy_network(gate))) as service:
        first = service.stub.Harmonize(named("a", 200))
        await until(gate.entered.is_set)
        second = service.stub.Harmonize(named("b", 200))
        await accepted(second)
        queued = await anext(aiter(second))
        gate.opened.set()
        first.cancel()
        second.cancel()
    assert queued.queued.HasField("estimated_wait")
    assert queued.queued.estimated_wait.ToMilliseconds() > 0
