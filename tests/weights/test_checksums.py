"""Tensor checksums, and files that are not what they say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from painterly.weights.checksums import InvalidFile, file_checksum, tensor_checksum, tensor_specs
from painterly.weights.manifest import TensorSpec

TENSORS = {
    "b": np.array([1.5, -2.0], np.float32),
    "a": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
}


@pytest.fixture
def tensor_file(tmp_path: Path) -> Path:
    path = tmp_path / "tensors.safetensors"
    safetensors.numpy.save_file(TENSORS, path)
    return path


def test_value_from_its_definition(tensor_file: Path) -> None:
    expected = hashlib.sha256()
    expected.update(b"a\0F32\x001x2x3\0" + np.arange(6, dtype="<f4").tobytes())
    expected.update(b"b\0F32\x002\0" + np.array([1.5, -2.0], "<f4").tobytes())
    assert tensor_checksum(tensor_file) == expected.hexdigest()


def test_specs(tensor_file: Path) -> None:
    assert tensor_specs(tensor_file) == (TensorSpec(name="a", shape=(1, 2, 3)), TensorSpec(name="b", shape=(2,)))


def test_metadata_and_order_in_the_file_do_not_count(tensor_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    a, b = TENSORS["a"].tobytes(), TENSORS["b"].tobytes()
    header = {
        "__metadata__": {"made": "by hand"},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, len(b)]},
        "a": {"dtype": "F32", "shape": [1, 2, 3], "data_offsets": [len(b), len(b) + len(a)]},
    }
    text = json.dumps(header).encode()
    other.write_bytes(len(text).to_bytes(8, "little") + text + b + a)
    assert other.read_bytes() != tensor_file.read_bytes()
    assert tensor_checksum(other) == tensor_checksum(tensor_file)


@pytest.mark.parametrize("changed", [{"b": np.array([1.5, -2.5], np.float32)}, {"c": np.zeros(1, np.float32)}])
def test_any_change_of_tensors_counts(changed: dict[str, np.ndarray], tensor_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({**TENSORS, **changed}, other)
    assert tensor_checksum(other) != tensor_checksum(tensor_file)


def test_shape_counts_where_the_bytes_are_the_same(tensor_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({**TENSORS, "a": TENSORS["a"].reshape(3, 2)}, other)
    assert tensor_checksum(other) != tensor_checksum(tensor_file)


def test_truncated_file_is_named_with_both_sizes(tensor_file: Path) -> None:
    tensor_file.write_bytes(tensor_file.read_bytes()[:-5])
    with pytest.raises(InvalidFile, match="truncated: 27 of 32 bytes of tensor data"):
        tensor_checksum(tensor_file)


def _with_header(path: Path, header: object, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no safetensors file"),
        (b"\x08\x03", "no safetensors file"),
        (b"<html><body>sign in</body></html>", "no safetensors file"),
        ((100).to_bytes(8, "little") + b'{"a"', "truncated inside its header: 12 of at least 108 bytes"),
        ((4).to_bytes(8, "little") + b'{"a"', "header does not parse"),
        ((2).to_bytes(8, "little") + b"[]", "header does not parse"),
    ],
)
def test_other_files_are_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match=problem):
        tensor_checksum(path)


@pytest.mark.parametrize(
    ("offsets", "size", "problem"),
    [
        ([0, 4], 8, "4 bytes too many"),
        ([4, 8], 8, "overlaps or leaves a gap"),
        ([0, 12], 8, "truncated"),
    ],
)
def test_data_must_be_what_the_header_promises(offsets: list[int], size: int, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "tensors"
    _with_header(path, {"a": {"dtype": "F32", "shape": [1], "data_offsets": offsets}}, b"\0" * size)
    with pytest.raises(InvalidFile, match=problem):
        tensor_checksum(path)


def test_file_checksum(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1_000_000)
    assert file_checksum(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
