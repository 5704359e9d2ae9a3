"""The harmonize service's calls: a request becomes a job, and what is stored of it a stream; nothing is computed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import grpc
import torch

from painterly.calls import note_job, principal_of
from painterly.service_error import ServiceError
from painterly.serving.heavy_work import heavy_work
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import harmonize_service_pb2_grpc as pb_grpc
from painterly.weights import WeightState, WeightStore
from painterly_harmonize.algorithm.errors import AlgorithmError
from painterly_harmonize.algorithm.vgg import sketch_network
from painterly_harmonize.conversion import params_from_proto, plan_response, to_service_error
from painterly_harmonize.evaluation import answer_evaluate
from painterly_harmonize.images import Request, mask_to_tensor, read_masks
from painterly_harmonize.job_answers import (
    device_message,
    job_message,
    limits_message,
    page_begin,
    page_size,
    queued_event,
    states_of,
)
from painterly_harmonize.job_events import accepted_event
from painterly_harmonize.job_requests import KINDS, Kind, digest, read_order, require_job_key
from painterly_harmonize.jobs import refusals
from painterly_harmonize.jobs.front import Front, Submission
from painterly_harmonize.jobs.records import JobRecord, Place, State, StoredEvent, WorkerReport
from painterly_harmonize.jobs.streaming import Accepted, Seen, Waits, wait_of
from painterly_harmonize.planning import Planner, Speed

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Response = TypeVar("_Response", pb.RunPass1Response, pb.RunPass2Response, pb.HarmonizeResponse, pb.WatchJobResponse)
_Answer = TypeVar("_Answer")

_WORKER_WAIT_S = 60.0
_WORKER_POLL_S = 0.05
_WEIGHTS_KEPT_S = 300.0


class HarmonizeServicer(pb_grpc.HarmonizeServiceServicer):
    """The streams over a front's jobs, and the calls beside them."""

    def __init__(self, front: Front, weights: WeightStore) -> None:
        self._front, self._weights = front, weights
        # Pictures grow when they are read: one evaluation at a time bounds the memory.
        self._evaluating = asyncio.Lock()
        self._weighing = asyncio.Lock()
        self._found_weights: tuple[float, Sequence[pb.WeightsInfo]] = (0.0, ())

    async def RunPass1(
        self, request: pb.RunPass1Request, context: Context
    ) -> AsyncGenerator[pb.RunPass1Response, None]:
        """Stream the first pass's events."""
        async with contextlib.aclosing(self._submitted("RunPass1", request, context, pb.RunPass1Response)) as responses:
            async for response in responses:
                yield response

    async def RunPass2(
        self, request: pb.RunPass2Request, context: Context
    ) -> AsyncGenerator[pb.RunPass2Response, None]:
        """Stream the second pass's events."""
        async with contextlib.aclosing(self._submitted("RunPass2", request, context, pb.RunPass2Response)) as responses:
            async for response in responses:
                yield response

    async def Harmonize(
        self, request: pb.HarmonizeRequest, context: Context
    ) -> AsyncGenerator[pb.HarmonizeResponse, None]:
        """Stream the events of both passes and the post-processing."""
        async with contextlib.aclosing(
            self._submitted("Harmonize", request, context, pb.HarmonizeResponse)
        ) as responses:
            async for response in responses:
                yield response

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: Context
    ) -> AsyncGenerator[pb.WatchJobResponse, None]:
        """Stream a job's events from a cursor on."""
        record = await self._front.resume(principal_of(context), request.job_id)
        note_job(record.job_id)
        seen = self._front.stream(record, request.after_cursor)
        async with contextlib.aclosing(_responses(seen, pb.WatchJobResponse)) as responses:
            async for response in responses:
                yield response

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        """Tell how a job is."""
        if request.job_id and request.job_key:
            raise ServiceError(
                reasons.ERROR_REASON_FIELDS_CONFLICT,
                "job_key: is given beside job_id; leave one of them out",
                field="job_key",
                metadata={"conflicts_with": "job_id"},
            )
        if request.job_key:
            record = await self._front.job_of_key(principal_of(context), request.job_key)
        else:
            record = await self._job(request.job_id, context)
        return pb.GetJobResponse(job=await self._told(record))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        """Tell of the caller's jobs, the newest first."""
        size, before, states = page_size(request.page_size), page_begin(request.page_token), states_of(request.states)
        records = await self._front.page(principal_of(context), states, before, size + 1)
        queue = await self._front.queue()
        shown = records[:size]
        return pb.ListJobsResponse(
            jobs=[job_message(record, wait_of(queue, record.job_id), self._front.policy) for record in shown],
            next_page_token=str(shown[-1].number) if len(records) > size else "",
        )

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        """Stop a job."""
        record = await self._front.cancel(await self._job(request.job_id, context))
        return pb.CancelJobResponse(job=await self._told(record))

    async def FinishJob(self, request: pb.FinishJobRequest, context: Context) -> pb.FinishJobResponse:
        """End a job's running pass with what it has."""
        record = await self._front.finish_stage(await self._job(request.job_id, context))
        return pb.FinishJobResponse(job=await self._told(record))

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> pb.GetServerInfoResponse:
        """Tell what this server is, holds and bounds."""
        queue, workers = await self._front.queue(), await self._front.workers()
        now, policy = time.time(), self._front.policy
        return pb.GetServerInfoResponse(
            version=importlib.metadata.version("painterly"),
            devices=[device_message(worker, now, policy) for worker in workers],
            weights=await self._weights_info(),
            limits=limits_message(policy),
            waiting_job_count=len(queue.waiting),
            running_job_count=len(queue.running),
            is_draining=self._front.is_draining,
        )

    async def Plan(self, request: pb.PlanRequest, context: Context) -> pb.PlanResponse:
        """Say what a request would take. It waits for no job, only for a worker to be there."""
        params = params_from_proto(request.parameters)
        worker = await self._worker()
        return await _worked(_plan, request, params, worker)

    async def Evaluate(self, request: pb.EvaluateRequest, context: Context) -> pb.EvaluateResponse:
        """Measure a finished picture. It waits for no job, only for other evaluations."""
        async with self._evaluating:
            return await _worked(answer_evaluate, request)

    async def _submitted(
        self, kind: str, request: Request, context: Context, make: type[_Response]
    ) -> AsyncGenerator[_Response, None]:
        """A request's job, new or found by its key, as responses. Decoding stays off the event loop."""
        require_job_key(request)
        with self._front.holding(request.ByteSize()):
            workers = await self._front.workers()
            report = workers[0].report if workers else None
            job = await _worked(_submission, kind, request, report, principal_of(context))
            del request
            record, is_new = await self._front.submit(job)
            del job
        note_job(record.job_id)
        seen = self._front.stream(record, is_new=is_new)
        async with contextlib.aclosing(_responses(seen, make)) as responses:
            async for response in responses:
                yield response

    async def _job(self, job_id: str, context: Context) -> JobRecord:
        if not job_id:
            raise ServiceError(reasons.ERROR_REASON_FIELD_REQUIRED, "job_id: is required", field="job_id")
        return await self._front.job(principal_of(context), job_id)

    async def _told(self, record: JobRecord) -> pb.Job:
        waits = wait_of(await self._front.queue(), record.job_id)
        return job_message(record, waits, self._front.policy)

    async def _worker(self) -> WorkerReport:
        """The last worker to give a sign of life. Raises: ServiceError STARTING when there is none for long."""
        end_s = time.monotonic() + _WORKER_WAIT_S
        while not (workers := await self._front.workers()):
            if time.monotonic() > end_s:
                raise refusals.starting()
            await asyncio.sleep(_WORKER_POLL_S)
        return workers[0].report

    async def _weights_info(self) -> Sequence[pb.WeightsInfo]:
        """What weights there are. Finding out reads all of them: one call does it, and others take its answer."""
        async with self._weighing:
            found_s, found = self._found_weights
            if not found or time.monotonic() - found_s > _WEIGHTS_KEPT_S:
                found = await asyncio.to_thread(self._look_at_weights)
                self._found_weights = time.monotonic(), found
        return found

    def _look_at_weights(self) -> Sequence[pb.WeightsInfo]:
        found = []
        for name in self._weights.names():
            status = self._weights.status(name)
            is_present = status.state is WeightState.PRESENT
            found.append(pb.WeightsInfo(name=name, is_present=is_present, checksum=status.checksum or ""))
        return found


