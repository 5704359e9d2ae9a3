"""Image files for the abuse tests: honest ones that all fit together, and hostile ones. They are the same in each run.

What is large about a hostile file is what it claims or unpacks to; the files themselves are small.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, features

from tests.harmonize.toy import scene

LOG_LINE = "\r\n1970-01-01 00:00:00 CRITICAL INJECTED \x1b[31m"
"""What must not stand at the beginning of a line of any log."""

_END = (b"IEND", b"")


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of these chunks, with the right lengths and checksums."""
    framed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def png_header(width: int, height: int, depth: int = 8, color: int = 2, interlace: int = 0) -> tuple[bytes, bytes]:
    """A PNG's first chunk."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)


def tiff(entries: Sequence[tuple[int, int, int, int]], rest: bytes = b"", next_ifd: int = 0) -> bytes:
    """A little-endian TIFF of one directory: entries of tag, type, count and value; ``rest`` follows the directory."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", next_ifd) + rest


@cache
def honest() -> Mapping[str, bytes]:
    """Pictures of 80×64 pixels that make valid requests together; ``element`` has an alpha channel."""
    made = scene()
    mask = Image.fromarray(made.mask)
    wide = np.zeros_like(made.mask)
    wide[14:46, 18:54] = True
    strokes = np.zeros_like(made.mask)
    strokes[:4] = True
    element = Image.fromarray(made.composite)
    element.putalpha(mask.convert("L"))
    return {
        "painting": saved(Image.fromarray(made.painting), "PNG"),
        "composite": saved(Image.fromarray(made.composite), "PNG"),
        "element": saved(element, "PNG"),
        "mask": saved(mask, "PNG"),
        "dilated_mask": saved(Image.fromarray(wide), "PNG"),
        "strokes": saved(Image.fromarray(strokes), "PNG"),
    }


@cache
def unusual() -> Mapping[str, bytes]:
    """Files that are right but rare, mostly 80×64 pixels."""
    rgb = Image.fromarray(scene().composite)
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(scene().mask).convert("L"))
    deep = Image.fromarray((np.arange(80 * 64, dtype=np.uint16) * 12).reshape(64, 80))
    turned = Image.Exif()
    turned[0x0112] = 6
    wrong = Image.Exif()
    wrong[0x0112] = 99
    files = {
        "jpeg": saved(rgb, "JPEG"),
        "progressive jpeg": saved(rgb, "JPEG", progressive=True),
        "cmyk jpeg": saved(rgb.convert("CMYK"), "JPEG"),
        "turned jpeg": saved(rgb, "JPEG", exif=turned),
        "wrongly turned jpeg": saved(rgb, "JPEG", exif=wrong),
        "two-picture jpeg": saved(rgb, "MPO", save_all=True, append_images=[rgb]),
        "webp": saved(rgba, "WEBP"),
        "animated webp": saved(rgba, "WEBP", save_all=True, append_images=[rgb.convert("RGBA")] * 3),
        "animated png": saved(rgba, "PNG", save_all=True, append_images=[rgb.convert("RGBA")] * 3),
        "tiff": saved(rgba, "TIFF"),
        "lzw tiff": saved(rgb, "TIFF", compression="tiff_lzw"),
        "jpeg tiff": saved(rgb, "TIFF", compression="jpeg"),
        "cmyk tiff": saved(rgb.convert("CMYK"), "TIFF"),
        "lab tiff": saved(rgb.convert("LAB"), "TIFF"),
        "ycbcr tiff": saved(rgb.convert("YCbCr"), "TIFF"),
        "32-bit tiff": saved(deep.convert("I"), "TIFF"),
        "float tiff": saved(deep.convert("F"), "TIFF"),
        "tiff of pages": saved(rgb, "TIFF", save_all=True, append_images=[rgb] * 9),
        "bmp": saved(rgb, "BMP"),
        "palette bmp": saved(rgb.convert("P"), "BMP"),
        "16-bit png": saved(deep, "PNG"),
        "palette png": saved(rgb.quantize(7), "PNG", transparency=1),
        "1-bit png": saved(rgb.convert("1"), "PNG"),
        "gray-alpha png": saved(rgba.convert("LA"), "PNG"),
        "1x1": saved(Image.new("RGB", (1, 1)), "PNG"),
        "1x4000": saved(Image.new("RGB", (1, 4000)), "PNG"),
        "16384x16": saved(Image.new("RGBA", (16_384, 16)), "PNG"),
        "16x16384": saved(Image.new("RGB", (16, 16_384), "white"), "PNG"),
        "16385x16": saved(Image.new("L", (16_385, 16)), "PNG"),
    }
    if features.check("avif"):
        files["avif"] = saved(rgba, "AVIF")
    return files


