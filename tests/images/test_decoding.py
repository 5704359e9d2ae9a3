"""painterly_images.decoding: pixels worked out by hand, and files that must be refused."""

from __future__ import annotations

import io
import resource
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from painterly.errors import ServiceError
from painterly.limits import MAX_ENCODED_IMAGE_BYTES
from painterly.v1 import error_reason_pb2, image_pb2
from painterly_images import DecodeMode, decode

ORIENTATION_TAG = 0x0112
LOSSLESS = {"PNG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True}}
# 16-bit values and their upper bytes.
DEEP = np.array([0, 255, 256, 0x7FFF, 0x8000, 0xABCD, 0xFF00, 0xFFFF], dtype=np.uint16)
SHALLOW = np.array([0, 0, 1, 127, 128, 0xAB, 255, 255], dtype=np.uint8)


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def read(data: bytes, mode: DecodeMode = "RGB", file_format: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return decode(image_pb2.Image(data=data, format=file_format), "photo", mode)  # type: ignore[arg-type]


def refusal(data: bytes, file_format: int = 0) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        read(data, file_format=file_format)
    return caught.value


def png_header(width: int, height: int) -> bytes:
    """A PNG file that is honest about its size and holds next to no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def noise(height: int = 20, width: int = 24, channels: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), dtype=np.uint8)


def spread(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Eight values as 16×16: each fills two columns."""
    return np.tile(np.repeat(values, 2), (16, 1))


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_lossless_files_give_their_pixels_back(file_format: str) -> None:
    pixels = noise()
    data = saved(Image.fromarray(pixels), file_format, **LOSSLESS[file_format])
    np.testing.assert_array_equal(read(data), pixels)
    np.testing.assert_array_equal(read(data, "RGBA"), np.dstack([pixels, np.full(pixels.shape[:2], 255)]))


def test_jpeg_gives_nearly_its_pixels_back() -> None:
    pixels = np.full((16, 32, 3), (200, 100, 50), dtype=np.uint8)
    decoded = read(saved(Image.fromarray(pixels), "JPEG", quality=95))
    assert decoded.shape == (16, 32, 3)
    assert np.abs(decoded.astype(int) - pixels).max() <= 2


def test_jpeg_with_a_second_picture_inside_is_a_jpeg() -> None:
    first, second = (Image.new("RGB", (16, 16), color) for color in ("red", "blue"))
    data = saved(first, "MPO", save_all=True, append_images=[second])
    decoded = read(data, file_format=image_pb2.IMAGE_FORMAT_JPEG)
    assert np.abs(decoded[8, 8].astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_of_16_bit_gray_the_upper_byte_counts(suffix: str, mode: DecodeMode) -> None:
    data = cv2.imencode(suffix, spread(DEEP))[1].tobytes()
    expected = spread(SHALLOW)
    decoded = read(data, mode)
    np.testing.assert_array_equal(decoded if mode == "L" else decoded[..., 1], expected)


def test_of_big_endian_16_bit_gray_the_upper_byte_counts() -> None:
    image = Image.frombytes("I;16B", (16, 16), spread(DEEP).astype(">u2").tobytes())
    data = saved(image, "TIFF")
    assert data.startswith(b"MM")
    np.testing.assert_array_equal(read(data, "L"), spread(SHALLOW))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_of_16_bit_color_the_upper_byte_counts(suffix: str) -> None:
    red, green, blue = spread(DEEP), spread(DEEP[::-1]), np.full((16, 16), 0x1234, dtype=np.uint16)
    data = cv2.imencode(suffix, np.dstack([blue, green, red]))[1].tobytes()
    expected = np.dstack([spread(SHALLOW), spread(SHALLOW[::-1]), np.full((16, 16), 0x12)])
    np.testing.assert_array_equal(read(data), expected)


def test_of_16_bit_color_with_alpha_the_upper_byte_counts() -> None:
    data = cv2.imencode(".png", np.dstack([spread(DEEP)] * 4))[1].tobytes()
    np.testing.assert_array_equal(read(data, "RGBA"), np.dstack([spread(SHALLOW)] * 4))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_pixels_are_refused(mode: str) -> None:
    error = refusal(saved(Image.new(mode, (16, 16)), "TIFF"))
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE
    assert "8 nor 16 bits" in error.message


def test_palette() -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    np.testing.assert_array_equal(read(saved(image, "PNG"))[0, 0], (40, 50, 60))


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"], ids=["index", "bytes"])
def test_palette_with_transparency(transparency: int | bytes) -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpixel((3, 2), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    data = saved(image, "PNG", transparency=transparency)
    np.testing.assert_array_equal(read(data, "RGBA")[2, 3], (40, 50, 60, 0))
    np.testing.assert_array_equal(read(data, "RGBA")[0, 0], (10, 20, 30, 255))
    np.testing.assert_array_equal(read(data, "RGB")[2, 3], (255, 255, 255))


def test_transparency_is_flattened_over_white() -> None:
    pixels = np.zeros((16, 16, 4), dtype=np.uint8)
    pixels[:4], pixels[4:8], pixels[8:] = (100, 0, 200, 255), (100, 0, 200, 51), (100, 0, 200, 0)
    data = saved(Image.fromarray(pixels), "PNG")
    np.testing.assert_array_equal(read(data, "RGBA"), pixels)
    # 51 / 255 is one fifth: 0.2 · 100 + 0.8 · 255 = 224, 0.8 · 255 = 204, 0.2 · 200 + 204 = 244.
    np.testing.assert_array_equal(read(data)[[0, 4, 8], 0], [(100, 0, 200), (224, 204, 244), (255, 255, 255)])


def test_transparency_of_a_mask_is_outside() -> None:
    pixels = np.full((16, 16, 4), 255, dtype=np.uint8)
    pixels[:, 8:, 3] = 0
    expected = np.zeros((16, 16), dtype=np.uint8)
    expected[:, :8] = 255
    np.testing.assert_array_equal(read(saved(Image.fromarray(pixels), "PNG"), "L"), expected)


def test_gray_with_alpha() -> None:
    image = Image.fromarray(np.dstack([np.full((16, 16), 80, np.uint8), np.full((16, 16), 102, np.uint8)]), "LA")
    data = saved(image, "PNG")
    np.testing.assert_array_equal(read(data, "RGBA")[0, 0], (80, 80, 80, 102))
    # 102 / 255 is two fifths: 0.4 · 80 + 0.6 · 255 = 185 and 0.4 · 80 = 32.
    np.testing.assert_array_equal(read(data)[0, 0], (185, 185, 185))
    assert read(data, "L")[0, 0] == 32


def test_gray_and_bilevel() -> None:
    np.testing.assert_array_equal(read(saved(Image.new("L", (16, 16), 77), "PNG"))[0, 0], (77, 77, 77))
    np.testing.assert_array_equal(read(saved(Image.new("1", (16, 16), 1), "PNG"))[0, 0], (255, 255, 255))


def test_luminance() -> None:
    # 0.299 · 255 = 76.2, 0.587 · 255 = 149.7, 0.114 · 255 = 29.1
    for color, gray in (("red", 76), ("lime", 150), ("blue", 29), ("white", 255)):
        assert read(saved(Image.new("RGB", (16, 16), color), "PNG"), "L")[0, 0] == gray


def test_cmyk() -> None:
    for ink, color in (((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0))):
        image = Image.new("CMYK", (16, 16), ink)
        np.testing.assert_array_equal(read(saved(image, "TIFF"))[0, 0], color)
        assert np.abs(read(saved(image, "JPEG"))[0, 0].astype(int) - color).max() <= 2


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(file_format: str, orientation: int, turns: int) -> None:
    stored = np.zeros((16, 32, 3), dtype=np.uint8)
    stored[:, :16] = 255
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    decoded = read(saved(Image.fromarray(stored), file_format, exif=exif))
    upright = np.rot90(stored, turns)
    assert decoded.shape == upright.shape
    np.testing.assert_array_equal(decoded > 127, upright > 127)


def test_color_profile_is_applied() -> None:
    # An sRGB profile whose red and blue primaries changed places.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"temp").replace(b"bXYZ", b"rXYZ").replace(b"temp", b"bXYZ")
    data = saved(Image.new("RGB", (16, 16), (250, 100, 20)), "PNG", icc_profile=swapped)
    assert np.abs(read(data)[0, 0].astype(int) - (20, 100, 250)).max() <= 1
    with_alpha = saved(Image.new("RGBA", (16, 16), (250, 100, 20, 7)), "PNG", icc_profile=swapped)
    assert np.abs(read(with_alpha, "RGBA")[0, 0].astype(int) - (20, 100, 250, 7)).max() <= 1


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF", "WEBP", "AVIF"])
def test_color_profiles_of_every_format_are_applied(file_format: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"temp").replace(b"bXYZ", b"rXYZ").replace(b"temp", b"bXYZ")
    data = saved(Image.new("RGB", (16, 16), (250, 100, 20)), file_format, icc_profile=swapped, quality=100)
    assert np.abs(read(data)[0, 0].astype(int) - (20, 100, 250)).max() <= 4


def test_avif_gives_nearly_its_pixels_and_alpha_back() -> None:
    pixels = np.zeros((16, 32, 4), dtype=np.uint8)
    pixels[...] = (200, 100, 50, 255)
    pixels[:, 16:, 3] = 0
    data = saved(Image.fromarray(pixels), "AVIF", quality=95)
    decoded = read(data, "RGBA", image_pb2.IMAGE_FORMAT_AVIF)
    assert np.abs(decoded[:, :12].astype(int) - pixels[:, :12]).max() <= 4
    assert decoded[:, 20:, 3].max() <= 4


def test_heif_is_named_for_what_it_is() -> None:
    error = refusal(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE
    assert "HEIF files are not read here; send a complete PNG, JPEG, WebP, TIFF, BMP or AVIF file" in error.message


def test_unusable_color_profiles_are_ignored() -> None:
    rgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    junk = saved(Image.new("RGB", (16, 16), (250, 100, 20)), "PNG", icc_profile=b"no profile")
    np.testing.assert_array_equal(read(junk)[0, 0], (250, 100, 20))
    other_space = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "TIFF", icc_profile=rgb_profile)
    np.testing.assert_array_equal(read(other_space)[0, 0], (255, 0, 0))


def test_warnings_stay_inside() -> None:
    cut_off_exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"
    data = saved(Image.new("RGB", (16, 16), (128, 128, 128)), "JPEG", exif=cut_off_exif)
    with pytest.warns(UserWarning, match="Corrupt EXIF data"), Image.open(io.BytesIO(data)) as opened:
        ImageOps.exif_transpose(opened)
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("always")
        results = list(pool.map(lambda _: read(data), range(16)))
    assert not caught
    assert all((result == 128).all() for result in results)
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    "data", [b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(100), b"\xff\xd8\xff", b"BM", b"II*\0", b"RIFF0000WEBP"]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    error = refusal(data)
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE
    assert error.metadata == {"field": "photo"}
    assert error.message.startswith("photo cannot be decoded: ")


def test_no_bytes_are_refused() -> None:
    error = refusal(b"")
    assert error.reason == error_reason_pb2.ERROR_REASON_FIELD_REQUIRED
    assert error.metadata == {"field": "photo"}


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.98])
def test_truncated_files_are_refused(file_format: str, share: float) -> None:
    data = saved(Image.fromarray(noise(64, 64)), file_format)
    error = refusal(data[: int(len(data) * share)])
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE


def test_another_format_than_the_named_one_is_refused() -> None:
    error = refusal(saved(Image.new("RGB", (16, 16)), "JPEG"), image_pb2.IMAGE_FORMAT_PNG)
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE
    assert "given as PNG but its bytes are JPEG" in error.message


def test_unknown_format_is_refused() -> None:
    error = refusal(saved(Image.new("RGB", (16, 16)), "PNG"), 99)
    assert error.reason == error_reason_pb2.ERROR_REASON_UNKNOWN_ENUM_VALUE
    assert error.metadata == {"field": "photo.format", "value": "99"}


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (15, 16), (16, 15), (16_385, 16), (16, 16_385), (8_000, 6_251), (2**31 - 1, 2**31 - 1)],
)
def test_sizes_out_of_range_are_refused(width: int, height: int) -> None:
    error = refusal(png_header(width, height))
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE
    assert error.metadata == {"field": "photo", "value": f"{width}x{height}"}


