"""Abuse below the requests: what comes to the port, headers, compression, silence, and many connections."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import time
from collections.abc import Iterator, Sequence

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from painterly.errors import read_details
from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceStub
from tests.abuse.judging import LogReader, sample
from tests.abuse.servers import Service
from tests.proxy import Mode, Proxy

# Of a probe on a busy machine: what is held up for good takes longer.
PATIENCE_S = 15.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
TLS_HELLO = bytes.fromhex("16030100c4010000c00303") + bytes(range(200))
GARBAGE = {
    "HTTP/1": b"GET /etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": TLS_HELLO,
    "zeros": bytes(10_000),
    "noise": random.Random(0).randbytes(10_000),
    "preface, then noise": PREFACE + SETTINGS + random.Random(1).randbytes(10_000),
    "a frame of 16 MiB": PREFACE + SETTINGS + b"\xff\xff\xff\0\0\0\0\0\1" + bytes(70_000),
    "headers that never end": PREFACE
    + SETTINGS
    + (b"\0\0\4\1\0\0\0\0\1" + b"\0\1a\0")
    + b"\0\0\1\x09\0\0\0\0\1a" * 9999,
    "many settings": PREFACE + SETTINGS * 5_000,
    "many pings": PREFACE + SETTINGS + (b"\0\0\x08\6\0\0\0\0\0" + bytes(8)) * 5_000,
    "many resets": PREFACE
    + SETTINGS
    + b"".join(b"\0\0\4\3\0" + number.to_bytes(4, "big") + b"\0\0\0\x08" for number in range(1, 20_001, 2)),
}


def health(service: Service, timeout_s: float = 30) -> float:
    """Ask on a new connection; seconds that it took."""
    began_s = time.monotonic()
    with grpc.insecure_channel(service.target) as channel:
        response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
    assert response.status == health_pb2.HealthCheckResponse.SERVING
    return time.monotonic() - began_s


def connected(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), 5)


@contextlib.contextmanager
def many_connections(service: Service, count: int, greeting: bytes) -> Iterator[Sequence[socket.socket]]:
    """Connections that send a greeting and then nothing."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(service)) for _ in range(count)]
        for connection in connections:
            connection.sendall(greeting)
        yield connections


def descriptors(service: Service) -> int:
    return sample(service.process.pid).descriptor_count


def wait_for_descriptors(service: Service, at_most: int, timeout_s: float) -> None:
    end_s = time.monotonic() + timeout_s
    while descriptors(service) > at_most:
        assert time.monotonic() < end_s, f"{descriptors(service)} descriptors are open, not {at_most}"
        time.sleep(0.05)


def compose(service: Service, metadata: Sequence[tuple[str, str | bytes]] = ()) -> grpc.RpcError:
    with grpc.insecure_channel(service.target) as channel, pytest.raises(grpc.RpcError) as caught:
        PreprocessServiceStub(channel).Compose(pb.ComposeRequest(), timeout=10, metadata=tuple(metadata))
    return caught.value


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_on_the_port_harms_nobody(preprocess: Service, kind: str) -> None:
    before = descriptors(preprocess)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(connected(preprocess))
            with contextlib.suppress(ConnectionError, TimeoutError):
                connection.sendall(GARBAGE[kind])
                connection.settimeout(0.2)
                assert b"Traceback" not in connection.recv(65_536)
        assert health(preprocess) < PATIENCE_S
    wait_for_descriptors(preprocess, before, 5)
    assert LogReader(path=preprocess.log).faults() == []


@pytest.mark.slow
def test_who_connects_and_says_nothing_is_shown_the_door(preprocess: Service) -> None:
    before = descriptors(preprocess)
    with contextlib.ExitStack() as stack:
        for greeting in (b"", PREFACE[:9], PREFACE):
            stack.enter_context(many_connections(preprocess, 100, greeting))
        health(preprocess)
        assert descriptors(preprocess) >= before + 300
        wait_for_descriptors(preprocess, before + 2, 15)


@pytest.mark.slow
def test_slow_senders_delay_nobody(preprocess: Service) -> None:
    """One byte at a time, on a hundred connections."""
    with many_connections(preprocess, 100, b"") as connections:
        slowest_s = 0.0
        for byte in (PREFACE + SETTINGS)[:20]:
            for connection in connections:
                connection.sendall(bytes([byte]))
            slowest_s = max(slowest_s, health(preprocess))
        assert slowest_s < PATIENCE_S


