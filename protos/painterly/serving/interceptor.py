"""One interceptor around every call: a stack of layers, each a context manager around the handler."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import grpc

from painterly.calls import Call, begin_call
from painterly.errors import REQUEST_ID_KEY, ServiceError
from painterly.v1 import error_reason_pb2

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Layer: TypeAlias = Callable[[Call, Context], contextlib.AbstractAsyncContextManager[None]]

UNKNOWN_METHOD = "unknown"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Runs each handler within ``layers``, outermost first, and within a :class:`Call` that code finds again.

    Requests are read inside the layers, so one that cannot be read is an error like any other.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler; a method that nobody serves gets one that says so, within the same layers."""
        handler = await continuation(handler_call_details)
        metadata = handler_call_details.invocation_metadata or ()
        given = next((value for key, value in metadata if key == REQUEST_ID_KEY), None)
        method = handler_call_details.method.lstrip("/") if handler else UNKNOWN_METHOD
        call = begin_call(method, given)
        if handler is None:
            return grpc.unary_unary_rpc_method_handler(self._coroutine(call, _not_served, None))
        inner = _behavior(handler)
        parse = None if handler.request_streaming else handler.request_deserializer
        # A streaming handler may also be a coroutine that writes to its context, as the standard health service's is.
        wrap = self._generator if inspect.isasyncgenfunction(inner) else self._coroutine
        return _maker(handler)(
            wrap(call, inner, parse),
            # Of a stream each request is read within the handler, hence within the layers as well.
            request_deserializer=partial(_read, parse=handler.request_deserializer) if parse is None else None,
            response_serializer=handler.response_serializer,
        )

    def _coroutine(self, call: Call, inner: Callable[..., Awaitable[Any]], parse: Any) -> Callable[..., Awaitable[Any]]:
        async def within(request: Any, context: Context) -> Any:
            async with contextlib.AsyncExitStack() as stack:
                await self._enter(stack, call, context)
                return await inner(_read(request, parse), context)

        return within

    def _generator(
        self, call: Call, inner: Callable[..., AsyncGenerator[Any, None]], parse: Any
    ) -> Callable[..., AsyncGenerator[Any, None]]:
        async def within(request: Any, context: Context) -> AsyncGenerator[Any, None]:
            async with contextlib.AsyncExitStack() as stack:
                await self._enter(stack, call, context)
                # Closing the inner generator runs its `finally` at once, also when the reader went away mid-yield.
                stream = await stack.enter_async_context(contextlib.aclosing(inner(_read(request, parse), context)))
                async for response in stream:
                    yield response

        return within

    async def _enter(self, stack: contextlib.AsyncExitStack, call: Call, context: Context) -> None:
        for layer in self._layers:
            await stack.enter_async_context(layer(call, context))


def _behavior(handler: Any) -> Any:
    kinds = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    return next(kind for kind in kinds if kind is not None)


def _maker(handler: Any) -> Any:
    return {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]


def _read(request: Any, parse: Callable[[bytes], Any] | None) -> Any:
    if parse is None:
        return request
    try:
        return parse(request)
    except Exception as error:  # protobuf's own, or a text that is no UTF-8
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_REQUEST_UNREADABLE,
            "the request is not a message of this method; generate the client from this version's protos",
        ) from error


async def _not_served(_request: Any, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the server does not know this method")
