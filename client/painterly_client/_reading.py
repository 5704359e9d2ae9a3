"""A stream as both clients read it: which call to make next, what a response means, what a failure means. No I/O."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message

from painterly.errors import ErrorDetails, read_details
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_client._base import CANCELLED_HERE, CallContext
from painterly_client._conversion import EventResponse, event_of
from painterly_client._errors import PainterlyError, ServerError, StreamLost, error_of
from painterly_client._events import Accepted, Event, Heartbeat, Queued, Result
from painterly_client._reattachment import Backoff, Reattachment

logger = logging.getLogger("painterly_client")

# The slowest connection that is not taken for a dead one while a request's pictures travel.
_UPLOAD_BYTES_PER_S = 64 * 1024
# Statuses of the transport, not of the service, after which the job may well go on.
_TRANSPORT_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        # A proxy or a server that stops hard resets streams; what this client cancels itself is told before.
        grpc.StatusCode.CANCELLED,
    }
)
_PASSING_REASONS = frozenset({"DRAINING", "STARTING", "STORE_UNAVAILABLE"})


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One call for a stream.

    When nothing comes for ``idle_timeout_s``, at first ``upload_s`` longer, the call is taken for lost; None for never.
    The one ``is_after_silence`` is better made over another connection.
    """

    method: str
    request: Message
    timeout_s: float | None
    metadata: tuple[tuple[str, str], ...]
    idle_timeout_s: float | None
    upload_s: float
    is_after_silence: bool = False


