"""Encoded images to arrays, with bytes that nobody vouches for."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Mapping
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from painterly.limits import MAX_IMAGE_PIXELS
from painterly.service_error import ServiceError
from painterly.texts import one_line
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1.image_pb2 import ImageFormat
from painterly_images.sizes import require_encoded_size, require_pixel_size

logger = logging.getLogger(__name__)

DecodeMode = Literal["RGB", "RGBA", "L"]

# The readers themselves, not Image.open: that one has a pixel limit of its own, which warns or raises without the size,
# and it turns the JPEGs of some phones into a format of another name.
_READERS: Mapping[ImageFormat.ValueType, type[ImageFile]] = {
    image_pb2.IMAGE_FORMAT_PNG: PngImageFile,
    image_pb2.IMAGE_FORMAT_JPEG: JpegImageFile,
    image_pb2.IMAGE_FORMAT_WEBP: WebPImageFile,
    image_pb2.IMAGE_FORMAT_TIFF: TiffImageFile,
    image_pb2.IMAGE_FORMAT_BMP: BmpImageFile,
    image_pb2.IMAGE_FORMAT_AVIF: AvifImageFile,
}
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_BITS_PER_SAMPLE_TAG = 258
_TIFF_TILE_SIDE_TAGS = (322, 323)
# A tile is unpacked as a whole, however small the picture.
_MAX_TILE_SIDE_PX = 4096
# Each scan of a progressive file goes through the whole picture, and costs next to no bytes. Encoders write about ten.
_MAX_JPEG_SCANS = 100
_JPEG_SCAN_MARKER = b"\xff\xda"
# Pillow reads run lengths byte by byte in Python.
_BMP_RUN_LENGTHS = (BmpImageFile.COMPRESSIONS["RLE8"], BmpImageFile.COMPRESSIONS["RLE4"])
_MAX_RUN_LENGTH_BYTES = 2**20
_MAX_TOLD_BYTES = 200
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

# One picture at a time: catching warnings changes the whole process, and it bounds the memory for decoding.
_decoding = threading.Lock()


def decode(image: image_pb2.Image, field: str, mode: DecodeMode) -> NDArray[np.uint8]:
    """Decode the picture at the proto path ``field``; of an animation or a stack of pages the first.

    ``"RGB"``: H×W×3 sRGB, transparency flattened over white. ``"RGBA"``: H×W×4 sRGB with straight alpha, 255 where
    the file has none. ``"L"``: H×W for masks, luminance of the stored values without color management, transparency
    flattened over black (outside). EXIF orientation is applied. Of 16 bits the upper 8 count.

    Raises ServiceError: FIELD_REQUIRED, UNKNOWN_ENUM_VALUE, IMAGE_UNDECODABLE, IMAGE_SIZE_OUT_OF_RANGE. Both sizes,
    of the file and of the picture in its header, are checked before any pixel is decoded.
    """
    if not image.data:
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_FIELD_REQUIRED,
            f"{field} is required and has no bytes; send the contents of an image file",
            field=field,
        )
    require_encoded_size(len(image.data), field)
    image_format = _recognized_format(image, field)
    if image_format == image_pb2.IMAGE_FORMAT_JPEG and image.data.count(_JPEG_SCAN_MARKER) > _MAX_JPEG_SCANS:
        raise _undecodable(field, f"it has more than {_MAX_JPEG_SCANS} scans")
    with _decoding, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _decode_recognized(image.data, image_format, field, mode)


def _recognized_format(image: image_pb2.Image, field: str) -> ImageFormat.ValueType:
    if image.format not in ImageFormat.values():
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_UNKNOWN_ENUM_VALUE,
            f"{field}.format has the unknown value {image.format}; use a value of ImageFormat or leave it unset",
            field=f"{field}.format",
            metadata={"value": str(image.format)},
        )
    found = _format_of(image.data)
    if found is None:
        is_heif = any(brand in _HEIF_BRANDS for brand in _brands(image.data))
        raise _undecodable(field, "HEIF files are not read here" if is_heif else "its bytes are of no known format")
    if image.format not in (image_pb2.IMAGE_FORMAT_UNSPECIFIED, found):
        named, actual = (ImageFormat.Name(value).removeprefix("IMAGE_FORMAT_") for value in (image.format, found))
        raise _undecodable(field, f"its format is given as {named} but its bytes are {actual}")
    return found


def _format_of(data: bytes) -> ImageFormat.ValueType | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return image_pb2.IMAGE_FORMAT_PNG
    if data.startswith(b"\xff\xd8\xff"):
        return image_pb2.IMAGE_FORMAT_JPEG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return image_pb2.IMAGE_FORMAT_WEBP
    if data.startswith(_TIFF_SIGNATURES):
        return image_pb2.IMAGE_FORMAT_TIFF
    if data.startswith(b"BM"):
        return image_pb2.IMAGE_FORMAT_BMP
    if any(brand in _AVIF_BRANDS for brand in _brands(data)):
        return image_pb2.IMAGE_FORMAT_AVIF
    return None


def _brands(data: bytes) -> list[bytes]:
    """The brands of an ISO base media file, the family of AVIF and HEIF; none for any other file."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return [data[8:12], *(data[start : start + 4] for start in range(16, end, 4))]