def test_smallest_size_is_accepted() -> None:
    assert read(saved(Image.new("RGB", (16, 16)), "PNG")).shape == (16, 16, 3)


def test_huge_header_is_refused_without_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refusal(png_header(20_000, 20_000))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert error.metadata["value"] == "20000x20000"
    assert grown_kib < 64 * 1024


def test_huge_avif_header_is_refused_without_memory() -> None:
    data = saved(Image.fromarray(noise(64, 64)), "AVIF")
    place = data.index(b"ispe") + 8
    huge = data[:place] + struct.pack(">II", 16_384, 16_000) + data[place + 8 :]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refusal(huge)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE
    assert error.metadata["value"] == "16384x16000"
    assert grown_kib < 64 * 1024


def tiled_tiff(tile_side: int) -> bytes:
    """Gray 64×64 in one tile, packed by deflate; the tile is as large as it says."""
    body = zlib.compress(bytes(tile_side * tile_side))
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile_side, 323: tile_side, 324: 138, 325: len(body)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + bytes(4) + body


def test_tiles_may_be_larger_than_the_picture() -> None:
    np.testing.assert_array_equal(read(tiled_tiff(256), "L"), np.zeros((64, 64)))


def test_huge_tiles_are_refused_without_memory() -> None:
    data = tiled_tiff(16_000)
    assert len(data) < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refusal(data)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE
    assert "tiles have sides of more than 4096 pixels" in error.message
    assert grown_kib < 64 * 1024