class StreamReader:
    """Knows how far a stream has come, and how it goes on. Once it has ended or raised it is over, as a generator is.

    ``request`` begins the job by ``method``, or watches one. Streams of named jobs are taken up again as
    ``reattachment`` says. With ``waits_when_busy``, a stream that the server has no room for yet asks again when the
    server says.
    """

    def __init__(
        self,
        context: CallContext,
        method: str,
        request: Message,
        *,
        reattachment: Reattachment,
        waits_when_busy: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._method = context, method
        self._waits_when_busy, self._idle_timeout_s = waits_when_busy, reattachment.idle_timeout_s
        self._clock, self._backoff = clock, Backoff(reattachment, clock)
        self._deadline_s = None if context.timeout_s is None else clock() + context.timeout_s
        self._job_key: str = getattr(request, "job_key", "")
        self.job_id: str = getattr(request, "job_id", "")
        self.cursor: str = getattr(request, "after_cursor", "")
        # A watched job may be unnamed; asking for it once more is answered truly nevertheless.
        self.named = bool(self._job_key or self.job_id)
        self._request = None if self.job_id else request
        self._accepted: Accepted | None = None
        self._last_event: Event | None = None
        self._attempt_count = 0
        self._is_silent = False
        self.is_over = False

    def attempt(self) -> Attempt:
        """The call to make now."""
        self._attempt_count += 1
        method, request = self._method, self._request
        upload_s = request.ByteSize() / _UPLOAD_BYTES_PER_S if request else 0.0
        if request is None:
            method, request = "WatchJob", pb.WatchJobRequest(job_id=self.job_id, after_cursor=self.cursor)
        return Attempt(
            method=method,
            request=request,
            timeout_s=None if self._deadline_s is None else max(self._deadline_s - self._clock(), 0.0),
            metadata=self._context.metadata,
            idle_timeout_s=self._idle_timeout_s if self.named else None,
            upload_s=upload_s,
            is_after_silence=self._is_silent,
        )

    def read(self, response: EventResponse) -> Event | None:
        """The response's event; None for one to skip: of an unknown kind, or told already."""
        event = event_of(response)
        self.cursor = response.cursor or self.cursor
        self._is_silent = False
        if event is None or self._is_told(event):
            return None
        if isinstance(event, Accepted):
            self._accepted, self.job_id, self.named = event, event.job_id, event.named
        self._backoff.reset()
        self._request = None  # its pictures are no longer needed
        self._last_event = event if not isinstance(event, Heartbeat) else self._last_event or event
        return event

    def finish(self) -> None:
        """Check a stream that ended well. Raises: ServerError if there was no result."""
        self.is_over = True
        if not isinstance(self._last_event, Result):
            text = f"{self._server} ended the stream without a result"
            details = ErrorDetails(code=grpc.StatusCode.DATA_LOSS, message=text)
            raise ServerError(self._with_names(dataclasses.replace(details, metadata=self._request_id)))

    def retry_delay_s(self, error: grpc.RpcError | None) -> float:
        """How long to wait before the next attempt, after a failure or, with None, a silence.

        Raises: PainterlyError when there is to be none.
        """
        self._is_silent = error is None
        details = self._silence() if error is None else read_details(error)
        if self._may_pass(details):
            delay_s = self._backoff.next_delay_s(details.retry_after_s)
            has_time = self._deadline_s is None or self._clock() + (delay_s or 0.0) < self._deadline_s
            if delay_s is not None and has_time:
                what = details.reason or details.code.name
                # Once for each time that the connection is lost; an outage would fill the screen.
                level = logging.WARNING if self._backoff.failure_count == 1 else logging.DEBUG
                logger.log(level, "%s: %s; trying again for up to %.0f s", self._job, what, self._backoff.left_s)
                return delay_s
        self.is_over = True
        raise self._final(details)

    def cancelled(self) -> PainterlyError:
        """The exception for a stream that this client cancelled."""
        self.is_over = True
        message = CANCELLED_HERE.message + self._way_on()
        details = dataclasses.replace(CANCELLED_HERE, message=message, metadata=self._request_id)
        return error_of(self._with_names(details))

    @property
    def _has_begun(self) -> bool:
        return self._last_event is not None

    @property
    def _server(self) -> str:
        return f"the {self._context.service} service at {self._context.endpoint}"

    @property
    def _job(self) -> str:
        if self.job_id:
            return f"job {self.job_id}"
        return f"the job with the key {self._job_key}" if self._job_key else "a job without a key"

    @property
    def _request_id(self) -> dict[str, str]:
        return {"request_id": self._context.request_id}

    def _is_told(self, event: Event) -> bool:
        """Whether a stream that was taken up again says once more what its reader knows."""
        if isinstance(event, Accepted) and self._accepted is not None:
            # That it was begun for the first time is no news.
            return event.attempt <= max(self._accepted.attempt, 1)
        return isinstance(event, Queued) and self._attempt_count > 1 and event == self._last_event

    def _silence(self) -> ErrorDetails:
        return ErrorDetails(
            code=grpc.StatusCode.UNAVAILABLE, message=f"nothing was heard for {self._idle_timeout_s:g} s"
        )

    def _may_pass(self, details: ErrorDetails) -> bool:
        is_busy = details.code is grpc.StatusCode.RESOURCE_EXHAUSTED and details.retry_after_s is not None
        if not self._has_begun and self._waits_when_busy and details.retry_after_s is not None:
            return True
        # Without an id of its own the job is not one that the server keeps.
        if not self.named or (self._has_begun and not self.job_id):
            return False
        # A job that was let in waits for its place when it was parked meanwhile.
        return _is_lost_stream(details) or (self._has_begun and is_busy)

    def _final(self, details: ErrorDetails) -> PainterlyError:
        if self.named and self._has_begun and self.job_id and _is_lost_stream(details):
            text = (
                f"{self._server} is lost since {self._backoff.silence_s:.0f} s "
                f"({details.reason or details.code.name}: {details.message}){self._way_on()}"
            )
            return StreamLost(self._with_names(dataclasses.replace(details, message=text, metadata=self._request_id)))
        told = self._context.explained(details, has_begun=self._has_begun)
        if not details.reason and details.code in (grpc.StatusCode.DEADLINE_EXCEEDED, *_TRANSPORT_CODES):
            told = dataclasses.replace(told, message=told.message + self._way_on())
        return error_of(self._with_names(told))

    def _way_on(self) -> str:
        """How to go on with a named job, as the end of a sentence; empty for any other."""
        if not self.named:
            return ""
        if self.job_id:
            after = f", after_cursor={self.cursor!r}" if self.cursor else ""
            watch = f"watch_job({self.job_id!r}{after})"
            return f"; job {self.job_id} is not lost: read on with {watch}, or end it with cancel_job"
        return f"; if the server has the job, the same call with job_key={self._job_key!r} reads on"

    def _with_names(self, details: ErrorDetails) -> ErrorDetails:
        names = {"job_id": self.job_id, "job_key": self._job_key, "cursor": self.cursor}
        given = {name: value for name, value in names.items() if value}
        return dataclasses.replace(details, metadata={**given, **details.metadata})


def _is_lost_stream(details: ErrorDetails) -> bool:
    is_transports = not details.reason and details.code in _TRANSPORT_CODES
    return is_transports or details.reason in _PASSING_REASONS
