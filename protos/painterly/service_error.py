"""The error that a service's caller is meant to see; free of gRPC, for processes that only compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from painterly.v1.error_reason_pb2 import ErrorReason

if TYPE_CHECKING:
    import grpc


class ServiceError(Exception):
    """An error that a caller is meant to see.

    ``field`` is the proto field path at fault, when there is one; it also becomes ``metadata["field"]`` and a
    ``BadRequest`` violation. ``retry_after_s`` becomes ``RetryInfo``.
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
        self.message = message
        self.field = field
        self.metadata = {**({"field": field} if field else {}), **(metadata or {})}
        self.retry_after_s = retry_after_s

    @property
    def code(self) -> grpc.StatusCode:
        """The status code that belongs to the reason."""
        from painterly.errors import CODE_OF_REASON  # where gRPC is at hand

        return CODE_OF_REASON[self.reason]


def reason_name(reason: ErrorReason.ValueType) -> str:
    """The short name that travels in ``ErrorInfo``: ``MASK_EMPTY`` for ``ERROR_REASON_MASK_EMPTY``."""
    return ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
