"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from painterly_client.cli.files import media_type_and_suffix, write_whole
from tests.client.cli.kit import picture


def test_a_file_is_replaced_as_a_whole() -> None:
    path = Path("out.png")
    path.write_bytes(b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(Path().iterdir()) == [path]


def test_a_write_that_breaks_off_leaves_the_old_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("out.png")
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(Path().iterdir()) == [path]


@pytest.mark.parametrize(
    ("image_format", "expected"),
    [
        ("PNG", ("image/png", ".png")),
        ("JPEG", ("image/jpeg", ".jpg")),
        ("WEBP", ("image/webp", ".webp")),
        ("BMP", ("image/bmp", ".bmp")),
        ("GIF", ("image/gif", ".gif")),
        ("TIFF", ("image/tiff", ".tif")),
        ("AVIF", ("image/avif", ".avif")),
    ],
)
def test_a_format_is_read_from_the_bytes(image_format: str, expected: tuple[str, str]) -> None:
    assert media_type_and_suffix(picture(image_format=image_format)) == expected


def test_other_bytes_have_no_media_type_of_their_own() -> None:
    assert media_type_and_suffix(b"<svg>") == ("application/octet-stream", ".bin")
