"""What both clients share: endpoints, channel options, the story of a call. No I/O.

Both clients retry a call that found the server UNAVAILABLE, by the channel's service config; a stream only as long as
the server has not answered it. How streams of named jobs go on is in ``_reading.py``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

import grpc

from painterly.errors import REQUEST_ID_KEY, ErrorDetails, read_details
from painterly.limits import CHANNEL_OPTIONS, MAX_MESSAGE_BYTES
from painterly.v1 import harmonize_service_pb2 as harmonize_pb
from painterly.v1 import preprocess_service_pb2 as preprocess_pb
from painterly_client._credentials import Credentials, Endpoint, endpoint_of
from painterly_client._errors import PainterlyError, PreconditionFailed, error_of, invalid
from painterly_client._reattachment import Reattachment

Service: TypeAlias = Literal["preprocess", "harmonize"]
HealthStatus: TypeAlias = Literal["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]

FULL_SERVICE_NAMES: Mapping[Service, str] = MappingProxyType(
    {
        "preprocess": preprocess_pb.DESCRIPTOR.services_by_name["PreprocessService"].full_name,
        "harmonize": harmonize_pb.DESCRIPTOR.services_by_name["HarmonizeService"].full_name,
    }
)

# Watching goes on by other rules, and finishing twice would end two passes.
_UNREPEATED = ("WatchJob", "FinishJob")
_REPEATED = [
    {"service": method.containing_service.full_name, "method": method.name}
    for contract in (preprocess_pb, harmonize_pb)
    for service in contract.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.name not in _UNREPEATED
]

_RETRY_CONFIG = {
    "methodConfig": [
        {
            "name": _REPEATED,
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "backoffMultiplier": 2,
                "maxBackoff": "2s",
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

CLIENT_OPTIONS: tuple[tuple[str, int | str], ...] = (
    *CHANNEL_OPTIONS,
    ("grpc.service_config", json.dumps(_RETRY_CONFIG)),
    # gRPC gives up retrying a request larger than this buffer; its default of 256 KiB is less than most images.
    ("grpc.per_rpc_retry_buffer_size", 2 * MAX_MESSAGE_BYTES),
    # Without these a channel that failed once refuses for a second, longer than the retries take.
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # In spite of its name: how long an attempt to connect may take at least.
    ("grpc.min_reconnect_backoff_ms", 2_000),
)


def channel_options(generation: int) -> tuple[tuple[str, int | str], ...]:
    """Options of a channel; those of different generations never share a connection."""
    return (*CLIENT_OPTIONS, ("painterly.generation", generation))


CANCELLED_HERE = ErrorDetails(code=grpc.StatusCode.CANCELLED, message="the call was cancelled")


@dataclass(frozen=True, kw_only=True)
class CallContext:
    """One call, as far as its failures must tell of it."""

    service: Service
    endpoint: str
    timeout_s: float | None
    request_id: str
    credentials: Credentials = field(default_factory=Credentials)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What the call sends along: the id under which the server logs it, and the token, if there is one."""
        return ((REQUEST_ID_KEY, self.request_id), *self.credentials.metadata)

    def error(self, error: grpc.RpcError, *, has_begun: bool = False) -> PainterlyError:
        """The exception for a failed call; ``has_begun`` says that the server had answered before."""
        return error_of(self.explained(read_details(error), has_begun=has_begun))

    def cancelled(self) -> PainterlyError:
        """The exception for a call that this client cancelled."""
        return error_of(self.explained(CANCELLED_HERE))

    def explained(self, details: ErrorDetails, *, has_begun: bool = False) -> ErrorDetails:
        """What a failed call's status means here: in words, if it is the transport's, and with the request's id."""
        is_own = bool(details.reason) or details is CANCELLED_HERE
        told = details if is_own else self._explain(details, has_begun=has_begun)
        return dataclasses.replace(told, metadata={"request_id": self.request_id, **details.metadata})

    def _explain(self, details: ErrorDetails, *, has_begun: bool) -> ErrorDetails:
        """Say in words what a status of the transport means here and what to do about it."""
        code, server = details.code, f"the {self.service} service at {self.endpoint}"
        if code is grpc.StatusCode.UNAVAILABLE and has_begun:
            text = (
                f"{server} went away in the middle of the call; call again when it is back, "
                "with what has arrived: a stage result of the first pass can go on with run_pass2"
            )
        elif code is grpc.StatusCode.UNAVAILABLE:
            text = (
                f"{server} cannot be reached; start it with `painterly serve {self.service}` "
                f"or correct {self.service}_endpoint (https:// if the server speaks TLS) and the certificates"
            )
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
            text = f"{server} was not done after {self.timeout_s} s; give the client a longer timeout_s"
        elif code is grpc.StatusCode.UNIMPLEMENTED:
            text = f"{server} does not know the call; {self.service}_endpoint may name another service, or an older one"
        elif code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            text = f"the transport refused a message of the call to {server}; send smaller images"
        elif code is grpc.StatusCode.CANCELLED:
            text = "the call was cancelled"
        else:
            text = f"{server} failed"
        return dataclasses.replace(details, message=f"{text} ({code.name}: {details.message})")


