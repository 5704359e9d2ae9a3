"""What both clients share: endpoints, channel options, the story of a call. No I/O.

Both clients retry a call that found the server UNAVAILABLE, by the channel's service config; a stream only as long as
the server has not answered it. Nothing else is retried.
"""

from __future__ import annotations

import dataclasses
import json
import math
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
from painterly_client._conversion import EventResponse, event_of
from painterly_client._credentials import Credentials, Endpoint, endpoint_of
from painterly_client._errors import PainterlyError, PreconditionFailed, ServerError, error_of, invalid
from painterly_client._events import Event, Result

Service: TypeAlias = Literal["preprocess", "harmonize"]
HealthStatus: TypeAlias = Literal["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]

FULL_SERVICE_NAMES: Mapping[Service, str] = MappingProxyType(
    {
        "preprocess": preprocess_pb.DESCRIPTOR.services_by_name["PreprocessService"].full_name,
        "harmonize": harmonize_pb.DESCRIPTOR.services_by_name["HarmonizeService"].full_name,
    }
)

_RETRY_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": name} for name in FULL_SERVICE_NAMES.values()],
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
        details = read_details(error)
        return self._error(details if details.reason else self._explain(details, has_begun=has_begun))

    def cancelled(self) -> PainterlyError:
        """The exception for a call that this client cancelled."""
        return self._error(ErrorDetails(code=grpc.StatusCode.CANCELLED, message="the call was cancelled"))

    def _error(self, details: ErrorDetails) -> PainterlyError:
        metadata = {"request_id": self.request_id, **details.metadata}
        return error_of(dataclasses.replace(details, metadata=metadata))

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


class EventReader:
    """Turns a stream's responses into events and knows how far the stream has come.

    Once it has ended or raised, a stream is over, as a generator is.
    """

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self._has_begun = False
        self._has_result = False
        self.is_over = False

    def read(self, response: EventResponse) -> Event | None:
        """The response's event; None for one to skip."""
        self._has_begun = True
        event = event_of(response)
        self._has_result = self._has_result or isinstance(event, Result)
        return event

    def finish(self) -> None:
        """Check a stream that ended well. Raises: ServerError if there was no result."""
        self.is_over = True
        if not self._has_result:
            text = f"the {self._context.service} service at {self._context.endpoint} ended the stream without a result"
            metadata = {"request_id": self._context.request_id}
            raise ServerError(ErrorDetails(code=grpc.StatusCode.DATA_LOSS, message=text, metadata=metadata))

    def error(self, error: grpc.RpcError) -> PainterlyError:
        """The exception for a stream that failed."""
        self.is_over = True
        return self._context.error(error, has_begun=self._has_begun)

    def cancelled(self) -> PainterlyError:
        """The exception for a stream that this client cancelled."""
        self.is_over = True
        return self._context.cancelled()


class BaseClient:
    """Where the services are, and for how long to wait for an answer."""

    def __init__(
        self,
        *,
        preprocess_endpoint: str | None = None,
        harmonize_endpoint: str | None = None,
        timeout_s: float | None = None,
        credentials: Credentials | None = None,
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
        self._closed = False

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
