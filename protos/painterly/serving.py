"""The shell around an asyncio gRPC server: health, reflection, error mapping, signals, graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from painterly.errors import REQUEST_ID_KEY, STATUS_DETAILS_KEY, ServiceError, to_status
from painterly.limits import SERVER_OPTIONS
from painterly.v1 import error_reason_pb2

logger = logging.getLogger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns every exception of a handler into a status: ours with details, any other into INTERNAL without its text.

    Without it an uncaught exception would reach the caller as UNKNOWN with the exception's class and message.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the behavior of every handler that takes one request; a handler of a request stream stays as it is."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        inner = handler.unary_stream if handler.response_streaming else handler.unary_unary
        # A streaming handler may also be a coroutine that writes to its context, as the standard health service's is.
        guard = _guard_generator if inspect.isasyncgenfunction(inner) else _guard_coroutine
        return make(
            guard(inner, handler_call_details.method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _guard_coroutine(inner: Callable[..., Awaitable[Any]], method: str) -> Callable[..., Awaitable[Any]]:
    async def guarded(request: Any, context: Context) -> Any:
        async with _errors_as_status(context, method):
            return await inner(request, context)

    return guarded


def _guard_generator(
    inner: Callable[..., AsyncGenerator[Any, None]], method: str
) -> Callable[..., AsyncGenerator[Any, None]]:
    async def guarded(request: Any, context: Context) -> AsyncGenerator[Any, None]:
        # Closing the inner generator runs its `finally` at once, also when the reader went away mid-yield.
        async with _errors_as_status(context, method), contextlib.aclosing(inner(request, context)) as stream:
            async for response in stream:
                yield response

    return guarded


@contextlib.asynccontextmanager
async def _errors_as_status(context: Context, method: str) -> AsyncIterator[None]:
    request_id = _request_id(context)
    try:
        yield
    except ServiceError as error:
        logger.info("%s refused: %s", method, error.message, extra={"request_id": request_id})
        await _abort(context, error, request_id)
    except (grpc.aio.AbortError, GeneratorExit):
        raise
    except asyncio.CancelledError as cancelled:
        await _abort_cancelled(context, method, request_id, cancelled)
    except Exception:
        logger.exception("%s failed", method, extra={"request_id": request_id})
        await _abort(context, _bug(request_id), request_id)


async def _abort_cancelled(context: Context, method: str, request_id: str, cancelled: asyncio.CancelledError) -> None:
    """End a cancelled call. When our own code cancelled it, its caller still waits, for ever without a status.

    Nothing but the attempt to send one tells such a call from one that its caller ended.
    """
    try:
        await _abort(context, _bug(request_id), request_id)
    except grpc.aio.AbortError:
        logger.error("%s was cancelled from within", method, exc_info=cancelled, extra={"request_id": request_id})
        raise


def _bug(request_id: str) -> ServiceError:
    text = f"internal error; the server's log has the details under request id {request_id}"
    return ServiceError(error_reason_pb2.ERROR_REASON_INTERNAL, text)


def _request_id(context: Context) -> str:
    given = next((value for key, value in context.invocation_metadata() or () if key == REQUEST_ID_KEY), "")
    text = given if isinstance(given, str) else ""
    return text if 0 < len(text) <= 128 and text.isprintable() else uuid.uuid4().hex


async def _abort(context: Context, error: ServiceError, request_id: str) -> NoReturn:
    """Send a status. Raises: AbortError once it is sent, InternalError (which gRPC passes over) to a caller gone."""
    details = to_status(error, request_id).SerializeToString()
    trailing = ((STATUS_DETAILS_KEY, details), (REQUEST_ID_KEY, request_id))
    await context.abort(error.code, error.message, trailing)


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Where and how a server runs. ``port`` 0 takes a free one. ``grace_s`` is how long running calls may go on."""

    host: str = "127.0.0.1"
    port: int = 0
    grace_s: float = 5.0
    exit_with_stdin: bool = False


class Server:
    """A started server: its bound port, and a graceful stop that first tells the health service.

    ``register`` adds the servicers and returns their full service names; ``on_drain`` is awaited as the stop begins.
    """

    def __init__(
        self,
        register: Callable[[grpc.aio.Server], Sequence[str]],
        listener: Listener,
        on_drain: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._listener = listener
        self._on_drain = on_drain
        self._server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = ("", *register(self._server))
        reflection.enable_server_reflection(
            (*self._names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        self.port = self._server.add_insecure_port(f"{listener.host}:{listener.port}")

    async def start(self) -> None:
        """Open the port and report SERVING for every service name."""
        await self._server.start()
        for name in self._names:
            await self._health.set(name, SERVING)

    async def stop(self) -> None:
        """Report NOT_SERVING, refuse new calls, let running ones end within the grace, cancel the rest."""
        await self._health.enter_graceful_shutdown()
        if self._on_drain is not None:
            await self._on_drain()
        await self._server.stop(self._listener.grace_s)


async def serve_until_signal(server: Server, listener: Listener, service: str) -> None:
    """Run a server until SIGTERM, SIGINT or, when asked for, the end of standard input.

    Once it listens it writes one line of JSON to standard output: ``{"event": "listening", "service": …, "host": …,
    "port": …}``. A second signal stops at once.
    """
    loop = asyncio.get_running_loop()
    stop_requested = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_requested.set)
    if listener.exit_with_stdin:
        threading.Thread(target=_call_at_end_of_stdin, args=(loop, stop_requested.set), daemon=True).start()
    await server.start()
    line = {"event": "listening", "service": service, "host": listener.host, "port": server.port}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    logger.info("%s service listens on %s:%d", service, listener.host, server.port)
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
