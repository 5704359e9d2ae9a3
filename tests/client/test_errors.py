"""Every status code and every reason has its exception, and the exception keeps what the server said."""

from __future__ import annotations

import pickle

import grpc
import pytest

from painterly.errors import CODE_OF_REASON, ErrorDetails, reason_name
from painterly.v1.error_reason_pb2 import ErrorReason
from painterly_client import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    JobFailed,
    JobKeyConflict,
    JobNotFound,
    PainterlyError,
    PreconditionFailed,
    ServerBusy,
    ServerError,
    ServerUnavailable,
)
from painterly_client._errors import error_of

CLASSES = {
    "OK": ServerError,
    "CANCELLED": Cancelled,
    "UNKNOWN": ServerError,
    "INVALID_ARGUMENT": InvalidRequest,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_FOUND": InvalidRequest,
    "ALREADY_EXISTS": InvalidRequest,
    "PERMISSION_DENIED": PreconditionFailed,
    "RESOURCE_EXHAUSTED": ServerError,
    "FAILED_PRECONDITION": PreconditionFailed,
    "ABORTED": ServerError,
    "OUT_OF_RANGE": InvalidRequest,
    "UNIMPLEMENTED": ServerError,
    "INTERNAL": ServerError,
    "UNAVAILABLE": ServerUnavailable,
    "DATA_LOSS": ServerError,
    "UNAUTHENTICATED": PreconditionFailed,
}

OF_REASON = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionFailed,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ServerBusy,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailable,
    grpc.StatusCode.INTERNAL: ServerError,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.ABORTED: ServerError,
    grpc.StatusCode.NOT_FOUND: InvalidRequest,
    grpc.StatusCode.ALREADY_EXISTS: InvalidRequest,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAUTHENTICATED: PreconditionFailed,
    grpc.StatusCode.PERMISSION_DENIED: PreconditionFailed,
}

JOB_CLASSES = {
    "JOB_NOT_FOUND": JobNotFound,
    "JOB_EXPIRED": JobNotFound,
    "JOB_KEY_CONFLICT": JobKeyConflict,
    "JOB_ATTEMPTS_EXHAUSTED": JobFailed,
    "WORKER_LOST": JobFailed,
}


@pytest.mark.parametrize("code", grpc.StatusCode, ids=lambda code: code.name)
def test_every_code_has_its_exception(code: grpc.StatusCode) -> None:
    error = error_of(ErrorDetails(code=code, message="what happened"))
    assert type(error) is CLASSES[code.name]
    assert (error.code, error.message, str(error)) == (code, "what happened", "what happened")
    assert (error.reason, error.field, error.request_id, error.retry_after_s) == ("", "", "", None)


@pytest.mark.parametrize("reason", [number for number in ErrorReason.values() if number != 0], ids=ErrorReason.Name)
def test_every_reason_has_its_exception(reason: ErrorReason.ValueType) -> None:
    code, name = CODE_OF_REASON[reason], reason_name(reason)
    error = error_of(ErrorDetails(code=code, message="text", reason=name, metadata={"field": "mask"}))
    assert type(error) is JOB_CLASSES.get(name, OF_REASON[code])
    assert isinstance(error, OF_REASON[code])
    assert (error.reason, error.metadata, error.field) == (name, {"field": "mask"}, "mask")


def test_every_exception_of_the_tree_is_reached() -> None:
    assert {*CLASSES.values(), *OF_REASON.values()} == set(PainterlyError.__subclasses__())


def test_an_error_survives_pickling() -> None:
    details = ErrorDetails(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        message="full",
        reason="QUEUE_FULL",
        metadata={"queue_size": "2", "request_id": "abc"},
        retry_after_s=1.5,
    )
    again = pickle.loads(pickle.dumps(error_of(details)))
    assert type(again) is ServerBusy
    assert (again.reason, again.retry_after_s, again.request_id, str(again)) == ("QUEUE_FULL", 1.5, "abc", "full")