async def _worked(work: Callable[..., _Answer], *arguments: Any) -> _Answer:
    """Work on pictures, off the event loop."""

    def worked() -> _Answer:
        with heavy_work():
            return work(*arguments)

    return await asyncio.to_thread(worked)


def _submission(kind: str, request: Request, report: WorkerReport | None, principal: str) -> Submission:
    """Check a request before it is kept. Raises: ServiceError for all that is wrong with it."""
    order = read_order(request)
    predicted_s = 0.0
    if report is not None:
        masks = [
            None if mask is None else mask_to_tensor(mask, torch.device("cpu"))
            for mask in (order.pictures.mask, order.pictures.dilated_mask)
        ]
        predicted_s = _predicted_s(masks, order.params, KINDS[kind], report)
    return Submission(
        principal=principal,
        job_key=request.job_key,
        kind=kind,
        request=request.SerializeToString(),
        digest=digest(request),
        is_unattended=request.runs_unattended,
        predicted_s=predicted_s,
    )


def _predicted_s(masks: list[Any], params: Any, kind: Kind, report: WorkerReport) -> float:
    planner = _planner(report)
    try:
        decision = planner.decide(masks[0], masks[1], params, sketch_network(params.network), kind.stages)
    except AlgorithmError:  # it is told by the job, which sees the same
        return 0.0
    return planner.speed.seconds(decision.plan.work)


