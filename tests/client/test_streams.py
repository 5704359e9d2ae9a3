"""Streaming calls over real connections: events, cancellation, failures; over both clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_client import (
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    Event,
    Frame,
    HarmonizeParameters,
    ImageFormat,
    PreconditionFailed,
    Preset,
    Progress,
    Queued,
    Result,
    ServerError,
    ServerUnavailable,
    Stage,
    StreamOptions,
)
from tests.client.kit import Harmonize, MakeTwin, free_port, queued, result, serving, until

ROOT = Path(__file__).parents[2]
LONG_S = 30.0
LARGE = 2 * 2**20  # than the 256 KiB that gRPC keeps for a retry unless told otherwise


async def whole(request: Any, context: Any) -> AsyncGenerator[Any, None]:
    yield queued(0)
    yield pb.HarmonizeResponse(progress=pb.ProgressEvent(stage=pb.STAGE_PASS1, iteration=1, iteration_count=2))
    image = image_pb2.Image(data=b"frame", format=image_pb2.IMAGE_FORMAT_JPEG)
    yield pb.HarmonizeResponse(frame=pb.FrameEvent(stage=pb.STAGE_PASS1, iteration=1, image=image))
    yield result()


async def endless(request: Any, context: Any) -> AsyncGenerator[Any, None]:
    yield queued(0)
    await asyncio.sleep(LONG_S)


async def flooding(request: Any, context: Any) -> AsyncGenerator[Any, None]:
    """More than the transport buffers: the handler stands in its yield, not in an await of its own."""
    image = image_pb2.Image(data=b"x" * 2**20, format=image_pb2.IMAGE_FORMAT_JPEG)
    for iteration in range(1000):
        yield pb.HarmonizeResponse(frame=pb.FrameEvent(stage=pb.STAGE_PASS1, iteration=iteration, image=image))


def kinds(events: list[Event]) -> list[type[Any]]:
    return [type(event) for event in events]


def test_harmonize_yields_every_event(make_twin: MakeTwin) -> None:
    servicer = Harmonize(whole)
    with serving(servicer) as endpoint:
        events = list(
            make_twin(harmonize_endpoint=endpoint).harmonize(
                b"composite",
                b"painting",
                b"mask",
                dilated_mask=b"dilated",
                parameters=HarmonizeParameters(preset=Preset.DRAFT, seed=0),
                stream=StreamOptions(frame_format=ImageFormat.WEBP),
            )
        )
    assert events[:3] == [
        Queued(position=0),
        Progress(stage=Stage.PASS1, iteration=1, iteration_count=2, losses={}, elapsed_s=0.0),
        Frame(stage=Stage.PASS1, iteration=1, image=b"frame", format=ImageFormat.JPEG, is_stage_result=False),
    ]
    assert isinstance(events[3], Result)
    assert (events[3].image, events[3].width_px, events[3].height_px) == (b"picture", 30, 20)
    assert servicer.requests == [
        pb.HarmonizeRequest(
            composite=image_pb2.Image(data=b"composite"),
            painting=image_pb2.Image(data=b"painting"),
            mask=image_pb2.Image(data=b"mask"),
            dilated_mask=image_pb2.Image(data=b"dilated"),
            parameters=pb.HarmonizeParameters(preset=pb.PRESET_DRAFT, seed=0),
            stream=pb.StreamOptions(frame_format=image_pb2.IMAGE_FORMAT_WEBP),
        )
    ]


def test_each_pass_alone(make_twin: MakeTwin) -> None:
    servicer = Harmonize(whole)
    with serving(servicer) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint)
        first = list(twin.run_pass1(b"composite", b"painting", b"mask"))
        second = list(twin.run_pass2(b"composite", b"painting", b"mask", b"pass 1"))
    assert kinds(first) == kinds(second) == [Queued, Progress, Frame, Result]
    images = [image_pb2.Image(data=data) for data in (b"composite", b"painting", b"mask", b"pass 1")]
    assert servicer.requests == [
        pb.RunPass1Request(composite=images[0], painting=images[1], mask=images[2]),
        pb.RunPass2Request(composite=images[0], painting=images[1], mask=images[2], pass1_result=images[3]),
    ]


def test_an_ended_stream_stays_ended(make_twin: MakeTwin) -> None:
    with serving(Harmonize(whole)) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m")
        assert kinds(list(stream)) == [Queued, Progress, Frame, Result]
        assert list(stream) == []
        stream.cancel()
        assert list(stream) == []


@pytest.mark.parametrize("handler", [endless, flooding])
def test_cancel_is_seen_by_the_server_at_once(make_twin: MakeTwin, handler: Any) -> None:
    servicer = Harmonize(handler)
    with serving(servicer) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m")
        assert next(stream) is not None
        begin = time.monotonic()
        stream.cancel()
        assert servicer.ended.wait(20)
        assert time.monotonic() - begin < 0.5
        with pytest.raises(Cancelled, match="the call was cancelled"):
            list(stream)
        assert list(stream) == []


def test_dropping_the_stream_cancels_the_call(make_twin: MakeTwin) -> None:
    servicer = Harmonize(endless)
    with serving(servicer) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint)
        for event in twin.harmonize(b"c", b"p", b"m"):
            assert event == Queued(position=0)
            break
        assert servicer.ended.wait(20)


def test_leaving_the_context_cancels_the_call() -> None:
    servicer = Harmonize(endless)
    with serving(servicer) as endpoint, Client(harmonize_endpoint=endpoint) as client:
        with client.harmonize(b"c", b"p", b"m") as stream:
            assert next(stream) == Queued(position=0)
            assert not servicer.ended.is_set()
        assert servicer.ended.wait(20)


async def test_leaving_the_asynchronous_context_cancels_the_call() -> None:
    servicer = Harmonize(endless)
    with serving(servicer) as endpoint:
        async with AsyncClient(harmonize_endpoint=endpoint) as client:
            async with client.harmonize(b"c", b"p", b"m") as stream:
                assert await anext(stream) == Queued(position=0)
                assert not servicer.ended.is_set()
            assert await asyncio.to_thread(servicer.ended.wait, 2)


def test_closing_the_client_cancels_its_streams(make_twin: MakeTwin) -> None:
    servicer = Harmonize(endless)
    with serving(servicer) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint)
        stream = twin.harmonize(b"c", b"p", b"m")
        assert next(stream) == Queued(position=0)
        twin.close()
        assert servicer.ended.wait(20)
        with pytest.raises(Cancelled):
            next(stream)


def test_another_thread_may_cancel() -> None:
    servicer = Harmonize(endless)
    with serving(servicer) as endpoint, Client(harmonize_endpoint=endpoint) as client:
        stream = client.harmonize(b"c", b"p", b"m")
        assert next(stream) == Queued(position=0)
        threading.Timer(0.1, stream.cancel).start()
        with pytest.raises(Cancelled):
            next(stream)


async def test_another_task_may_cancel_while_one_waits() -> None:
    with serving(Harmonize(endless)) as endpoint:
        async with AsyncClient(harmonize_endpoint=endpoint) as client:
            stream = client.harmonize(b"c", b"p", b"m")
            assert await anext(stream) == Queued(position=0)
            asyncio.get_running_loop().call_later(0.1, stream.cancel)
            with pytest.raises(Cancelled):
                await anext(stream)


async def test_cancelling_the_task_cancels_the_call_and_stays_a_cancellation() -> None:
    servicer = Harmonize(endless)

    async def consume(client: AsyncClient) -> None:
        async for event in client.harmonize(b"c", b"p", b"m"):
            assert event == Queued(position=0)
            begun.set()

    begun = asyncio.Event()
    with serving(servicer) as endpoint:
        async with AsyncClient(harmonize_endpoint=endpoint) as client:
            task = asyncio.create_task(consume(client))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(servicer.ended.wait, 2)


async def test_a_timeout_around_the_loop_works() -> None:
    servicer = Harmonize(endless)
    with serving(servicer) as endpoint:
        async with AsyncClient(harmonize_endpoint=endpoint) as client:

            async def consume() -> None:
                async for _ in client.harmonize(b"c", b"p", b"m"):
                    pass

            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(consume(), 0.2)
            assert await asyncio.to_thread(servicer.ended.wait, 2)


async def test_many_streams_at_once_do_not_mix() -> None:
    async def echo(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        for position in range(3):
            yield queued(position)
            await asyncio.sleep(0.01)
        yield result(request.composite.data)

    with serving(Harmonize(echo)) as endpoint:
        async with AsyncClient(harmonize_endpoint=endpoint) as client:

            async def one(name: bytes) -> list[Event]:
                return [event async for event in client.harmonize(name, b"p", b"m")]

            streams = await asyncio.gather(*(one(b"%d" % number) for number in range(20)))
    for number, events in enumerate(streams):
        assert kinds(events) == [Queued, Queued, Queued, Result]
        assert isinstance(events[3], Result)
        assert events[3].image == b"%d" % number


def test_a_deadline_bounds_the_whole_stream(make_twin: MakeTwin) -> None:
    servicer = Harmonize(endless)
    with serving(servicer) as endpoint:
        events: list[Event] = []
        with pytest.raises(DeadlineExceeded, match=r"not done after 0\.3 s"):
            events.extend(make_twin(harmonize_endpoint=endpoint, timeout_s=0.3).harmonize(b"c", b"p", b"m"))
        assert servicer.ended.wait(20)


def test_a_failure_after_events_comes_after_them(make_twin: MakeTwin) -> None:
    async def fail(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        for position in range(50):
            yield queued(position)
        raise ServiceError(error_reason_pb2.ERROR_REASON_WEIGHTS_MISSING, "no vgg16", metadata={"weights": "vgg16"})

    with serving(Harmonize(fail)) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m")
        assert [next(stream) for _ in range(50)] == [Queued(position=position) for position in range(50)]
        with pytest.raises(PreconditionFailed, match=r"^no vgg16$") as caught:
            next(stream)
        assert (caught.value.reason, caught.value.metadata["weights"]) == ("WEIGHTS_MISSING", "vgg16")
        assert list(stream) == []


def test_a_stream_without_a_result_is_an_error(make_twin: MakeTwin) -> None:
    async def stop_early(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        yield queued(0)

    with serving(Harmonize(stop_early)) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m")
        assert next(stream) == Queued(position=0)
        with pytest.raises(ServerError, match="ended the stream without a result") as caught:
            next(stream)
        assert caught.value.code is grpc.StatusCode.DATA_LOSS


def test_an_event_of_a_newer_server_is_passed_over(make_twin: MakeTwin) -> None:
    async def newer(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        yield pb.HarmonizeResponse.FromString(b"\x4a\x00")
        yield result()
        yield pb.HarmonizeResponse.FromString(b"\x4a\x00")

    with serving(Harmonize(newer)) as endpoint:
        assert kinds(list(make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m"))) == [Result]


def refuse_times(times: int) -> tuple[Callable[..., AsyncGenerator[Any, None]], list[int]]:
    """A handler that drains the first calls before any event, and counts the calls."""
    calls: list[int] = []

    async def handler(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        calls.append(len(request.composite.data))
        if len(calls) <= times:
            raise ServiceError(error_reason_pb2.ERROR_REASON_DRAINING, "the server stops", retry_after_s=1)
        yield result()

    return handler, calls


def test_a_stream_is_retried_before_its_first_event(make_twin: MakeTwin) -> None:
    handler, calls = refuse_times(2)
    with serving(Harmonize(handler)) as endpoint:
        assert kinds(list(make_twin(harmonize_endpoint=endpoint).harmonize(b"c" * LARGE, b"p", b"m"))) == [Result]
    assert calls == [LARGE, LARGE, LARGE]


def test_a_stream_is_not_retried_after_its_first_event(make_twin: MakeTwin) -> None:
    async def drain_late(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        yield queued(1)
        raise ServiceError(error_reason_pb2.ERROR_REASON_DRAINING, "the server stops", retry_after_s=1)

    servicer = Harmonize(drain_late)
    with serving(servicer) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m")
        assert next(stream) == Queued(position=1)
        with pytest.raises(ServerUnavailable, match=r"^the server stops$") as caught:
            next(stream)
        time.sleep(0.3)  # longer than the first back-off
    assert (caught.value.reason, caught.value.retry_after_s) == ("DRAINING", 1.0)
    assert len(servicer.requests) == 1


def test_an_unreachable_server_is_named_with_the_way_out(make_twin: MakeTwin) -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    with pytest.raises(ServerUnavailable) as caught:
        list(make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m"))
    assert f"the harmonize service at {endpoint} cannot be reached" in str(caught.value)
    assert "painterly serve harmonize" in str(caught.value)


SERVER = """
import asyncio
from tests.client.kit import Harmonize, serving
from tests.client.test_streams import endless
with serving(Harmonize(endless)) as endpoint:
    print(endpoint, flush=True)
    input()
