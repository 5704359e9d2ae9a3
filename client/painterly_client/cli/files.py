"""Files of the command line: what may be written where, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

# Suffix of a result file -> name of the ImageFormat to ask the server for.
RESULT_FORMATS: Mapping[str, str] = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
}
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".avif")

_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
    (b"\xff\xd8\xff", "image/jpeg", ".jpg"),
    (b"BM", "image/bmp", ".bmp"),
    (b"GIF8", "image/gif", ".gif"),
    (b"II*\x00", "image/tiff", ".tif"),
    (b"MM\x00*", "image/tiff", ".tif"),
)


def media_type_and_suffix(data: bytes) -> tuple[str, str]:
    """Media type and file suffix of an encoded picture, read from its first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp", ".webp"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif", ".avif"
    for signature, media_type, suffix in _SIGNATURES:
        if data.startswith(signature):
            return media_type, suffix
    return "application/octet-stream", ".bin"


def check_result_name(_ctx: click.Context, _param: click.Parameter, value: Path) -> Path:
    """Click callback: refuse a result file whose suffix names no format."""
    return _check_suffix(value, tuple(RESULT_FORMATS))


def check_png_name(_ctx: click.Context, _param: click.Parameter, value: Path) -> Path:
    """Click callback: refuse an output file that is not a PNG, where the server answers with PNG alone."""
    return _check_suffix(value, (".png",))


def _check_suffix(path: Path, allowed: tuple[str, ...]) -> Path:
    if path.suffix.lower() not in allowed:
        raise click.BadParameter(f"{path} must end in {' '.join(allowed)}")
    return path


def check_outputs(outputs: Mapping[str, Path], inputs: Mapping[str, Path]) -> None:
    """Refuse outputs that are inputs or one another, and make their folders. Keys are the options' names.

    Raises: click.UsageError.
    """
    taken = {path.resolve(): name for name, path in inputs.items()}
    for name, path in outputs.items():
        if path.resolve() in taken:
            raise click.UsageError(f"{name} {path} would overwrite {taken[path.resolve()]}; choose another file")
        taken[path.resolve()] = name
    for name, path in outputs.items():
        if path.is_dir():
            raise click.UsageError(f"{name} {path} is a folder; name a file")
        make_folder(name, path.parent)


def make_folder(name: str, folder: Path) -> None:
    """Make a folder and its parents where they are missing. Raises: click.UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"{name}: the folder {folder} cannot be made: {error.strerror}") from error


def read_input(name: str, path: Path) -> bytes:
    """Read an input file. Raises: click.UsageError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.UsageError(f"{name} {path} cannot be read: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all, also when the machine stops in between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_result(path: Path, data: bytes) -> Path:
    """Write a result; when that fails, save it in the temporary folder and say so.

    Raises: OSError with the place that the result was saved to.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        descriptor, saved = tempfile.mkstemp(prefix="painterly-result-", suffix=path.suffix)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        reason = f"cannot be written: {error.strerror}; the result is saved as {saved}"
        raise OSError(error.errno, reason, str(path)) from error
    return path
