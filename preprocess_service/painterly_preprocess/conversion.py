"""Parameters and errors, between messages and the imaging's own types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.v1.error_reason_pb2 import ErrorReason
from painterly.weights import WeightsError, WeightsMissing
from painterly_preprocess.imaging import errors
from painterly_preprocess.imaging.params import MaskDilation, Placement, RemovalMethod

_METHODS: Mapping[RemovalMethod, pb.BackgroundRemovalMethod.ValueType] = {
    RemovalMethod.AUTO: pb.BACKGROUND_REMOVAL_METHOD_AUTO,
    RemovalMethod.ALPHA: pb.BACKGROUND_REMOVAL_METHOD_ALPHA,
    RemovalMethod.U2NET: pb.BACKGROUND_REMOVAL_METHOD_U2NET,
    RemovalMethod.GRABCUT: pb.BACKGROUND_REMOVAL_METHOD_GRABCUT,
    RemovalMethod.MASK: pb.BACKGROUND_REMOVAL_METHOD_MASK,
    RemovalMethod.REMOVE_BG: pb.BACKGROUND_REMOVAL_METHOD_REMOVE_BG,
    RemovalMethod.CHROMA_KEY: pb.BACKGROUND_REMOVAL_METHOD_CHROMA_KEY,
}
_REASONS: Mapping[type[errors.ImagingError], ErrorReason.ValueType] = {
    errors.ParameterError: reasons.ERROR_REASON_FIELD_OUT_OF_RANGE,
    errors.AlphaMissing: reasons.ERROR_REASON_IMAGE_WITHOUT_ALPHA,
    errors.MaskEmpty: reasons.ERROR_REASON_MASK_EMPTY,
    errors.MaskFull: reasons.ERROR_REASON_MASK_FULL,
    errors.ElementOutside: reasons.ERROR_REASON_ELEMENT_OUTSIDE_PAINTING,
}

_Params = TypeVar("_Params")


def method_from_proto(message: pb.BackgroundRemoval) -> RemovalMethod:
    """Read the wished method; unset means AUTO. Raises: ServiceError UNKNOWN_ENUM_VALUE."""
    number = message.method or pb.BACKGROUND_REMOVAL_METHOD_AUTO
    for method, known in _METHODS.items():
        if number == known:
            return method
    names = ", ".join(pb.BackgroundRemovalMethod.Name(known) for known in _METHODS.values())
    raise ServiceError(
        reasons.ERROR_REASON_UNKNOWN_ENUM_VALUE,
        f"background_removal.method: unknown value {number}; known are {names}",
        field="background_removal.method",
        metadata={"value": str(number)},
    )


def method_to_proto(method: RemovalMethod) -> pb.BackgroundRemovalMethod.ValueType:
    """The method's number on the wire."""
    return _METHODS[method]


def placement_from_proto(message: pb.Placement) -> Placement:
    """Read a placement; what is unset becomes the default. Raises: ServiceError FIELD_OUT_OF_RANGE."""
    return _build(Placement, "placement", message)


def placement_to_proto(placement: Placement) -> pb.Placement:
    """Write a placement with every field set."""
    return pb.Placement(
        center_x_fraction=placement.center_x_fraction,
        center_y_fraction=placement.center_y_fraction,
        height_fraction=placement.height_fraction,
        rotation_degrees=placement.rotation_degrees,
        flip_horizontal=placement.flip_horizontal,
    )


def dilation_from_proto(message: pb.MaskDilation) -> MaskDilation:
    """Read a dilation; what is unset becomes the default. Raises: ServiceError FIELD_OUT_OF_RANGE."""
    return _build(MaskDilation, "dilation", message)


def dilation_to_proto(dilation: MaskDilation) -> pb.MaskDilation:
    """Write a dilation with every field set."""
    return pb.MaskDilation(kernel_size_px=dilation.kernel_size_px, omit_mask_union=dilation.omit_mask_union)


def to_service_error(error: errors.ImagingError | WeightsError, prefix: str = "") -> ServiceError:
    """The error that a caller is meant to see. ``prefix`` is the proto path of the message that holds the field."""
    if isinstance(error, WeightsError):
        missing = isinstance(error, WeightsMissing)
        reason = reasons.ERROR_REASON_WEIGHTS_MISSING if missing else reasons.ERROR_REASON_WEIGHTS_CORRUPT
        return ServiceError(reason, str(error), metadata={"weights": error.name})
    metadata = {"value": str(error.value)} if isinstance(error, errors.ParameterError) else {}
    return ServiceError(_REASONS[type(error)], f"{prefix}{error}", field=f"{prefix}{error.field}", metadata=metadata)


def build(make: Callable[..., _Params], path: str, **values: Any) -> _Params:
    """Make parameters; ``path`` is their proto path. Raises: ServiceError FIELD_OUT_OF_RANGE."""
    try:
        return make(**values)
    except errors.ParameterError as error:
        raise to_service_error(error, f"{path}.") from None


def _build(make: Callable[..., _Params], path: str, message: Message) -> _Params:
    return build(make, path, **{field.name: value for field, value in message.ListFields()})