def test_a_jpeg_of_many_scans_is_refused() -> None:
    """Each scan goes through the whole picture: with thousands of them a small file takes hours."""
    data = saved(Image.fromarray(noise()), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    assert read(data[:-2] + scan * 80 + data[-2:]).shape == (20, 24, 3)
    error = refusal(data[:-2] + scan * 100 + data[-2:])
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE
    assert "more than 100 scans" in error.message


def run_length_bmp(body: bytes) -> bytes:
    """64×64 pixels of a palette in which every color is black."""
    head = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = 14 + len(head) + 4 * 256
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + bytes(4 * 256) + body


def test_long_run_lengths_are_refused() -> None:
    """They are read byte by byte: 32 MiB would take most of a minute."""
    np.testing.assert_array_equal(read(run_length_bmp(b"\x40\x07\0\0" * 64)), np.zeros((64, 64, 3)))
    error = refusal(run_length_bmp(b"\x01\x07" * 2**19))
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE
    assert "run lengths of more than 1048576 bytes" in error.message


def test_what_a_file_says_of_itself_is_told_in_one_short_line() -> None:
    header, rest = png_header(64, 64)[:33], png_header(64, 64)[33:]
    error = refusal(header + struct.pack(">I", 4) + b"\n\x1b[A" + b"\r\n\0\0" + bytes(4) + rest)
    assert error.message.isprintable()
    assert len(error.message) < 400


def test_too_many_bytes_are_refused() -> None:
    error = refusal(bytes(MAX_ENCODED_IMAGE_BYTES + 1))
    assert error.reason == error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE
    assert error.metadata["value"] == str(MAX_ENCODED_IMAGE_BYTES + 1)


FUZZED = [saved(Image.fromarray(noise(channels=channels)), name) for name in LOSSLESS for channels in (3, 4)]
FUZZED += [saved(Image.fromarray(noise()), name) for name in ("JPEG", "AVIF")]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(FUZZED), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_files_are_decoded_or_refused(data: bytes, damages: list[tuple[float, int]]) -> None:
    damaged = bytearray(data)
    for position, value in damages:
        damaged[min(int(position * len(data)), len(data) - 1)] = value
    try:
        decoded = read(bytes(damaged), "RGBA")
    except ServiceError as error:
        outcome = error.code
    else:
        assert decoded.dtype == np.uint8
        assert decoded.shape[2:] == (4,)
        outcome = grpc.StatusCode.OK
    assert outcome in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