"""


@contextlib.contextmanager
def other_process(program: str) -> Iterator[Any]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_killed_server_is_told_with_what_to_do(make_twin: MakeTwin) -> None:
    with other_process(SERVER) as process:
        endpoint = process.stdout.readline().strip()
        stream = make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m")
        assert next(stream) == Queued(position=0)
        begin = time.monotonic()
        process.send_signal(signal.SIGKILL)
        with pytest.raises(ServerUnavailable) as caught:
            next(stream)
        assert time.monotonic() - begin < 2
    assert f"the harmonize service at {endpoint} went away in the middle of the call" in str(caught.value)
    assert "run_pass2" in str(caught.value)
    assert len(caught.value.request_id) == 32


CALLER = """
import sys
from painterly_client import Client
stream = Client(harmonize_endpoint=sys.argv[1]).harmonize(b"c", b"p", b"m")
print(next(stream), flush=True)
next(stream)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_caller_that_dies_ends_its_call(number: signal.Signals) -> None:
    servicer = Harmonize(endless)
    with serving(servicer) as endpoint:
        command = [sys.executable, "-c", CALLER, endpoint]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as caller:
            assert caller.stdout is not None
            assert caller.stdout.readline() == "Queued(position=0, estimated_wait_s=None)\n"
            os.kill(caller.pid, number)
            _, complaints = caller.communicate(timeout=10)
        assert servicer.ended.wait(20)
    assert caller.returncode == -number
    if number == signal.SIGINT:
        assert complaints.rstrip().endswith("KeyboardInterrupt")
        assert "Exception ignored" not in complaints


def test_a_slow_reader_gets_every_event(make_twin: MakeTwin) -> None:
    async def quick(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        for position in range(30):
            yield queued(position)
        yield result(b"x" * 10**6)

    servicer = Harmonize(quick)
    with serving(servicer) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m")
        assert next(stream) == Queued(position=0)
        until(servicer.ended.is_set)  # the server has long ended the call
        events = list(stream)
    assert kinds(events) == [Queued] * 29 + [Result]
    assert [event.position for event in events[:-1] if isinstance(event, Queued)] == list(range(1, 30))
