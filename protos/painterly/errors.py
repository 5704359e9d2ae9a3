"""Errors on the wire: ``ErrorReason`` to ``google.rpc.Status`` and back.

Servers raise :class:`ServiceError`; ``painterly.serving`` turns it into a status with rich details; clients read the
details back with :func:`read_details`. Nobody ever parses an error's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from painterly.service_error import ServiceError, reason_name
from painterly.v1 import error_reason_pb2
from painterly.v1.error_reason_pb2 import ErrorReason

__all__ = [
    "CODE_OF_REASON",
    "DOMAIN",
    "REQUEST_ID_KEY",
    "STATUS_DETAILS_KEY",
    "ErrorDetails",
    "ServiceError",
    "read_details",
    "reason_name",
    "to_status",
]

DOMAIN = "painterly"
REQUEST_ID_KEY = "x-request-id"
STATUS_DETAILS_KEY = "grpc-status-details-bin"

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED

# The one home of the table in error_reason.proto's comments; a test holds the two against each other.
CODE_OF_REASON: Mapping[ErrorReason.ValueType, grpc.StatusCode] = {
    error_reason_pb2.ERROR_REASON_FIELD_REQUIRED: _INVALID,
    error_reason_pb2.ERROR_REASON_FIELD_OUT_OF_RANGE: _INVALID,
    error_reason_pb2.ERROR_REASON_UNKNOWN_ENUM_VALUE: _INVALID,
    error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE: _INVALID,
    error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE: _INVALID,
    error_reason_pb2.ERROR_REASON_IMAGE_SIZE_MISMATCH: _INVALID,
    error_reason_pb2.ERROR_REASON_IMAGE_WITHOUT_ALPHA: _INVALID,
    error_reason_pb2.ERROR_REASON_MASK_EMPTY: _INVALID,
    error_reason_pb2.ERROR_REASON_MASK_FULL: _INVALID,
    error_reason_pb2.ERROR_REASON_MASK_NOT_CONTAINED: _INVALID,
    error_reason_pb2.ERROR_REASON_ELEMENT_OUTSIDE_PAINTING: _INVALID,
    error_reason_pb2.ERROR_REASON_WEIGHTS_MISSING: _PRECONDITION,
    error_reason_pb2.ERROR_REASON_WEIGHTS_CORRUPT: _PRECONDITION,
    error_reason_pb2.ERROR_REASON_DEVICE_MISSING: _PRECONDITION,
    error_reason_pb2.ERROR_REASON_ENVIRONMENT_DIFFERS: _PRECONDITION,
    error_reason_pb2.ERROR_REASON_QUEUE_FULL: _EXHAUSTED,
    error_reason_pb2.ERROR_REASON_DEVICE_OUT_OF_MEMORY: _EXHAUSTED,
    error_reason_pb2.ERROR_REASON_DRAINING: grpc.StatusCode.UNAVAILABLE,
    error_reason_pb2.ERROR_REASON_STAGE_FAILED: grpc.StatusCode.INTERNAL,
    error_reason_pb2.ERROR_REASON_INTERNAL: grpc.StatusCode.INTERNAL,
    error_reason_pb2.ERROR_REASON_CANCELLED: grpc.StatusCode.CANCELLED,
    error_reason_pb2.ERROR_REASON_FIELDS_CONFLICT: _INVALID,
    error_reason_pb2.ERROR_REASON_FORMAT_UNSUITABLE: _INVALID,
    error_reason_pb2.ERROR_REASON_REMOVE_BG_KEY_MISSING: _PRECONDITION,
    error_reason_pb2.ERROR_REASON_REMOVE_BG_KEY_REFUSED: _PRECONDITION,
    error_reason_pb2.ERROR_REASON_REMOVE_BG_CREDITS_EXHAUSTED: _PRECONDITION,
    error_reason_pb2.ERROR_REASON_REMOVE_BG_RATE_LIMITED: _EXHAUSTED,
    error_reason_pb2.ERROR_REASON_REMOVE_BG_FAILED: grpc.StatusCode.ABORTED,
    error_reason_pb2.ERROR_REASON_MEMORY_BUDGET: _EXHAUSTED,
    error_reason_pb2.ERROR_REASON_PRINCIPAL_LIMIT: _EXHAUSTED,
    error_reason_pb2.ERROR_REASON_STARTING: grpc.StatusCode.UNAVAILABLE,
    error_reason_pb2.ERROR_REASON_STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    error_reason_pb2.ERROR_REASON_JOB_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    error_reason_pb2.ERROR_REASON_JOB_EXPIRED: grpc.StatusCode.NOT_FOUND,
    error_reason_pb2.ERROR_REASON_JOB_KEY_CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    error_reason_pb2.ERROR_REASON_JOB_ATTEMPTS_EXHAUSTED: grpc.StatusCode.INTERNAL,
    error_reason_pb2.ERROR_REASON_WORKER_LOST: grpc.StatusCode.INTERNAL,
    error_reason_pb2.ERROR_REASON_JOB_RUN_LIMIT: grpc.StatusCode.DEADLINE_EXCEEDED,
    error_reason_pb2.ERROR_REASON_TOKEN_MISSING: grpc.StatusCode.UNAUTHENTICATED,
    error_reason_pb2.ERROR_REASON_TOKEN_INVALID: grpc.StatusCode.UNAUTHENTICATED,
    error_reason_pb2.ERROR_REASON_NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    error_reason_pb2.ERROR_REASON_REQUEST_UNREADABLE: _INVALID,
}


def to_status(error: ServiceError, request_id: str = "") -> status_pb2.Status:
    """Build the rich status of an error: ``ErrorInfo`` always, ``BadRequest`` and ``RetryInfo`` where they apply."""
    metadata = {**error.metadata, **({"request_id": request_id} if request_id else {})}
    details: list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo] = [
        error_details_pb2.ErrorInfo(reason=reason_name(error.reason), domain=DOMAIN, metadata=metadata)
    ]
    if error.field and error.code is _INVALID:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


@dataclass(frozen=True, kw_only=True)
class ErrorDetails:
    """What a caller learns from a failed call. ``reason`` is empty when the status is not one of ours."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[tuple[str, str]] = ()
    retry_after_s: float | None = None


def read_details(error: grpc.RpcError) -> ErrorDetails:
    """Read a failed call's status, sync or async; a status of someone else's yields its code and text alone."""
    code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    text = (error.details() if hasattr(error, "details") else None) or ""
    status = _rich_status(error)
    if status is None:
        return ErrorDetails(code=code, message=text)
    reason, metadata, retry_after_s = "", {}, None
    violations: list[tuple[str, str]] = []
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.domain == DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad_request):
            violations = [(violation.field, violation.description) for violation in bad_request.field_violations]
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    return ErrorDetails(
        code=code,
        message=status.message or text,
        reason=reason,
        metadata=metadata,
        violations=tuple(violations),
        retry_after_s=retry_after_s,
    )


def _rich_status(error: grpc.RpcError) -> status_pb2.Status | None:
    # The type stubs disagree on the pairs of the sync and the async flavor; both unpack as key and value.
    trailing: Any = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    packed = next((value for key, value in trailing or () if key == STATUS_DETAILS_KEY), None)
    if packed is None:
        return None
    try:
        return status_pb2.Status.FromString(packed)
    except DecodeError:  # something between the two ends wrote it; the code and the text still count
        return None
