"""Checksums of files and of the tensors in a safetensors file, with the standard library alone.

A tensor checksum does not depend on the order or the metadata of the file that holds the tensors: it is SHA-256 over,
for each tensor sorted by name, ``name NUL dtype NUL shape NUL`` (UTF-8, shape as ``64x3x3x3``) and its bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from painterly.weights.manifest import TensorSpec

_CHUNK_BYTES = 1 << 20
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 16 * 2**20


class InvalidFile(Exception):
    """A file is not what it should be; the message says why."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    spec: TensorSpec
    begin: int
    end: int


def file_checksum(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def tensor_specs(path: Path) -> tuple[TensorSpec, ...]:
    """The tensors that a safetensors file says it holds, sorted by name.

    Raises: InvalidFile when the file is no safetensors file or not whole.
    """
    with path.open("rb") as file:
        return tuple(entry.spec for entry in _read_header(file)[0])


def tensor_checksum(path: Path) -> str:
    """The tensor checksum of a safetensors file, 64 hex digits.

    Raises: InvalidFile when the file is no safetensors file or not whole.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        entries, data_start = _read_header(file)
        for entry in entries:
            shape = "x".join(map(str, entry.spec.shape))
            digest.update(f"{entry.spec.name}\0{entry.spec.dtype}\0{shape}\0".encode())
            file.seek(data_start + entry.begin)
            remaining = entry.end - entry.begin
            while remaining:
                chunk = file.read(min(remaining, _CHUNK_BYTES))
                if not chunk:
                    raise InvalidFile("it was cut short while it was read")
                digest.update(chunk)
                remaining -= len(chunk)
    return digest.hexdigest()


def _read_header(file: BinaryIO) -> tuple[list[_Entry], int]:
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    data_start = _LENGTH_BYTES + length
    if size < _LENGTH_BYTES or length > _MAX_HEADER_BYTES:
        raise InvalidFile(f"it is no safetensors file ({size} bytes)")
    if data_start > size:
        raise InvalidFile(f"it is truncated inside its header: {size} of at least {data_start} bytes")
    try:
        header = json.loads(file.read(length))
        entries = [_entry(name, value) for name, value in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidFile(f"it is no safetensors file: its header does not parse ({error})") from None
    _require_contiguous(entries, size - data_start)
    return sorted(entries, key=lambda entry: entry.spec.name), data_start


def _entry(name: str, value: dict[str, list[int]]) -> _Entry:
    begin, end = map(int, value["data_offsets"])
    spec = TensorSpec(name=name, shape=tuple(map(int, value["shape"])), dtype=str(value["dtype"]))
    return _Entry(spec=spec, begin=begin, end=end)


def _require_contiguous(entries: list[_Entry], data_size: int) -> None:
    position = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != position or entry.end < entry.begin:
            raise InvalidFile(f"the data of its tensor {entry.spec.name} overlaps or leaves a gap")
        position = entry.end
    if position > data_size:
        raise InvalidFile(f"it is truncated: {data_size} of {position} bytes of tensor data")
    if position < data_size:
        raise InvalidFile(f"it has {data_size - position} bytes too many")
