"""The server's shell: health, reflection, statuses of failing handlers, graceful stop, signals of a real process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from painterly.errors import ServiceError, read_details
from painterly.limits import CHANNEL_OPTIONS, SERVER_OPTIONS, server_options
from painterly.serving import Listener, Server, readiness
from painterly.v1 import error_reason_pb2
from painterly.v1 import harmonize_service_pb2 as harmonize_pb
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.v1.harmonize_service_pb2_grpc import HarmonizeServiceStub, add_HarmonizeServiceServicer_to_server
from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceStub, add_PreprocessServiceServicer_to_server
from tests.client.kit import HARMONIZE_NAME, PREPROCESS_NAME, Harmonize, Preprocess, queued

ROOT = Path(__file__).parents[2]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def answer(request: Any, context: Any) -> pb.ComposeResponse:
    return pb.ComposeResponse()


async def never(request: Any, context: Any) -> Any:
    await asyncio.sleep(30)


async def cancelled_within(request: Any = None, context: Any = None) -> Any:
    """Await what our own code has cancelled, as a job queue that is shut down would."""
    lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    lost.cancel()
    await lost


@contextlib.asynccontextmanager
async def running(
    *,
    compose: Any = answer,
    stream: Any = None,
    grace_s: float = 0.1,
    on_drain: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    def register(server: grpc.aio.Server) -> list[str]:
        add_PreprocessServiceServicer_to_server(Preprocess(Compose=compose), server)
        add_HarmonizeServiceServicer_to_server(Harmonize(stream), server)
        return [PREPROCESS_NAME, HARMONIZE_NAME]

    server = Server(register, Listener(grace_s=grace_s), on_drain)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield server, channel
        await server.stop()


def compose(channel: grpc.aio.Channel, timeout_s: float = 5.0) -> grpc.aio.UnaryUnaryCall[Any, Any]:
    return PreprocessServiceStub(channel).Compose(pb.ComposeRequest(), timeout=timeout_s)


def harmonize(channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamCall[Any, Any]:
    return HarmonizeServiceStub(channel).Harmonize(harmonize_pb.HarmonizeRequest(), timeout=5)


async def test_health_is_told_per_service_and_overall() -> None:
    async with running() as (_, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", PREPROCESS_NAME, HARMONIZE_NAME):
            response = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert response.status == SERVING, name
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="painterly.v1.Nothing"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watcher_sees_the_server_stop() -> None:
    async with running() as (server, channel):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=HARMONIZE_NAME))
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(server.stop())
        assert (await watch.read()).status == NOT_SERVING
        await stopping


async def test_reflection_lists_the_services() -> None:
    async with running() as (_, channel):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (response,) = [response async for response in stub.ServerReflectionInfo(requests)]
    names = {service.name for service in response.list_services_response.service}
    assert names == {
        PREPROCESS_NAME,
        HARMONIZE_NAME,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize("data", [b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 200, b"\x00", b"\xff"])
async def test_bytes_that_are_no_message_are_refused_on_every_kind_of_call(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """On every kind of handler: one answer, a stream, and the reflection's stream of requests."""

    async def stream(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        yield queued(0)

    async with running(stream=stream) as (_, channel):
        reflection: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        single: Any = channel.unary_unary(f"/{PREPROCESS_NAME}/Compose")
        health: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        streaming: Any = channel.unary_stream(f"/{HARMONIZE_NAME}/Harmonize")
        calls = [single(data), health(data), streaming(data).read(), reflection(iter([data])).read()]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(call, 5)
            details = read_details(caught.value)
            assert (details.code, details.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_UNREADABLE")
            assert details.message.startswith("the request is not a message of this method")
            assert details.metadata["request_id"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_call_that_our_own_code_cancels_gets_a_status(caplog: pytest.LogCaptureFixture) -> None:
    async def stream(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        yield queued(0)
        await cancelled_within()

    async with running(compose=cancelled_within, stream=stream) as (_, channel):
        begin = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as unary:
            await compose(channel)
        call = harmonize(channel)
        assert await call.read() == queued(0)
        with pytest.raises(grpc.aio.AioRpcError) as streaming:
            await call.read()
        assert time.monotonic() - begin < 1
    details = [read_details(caught.value) for caught in (unary, streaming)]
    assert [(each.code, each.reason) for each in details] == 2 * [(grpc.StatusCode.INTERNAL, "INTERNAL")]
    logged = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.__dict__["request_id"] for record in logged] == [each.metadata["request_id"] for each in details]
    assert [record.getMessage() for record in logged] == [
        f"{PREPROCESS_NAME}/Compose was cancelled from within",
        f"{HARMONIZE_NAME}/Harmonize was cancelled from within",
    ]


@pytest.mark.parametrize(
    "failure", [None, ValueError("late"), ServiceError(error_reason_pb2.ERROR_REASON_CANCELLED, "x")]
)
async def test_a_caller_that_leaves_ends_its_handler_without_a_stir(
    failure: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(request: Any, context: Any) -> Any:
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
            if failure is not None:
                raise failure

    async with running(compose=wait) as (_, channel):
        call = compose(channel)
        await begun.wait()
        call.cancel()
        await asyncio.wait_for(ended.wait(), 2)
        assert (await call.code()) is grpc.StatusCode.CANCELLED
        await asyncio.sleep(0.05)
    complaints = {record.name for record in caplog.records if record.levelname == "ERROR"}
    assert complaints == ({"painterly.serving"} if isinstance(failure, ValueError) else set())


async def test_a_stream_that_nobody_reads_is_closed_at_once_when_its_caller_leaves() -> None:
    ended = asyncio.Event()

    async def flood(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        try:
            while True:
                yield harmonize_pb.HarmonizeResponse(result=harmonize_pb.ResultEvent(device="x" * 2**20))
        finally:
            ended.set()

    async with running(stream=flood) as (_, channel):
        call = harmonize(channel)
        await call.read()
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.wait_for(ended.wait(), 2)


async def test_a_stop_lets_running_calls_end_and_refuses_new_ones() -> None:
    begun, release, drained = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def drain() -> None:
        drained.set()

    async def wait(request: Any, context: Any) -> pb.ComposeResponse:
        begun.set()
        await release.wait()
        return pb.ComposeResponse()

    async with running(compose=wait, grace_s=5, on_drain=drain) as (server, channel):
        call = asyncio.ensure_future(compose(channel))
        await begun.wait()
        assert not drained.is_set()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0.05)
        assert drained.is_set()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as late:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await compose(late)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        release.set()
        assert await call == pb.ComposeResponse()
        await asyncio.wait_for(stopping, 2)


async def test_a_stop_ends_what_outlasts_the_grace() -> None:
    async with running(compose=never, grace_s=0.2) as (server, channel):
        call = compose(channel)
        await asyncio.sleep(0.05)
        begin = time.monotonic()
        await server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert 0.15 < time.monotonic() - begin < 2
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


PROGRAM = """
import asyncio, logging, sys
from painterly.serving import Listener, Server, serve_until_signal
from painterly.v1.preprocess_service_pb2_grpc import add_PreprocessServiceServicer_to_server
from tests.client.kit import Preprocess
from tests.contract.test_serving import PREPROCESS_NAME, never

def register(server):
    add_PreprocessServiceServicer_to_server(Preprocess(Compose=never), server)
    return [PREPROCESS_NAME]

async def main():
    listener = Listener(grace_s=float(sys.argv[1]), exit_with_stdin=sys.argv[2] == "stdin")
    await serve_until_signal(Server(register, listener), listener, "preprocess")

logging.basicConfig(level=logging.INFO)
asyncio.run(main())
"""


@contextlib.contextmanager
def process(grace_s: float = 0.1, mode: str = "", stdin: int = subprocess.PIPE) -> Iterator[tuple[Any, int]]:
    """A server in a process of its own, listening, and its port."""
    command = [sys.executable, "-c", PROGRAM, str(grace_s), mode]
    with subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as running_process:
        try:
            assert running_process.stdout is not None
            line = json.loads(running_process.stdout.readline())
            port = line.pop("port")
            assert line == {"event": "listening", "service": "preprocess", "host": "127.0.0.1"}
            assert port > 0
            yield running_process, port
        finally:
            running_process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_stops_the_process_in_order(number: signal.Signals) -> None:
    with process() as (server, port):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = health_pb2.HealthCheckRequest(service=PREPROCESS_NAME)
            assert health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status == SERVING
        server.send_signal(number)
        out, log = server.communicate(timeout=10)
    assert (server.returncode, out) == (0, "")
    assert f"preprocess service listens on 127.0.0.1:{port}" in log
    assert "preprocess service stops" in log
    assert "Traceback" not in log


def test_the_end_of_standard_input_stops_the_process() -> None:
    with process(mode="stdin") as (server, _):
        time.sleep(0.1)
        assert server.poll() is None
        server.stdin.close()
        assert server.wait(10) == 0
        assert "Traceback" not in server.stderr.read()


def test_standard_input_that_has_ended_before_stops_the_process() -> None:
    with process(mode="stdin", stdin=subprocess.DEVNULL) as (server, _):
        assert server.wait(10) == 0


def test_without_being_asked_the_end_of_standard_input_stops_nothing() -> None:
    with process() as (server, _):
        server.stdin.close()
        time.sleep(0.3)
        assert server.poll() is None


def test_a_second_signal_stops_at_once() -> None:
    with process(grace_s=30) as (server, port), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = PreprocessServiceStub(channel).Compose.future(pb.ComposeRequest(), timeout=30)
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == SERVING  # so the call has arrived
        server.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.poll() is None  # the running call has 30 s to end
        server.send_signal(signal.SIGTERM)
        assert server.wait(5) == -signal.SIGTERM
        with pytest.raises(grpc.RpcError):
            call.result()


async def statuses(channel: grpc.aio.Channel, *names: str) -> list[str]:
    stub = health_pb2_grpc.HealthStub(channel)
    answers = [await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5) for name in names]
    return [health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) for answer in answers]


async def test_health_tells_what_each_check_finds_and_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_INTERVAL_S", 0.02)
    holds = {"weights": True, "store": False}

    def broken() -> bool:
        raise OSError

    checks: dict[str, Callable[[], bool]] = {name: lambda name=name: holds[name] for name in holds}  # type: ignore[misc]
    server = Server(lambda _: [PREPROCESS_NAME], Listener(grace_s=0.1), checks={**checks, "worker": broken})
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            names = ("weights", "store", "worker", "readiness", "", PREPROCESS_NAME)
            assert await statuses(channel, *names) == [
                *("SERVING", "NOT_SERVING", "NOT_SERVING", "NOT_SERVING"),
                *("SERVING", "SERVING"),
            ]
            holds.update(store=True, weights=False)
            await asyncio.sleep(0.2)
            assert await statuses(channel, "weights", "store", "readiness") == ["NOT_SERVING", "SERVING", "NOT_SERVING"]
    finally:
        await server.stop()


async def test_without_checks_a_server_is_ready_until_it_stops() -> None:
    async with running() as (server, channel):
        assert await statuses(channel, "readiness") == ["SERVING"]
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(server.stop())
        assert (await watch.read()).status == NOT_SERVING
        await stopping


async def test_the_pause_of_a_stop_is_there_for_others_to_notice() -> None:
    server = Server(lambda _: [PREPROCESS_NAME], Listener(grace_s=0.1, drain_pause_s=0.5))
    await server.start()
    begin = time.monotonic()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0.1)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as late:
        assert await statuses(late, "", PREPROCESS_NAME, "readiness") == 3 * ["NOT_SERVING"]
    await stopping
    assert 0.5 <= time.monotonic() - begin < 3


def test_both_ends_notice_a_dead_peer_and_allow_each_others_pings() -> None:
    """All three keepalive options are needed; the server allows pings as often as our clients send them."""
    server = dict(server_options(keepalive_s=30, keepalive_timeout_s=10, min_ping_interval_s=10, connection_age_s=0))
    assert server == dict(SERVER_OPTIONS)
    client = dict(CHANNEL_OPTIONS)
    for options, silence_ms in ((server, 30_000), (client, 20_000)):
        assert options["grpc.keepalive_time_ms"] == silence_ms
        assert options["grpc.keepalive_timeout_ms"] == options["grpc.http2.ping_timeout_ms"] == 10_000
        assert options["grpc.max_receive_message_length"] == options["grpc.max_send_message_length"] == 64 * 2**20
    assert server["grpc.http2.min_ping_interval_without_data_ms"] == 10_000 < client["grpc.keepalive_time_ms"]
    assert client["grpc.keepalive_permit_without_calls"] == 0
    assert "grpc.max_connection_age_ms" not in server
    aging = dict(server_options(keepalive_s=30, keepalive_timeout_s=10, min_ping_interval_s=10, connection_age_s=600))
    assert aging["grpc.max_connection_age_ms"] == 600_000
    assert not [name for name in (*server, *aging) if "age_grace" in name or "concurrent" in name]


async def test_callers_connect_anew_after_a_while_and_streams_go_on() -> None:
    async def stream(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        for position in range(6):
            yield queued(position)
            await asyncio.sleep(0.5)

    def register(server: grpc.aio.Server) -> list[str]:
        add_HarmonizeServiceServicer_to_server(Harmonize(stream), server)
        return [HARMONIZE_NAME]

    options = server_options(keepalive_s=30, keepalive_timeout_s=10, min_ping_interval_s=10, connection_age_s=1)
    server = Server(register, Listener(grace_s=0.1, options=options))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            assert [event.queued.position async for event in harmonize(channel)] == list(range(6))
            assert await statuses(channel, "") == ["SERVING"]
    finally:
        await server.stop()
