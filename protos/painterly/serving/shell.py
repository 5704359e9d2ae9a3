"""The shell around an asyncio gRPC server: health, reflection, metrics, signals, graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from painterly.serving import layers
from painterly.serving.interceptor import CallInterceptor
from painterly.serving.listening import Listener
from painterly.serving.metrics import CallMetrics, MetricsPort
from painterly.serving.readiness import Check, Readiness

logger = logging.getLogger("painterly.serving")

SERVING = health_pb2.HealthCheckResponse.SERVING


class Server:
    """A started server: its bound port, and a graceful stop that first tells the health service.

    ``register`` adds the servicers and returns their full service names; ``on_drain`` is awaited as the stop begins.
    ``checks`` are told by the health service under their own names, and together under ``readiness``. Raises:
    RuntimeError, OSError when a port is taken.
    """

    def __init__(
        self,
        register: Callable[[grpc.aio.Server], Sequence[str]],
        listener: Listener,
        on_drain: Callable[[], Awaitable[None]] | None = None,
        checks: Mapping[str, Check] | None = None,
    ) -> None:
        self._listener = listener
        self._on_drain = on_drain
        metrics = CallMetrics(listener.registry)
        # Outermost first.
        around = (layers.request_id, metrics.layer, layers.access_log, layers.errors, listener.authentication.layer)
        self._server = grpc.aio.server(interceptors=[CallInterceptor(around)], options=listener.options)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = ("", *register(self._server))
        metrics.expect(self._names[1:])
        self._readiness = Readiness(self._health, checks or {})
        if not listener.authentication.is_on:
            reflection.enable_server_reflection(
                (*self._names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
            )
        where = f"{listener.host}:{listener.port}"
        if listener.tls is None:
            self.port = self._server.add_insecure_port(where)
        else:
            self.port = self._server.add_secure_port(where, listener.tls.credentials)
        self._metrics_port = MetricsPort(listener.metrics, listener.registry) if listener.metrics else None

    @property
    def metrics_port(self) -> int | None:
        """The port where metrics are served, if they are."""
        return self._metrics_port.port if self._metrics_port else None

    async def start(self) -> None:
        """Open the port and report SERVING for every service name, and what the checks say under theirs."""
        await self._server.start()
        for name in self._names:
            await self._health.set(name, SERVING)
        await self._readiness.start()

    async def stop(self) -> None:
        """Report NOT_SERVING, drain, refuse new calls, let running ones end within the grace, cancel the rest.

        Whoever balances load has the pause to look elsewhere; draining goes on meanwhile.
        """
        await self._readiness.stop()
        await self._health.enter_graceful_shutdown()
        draining = [self._on_drain()] if self._on_drain else []
        await asyncio.gather(asyncio.sleep(self._listener.drain_pause_s), *draining)
        await self._server.stop(self._listener.grace_s)
        if self._metrics_port:
            await asyncio.to_thread(self._metrics_port.close)


async def serve_until_signal(server: Server, listener: Listener, service: str) -> None:
    """Run a server until SIGTERM, SIGINT or, when asked for, the end of standard input.

    Once it listens it writes one line of JSON to standard output: ``{"event": "listening", "service": …, "host": …,
    "port": …}``, with ``metrics_port`` where metrics are served. A second signal stops at once.
    """
    loop = asyncio.get_running_loop()
    stop_requested = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_requested.set)
    if listener.exit_with_stdin:
        threading.Thread(target=_call_at_end_of_stdin, args=(loop, stop_requested.set), daemon=True).start()
    await server.start()
    line: dict[str, object] = {"event": "listening", "service": service, "host": listener.host, "port": server.port}
    if server.metrics_port is not None:
        line["metrics_port"] = server.metrics_port
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    logger.info("%s service listens on %s:%d", service, listener.host, server.port)
    warning = listener.warning()
    if warning:
        logger.warning(warning)
    await stop_requested.wait()
    logger.info("%s service stops", service)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    await server.stop()


def _call_at_end_of_stdin(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    # In a thread of its own: an event loop can watch a pipe, but neither a file nor /dev/null.
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 1024):
            pass
    with contextlib.suppress(RuntimeError):  # the loop has ended before
        loop.call_soon_threadsafe(call)
