"""Small real servers with scripted handlers, and one way to drive both clients."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeAlias

import grpc

from painterly.serving import Listener, Server
from painterly.v1 import (
    harmonize_service_pb2,
    harmonize_service_pb2_grpc,
    image_pb2,
    preprocess_service_pb2,
    preprocess_service_pb2_grpc,
)
from painterly_client import AsyncClient, AsyncEventStream, Client, Event, EventStream

pb = harmonize_service_pb2
Unary: TypeAlias = Callable[[Any, Any], Awaitable[Any]]
Stream: TypeAlias = Callable[[Any, Any], AsyncGenerator[Any, None]]
Work: TypeAlias = Coroutine[Any, Any, Any]

PREPROCESS_NAME = "painterly.v1.PreprocessService"
HARMONIZE_NAME = "painterly.v1.HarmonizeService"


class Preprocess(preprocess_service_pb2_grpc.PreprocessServiceServicer):
    """Answers each call with a scripted handler, by method name; ``requests`` holds what arrived."""

    def __init__(self, **handlers: Unary) -> None:
        self.handlers = handlers
        self.requests: list[Any] = []

    async def _answer(self, name: str, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return await self.handlers[name](request, context)

    async def RemoveBackground(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer("RemoveBackground", request, context)

    async def Compose(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer("Compose", request, context)

    async def SuggestPlacement(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer("SuggestPlacement", request, context)

    async def DilateMask(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer("DilateMask", request, context)

    async def Prepare(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer("Prepare", request, context)


class Harmonize(harmonize_service_pb2_grpc.HarmonizeServiceServicer):
    """Streams what a scripted handler yields.

    ``requests`` holds what arrived; ``ended`` is set when a handler has ended, for whatever reason.
    """

    def __init__(self, handler: Stream) -> None:
        self.handler = handler
        self.requests: list[Any] = []
        self.ended = threading.Event()

    async def _stream(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:
        self.requests.append(request)
        try:
            async with contextlib.aclosing(self.handler(request, context)) as responses:
                async for response in responses:
                    yield response
        finally:
            self.ended.set()

    async def Plan(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The first thing that the handler yields, as of all unary calls here."""
        return await self._first(request, context)

    async def Evaluate(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._first(request, context)

    async def WatchJob(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:  # noqa: N802
        async with contextlib.aclosing(self._stream(request, context)) as responses:
            async for response in responses:
                yield pb.WatchJobResponse.FromString(response.SerializeToString())

    async def _first(self, request: Any, context: Any) -> Any:
        async for response in self._stream(request, context):
            return response

    async def GetJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._first(request, context)

    async def ListJobs(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._first(request, context)

    async def CancelJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._first(request, context)

    async def FinishJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._first(request, context)

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._first(request, context)

    async def RunPass1(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:  # noqa: N802
        async with contextlib.aclosing(self._stream(request, context)) as responses:
            async for response in responses:
                yield pb.RunPass1Response.FromString(response.SerializeToString())

    async def RunPass2(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:  # noqa: N802
        async with contextlib.aclosing(self._stream(request, context)) as responses:
            async for response in responses:
                yield pb.RunPass2Response.FromString(response.SerializeToString())

    async def Harmonize(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:  # noqa: N802
        async with contextlib.aclosing(self._stream(request, context)) as responses:
            async for response in responses:
                yield response


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop that stays quiet about a wake-up that another loop of this process has taken.

    gRPC wakes every loop of a process through one socket; the loops that read it second get BlockingIOError, which
    means nothing. Its traceback, kept in a log or in the context, would keep alive the frames that were running, and
    so the streams that a test drops.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), BlockingIOError):
            context.clear()
        else:
            loop.default_exception_handler(context)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(handle)
    return loop


class Loop:
    """An event loop in a thread of its own, so that a server runs while a test blocks."""

    def __enter__(self) -> Loop:
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        return self

    def submit(self, work: Work) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def serving(
    *servicers: Preprocess | Harmonize, port: int = 0, delay_s: float = 0.0, listener: Listener | None = None
) -> Iterator[str]:
    """Serve on one port with the project's own shell, listening ``delay_s`` after entering; yields host:port."""

    def register(server: grpc.aio.Server) -> list[str]:
        for servicer in servicers:
            if isinstance(servicer, Preprocess):
                preprocess_service_pb2_grpc.add_PreprocessServiceServicer_to_server(servicer, server)
            else:
                harmonize_service_pb2_grpc.add_HarmonizeServiceServicer_to_server(servicer, server)
        return [PREPROCESS_NAME if isinstance(each, Preprocess) else HARMONIZE_NAME for each in servicers]

    async def start() -> Server:
        await asyncio.sleep(delay_s)
        server = Server(register, listener or Listener(port=port, grace_s=0.1))
        await server.start()
        return server

    with Loop() as loop:
        started = loop.submit(start())
        bound = port or started.result(10).port
        try:
            yield f"127.0.0.1:{bound}"
        finally:
            loop.submit(started.result(10).stop()).result(10)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class BlockingStream:
    """An asynchronous stream, driven step by step."""

    def __init__(self, run: Callable[[Work], Any], stream: AsyncEventStream) -> None:
        self._run = run
        self.stream = stream

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        async def step() -> Any:
            return await anext(self.stream, None)

        event: Event | None = self._run(step())
        if event is None:
            raise StopIteration
        return event

    def cancel(self) -> None:
        async def step() -> None:
            self.stream.cancel()

        self._run(step())


class Twin:
    """Either client, called in the same blocking way: ``twin.compose(...)``, ``list(twin.harmonize(...))``."""

    def __init__(self, client: Client | AsyncClient, run: Callable[[Work], Any]) -> None:
        self.client = client
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if isinstance(self.client, Client):
                return method(*args, **kwargs)

            async def step() -> Any:
                result = method(*args, **kwargs)
                return await result if inspect.isawaitable(result) else result

            result = self._run(step())
            return BlockingStream(self._run, result) if isinstance(result, AsyncEventStream) else result

        return call


MakeTwin: TypeAlias = Callable[..., Twin]
AnyStream: TypeAlias = EventStream | BlockingStream


def queued(position: int) -> pb.HarmonizeResponse:
    return pb.HarmonizeResponse(queued=pb.QueuedEvent(position=position))


def result(data: bytes = b"picture") -> pb.HarmonizeResponse:
    image = image_pb2.Image(data=data, format=image_pb2.IMAGE_FORMAT_PNG, width_px=30, height_px=20)
    return pb.HarmonizeResponse(result=pb.ResultEvent(image=image, device="cpu"))


def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait for a condition. Raises: AssertionError if it does not come true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


def compose_answer() -> preprocess_service_pb2.ComposeResponse:
    return preprocess_service_pb2.ComposeResponse(
        composite=image_pb2.Image(data=b"composite"),
        mask=image_pb2.Image(data=b"mask"),
        placement_used=preprocess_service_pb2.Placement(
            center_x_fraction=0.5,
            center_y_fraction=0.0,
            height_fraction=0.25,
            rotation_degrees=-90,
            flip_horizontal=True,
        ),
    )