def _decode_recognized(
    data: bytes, image_format: ImageFormat.ValueType, field: str, mode: DecodeMode
) -> NDArray[np.uint8]:
    try:
        with _READERS[image_format](BytesIO(data)) as image:
            require_pixel_size(image.width, image.height, field)
            _require_modest_work(image, len(data))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            color, alpha = _color_and_alpha(image)
            return np.array(_in_mode(color, alpha, image.info.get("icc_profile"), mode), dtype=np.uint8)
    except ServiceError:
        raise
    except Image.DecompressionBombError as error:  # The WebP reader looks at Pillow's own limit before it has a size.
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE,
            f"{field} has too many pixels, at most {MAX_IMAGE_PIXELS} are allowed; resize it",
            field=field,
            metadata={"value": str(error)},
        ) from error
    # Pillow has no error of its own: what a broken file raises ranges from OSError to struct.error and IndexError.
    except Exception as error:
        raise _undecodable(field, _told(error)) from error


def _require_modest_work(image: ImageFile, byte_count: int) -> None:
    """Refuse what takes much more memory or time than its size in pixels. Raises: ValueError."""
    if isinstance(image, TiffImageFile):
        for tag in _TIFF_TILE_SIDE_TAGS:
            side = image.tag_v2.get(tag, 1)
            if not isinstance(side, int) or side > _MAX_TILE_SIDE_PX:
                raise ValueError(f"its tiles have sides of more than {_MAX_TILE_SIDE_PX} pixels")
    has_run_lengths = isinstance(image, BmpImageFile) and image.info.get("compression") in _BMP_RUN_LENGTHS
    if has_run_lengths and byte_count > _MAX_RUN_LENGTH_BYTES:
        raise ValueError(f"it has run lengths of more than {_MAX_RUN_LENGTH_BYTES} bytes")


def _told(error: Exception) -> str:
    """What an error of the image library says; it may repeat at length what stands in the file."""
    return one_line(str(error), _MAX_TOLD_BYTES) or "its contents contradict each other"


def _color_and_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Split into 8-bit color (mode L, RGB or CMYK) and alpha (mode L, or None)."""
    if image.mode in ("I", "F") or _has_odd_depth(image):
        raise ValueError("its pixels have neither 8 nor 16 bits; save it with one of these")
    if image.mode.startswith("I;16"):
        # As for 16-bit colors, which Pillow cuts to their upper byte by itself; its own conversion may clip instead.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)), None
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode in ("1", "L", "LA"):
        return image.convert("L"), alpha
    return image.convert("CMYK" if image.mode == "CMYK" else "RGB"), alpha


def _has_odd_depth(image: Image.Image) -> bool:
    """Whether a TIFF file has a depth, such as 12 bits, that Pillow reads without scaling it."""
    bits = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE_TAG, (8,)) if isinstance(image, TiffImageFile) else (8,)
    return any(count not in (1, 2, 4, 8, 16) for count in bits)


def _in_mode(color: Image.Image, alpha: Image.Image | None, profile: bytes | None, mode: DecodeMode) -> Image.Image:
    if mode == "L":
        gray = color if color.mode == "L" else color.convert("RGB").convert("L")
        return gray if alpha is None else Image.composite(gray, Image.new("L", gray.size, 0), alpha)
    rgb = _to_srgb(color, profile)
    if mode == "RGB":
        return rgb if alpha is None else Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    rgb.putalpha(255 if alpha is None else alpha)
    return rgb


def _to_srgb(color: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to RGB by the file's color profile; without one, or with one that does not fit, by Pillow's rule."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(color, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError) as error:
            logger.info("color profile ignored: %s", error)
        else:
            if converted is not None:
                return converted
    return color.convert("RGB")


def _undecodable(field: str, why: str) -> ServiceError:
    return ServiceError(
        error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE,
        f"{field} cannot be decoded: {why}; send a complete PNG, JPEG, WebP, TIFF, BMP or AVIF file",
        field=field,
    )