def _plan(request: pb.PlanRequest, params: Any, report: WorkerReport) -> pb.PlanResponse:
    planner = _planner(report)
    try:
        masks = read_masks(request)
    except AlgorithmError as error:
        raise to_service_error(error) from None
    decision = planner.decide(*masks, params, sketch_network(params.network))
    return plan_response(decision, planner.speed, report.device)


def _planner(report: WorkerReport) -> Planner:
    """Plans for the worker's device, from what the worker says of it."""
    device = torch.device(report.device.split()[0])
    speed = Speed(report.flop_per_s, report.bytes_per_s, report.correction)
    available: Callable[[], int] = lambda: report.available_bytes  # noqa: E731
    return Planner(device, speed=speed, available=available)


async def _responses(things: AsyncGenerator[Seen, None], make: type[_Response]) -> AsyncGenerator[_Response, None]:
    async with contextlib.aclosing(things):
        async for seen in things:
            yield await _response(seen, make)


async def _response(seen: Seen, make: type[_Response]) -> _Response:
    what = seen.what
    if isinstance(what, StoredEvent):
        response = make.FromString(what.payload)
        response.cursor = seen.cursor
        return response
    if isinstance(what, Accepted):
        record = what.record
        accepted = accepted_event(
            record.job_id,
            named=record.is_named,
            attempt=record.attempt,
            at=_goes_on_at(record),
            restart_reason=record.restart_reason,
        )
        return make(cursor=seen.cursor, accepted=accepted)
    if isinstance(what, Waits):
        return make(cursor=seen.cursor, queued=queued_event(what))
    return make(cursor=seen.cursor, heartbeat=pb.HeartbeatEvent())


def _goes_on_at(record: JobRecord) -> Place | None:
    """Where an interrupted job goes on, as far as it is known; None for one that begins, or began, at its begin."""
    if record.state in (State.QUEUED, State.PARKED):
        return record.checkpoint_place
    # A worker that has just taken it up again has not said yet where.
    is_taken_up = record.state is State.RUNNING and record.attempt > 1 and not record.restart_reason
    return record.resumed_from or (record.checkpoint_place if is_taken_up else None)
