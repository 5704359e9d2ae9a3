"""The proxy of the tests, between plain sockets and between gRPC's own ends."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from painterly.serving import Listener, Server
from tests.proxy import HOST, Mode, Proxy


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it gets, one thread per connection."""
    listening = socket.create_server((HOST, 0))

    def echo(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(4096):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield int(listening.getsockname()[1])
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


def connect(proxy: Proxy, timeout_s: float = 5) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout_s)


def receive(connection: socket.socket, byte_count: int) -> bytes:
    data = b""
    while len(data) < byte_count:
        chunk = connection.recv(byte_count - len(data))
        if not chunk:
            break
        data += chunk
    return data


def until(condition: Callable[[], bool], timeout_s: float = 5) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_passes_bytes_and_ends_both_ways(echo_port: int) -> None:
    data = bytes(range(256)) * 2000
    with Proxy(echo_port) as proxy, connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        assert receive(connection, len(data)) == data
        sender.join(5)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
        until(lambda: proxy.open_count == 0)
        assert (proxy.connection_count, proxy.bytes_to_server, proxy.bytes_to_client) == (1, len(data), len(data))


def test_a_blackhole_is_silent_and_loses_nothing(echo_port: int) -> None:
    with Proxy(echo_port) as proxy, connect(proxy) as connection:
        connection.sendall(b"before")
        assert receive(connection, 6) == b"before"
        proxy.mode = Mode.BLACKHOLE
        connection.sendall(b"after")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        with connect(proxy, 0.3) as newcomer, pytest.raises(TimeoutError):
            newcomer.recv(1)
        connection.settimeout(5)
        proxy.mode = Mode.PASS
        assert receive(connection, 5) == b"after"


def test_a_reset_cuts_connections_that_are_there_and_that_come(echo_port: int) -> None:
    with Proxy(echo_port) as proxy, connect(proxy) as connection:
        connection.sendall(b"x")
        assert receive(connection, 1) == b"x"
        proxy.mode = Mode.RESET
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        with connect(proxy) as newcomer, pytest.raises(ConnectionResetError):
            newcomer.recv(1)
        proxy.mode = Mode.PASS
        with connect(proxy) as newcomer:
            newcomer.sendall(b"y")
            assert receive(newcomer, 1) == b"y"


def test_slow_keeps_to_its_rate_and_holds_the_sender_back(echo_port: int) -> None:
    with Proxy(echo_port, mode=Mode.SLOW, bytes_per_s=20_000) as proxy, connect(proxy) as connection:
        began_s = time.monotonic()
        connection.sendall(bytes(10_000))
        assert receive(connection, 10_000) == bytes(10_000)
        assert 0.3 < time.monotonic() - began_s < 4
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.sendall(bytes(50_000_000))


def test_without_a_server_behind_it_connections_are_reset() -> None:
    with socket.socket() as silent:
        # Bound, so that nobody else takes the port, and not listening.
        silent.bind((HOST, 0))
        port = silent.getsockname()[1]
        # It may be as early as while connecting.
        with Proxy(port) as proxy, pytest.raises(ConnectionResetError), connect(proxy, 30) as connection:
            connection.recv(1)


async def test_grpc_goes_through_and_notices_a_reset() -> None:
    server = Server(lambda _: (), Listener(grace_s=0.1))
    await server.start()
    request = health_pb2.HealthCheckRequest()
    with Proxy(server.port) as proxy:
        async with grpc.aio.insecure_channel(f"{HOST}:{proxy.port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(request, timeout=5)).status == health_pb2.HealthCheckResponse.SERVING
            watch = health.Watch(request, timeout=20)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            proxy.mode = Mode.RESET
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await watch.read()
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        async with grpc.aio.insecure_channel(f"{HOST}:{proxy.port}") as channel:
            proxy.mode = Mode.BLACKHOLE
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await health_pb2_grpc.HealthStub(channel).Check(request, timeout=0.5)
            assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await server.stop()
