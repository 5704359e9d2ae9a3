"""Parameters and errors, between messages and the imaging's own types."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.message import Message

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.v1.error_reason_pb2 import ErrorReason
from painterly.weights import WeightsError, WeightsMissing
from painterly_preprocess.imaging import errors
from painterly_preprocess.imaging.params import (
    Anchor,
    Compositing,
    DilationRule,
    KernelShape,
    MaskDilation,
    Placement,
    RemovalMethod,
    SuggestionWish,
)
from painterly_preprocess.imaging.suggesting import Suggestion

logger = logging.getLogger(__name__)

_METHODS: Mapping[RemovalMethod, pb.BackgroundRemovalMethod.ValueType] = {
    RemovalMethod.AUTO: pb.BACKGROUND_REMOVAL_METHOD_AUTO,
    RemovalMethod.ALPHA: pb.BACKGROUND_REMOVAL_METHOD_ALPHA,
    RemovalMethod.U2NET: pb.BACKGROUND_REMOVAL_METHOD_U2NET,
    RemovalMethod.GRABCUT: pb.BACKGROUND_REMOVAL_METHOD_GRABCUT,
    RemovalMethod.MASK: pb.BACKGROUND_REMOVAL_METHOD_MASK,
    RemovalMethod.REMOVE_BG: pb.BACKGROUND_REMOVAL_METHOD_REMOVE_BG,
    RemovalMethod.CHROMA_KEY: pb.BACKGROUND_REMOVAL_METHOD_CHROMA_KEY,
}
# The enums among the parameters: their fields' names are the same everywhere, their members' names the values'.
_ENUMS: Mapping[str, tuple[type[Enum], Any]] = {
    "anchor": (Anchor, pb.PlacementAnchor),
    "rule": (DilationRule, pb.DilationRule),
    "kernel_shape": (KernelShape, pb.KernelShape),
}
_REASONS: Mapping[type[errors.ImagingError], ErrorReason.ValueType] = {
    errors.ParameterError: reasons.ERROR_REASON_FIELD_OUT_OF_RANGE,
    errors.ParameterConflict: reasons.ERROR_REASON_FIELDS_CONFLICT,
    errors.AlphaMissing: reasons.ERROR_REASON_IMAGE_WITHOUT_ALPHA,
    errors.MaskEmpty: reasons.ERROR_REASON_MASK_EMPTY,
    errors.MaskFull: reasons.ERROR_REASON_MASK_FULL,
    errors.ElementOutside: reasons.ERROR_REASON_ELEMENT_OUTSIDE_PAINTING,
}

_Params = TypeVar("_Params")
_Message = TypeVar("_Message", bound=Message)


def method_from_proto(message: pb.BackgroundRemoval) -> RemovalMethod:
    """Read the wished method; unset means AUTO. Raises: ServiceError UNKNOWN_ENUM_VALUE."""
    number = message.method or pb.BACKGROUND_REMOVAL_METHOD_AUTO
    for method, known in _METHODS.items():
        if number == known:
            return method
    names = [pb.BackgroundRemovalMethod.Name(known) for known in _METHODS.values()]
    raise unknown_value("background_removal.method", number, names)


def unknown_value(path: str, number: int, known: Iterable[str]) -> ServiceError:
    """The error for an enum's number that is none of the ``known`` names'; ``path`` is the field's."""
    return ServiceError(
        reasons.ERROR_REASON_UNKNOWN_ENUM_VALUE,
        f"{path}: unknown value {number}; known are {', '.join(known)}",
        field=path,
        metadata={"value": str(number)},
    )


def method_to_proto(method: RemovalMethod) -> pb.BackgroundRemovalMethod.ValueType:
    """The method's number on the wire."""
    return _METHODS[method]


def placement_from_proto(message: pb.Placement, path: str = "placement") -> Placement:
    """Read a placement; what is unset becomes the default. ``path`` is the message's own.

    Raises: ServiceError FIELD_OUT_OF_RANGE, FIELDS_CONFLICT, UNKNOWN_ENUM_VALUE.
    """
    return _build(Placement, path, message)


def placement_to_proto(placement: Placement) -> pb.Placement:
    """Write a placement with every field set, of the sizes the one that it has."""
    return _write(pb.Placement(), placement)


