"""The layers around every call, outermost first: request id, metrics, access log, errors; then authentication."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import NoReturn

import grpc

from painterly.calls import Call
from painterly.errors import REQUEST_ID_KEY, STATUS_DETAILS_KEY, ServiceError, reason_name, to_status
from painterly.serving.interceptor import Context
from painterly.v1 import error_reason_pb2

logger = logging.getLogger("painterly.serving")

HEALTH_SERVICE = "grpc.health.v1.Health"
_NAME_OF_CODE = {code.value[0]: code.name for code in grpc.StatusCode}


@contextlib.asynccontextmanager
async def request_id(call: Call, context: Context) -> AsyncIterator[None]:
    """Send the request id back in the trailers of every answer."""
    context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
    yield


@contextlib.asynccontextmanager
async def access_log(call: Call, _context: Context) -> AsyncIterator[None]:
    """Write a line for each call that has ended; probes of the health service only at level DEBUG."""
    try:
        yield
    finally:
        level = logging.DEBUG if call.service == HEALTH_SERVICE else logging.INFO
        logger.log(level, "call", extra={"ms": round(call.elapsed_s * 1000, 1)})


@contextlib.asynccontextmanager
async def errors(call: Call, context: Context) -> AsyncIterator[None]:
    """Turn every exception into a status: ours with details, any other into INTERNAL without its text.

    Without it an uncaught exception would reach the caller as UNKNOWN with the exception's class and message.
    """
    try:
        yield
        call.code = _code_of(context)
    except ServiceError as error:
        logger.info("refused: %s", error.message, extra=_about(call))
        await _abort(call, context, error)
    except grpc.aio.AbortError:
        call.code = _code_of(context)
        raise
    except GeneratorExit:
        call.code = _code_of_end(context)
        raise
    except asyncio.CancelledError as cancelled:
        await _abort_cancelled(call, context, cancelled)
    except Exception:
        logger.exception("%s failed", call.method, extra=_about(call))
        await _abort(call, context, _bug(call))


def _about(call: Call) -> dict[str, str]:
    return {"request_id": call.request_id}


def _code_of(context: Context) -> str:
    code = context.code()
    return _NAME_OF_CODE.get(code.value[0] if isinstance(code, grpc.StatusCode) else code or 0, "UNKNOWN")


def _code_of_end(context: Context) -> str:
    remaining_s = context.time_remaining()
    return "DEADLINE_EXCEEDED" if remaining_s is not None and remaining_s <= 0 else "CANCELLED"


async def _abort_cancelled(call: Call, context: Context, cancelled: asyncio.CancelledError) -> None:
    """End a cancelled call. When our own code cancelled it, its caller still waits, for ever without a status.

    Nothing but the attempt to send one tells such a call from one that its caller ended.
    """
    ended = _code_of_end(context)
    try:
        await _abort(call, context, _bug(call))
    except grpc.aio.AbortError:
        logger.error("%s was cancelled from within", call.method, exc_info=cancelled, extra=_about(call))
        raise
    except BaseException:
        call.code, call.reason = ended, ""
        raise


def _bug(call: Call) -> ServiceError:
    text = f"internal error; the server's log has the details under request id {call.request_id}"
    return ServiceError(error_reason_pb2.ERROR_REASON_INTERNAL, text)


async def _abort(call: Call, context: Context, error: ServiceError) -> NoReturn:
    """Send a status. Raises: AbortError once it is sent, InternalError (which gRPC passes over) to a caller gone."""
    call.code, call.reason = error.code.name, reason_name(error.reason)
    details = to_status(error, call.request_id).SerializeToString()
    trailing = ((STATUS_DETAILS_KEY, details), (REQUEST_ID_KEY, call.request_id))
    await context.abort(error.code, error.message, trailing)
