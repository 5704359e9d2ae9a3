"""Arrays to encoded images."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1.image_pb2 import ImageFormat

_WEBP_MAX_SIDE_PX = 16_383
_NAMES: Mapping[ImageFormat.ValueType, str] = {
    image_pb2.IMAGE_FORMAT_PNG: "PNG",
    image_pb2.IMAGE_FORMAT_JPEG: "JPEG",
    image_pb2.IMAGE_FORMAT_WEBP: "WEBP",
    image_pb2.IMAGE_FORMAT_TIFF: "TIFF",
    image_pb2.IMAGE_FORMAT_BMP: "BMP",
    image_pb2.IMAGE_FORMAT_AVIF: "AVIF",
}
_WITH_ALPHA = frozenset(
    {
        image_pb2.IMAGE_FORMAT_PNG,
        image_pb2.IMAGE_FORMAT_WEBP,
        image_pb2.IMAGE_FORMAT_TIFF,
        image_pb2.IMAGE_FORMAT_AVIF,
    }
)
_RESULT_OPTIONS: Mapping[ImageFormat.ValueType, Mapping[str, Any]] = {
    image_pb2.IMAGE_FORMAT_JPEG: {"quality": 95, "subsampling": 0},
    # The quality of lossless WebP is the effort; the default of 80 takes several times as long for 1 % of the size.
    image_pb2.IMAGE_FORMAT_WEBP: {"lossless": True, "quality": 20, "exact": True},
    image_pb2.IMAGE_FORMAT_TIFF: {"compression": "tiff_lzw"},
    # One thread: the services work on several pictures at a time.
    image_pb2.IMAGE_FORMAT_AVIF: {"quality": 95, "subsampling": "4:4:4", "max_threads": 1},
}
_PREVIEW_OPTIONS: Mapping[ImageFormat.ValueType, Mapping[str, Any]] = {
    image_pb2.IMAGE_FORMAT_PNG: {"compress_level": 1},
    image_pb2.IMAGE_FORMAT_JPEG: {"quality": 85},
    image_pb2.IMAGE_FORMAT_WEBP: {"quality": 85, "method": 0},
    image_pb2.IMAGE_FORMAT_AVIF: {"quality": 85, "speed": 10, "max_threads": 1},
    image_pb2.IMAGE_FORMAT_TIFF: {"compression": "tiff_lzw"},
}


def has_alpha(format: ImageFormat.ValueType) -> bool:
    """Whether RGBA pixels can be encoded as ``format``; unspecified means PNG."""
    return (format or image_pb2.IMAGE_FORMAT_PNG) in _WITH_ALPHA


def is_lossy(format: ImageFormat.ValueType, quality: int | None) -> bool:
    """Whether a result in this format and quality differs from its pixels."""
    if format == image_pb2.IMAGE_FORMAT_WEBP:
        return quality is not None
    return format in (image_pb2.IMAGE_FORMAT_JPEG, image_pb2.IMAGE_FORMAT_AVIF)


def encode(
    pixels: NDArray[np.uint8],
    format: ImageFormat.ValueType,
    *,
    preview: bool = False,
    quality: int | None = None,
    field: str = "stream.result_format",
) -> image_pb2.Image:
    """Encode H×W (gray), H×W×3 (RGB) or H×W×4 (RGBA) pixels as a file of ``format``; unspecified means PNG.

    A preview may lose quality to be small and quick: JPEG, WebP and AVIF have quality 85. Otherwise JPEG and AVIF have
    ``quality`` (1 to 100, by default 95) with full color resolution, and WebP is lossless unless a quality is given.
    ``field`` is the proto path of the wish for the format. Formats without alpha take no RGBA (ValueError).

    Raises ServiceError: IMAGE_SIZE_OUT_OF_RANGE for a picture that WebP cannot hold, FORMAT_UNSUITABLE where the codec
    is missing.
    """
    chosen = format or image_pb2.IMAGE_FORMAT_PNG
    height, width = pixels.shape[:2]
    if pixels.ndim == 3 and pixels.shape[2] == 4 and chosen not in _WITH_ALPHA:
        raise ValueError(f"{_NAMES[chosen]} files carry no alpha")
    if chosen == image_pb2.IMAGE_FORMAT_WEBP and max(height, width) > _WEBP_MAX_SIDE_PX:
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE,
            f"a picture of {width}x{height} pixels does not fit into a WebP file, whose sides have at most "
            f"{_WEBP_MAX_SIDE_PX} pixels; ask for PNG",
            field=field,
            metadata={"value": f"{width}x{height}"},
        )
    if chosen == image_pb2.IMAGE_FORMAT_AVIF and not features.check("avif"):
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_FORMAT_UNSUITABLE,
            f"{field}: this server has no AVIF codec; ask for PNG",
            field=field,
            metadata={"value": ImageFormat.Name(chosen)},
        )
    options = dict((_PREVIEW_OPTIONS if preview else _RESULT_OPTIONS).get(chosen, {}))
    if quality is not None and is_lossy(chosen, quality):
        options |= {"quality": quality}
        options.pop("lossless", None)
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format=_NAMES[chosen], **options)
    return image_pb2.Image(data=buffer.getvalue(), format=chosen, width_px=width, height_px=height)
