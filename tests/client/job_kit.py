"""A scripted server of named jobs: it keeps the events of each job, and interrupts calls as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeAlias

import grpc

from painterly.errors import ServiceError
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2

# What becomes of one call after so many of its events: a status, an error of ours, silence.
Fault: TypeAlias = "grpc.StatusCode | ServiceError | None"
SILENCE = None


def accepted(job_id: str = "j1", *, named: bool = True, attempt: int = 0, **more: Any) -> pb.HarmonizeResponse:
    return pb.HarmonizeResponse(accepted=pb.AcceptedEvent(job_id=job_id, named=named, attempt=attempt, **more))


def heartbeat() -> pb.HarmonizeResponse:
    return pb.HarmonizeResponse(heartbeat=pb.HeartbeatEvent())


def progress(iteration: int, stage: pb.Stage.ValueType = pb.STAGE_PASS1) -> pb.HarmonizeResponse:
    return pb.HarmonizeResponse(progress=pb.ProgressEvent(stage=stage, iteration=iteration, iteration_count=9))


def result(data: bytes = b"picture") -> pb.HarmonizeResponse:
    image = image_pb2.Image(data=data, format=image_pb2.IMAGE_FORMAT_PNG, width_px=30, height_px=20)
    return pb.HarmonizeResponse(result=pb.ResultEvent(image=image, device="cpu"))


class OneJob:
    """A handler for :class:`tests.client.kit.Harmonize`: one job with stored events, whose cursors count them.

    As the real service does, each call begins with an accepted event without a cursor of its own, and goes on behind
    ``after_cursor``. ``faults`` are for the calls in turn: after how many stored events, -1 for before it is accepted,
    and what. Calls beyond them come to the end.
    """

    def __init__(
        self,
        stored: Sequence[pb.HarmonizeResponse],
        faults: Sequence[tuple[int, Fault]] = (),
        *,
        first: Callable[[], Sequence[pb.HarmonizeResponse]] = lambda: [accepted()],
    ) -> None:
        self.stored = stored
        self.faults = list(faults)
        self.first = first
        self.calls: list[tuple[str, str]] = []
        """The kind of each call's request, and its cursor or key."""

    async def __call__(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:
        is_watch = isinstance(request, pb.WatchJobRequest)
        self.calls.append((type(request).__name__, request.after_cursor if is_watch else request.job_key))
        fault = self.faults.pop(0) if self.faults else (len(self.stored) + 1, SILENCE)
        begin = int(request.after_cursor or 0) if is_watch else 0
        if fault[0] >= 0:
            for response in self.first():
                response.cursor = str(begin) if begin else ""
                yield response
        for number, response in enumerate(self.stored[begin:]):
            if number >= fault[0]:
                break
            response.cursor = str(begin + number + 1)
            yield response
        else:
            if fault[0] > len(self.stored[begin:]):
                return
        if isinstance(fault[1], ServiceError):
            raise fault[1]
        if fault[1] is SILENCE:
            await asyncio.sleep(60)
        else:
            await context.abort(fault[1], "something between broke")
