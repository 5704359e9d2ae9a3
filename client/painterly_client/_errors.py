"""Every error that the client raises.

    PainterlyError
    ├── InvalidRequest       the request is at fault: a field, an image, an endpoint
    │   ├── JobNotFound      the server does not know the job, or has removed what was kept of it
    │   └── JobKeyConflict   the job key belongs to another request
    ├── PreconditionFailed   the server or the client is not set up for the call: weights, device, rights, closed client
    ├── ServerBusy           the queue is full or the device is out of memory
    ├── ServerUnavailable    the server cannot be reached, stops, or went away
    │   └── StreamLost       the stream of a named job could not be taken up again; the job itself is not lost
    ├── DeadlineExceeded     the call took longer than the client's ``timeout_s``
    ├── Cancelled            the call or the job was cancelled
    └── ServerError          anything else: a bug or a failed stage on the server, or a limit of the transport
        └── JobFailed        the job's worker was lost as often as the server tries a job

A status becomes an exception in one place, :func:`error_of`. Errors found before anything was sent are of the same
tree, with the code and the reason that the server would have given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc

from painterly.errors import ErrorDetails


class PainterlyError(Exception):
    """A failed call. Its text is for people; programs read the attributes."""

    def __init__(self, details: ErrorDetails) -> None:
        super().__init__(details)
        self._details = details

    def __str__(self) -> str:
        """The message alone."""
        return self.message

    @property
    def code(self) -> grpc.StatusCode:
        """The status code."""
        return self._details.code

    @property
    def reason(self) -> str:
        """The ``ErrorReason`` without its prefix, for example ``MASK_EMPTY``; empty if it is not Painterly's status."""
        return self._details.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """The values that the message mentions, by the keys that the contract states for the reason."""
        return self._details.metadata

    @property
    def message(self) -> str:
        """What happened and the way out, in words."""
        return self._details.message

    @property
    def field(self) -> str:
        """The path of the field at fault, for example ``parameters.pass1.iteration_count``; empty if there is none."""
        return self._details.metadata.get("field", "")

    @property
    def violations(self) -> Sequence[tuple[str, str]]:
        """Every field at fault with its description."""
        return self._details.violations

    @property
    def retry_after_s(self) -> float | None:
        """After how long trying again makes sense, in seconds; None when waiting does not help."""
        return self._details.retry_after_s

    @property
    def request_id(self) -> str:
        """The id under which the server logged the call; empty if the call was never sent."""
        return self._details.metadata.get("request_id", "")

    @property
    def job_id(self) -> str:
        """The server's name for the job; empty if the call belongs to none, or failed before the server named it."""
        return self._details.metadata.get("job_id", "")

    @property
    def job_key(self) -> str:
        """The caller's own name for the job; empty for an unnamed one."""
        return self._details.metadata.get("job_key", "")

    @property
    def cursor(self) -> str:
        """The place behind the last event that was read, for ``watch_job``; empty before the first."""
        return self._details.metadata.get("cursor", "")


class InvalidRequest(PainterlyError):
    """The request is at fault; ``field`` says where."""


class JobNotFound(InvalidRequest):
    """The server does not know the job, or has removed what was kept of it; asking for it anew begins it anew."""


class JobKeyConflict(InvalidRequest):
    """The job key belongs to another request, that of ``job_id``; another key begins another job."""


class PreconditionFailed(PainterlyError):
    """The server or the client is not set up for the call."""


class ServerBusy(PainterlyError):
    """The queue is full or the device is out of memory; trying again helps only if ``retry_after_s`` is given."""


class ServerUnavailable(PainterlyError):
    """The server cannot be reached, stops, or went away in the middle of the call."""


class StreamLost(ServerUnavailable):
    """The stream of a named job was lost and could not be taken up again.

    The job is not lost: ``watch_job(error.job_id, after_cursor=error.cursor)`` reads on. Where ``job_id`` is empty, the
    same call with the same ``job_key`` does.
    """


class DeadlineExceeded(PainterlyError):
    """The call took longer than the client's ``timeout_s``."""


class Cancelled(PainterlyError):
    """The call was cancelled, here or on the server."""


class ServerError(PainterlyError):
    """The server failed; its log has the details under ``request_id``."""


class JobFailed(ServerError):
    """The job's worker was lost as often as the server tries a job; another ``job_key`` begins it anew."""


_ERROR_OF_CODE: Mapping[grpc.StatusCode, type[PainterlyError]] = {
    grpc.StatusCode.OK: ServerError,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNKNOWN: ServerError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: InvalidRequest,
    grpc.StatusCode.ALREADY_EXISTS: InvalidRequest,
    grpc.StatusCode.PERMISSION_DENIED: PreconditionFailed,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ServerBusy,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionFailed,
    grpc.StatusCode.ABORTED: ServerError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNIMPLEMENTED: ServerError,
    grpc.StatusCode.INTERNAL: ServerError,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailable,
    grpc.StatusCode.DATA_LOSS: ServerError,
    grpc.StatusCode.UNAUTHENTICATED: PreconditionFailed,
}

_ERROR_OF_REASON: Mapping[str, type[PainterlyError]] = {
    "JOB_NOT_FOUND": JobNotFound,
    "JOB_EXPIRED": JobNotFound,
    "JOB_KEY_CONFLICT": JobKeyConflict,
    "JOB_ATTEMPTS_EXHAUSTED": JobFailed,
    "WORKER_LOST": JobFailed,
}


def error_of(details: ErrorDetails) -> PainterlyError:
    """The exception for a status."""
    if details.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not details.reason:
        # Not one of ours: the transport's own size limit, which looks like a busy server but never passes.
        return ServerError(details)
    return _ERROR_OF_REASON.get(details.reason, _ERROR_OF_CODE[details.code])(details)


def invalid(reason: str, message: str, *, field: str, **metadata: str) -> InvalidRequest:
    """The error for a request that need not be sent to know that it is at fault."""
    return InvalidRequest(
        ErrorDetails(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            message=message,
            reason=reason,
            metadata={"field": field, **metadata},
            violations=((field, message),),
        )
    )
