"""Every call's request from its arguments, and every unary call's result from its response. No I/O.

Building raises InvalidRequest, with the field at fault, for what need not be sent to know that it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import Message

from painterly.limits import MAX_MESSAGE_BYTES
from painterly.v1 import harmonize_service_pb2 as harmonize_pb
from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as preprocess_pb
from painterly_client._conversion import enum_member, enum_number, image_message, parameters_message, parameters_of
from painterly_client._errors import invalid
from painterly_client._types import (
    BackgroundRemoval,
    BackgroundRemovalDetails,
    BackgroundRemovalMethod,
    BackgroundRemoved,
    Composed,
    Compositing,
    Dilated,
    HarmonizeParameters,
    MaskDilation,
    OutputOptions,
    PlacedElement,
    Placement,
    PlacementScores,
    PlacementSuggestion,
    Prepared,
    StreamOptions,
)

_JOB_KEY = re.compile(r"[A-Za-z0-9._-]{1,128}")

_Request = TypeVar("_Request", bound=Message)
_HarmonizingRequest = TypeVar(
    "_HarmonizingRequest", harmonize_pb.RunPass1Request, harmonize_pb.RunPass2Request, harmonize_pb.HarmonizeRequest
)


def remove_background_request(
    photo: bytes,
    method: BackgroundRemovalMethod,
    removal: BackgroundRemoval | None,
    output: OutputOptions | None,
) -> preprocess_pb.RemoveBackgroundRequest:
    """Build the request of RemoveBackground."""
    request = preprocess_pb.RemoveBackgroundRequest(
        photo=image_message(photo, "photo"),
        background_removal=_background_removal(method, removal),
        output=_output(output),
    )
    return _sendable(request)


def background_removed(response: preprocess_pb.RemoveBackgroundResponse) -> BackgroundRemoved:
    """Read the response of RemoveBackground."""
    return BackgroundRemoved(
        element=response.element.data,
        method_used=_method_used(response.method_used),
        method_reason=response.method_reason,
        details=parameters_of(response.details, BackgroundRemovalDetails),
    )


def compose_request(
    element: bytes,
    painting: bytes,
    placement: Placement | None,
    compositing: Compositing | None,
    output: OutputOptions | None,
) -> preprocess_pb.ComposeRequest:
    """Build the request of Compose for one element."""
    request = preprocess_pb.ComposeRequest(
        element=image_message(element, "element"),
        painting=image_message(painting, "painting"),
        placement=parameters_message(placement, preprocess_pb.Placement, "placement"),
        compositing=_compositing(compositing),
        output=_output(output),
    )
    return _sendable(request)


def compose_elements_request(
    elements: Sequence[PlacedElement], painting: bytes, compositing: Compositing | None, output: OutputOptions | None
) -> preprocess_pb.ComposeRequest:
    """Build the request of Compose for several elements."""
    if not elements:
        raise invalid("FIELD_REQUIRED", "elements: at least one is needed", field="elements")
    request = preprocess_pb.ComposeRequest(
        painting=image_message(painting, "painting"), compositing=_compositing(compositing), output=_output(output)
    )
    for index, each in enumerate(elements):
        path = f"elements[{index}]"
        request.elements.add(
            element=image_message(each.element, f"{path}.element"),
            placement=parameters_message(each.placement, preprocess_pb.Placement, f"{path}.placement"),
        )
    return _sendable(request)


def composed(response: preprocess_pb.ComposeResponse) -> Composed:
    """Read the response of Compose."""
    return Composed(
        composite=response.composite.data,
        mask=response.mask.data,
        placement_used=parameters_of(response.placement_used, Placement),
        alpha=_optional_image(response.alpha),
        placements_used=tuple(parameters_of(each, Placement) for each in response.placements_used),
        placement_reasons=tuple(response.placement_reasons),
        compositing_used=_compositing_used(response),
    )


def suggest_placement_request(
    painting: bytes,
    element: bytes | None,
    aspect_ratio: float | None,
    height_fraction: float | None,
    suggestion_count: int | None,
) -> preprocess_pb.SuggestPlacementRequest:
    """Build the request of SuggestPlacement."""
    request = preprocess_pb.SuggestPlacementRequest(
        painting=image_message(painting, "painting"),
        element=None if element is None else image_message(element, "element"),
    )
    numbers = {
        "aspect_ratio": aspect_ratio,
        "height_fraction": height_fraction,
        "suggestion_count": suggestion_count,
    }
    for name, value in numbers.items():
        if value is not None:
            try:
                setattr(request, name, value)
            except (TypeError, ValueError, OverflowError):
                text = f"{name}: {value!r} is not a number that fits the field"
                raise invalid("FIELD_OUT_OF_RANGE", text, field=name, value=str(value)) from None
    return _sendable(request)


def suggestions(response: preprocess_pb.SuggestPlacementResponse) -> tuple[PlacementSuggestion, ...]:
    """Read the response of SuggestPlacement."""
    return tuple(
        PlacementSuggestion(
            placement=parameters_of(each.placement, Placement),
            score=each.score,
            scores=PlacementScores(
                free=each.scores.free,
                support=each.scores.support,
                scale=each.scores.scale,
                balance=each.scores.balance,
            ),
            reason=each.reason,
            left_px=each.left_px,
            top_px=each.top_px,
            width_px=each.width_px,
            height_px=each.height_px,
        )
        for each in response.suggestions
    )


def dilate_mask_request(mask: bytes, dilation: MaskDilation | None) -> preprocess_pb.DilateMaskRequest:
    """Build the request of DilateMask."""
    request = preprocess_pb.DilateMaskRequest(
        mask=image_message(mask, "mask"),
        dilation=parameters_message(dilation, preprocess_pb.MaskDilation, "dilation"),
    )
    return _sendable(request)


def dilated(response: preprocess_pb.DilateMaskResponse) -> Dilated:
    """Read the response of DilateMask."""
    return Dilated(
        dilated_mask=response.dilated_mask.data,
        dilation_used=parameters_of(response.dilation_used, MaskDilation),
        feathered_mask=_optional_image(response.feathered_mask),
    )


def prepare_request(
    photo: bytes,
    painting: bytes,
    *,
    method: BackgroundRemovalMethod,
    removal: BackgroundRemoval | None,
    placement: Placement | None,
    dilation: MaskDilation | None,
    compositing: Compositing | None,
    output: OutputOptions | None,
) -> preprocess_pb.PrepareRequest:
    """Build the request of Prepare."""
    request = preprocess_pb.PrepareRequest(
        photo=image_message(photo, "photo"),
        painting=image_message(painting, "painting"),
        background_removal=_background_removal(method, removal),
        placement=parameters_message(placement, preprocess_pb.Placement, "placement"),
        dilation=parameters_message(dilation, preprocess_pb.MaskDilation, "dilation"),
        compositing=_compositing(compositing),
        output=_output(output),
    )
    return _sendable(request)


def prepared(response: preprocess_pb.PrepareResponse) -> Prepared:
    """Read the response of Prepare."""
    return Prepared(
        composite=response.composite.data,
        mask=response.mask.data,
        dilated_mask=response.dilated_mask.data,
        element=response.element.data,
        method_used=_method_used(response.method_used),
        method_reason=response.method_reason,
        placement_used=parameters_of(response.placement_used, Placement),
        dilation_used=parameters_of(response.dilation_used, MaskDilation),
        alpha=_optional_image(response.alpha),
        feathered_mask=_optional_image(response.feathered_mask),
        placement_reason=response.placement_reason,
        compositing_used=_compositing_used(response),
        details=parameters_of(response.details, BackgroundRemovalDetails),
    )


def harmonizing_request(
    kind: type[_HarmonizingRequest],
    *,
    parameters: HarmonizeParameters | None,
    stream: StreamOptions | None,
    job_key: str,
    runs_unattended: bool,
    **images: bytes | None,
) -> _HarmonizingRequest:
    """Build the request of a streaming call; ``images`` are under their field names, None left unset."""
    request = kind(
        job_key=_job_key(job_key),
        runs_unattended=runs_unattended,
        parameters=parameters_message(parameters, harmonize_pb.HarmonizeParameters, "parameters"),
        stream=parameters_message(stream, harmonize_pb.StreamOptions, "stream"),
        expected_environment=None,
        **{name: image_message(data, name) for name, data in images.items() if data is not None},
    )
    return _sendable(request)


def plan_request(
    mask: bytes, dilated_mask: bytes | None, parameters: HarmonizeParameters | None
) -> harmonize_pb.PlanRequest:
    """Build the request of Plan."""
    request = harmonize_pb.PlanRequest(
        mask=image_message(mask, "mask"),
        dilated_mask=None if dilated_mask is None else image_message(dilated_mask, "dilated_mask"),
        parameters=parameters_message(parameters, harmonize_pb.HarmonizeParameters, "parameters"),
    )
    return _sendable(request)


def evaluate_request(**images: bytes | None) -> harmonize_pb.EvaluateRequest:
    """Build the request of Evaluate; ``images`` are under their field names, None left unset."""
    given = {name: image_message(data, name) for name, data in images.items() if data is not None}
    return _sendable(harmonize_pb.EvaluateRequest(**given))


def _job_key(job_key: str) -> str:
    if job_key and not _JOB_KEY.fullmatch(job_key):
        text = f"job_key: {job_key!r} must be 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-'"
        raise invalid("FIELD_OUT_OF_RANGE", text, field="job_key", value=job_key)
    return job_key


def _sendable(request: _Request) -> _Request:
    """Refuse a request that the transport would refuse with less to say. Raises: InvalidRequest."""
    size = request.ByteSize()
    if size <= MAX_MESSAGE_BYTES:
        return request
    images = {
        field.name: len(value.data) for field, value in request.ListFields() if isinstance(value, image_pb2.Image)
    }
    if isinstance(request, preprocess_pb.ComposeRequest):
        images |= {f"elements[{index}].element": len(each.element.data) for index, each in enumerate(request.elements)}
    largest = max(images, key=lambda name: images[name])
    text = (
        f"{largest}: the images of one call may not exceed {MAX_MESSAGE_BYTES} bytes together, not {size}; "
        f"the largest has {images[largest]}; send smaller images"
    )
    raise invalid("IMAGE_SIZE_OUT_OF_RANGE", text, field=largest, value=str(size))


def _background_removal(
    method: BackgroundRemovalMethod, removal: BackgroundRemoval | None
) -> preprocess_pb.BackgroundRemoval:
    """The message; the method that ``removal`` names goes before the other."""
    path = "background_removal"
    message = parameters_message(removal, preprocess_pb.BackgroundRemoval, path) or preprocess_pb.BackgroundRemoval()
    if not message.method:
        number = enum_number(method, preprocess_pb.BackgroundRemovalMethod.DESCRIPTOR, f"{path}.method")
        message.method = preprocess_pb.BackgroundRemovalMethod.ValueType(number)
    return message


def _method_used(number: int) -> BackgroundRemovalMethod:
    return enum_member(number, preprocess_pb.BackgroundRemovalMethod.DESCRIPTOR, BackgroundRemovalMethod)


def _compositing(compositing: Compositing | None) -> preprocess_pb.Compositing | None:
    return parameters_message(compositing, preprocess_pb.Compositing, "compositing")


def _output(output: OutputOptions | None) -> preprocess_pb.OutputOptions | None:
    return parameters_message(output, preprocess_pb.OutputOptions, "output")


def _optional_image(image: image_pb2.Image) -> bytes | None:
    return image.data or None


def _compositing_used(response: preprocess_pb.ComposeResponse | preprocess_pb.PrepareResponse) -> Compositing | None:
    has_it = response.HasField("compositing_used")
    return parameters_of(response.compositing_used, Compositing) if has_it else None