def dilation_from_proto(message: pb.MaskDilation) -> MaskDilation:
    """Read a dilation; what is unset becomes the default. Raises: ServiceError as for a placement."""
    return _build(MaskDilation, "dilation", message)


def dilation_to_proto(dilation: MaskDilation) -> pb.MaskDilation:
    """Write a dilation with every field set."""
    return _write(pb.MaskDilation(), dilation)


def compositing_from_proto(message: pb.Compositing) -> Compositing:
    """Read a compositing; what is unset becomes the default. Raises: ServiceError FIELD_OUT_OF_RANGE."""
    return _build(Compositing, "compositing", message)


def compositing_to_proto(compositing: Compositing) -> pb.Compositing:
    """Write a compositing with every field set."""
    return _write(pb.Compositing(), compositing)


def wish_from_proto(message: pb.SuggestPlacementRequest) -> SuggestionWish:
    """Read what is to be suggested, without the pictures. Raises: ServiceError FIELD_OUT_OF_RANGE."""
    names = {field.name for field in dataclasses.fields(SuggestionWish)}
    given = {field.name: value for field, value in message.ListFields() if field.name in names}
    try:
        return SuggestionWish(**given)
    except errors.ParameterError as error:
        raise to_service_error(error) from None


def suggestion_to_proto(suggestion: Suggestion) -> pb.PlacementSuggestion:
    """Write a suggestion with every field set."""
    return pb.PlacementSuggestion(
        placement=placement_to_proto(suggestion.placement),
        score=suggestion.score,
        scores=pb.PlacementScores(**dataclasses.asdict(suggestion.scores)),
        reason=suggestion.reason,
        left_px=suggestion.box.left,
        top_px=suggestion.box.top,
        width_px=suggestion.box.right - suggestion.box.left,
        height_px=suggestion.box.bottom - suggestion.box.top,
    )


def to_service_error(error: errors.ImagingError | WeightsError, prefix: str = "") -> ServiceError:
    """The error that a caller is meant to see. ``prefix`` is the proto path of the message that holds the field."""
    if isinstance(error, WeightsError):
        missing = isinstance(error, WeightsMissing)
        reason = reasons.ERROR_REASON_WEIGHTS_MISSING if missing else reasons.ERROR_REASON_WEIGHTS_CORRUPT
        logger.warning("%s", error)
        return ServiceError(reason, error.told, metadata={"weights": error.name})
    metadata = {}
    if isinstance(error, errors.ParameterError):
        metadata = {"value": str(error.value)}
    elif isinstance(error, errors.ParameterConflict):
        metadata = {"conflicts_with": f"{prefix}{error.conflicts_with}"}
    return ServiceError(_REASONS[type(error)], f"{prefix}{error}", field=f"{prefix}{error.field}", metadata=metadata)


def build(make: Callable[..., _Params], path: str, **values: Any) -> _Params:
    """Make parameters; ``path`` is their proto path. Raises: ServiceError FIELD_OUT_OF_RANGE, FIELDS_CONFLICT."""
    try:
        return make(**values)
    except (errors.ParameterError, errors.ParameterConflict) as error:
        raise to_service_error(error, f"{path}.") from None


def _build(make: Callable[..., _Params], path: str, message: Message) -> _Params:
    given: dict[str, Any] = {
        field.name: _member(field.name, value, path) if field.name in _ENUMS else value
        for field, value in message.ListFields()
    }
    return build(make, path, **given)


def _write(message: _Message, parameters: Any) -> _Message:
    for field in dataclasses.fields(parameters):
        value = getattr(parameters, field.name)
        if value is not None:
            setattr(message, field.name, _number(field.name, value) if field.name in _ENUMS else value)
    return message


def _member(name: str, number: int, path: str) -> Enum:
    kind, wire = _ENUMS[name]
    for member in kind:
        if _number(name, member) == number:
            return member
    raise unknown_value(f"{path}.{name}", number, [wire.Name(_number(name, member)) for member in kind])


def _number(name: str, member: Enum) -> int:
    wire = _ENUMS[name][1]
    prefix: str = wire.Name(0).removesuffix("UNSPECIFIED")
    number: int = wire.Value(prefix + member.name)
    return number
