"""painterly_images.encoding: what goes in comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import features

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1.image_pb2 import ImageFormat
from painterly_images import decode, encode, has_alpha, is_lossy

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
LOSSLESS = [
    image_pb2.IMAGE_FORMAT_PNG,
    image_pb2.IMAGE_FORMAT_WEBP,
    image_pb2.IMAGE_FORMAT_TIFF,
    image_pb2.IMAGE_FORMAT_BMP,
]


@pytest.fixture
def pixels() -> Pixels:
    """A smooth 48×64 picture with some noise."""
    y, x = np.mgrid[:48, :64]
    smooth = np.dstack([x * 4, y * 5, (x + y) * 2])
    return (smooth + np.random.default_rng(2).integers(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("image_format", LOSSLESS)
def test_lossless_results(pixels: Pixels, image_format: ImageFormat.ValueType) -> None:
    image = encode(pixels, image_format)
    assert (image.format, image.width_px, image.height_px) == (image_format, 64, 48)
    np.testing.assert_array_equal(decode(image, "result", "RGB"), pixels)


def test_unspecified_means_png(pixels: Pixels) -> None:
    image = encode(pixels, image_pb2.IMAGE_FORMAT_UNSPECIFIED)
    assert image.format == image_pb2.IMAGE_FORMAT_PNG
    assert image.data.startswith(b"\x89PNG")


def test_jpeg_results_are_close(pixels: Pixels) -> None:
    decoded = decode(encode(pixels, image_pb2.IMAGE_FORMAT_JPEG), "result", "RGB")
    assert np.abs(decoded.astype(int) - pixels).mean() < 2


@pytest.mark.parametrize("image_format", [image_pb2.IMAGE_FORMAT_JPEG, image_pb2.IMAGE_FORMAT_WEBP])
def test_previews_are_smaller_and_close(pixels: Pixels, image_format: ImageFormat.ValueType) -> None:
    preview = encode(pixels, image_format, preview=True)
    assert preview.format == image_format
    assert len(preview.data) < len(encode(pixels, image_format).data)
    assert np.abs(decode(preview, "frame", "RGB").astype(int) - pixels).mean() < 8


def test_gray_and_alpha(pixels: Pixels) -> None:
    gray, rgba = pixels[..., 0], np.dstack([pixels, pixels[..., 0]])
    np.testing.assert_array_equal(decode(encode(gray, image_pb2.IMAGE_FORMAT_PNG), "mask", "L"), gray)
    np.testing.assert_array_equal(decode(encode(rgba, image_pb2.IMAGE_FORMAT_PNG), "element", "RGBA"), rgba)
    for image_format in (image_pb2.IMAGE_FORMAT_WEBP, image_pb2.IMAGE_FORMAT_TIFF):
        np.testing.assert_array_equal(decode(encode(rgba, image_format), "element", "RGBA"), rgba)
    for image_format in (image_pb2.IMAGE_FORMAT_JPEG, image_pb2.IMAGE_FORMAT_BMP):
        assert not has_alpha(image_format)
        with pytest.raises(ValueError, match="no alpha"):
            encode(rgba, image_format)


def test_avif_results_are_close_and_keep_alpha(pixels: Pixels) -> None:
    rgba = np.dstack([pixels, pixels[..., 0]])
    decoded = decode(encode(rgba, image_pb2.IMAGE_FORMAT_AVIF), "element", "RGBA")
    assert np.abs(decoded.astype(int) - rgba).mean() < 3


@pytest.mark.parametrize(
    "image_format", [image_pb2.IMAGE_FORMAT_JPEG, image_pb2.IMAGE_FORMAT_WEBP, image_pb2.IMAGE_FORMAT_AVIF]
)
def test_a_lower_quality_is_smaller_and_worse(pixels: Pixels, image_format: ImageFormat.ValueType) -> None:
    good, bad = (encode(pixels, image_format, quality=quality) for quality in (95, 30))
    assert len(bad.data) < len(good.data)
    errors = [np.abs(decode(image, "x", "RGB").astype(int) - pixels).mean() for image in (good, bad)]
    assert 0 < errors[0] < errors[1]
    assert is_lossy(image_format, 95)


def test_what_loses_something() -> None:
    lossy = {image_format for image_format in ImageFormat.values() if is_lossy(image_format, None)}
    assert lossy == {image_pb2.IMAGE_FORMAT_JPEG, image_pb2.IMAGE_FORMAT_AVIF}
    assert not any(is_lossy(image_format, 80) for image_format in LOSSLESS if image_format != LOSSLESS[1])


def test_a_missing_codec_is_told(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(ServiceError, match="no AVIF codec; ask for PNG") as caught:
        encode(pixels, image_pb2.IMAGE_FORMAT_AVIF, field="output.format")
    assert caught.value.reason == error_reason_pb2.ERROR_REASON_FORMAT_UNSUITABLE
    assert caught.value.field == "output.format"


def test_views_are_encoded_as_they_look(pixels: Pixels) -> None:
    np.testing.assert_array_equal(
        decode(encode(pixels[::-1, ::2], image_pb2.IMAGE_FORMAT_PNG), "x", "RGB"), pixels[::-1, ::2]
    )


def test_webp_that_cannot_be_is_refused() -> None:
    with pytest.raises(ServiceError, match="16384x16") as caught:
        encode(np.zeros((16, 16_384), dtype=np.uint8), image_pb2.IMAGE_FORMAT_WEBP)
    assert caught.value.reason == error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE
    assert caught.value.metadata["value"] == "16384x16"
