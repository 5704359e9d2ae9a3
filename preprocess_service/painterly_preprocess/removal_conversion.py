"""Background removal, between messages and our own types."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

import numpy as np
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from numpy.typing import NDArray

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import preprocess_service_pb2 as pb
from painterly_images import decode, require_same_size
from painterly_preprocess import conversion, remove_bg
from painterly_preprocess.imaging.cutout_params import Box, ChromaKey, CutOutParams, ObjectSelection, Point
from painterly_preprocess.imaging.errors import ImagingError
from painterly_preprocess.imaging.masks import binarize_gray
from painterly_preprocess.imaging.params import RemovalMethod
from painterly_preprocess.removal import GrabCutHints, Removal, Removed

PATH = "background_removal"

_USER: Mapping[str, RemovalMethod] = {
    "mask": RemovalMethod.MASK,
    "grab_cut": RemovalMethod.GRABCUT,
    "chroma_key": RemovalMethod.CHROMA_KEY,
    "remove_bg": RemovalMethod.REMOVE_BG,
}
_Enum = TypeVar("_Enum", bound=Enum)


def removal_from_proto(message: pb.BackgroundRemoval, photo: NDArray[np.uint8]) -> Removal:
    """Read a wish for a photo (RGBA uint8), whose size its masks must have.

    Raises ServiceError: UNKNOWN_ENUM_VALUE, FIELD_OUT_OF_RANGE (also for what the method does not use), FIELD_REQUIRED
    (the mask of MASK), MASK_EMPTY (strokes), and what :func:`painterly_images.decode` raises, under the field's path.
    """
    method = conversion.method_from_proto(message)
    _require_used(message, method)
    selection = message.selection
    return Removal(
        method=method,
        mask=_picture(message, "mask", PATH, photo) if _wants_mask(message, method) else None,
        grab_cut=_hints(message.grab_cut, photo) if message.HasField("grab_cut") else None,
        chroma_key=_chroma_key(message.chroma_key) if message.HasField("chroma_key") else None,
        remove_bg=_remove_bg(message.remove_bg) if message.HasField("remove_bg") else None,
        params=CutOutParams(
            refine_edges=message.refine_edges if message.HasField("refine_edges") else None,
            selection=conversion.build(
                ObjectSelection,
                f"{PATH}.selection",
                largest=selection.largest,
                point=_point(selection.point) if selection.HasField("point") else None,
                box=_box(selection.box, f"{PATH}.selection.box") if selection.HasField("box") else None,
                island_fraction=selection.island_fraction if selection.HasField("island_fraction") else None,
            ),
            crop_to_content=message.crop_to_content,
        ),
    )


def details_to_proto(removed: Removed) -> pb.BackgroundRemovalDetails:
    """Write what a removal did."""
    details = pb.BackgroundRemovalDetails(
        left_px=removed.cut_out.left_px, top_px=removed.cut_out.top_px, edges_refined=removed.cut_out.edges_refined
    )
    if removed.usage is not None:
        details.remove_bg_usage.SetInParent()
        if removed.usage.credits_charged is not None:
            details.remove_bg_usage.credits_charged = removed.usage.credits_charged
        if removed.usage.credits_left is not None:
            details.remove_bg_usage.credits_left = removed.usage.credits_left
    return details


def removal_error(error: ImagingError) -> ServiceError:
    """The error that a caller is meant to see, with the field's whole path."""
    return conversion.to_service_error(error, "" if error.field == "photo" else f"{PATH}.")


def _require_used(message: pb.BackgroundRemoval, method: RemovalMethod) -> None:
    for name, user in _USER.items():
        if message.HasField(name) and method not in (user, RemovalMethod.AUTO):  # type: ignore[arg-type]
            raise ServiceError(
                reasons.ERROR_REASON_FIELD_OUT_OF_RANGE,
                f"{PATH}.{name} is of no use to the method {method.name}; leave it out, or choose {user.name}",
                field=f"{PATH}.{name}",
                metadata={"value": "set"},
            )


def _wants_mask(message: pb.BackgroundRemoval, method: RemovalMethod) -> bool:
    return method is RemovalMethod.MASK or message.HasField("mask")


def _picture(message: Message, name: str, path: str, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    field = f"{path}.{name}"
    gray = decode(getattr(message, name), field, "L")
    require_same_size({"photo": photo, field: gray})
    return gray


def _strokes(message: pb.GrabCut, name: str, photo: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    if not message.HasField(name):  # type: ignore[arg-type]
        return None
    path = f"{PATH}.grab_cut"
    try:
        return binarize_gray(_picture(message, name, path, photo), name)
    except ImagingError as error:
        raise conversion.to_service_error(error, f"{path}.") from None


def _hints(message: pb.GrabCut, photo: NDArray[np.uint8]) -> GrabCutHints:
    return GrabCutHints(
        box=_box(message.box, f"{PATH}.grab_cut.box") if message.HasField("box") else None,
        foreground=_strokes(message, "foreground_strokes", photo),
        background=_strokes(message, "background_strokes", photo),
    )


def _chroma_key(message: pb.ChromaKey) -> ChromaKey:
    color = (message.color.red, message.color.green, message.color.blue) if message.HasField("color") else None
    tolerance = message.tolerance if message.HasField("tolerance") else None
    return conversion.build(ChromaKey, f"{PATH}.chroma_key", color=color, tolerance=tolerance)


def _remove_bg(message: pb.RemoveBg) -> remove_bg.Options:
    return remove_bg.Options(
        api_key=message.api_key if message.HasField("api_key") else None,
        size=_member(remove_bg.Size, pb.RemoveBgSize.DESCRIPTOR, message.size, "size"),
        kind=_member(remove_bg.Kind, pb.RemoveBgType.DESCRIPTOR, message.type, "type"),
    )


def _member(kind: type[_Enum], numbers: EnumDescriptor, number: int, name: str) -> _Enum:
    """The member whose name ends the number's; unspecified is AUTO."""
    if number not in numbers.values_by_number:
        raise conversion.unknown_value(f"{PATH}.remove_bg.{name}", number, numbers.values_by_name)
    suffix = numbers.values_by_number[number].name.rsplit("_", 1)[1]
    return kind["AUTO" if suffix == "UNSPECIFIED" else suffix]


def _point(message: pb.PhotoPoint) -> Point:
    path = f"{PATH}.selection.point"
    return conversion.build(Point, path, x_fraction=message.x_fraction, y_fraction=message.y_fraction)


def _box(message: pb.PhotoBox, path: str) -> Box:
    return conversion.build(
        Box,
        path,
        left_fraction=message.left_fraction,
        top_fraction=message.top_fraction,
        right_fraction=message.right_fraction,
        bottom_fraction=message.bottom_fraction,
    )
