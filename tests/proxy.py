"""A TCP proxy between a client and a server on this machine, whose network can be made bad while a test runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from enum import Enum
from types import TracebackType

HOST = "127.0.0.1"
# What may be under way inside the proxy for each direction: little, so that a slow reader is felt by the other side.
_BUFFER_BYTES = 16 * 1024
_SLICES_PER_S = 20


class Mode(Enum):
    """What becomes of the bytes. A mode is for connections that are there and for those that come."""

    PASS = "pass"
    """Everything goes through."""
    BLACKHOLE = "blackhole"
    """Nothing goes through and nothing is closed; what was held goes on with the next PASS or SLOW."""
    RESET = "reset"
    """Connections are cut with a TCP reset, new ones at once."""
    SLOW = "slow"
    """At most ``bytes_per_s`` of each connection go through in each direction."""


class Proxy:
    """``with Proxy(server_port) as proxy:`` clients connect to ``proxy.port``; ``proxy.mode`` may be set at any time.

    It runs in a thread with an event loop of its own, so that it works on whatever the test waits for, and serves
    tests with and without a loop.
    """

    def __init__(self, target_port: int, *, mode: Mode = Mode.PASS, bytes_per_s: int = 64 * 1024) -> None:
        self.connection_count = 0
        """Connections that were ever accepted."""
        self.bytes_to_client = 0
        self.bytes_to_server = 0
        self._target_port = target_port
        self._mode = mode
        self._slice_bytes = max(bytes_per_s // _SLICES_PER_S, 1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def mode(self) -> Mode:
        """What becomes of the bytes now."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        asyncio.run_coroutine_threadsafe(self._change(mode), self._loop).result(10)

    @property
    def open_count(self) -> int:
        """Connections that are open now."""
        return len(self._tasks)

    def __enter__(self) -> Proxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _open(self) -> None:
        self._flowing = asyncio.Event()
        await self._change(self._mode)
        self._server = await asyncio.start_server(self._accept, HOST, 0, limit=_BUFFER_BYTES)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _change(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.BLACKHOLE:
            self._flowing.clear()
        else:
            self._flowing.set()
        if mode is Mode.RESET:
            for writer in self._writers:
                _reset(writer)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._forget, writer)
            self._remember(writer)
            await self._flowing.wait()
            try:
                far_reader, far_writer = await asyncio.open_connection(HOST, self._target_port, limit=_BUFFER_BYTES)
            except OSError:  # As to a client without the proxy: there is no server.
                _reset(writer)
                return
            stack.push_async_callback(self._forget, far_writer)
            self._remember(far_writer)
            pumps = [self._pump(reader, far_writer, False), self._pump(far_reader, writer, True)]
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_client: bool) -> None:
        """Carry one direction until it ends."""
        while True:
            await self._flowing.wait()
            slow = self._mode is Mode.SLOW
            chunk = await reader.read(self._slice_bytes if slow else _BUFFER_BYTES)
            await self._flowing.wait()
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
            if to_client:
                self.bytes_to_client += len(chunk)
            else:
                self.bytes_to_server += len(chunk)
            if slow:
                await asyncio.sleep(1 / _SLICES_PER_S)
        with contextlib.suppress(OSError):
            writer.write_eof()

    def _remember(self, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        writer.transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        self._writers.add(writer)
        if self._mode is Mode.RESET:
            _reset(writer)

    async def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a TCP reset instead of an orderly close."""
    if not writer.transport.is_closing():
        # Lingering for 0 s is how a socket is told to reset.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
