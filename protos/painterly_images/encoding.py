"""Arrays to encoded images."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1.image_pb2 import ImageFormat

_WEBP_MAX_SIDE_PX = 16_383
_NAMES: Mapping[ImageFormat.ValueType, str] = {
    image_pb2.IMAGE_FORMAT_PNG: "PNG",
    image_pb2.IMAGE_FORMAT_JPEG: "JPEG",
    image_pb2.IMAGE_FORMAT_WEBP: "WEBP",
    image_pb2.IMAGE_FORMAT_TIFF: "TIFF",
    image_pb2.IMAGE_FORMAT_BMP: "BMP",
}
_RESULT_OPTIONS: Mapping[ImageFormat.ValueType, Mapping[str, Any]] = {
    image_pb2.IMAGE_FORMAT_JPEG: {"quality": 95, "subsampling": 0},
    # The quality of lossless WebP is the effort; the default of 80 takes several times as long for 1 % of the size.
    image_pb2.IMAGE_FORMAT_WEBP: {"lossless": True, "quality": 20},
    image_pb2.IMAGE_FORMAT_TIFF: {"compression": "tiff_lzw"},
}
_PREVIEW_OPTIONS: Mapping[ImageFormat.ValueType, Mapping[str, Any]] = {
    image_pb2.IMAGE_FORMAT_PNG: {"compress_level": 1},
    image_pb2.IMAGE_FORMAT_JPEG: {"quality": 85},
    image_pb2.IMAGE_FORMAT_WEBP: {"quality": 85, "method": 0},
    image_pb2.IMAGE_FORMAT_TIFF: {"compression": "tiff_lzw"},
}


def encode(pixels: NDArray[np.uint8], format: ImageFormat.ValueType, *, preview: bool = False) -> image_pb2.Image:
    """Encode H×W (gray), H×W×3 (RGB) or H×W×4 (RGBA) pixels as a file of ``format``; unspecified means PNG.

    A preview may lose quality to be small and quick: JPEG and WebP have quality 85. Otherwise JPEG has quality 95
    with full color resolution and WebP is lossless. RGBA goes into PNG only.

    Raises ServiceError (IMAGE_SIZE_OUT_OF_RANGE) for a picture that WebP cannot hold.
    """
    chosen = format or image_pb2.IMAGE_FORMAT_PNG
    height, width = pixels.shape[:2]
    if pixels.ndim == 3 and pixels.shape[2] == 4 and chosen != image_pb2.IMAGE_FORMAT_PNG:
        raise ValueError(f"only PNG files carry alpha here, not {_NAMES[chosen]}")
    if chosen == image_pb2.IMAGE_FORMAT_WEBP and max(height, width) > _WEBP_MAX_SIDE_PX:
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE,
            f"a picture of {width}x{height} pixels does not fit into a WebP file, whose sides have at most "
            f"{_WEBP_MAX_SIDE_PX} pixels; ask for PNG",
            field="stream.result_format",  # the only request for WebP that may be as large
            metadata={"value": f"{width}x{height}"},
        )
    options = (_PREVIEW_OPTIONS if preview else _RESULT_OPTIONS).get(chosen, {})
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format=_NAMES[chosen], **options)
    return image_pb2.Image(data=buffer.getvalue(), format=chosen, width_px=width, height_px=height)