@cache
def hostile() -> Mapping[str, bytes]:
    """Files that are broken, that lie, or that are made to hurt."""
    rgb = Image.fromarray(scene().composite)
    jpeg, webp, plain_png, plain_tiff, bmp = (saved(rgb, name) for name in ("JPEG", "WEBP", "PNG", "TIFF", "BMP"))
    pixels = (b"IDAT", zlib.compress(b"\0" * (64 * (1 + 80 * 3))))
    header = png_header(80, 64)
    bomb = zlib.compress(bytes(50_000_000))
    tags = {"width": (256, 4, 1, 80), "height": (257, 4, 1, 64), "bits": (258, 3, 1, 8), "gray": (262, 3, 1, 1)}
    gray_tiff = [*tags.values(), (259, 3, 1, 1), (273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, 64), (279, 4, 1, 5120)]

    def with_entry(*changes: tuple[int, int, int, int], rest: bytes = bytes(6000), next_ifd: int = 0) -> bytes:
        kept = {entry[0]: entry for entry in [*gray_tiff, *changes]}
        return tiff([kept[tag] for tag in sorted(kept)], rest, next_ifd)

    exif_loop = b"Exif\0\0" + tiff([(0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0x0112, 3, 1, 6)], next_ifd=8)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../../etc/passwd", bytes(1_000_000))
    files = {
        "nothing": b"",
        "one byte": b"\xff",
        "text": b"no picture at all",
        "a path": b"/etc/passwd",
        "a log line": LOG_LINE.encode(),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "svg entity": b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        "heif": b"\0\0\0\x18ftypheic" + bytes(200),
        "avif brand alone": b"\0\0\0\x18ftypavif" + bytes(200),
        "gif": saved(rgb, "GIF"),
        "pdf": b"%PDF-1.7\n" + bytes(100),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n",
        "zip": archive.getvalue(),
        "zip behind a tiff": plain_tiff + archive.getvalue(),
        "zip named tiff": b"II*\0" + archive.getvalue(),
        "png header of 100000x100000": png([png_header(100_000, 100_000), pixels, _END]),
        "png header of 2^31": png([png_header(2**31 - 1, 2**31 - 1), pixels, _END]),
        "png header of 0x0": png([png_header(0, 0), pixels, _END]),
        "png of 12000x12000": png([png_header(12_000, 12_000, 1, 0), (b"IDAT", bomb), _END]),
        "png unpacking to more than it says": png([header, (b"IDAT", bomb), _END]),
        "png text bomb": png([header, (b"zTXt", b"Comment\0\0" + bomb), pixels, _END]),
        "png profile bomb": png([header, (b"iCCP", b"icc\0\0" + bomb), pixels, _END]),
        "png profile of rubbish": png([header, (b"iCCP", b"icc\0\0" + zlib.compress(b"acsp" * 99)), pixels, _END]),
        "png without pixels": png([header, _END]),
        "png without an end": png([header, pixels]),
        "png of 20000 chunks": png([header, *[(b"tEXt", b"k\0v")] * 20_000, pixels, _END]),
        "png with a log line": png([header, (b"tEXt", b"Comment\0" + LOG_LINE.encode()), pixels, _END]),
        "png with a chunk named in controls": png([header, (b"\n\x1b[A", b"x"), pixels, _END]),
        "png of unknown depth": png([png_header(80, 64, 7, 3), pixels, _END]),
        "png of unknown interlace": png([png_header(80, 64, 8, 2, 9), pixels, _END]),
        "png palette missing": png([png_header(80, 64, 8, 3), pixels, _END]),
        "png palette too short": png([png_header(80, 64, 8, 3), (b"PLTE", b"\1"), pixels, _END]),
        "png transparency too long": png([header, (b"tRNS", bytes(5000)), pixels, _END]),
        "png with an exif loop": png([header, (b"eXIf", exif_loop[6:]), pixels, _END]),
        "png of 2^31 frames": png(
            [header, (b"acTL", struct.pack(">II", 2**31 - 1, 0)), (b"fcTL", bytes(26)), pixels, _END]
        ),
        "png chunk longer than the file": plain_png[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(50),
        "truncated png": plain_png[: len(plain_png) // 2],
        "truncated jpeg": jpeg[: len(jpeg) // 2],
        "truncated webp": webp[: len(webp) // 2],
        "truncated tiff": plain_tiff[: len(plain_tiff) // 2],
        "truncated bmp": bmp[: len(bmp) // 2],
        "jpeg of 65535x65535": _with_jpeg_size(jpeg, 65_535, 65_535),
        "jpeg of 0x0": _with_jpeg_size(jpeg, 0, 0),
        "jpeg of 2000 scans": _with_scans(rgb, 2000),
        "jpeg with an exif loop": saved(rgb, "JPEG", exif=exif_loop),
        "jpeg with an exif bomb": saved(rgb, "JPEG", exif=b"Exif\0\0" + tiff([(0x9286, 7, 2**32 - 1, 8)] * 3000)),
        "jpeg with a profile of rubbish": saved(rgb, "JPEG", icc_profile=bytes(range(256)) * 40),
        "jpeg with a profile of another color space": saved(rgb, "JPEG", icc_profile=_gray_profile()),
        "webp of 16383x16383": webp[:12]
        + b"VP8X"
        + struct.pack("<I", 10)
        + b"\2\0\0\0"
        + b"\xfe\x3f\0" * 2
        + webp[12:],
        "webp longer than the file": webp[:4] + struct.pack("<I", 2**32 - 1) + webp[8:],
        "tiff that ends in its header": b"II*\0\xff\xff\xff\xff",
        "tiff whose next page is itself": with_entry(next_ifd=8),
        "tiff of 2^32 bits per sample": with_entry((258, 3, 2**32 - 1, 200)),
        "tiff with a directory in itself": with_entry((330, 4, 1, 8), (0x8769, 4, 1, 8)),
        "tiff of 2^32 strips": with_entry((273, 4, 2**32 - 1, 200), (279, 4, 2**32 - 1, 200)),
        "tiff with strips behind the end": with_entry((273, 4, 1, 2**32 - 1)),
        "tiff of 100000x100000": with_entry((256, 4, 1, 100_000), (257, 4, 1, 100_000)),
        "tiff of huge tiles": with_entry(
            (322, 4, 1, 40_000), (323, 4, 1, 40_000), (324, 4, 1, 200), (325, 4, 1, 6000), (259, 3, 1, 8)
        ),
        "tiff of huge rows": with_entry((278, 4, 1, 2**32 - 1), (259, 3, 1, 5)),
        "tiff of 65535 samples": with_entry((277, 3, 1, 65_535)),
        "tiff of unknown compression": with_entry((259, 3, 1, 34_999)),
        "tiff of lzma rubbish": with_entry((259, 3, 1, 34_925)),
        "tiff of zstd rubbish": with_entry((259, 3, 1, 50_000)),
        "tiff of jpeg rubbish": with_entry((259, 3, 1, 7)),
        "tiff of fax rubbish": with_entry((259, 3, 1, 4)),
        "tiff turned": with_entry((274, 3, 1, 8)),
        "tiff with the tag's text of a log line": with_entry((270, 2, 50, 130), rest=LOG_LINE.encode() + bytes(6000)),
        "big tiff": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63),
        "bmp of 2^31": bmp[:18] + struct.pack("<ii", 2**31 - 1, -(2**31) + 1) + bmp[26:],
        "bmp of run lengths": _run_length_bmp(4000, 4000),
        "bmp of a huge palette": bmp[:46] + struct.pack("<I", 2**31) + bmp[50:],
        "bmp whose pixels begin before it": bmp[:10] + struct.pack("<I", 0) + bmp[14:],
    }
    if features.check("avif"):
        avif = saved(rgb, "AVIF")
        place = avif.index(b"ispe") + 8
        files["truncated avif"] = avif[: len(avif) - 40]
        files["avif of 65535x65535"] = avif[:place] + struct.pack(">II", 65_535, 65_535) + avif[place + 8 :]
        files["avif box longer than the file"] = avif.replace(b"\0\0\0\0meta", b"\x7f\xff\xff\xffmeta")
    return files


@cache
def heavy() -> Mapping[str, bytes]:
    """Files within every limit that take the most that is allowed: near 50 million pixels of next to no bytes."""
    return {
        "7000x7000 png": png([png_header(7000, 7000), (b"IDAT", zlib.compress(bytes(7000 * (1 + 7000 * 3)), 9)), _END]),
        "16384x3000 1-bit png": png(
            [
                png_header(16_384, 3000, 1, 0),
                (b"IDAT", zlib.compress((b"\0" + b"\xff" * (16_384 // 8)) * 3000, 9)),
                _END,
            ]
        ),
    }


def _with_jpeg_size(jpeg: bytes, width: int, height: int) -> bytes:
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]


def _with_scans(image: Image.Image, count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: each time the whole picture is gone through."""
    jpeg = saved(image, "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * count + jpeg[-2:]


def _gray_profile() -> bytes:
    """A profile's head that says GRAY, with no tables behind it."""
    head = struct.pack(">I4sI4s4s4s", 132, b"lcms", 0x04300000, b"mntr", b"GRAY", b"XYZ ")
    return head + bytes(12) + b"acsp" + bytes(88) + bytes(4)


def _run_length_bmp(width: int, height: int) -> bytes:
    """A BMP of run lengths that consists of jumps."""
    body = b"\0\2\xff\xff" * 200 + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    offset = 14 + len(head) + 1024
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + bytes(1024) + body
