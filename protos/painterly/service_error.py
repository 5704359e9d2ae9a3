"""The error that a service's caller is meant to see; free of gRPC, for processes that only compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from painterly.texts import one_line
from painterly.v1.error_reason_pb2 import ErrorReason

if TYPE_CHECKING:
    import grpc


# A status has to fit into headers of 8 KiB, where the message stands three times and not only in ASCII.
_MAX_MESSAGE_BYTES, _MAX_VALUE_BYTES = 800, 200


class ServiceError(Exception):
    """An error that a caller is meant to see.

    ``field`` is the proto field path at fault, when there is one; it also becomes ``metadata["field"]`` and a
    ``BadRequest`` violation. ``retry_after_s`` becomes ``RetryInfo``. Message and metadata may repeat what a caller
    sent: they are kept as one printable line each, short enough for the headers that they travel in.
    """

    def __init__(
        self,
        reason: ErrorReason.ValueType,
        message: str,
        *,
        field: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = one_line(message, _MAX_MESSAGE_BYTES)
        self.field = field
        values = {**({"field": field} if field else {}), **(metadata or {})}
        self.metadata = {name: one_line(value, _MAX_VALUE_BYTES) for name, value in values.items()}
        self.retry_after_s = retry_after_s

    @property
    def code(self) -> grpc.StatusCode:
        """The status code that belongs to the reason."""
        from painterly.errors import CODE_OF_REASON  # where gRPC is at hand

        return CODE_OF_REASON[self.reason]


def reason_name(reason: ErrorReason.ValueType) -> str:
    """The short name that travels in ``ErrorInfo``: ``MASK_EMPTY`` for ``ERROR_REASON_MASK_EMPTY``."""
    return ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