class Patience:
    """For how long one unary call may go on, and whether it waits when the server asks it to come back later."""

    def __init__(self, timeout_s: float | None, longest_wait_s: float) -> None:
        now_s = time.monotonic()
        self._deadline_s = None if timeout_s is None else now_s + timeout_s
        self._ends_s = min(now_s + longest_wait_s, math.inf if self._deadline_s is None else self._deadline_s)

    @property
    def left_s(self) -> float | None:
        """The time that is left for the call; None for any."""
        return None if self._deadline_s is None else max(self._deadline_s - time.monotonic(), 0.0)

    def delay_s(self, error: PainterlyError) -> float | None:
        """How long to wait before asking again; None when the error is final."""
        delay_s = error.retry_after_s
        return delay_s if delay_s is not None and time.monotonic() + delay_s < self._ends_s else None


class BaseClient:
    """Where the services are, for how long to wait for an answer, and when to ask again."""

    def __init__(
        self,
        *,
        preprocess_endpoint: str | None = None,
        harmonize_endpoint: str | None = None,
        timeout_s: float | None = None,
        credentials: Credentials | None = None,
        reattachment: Reattachment | None = None,
        waits_when_busy: bool = False,
    ) -> None:
        self._credentials = credentials or Credentials()
        given: Mapping[Service, str | None] = {"preprocess": preprocess_endpoint, "harmonize": harmonize_endpoint}
        self._endpoints: Mapping[Service, Endpoint] = {
            service: endpoint_of(f"{service}_endpoint", text, self._credentials)
            for service, text in given.items()
            if text is not None
        }
        if timeout_s is not None and not 0 < timeout_s < math.inf:
            text = f"timeout_s: {timeout_s} must be a positive number of seconds, or None for no limit"
            raise invalid("FIELD_OUT_OF_RANGE", text, field="timeout_s", value=str(timeout_s))
        self._timeout_s = timeout_s
        self._reattachment = reattachment or Reattachment()
        self._waits_when_busy = waits_when_busy
        self._closed = False

    def _patience(self, context: CallContext) -> Patience:
        return Patience(context.timeout_s, self._reattachment.give_up_after_s if self._waits_when_busy else 0.0)

    def _context(self, service: Service) -> CallContext:
        """Begin a call. Raises: InvalidRequest without the service's endpoint, PreconditionFailed when closed."""
        if self._closed:
            text = "this client is closed; make a new one"
            raise PreconditionFailed(ErrorDetails(code=grpc.StatusCode.FAILED_PRECONDITION, message=text))
        endpoint = self._endpoints.get(service)
        if endpoint is None:
            name = f"{service}_endpoint"
            text = f"{name}: this call needs the {service} service; give the client its host:port"
            raise invalid("FIELD_REQUIRED", text, field=name)
        return CallContext(
            service=service,
            endpoint=endpoint.text,
            timeout_s=self._timeout_s,
            request_id=uuid.uuid4().hex,
            credentials=self._credentials,
        )