def test_four_hundred_idle_connections_cost_little(preprocess: Service) -> None:
    health(preprocess)
    before = sample(preprocess.process.pid)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard_limit > 1000
    with many_connections(preprocess, 400, PREFACE + SETTINGS):
        assert health(preprocess) < PATIENCE_S
        during = sample(preprocess.process.pid)
        assert during.descriptor_count >= before.descriptor_count + 400
        assert during.rss_bytes < before.rss_bytes + (64 << 20)
        assert during.thread_count <= before.thread_count + 4
    wait_for_descriptors(preprocess, before.descriptor_count, 10)


def test_compressed_messages_are_refused_before_they_are_unpacked(preprocess: Service) -> None:
    """40 MiB of zeros are 40 kB on the wire, and a message of the allowed 64 MiB would be as many GiB."""
    request = pb.DilateMaskRequest(mask=image_pb2.Image(data=bytes(40 << 20)))
    before = sample(preprocess.process.pid).rss_bytes
    gzip = grpc.Compression.Gzip
    with grpc.insecure_channel(preprocess.target, compression=gzip) as channel, pytest.raises(grpc.RpcError) as caught:
        PreprocessServiceStub(channel).DilateMask(request, timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert sample(preprocess.process.pid).rss_bytes < before + (20 << 20)


def test_a_message_beyond_the_limit_is_refused(preprocess: Service) -> None:
    request = pb.DilateMaskRequest(mask=image_pb2.Image(data=bytes(65 << 20)))
    with grpc.insecure_channel(preprocess.target) as channel, pytest.raises(grpc.RpcError) as caught:
        PreprocessServiceStub(channel).DilateMask(request, timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert health(preprocess) < PATIENCE_S


@pytest.mark.parametrize(
    "metadata",
    [
        [("x-rubbish", "x" * 100_000)],
        [("x-rubbish-bin", bytes(100_000))],
        [(f"x-{number}", "y" * 20) for number in range(5000)],
    ],
    ids=["long", "long and binary", "many"],
)
def test_oversized_headers_are_refused(preprocess: Service, metadata: Sequence[tuple[str, str | bytes]]) -> None:
    assert compose(preprocess, metadata).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert health(preprocess) < PATIENCE_S


@pytest.mark.parametrize(
    "value",
    ["../../etc/passwd", "%0d%0aINJECTED", '"}{"event":"INJECTED"', "x" * 129, "x" * 4000, "$(reboot)"],
)
def test_a_request_id_is_repeated_or_replaced_but_never_trusted(preprocess: Service, value: str) -> None:
    details = read_details(compose(preprocess, [("x-request-id", value)]))
    assert details.reason == "FIELD_REQUIRED"
    repeated = details.metadata["request_id"]
    assert len(repeated) <= 128
    assert repeated.isprintable()
    assert repeated == value or (len(repeated) == 32 and int(repeated, 16) >= 0)
    assert LogReader(path=preprocess.log).faults() == []


def test_headers_that_lie_about_the_message_are_harmless(preprocess: Service) -> None:
    lies = [("content-length", "5"), ("x-forwarded-for", "127.0.0.1"), ("host", "evil"), ("authorization", "Bearer x")]
    assert read_details(compose(preprocess, lies)).reason == "FIELD_REQUIRED"


def test_unknown_calls_are_unimplemented(preprocess: Service) -> None:
    with grpc.insecure_channel(preprocess.target) as channel:
        for path in ("/", "/../etc/passwd", "/painterly.v1.PreprocessService/Nothing", "/x" * 500):
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_uploads_that_break_off_leave_nothing(preprocess: Service) -> None:
    """Twenty callers are cut off in the middle of a large message."""
    health(preprocess)
    before = descriptors(preprocess)
    request = pb.DilateMaskRequest(mask=image_pb2.Image(data=bytes(8 << 20)))
    with Proxy(preprocess.port, mode=Mode.SLOW, bytes_per_s=2 << 20) as proxy, contextlib.ExitStack() as stack:
        futures = []
        for number in range(20):
            options = [("grpc.channel_id", number)]
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{proxy.port}", options=options))
            futures.append(PreprocessServiceStub(channel).DilateMask.future(request, timeout=20))
        while proxy.bytes_to_server < 20 << 20:
            time.sleep(0.01)
        proxy.mode = Mode.RESET
        codes = {future.code() for future in futures if future.exception(10)}
    assert codes == {grpc.StatusCode.UNAVAILABLE}
    wait_for_descriptors(preprocess, before, 10)
    assert health(preprocess) < PATIENCE_S
