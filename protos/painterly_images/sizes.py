"""What sizes pictures may have, one alone and several together. A size reads ``WIDTHxHEIGHT``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from painterly.limits import MAX_ENCODED_IMAGE_BYTES, MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE_PX, MIN_IMAGE_SIDE_PX
from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2


def require_encoded_size(byte_count: int, field: str) -> None:
    """Refuse a file that is too large. Raises ServiceError (IMAGE_SIZE_OUT_OF_RANGE)."""
    if byte_count > MAX_ENCODED_IMAGE_BYTES:
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE,
            f"{field} has {byte_count} bytes but may have at most {MAX_ENCODED_IMAGE_BYTES}; "
            "make the picture smaller or compress it more",
            field=field,
            metadata={"value": str(byte_count)},
        )


def require_pixel_size(width: int, height: int, field: str) -> None:
    """Refuse a picture with too few or too many pixels. Raises ServiceError (IMAGE_SIZE_OUT_OF_RANGE)."""
    short, long = sorted((width, height))
    if short >= MIN_IMAGE_SIDE_PX and long <= MAX_IMAGE_SIDE_PX and width * height <= MAX_IMAGE_PIXELS:
        return
    raise ServiceError(
        error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE,
        f"{field} is {width}x{height} pixels; each side must have {MIN_IMAGE_SIDE_PX} to {MAX_IMAGE_SIDE_PX} pixels "
        f"and the picture at most {MAX_IMAGE_PIXELS}; resize it",
        field=field,
        metadata={"value": f"{width}x{height}"},
    )


def require_same_size(images: Mapping[str, NDArray[np.generic]]) -> None:
    """Check that pictures, by their field paths, all have the size of the first.

    Raises ServiceError (IMAGE_SIZE_MISMATCH) that names the first field to differ, its size and the expected size.
    """
    (first_field, first), *others = images.items()
    expected = _size_text(first)
    for field, image in others:
        if image.shape[:2] != first.shape[:2]:
            raise ServiceError(
                error_reason_pb2.ERROR_REASON_IMAGE_SIZE_MISMATCH,
                f"{field} is {_size_text(image)} pixels but must be {expected}, the size of {first_field}",
                field=field,
                metadata={"value": _size_text(image), "expected": expected},
            )


def _size_text(image: NDArray[np.generic]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
