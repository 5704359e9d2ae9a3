"""What the store hands out, and what it refuses: missing, corrupt, truncated and other networks' files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from painterly.weights import (
    MANIFEST,
    Network,
    UnknownWeights,
    UrlSource,
    WeightsCorrupt,
    WeightsError,
    WeightsMissing,
    WeightState,
    WeightStore,
)
from painterly.weights.checksums import tensor_checksum
from tests.weights.kit import VGG16_BLOCKS, VGG19_BLOCKS, plain_network, save_tensors, sha256, vgg_network, vgg_values

BYTES = b"the network" * 1000
UNUSED_URL = "http://127.0.0.1:9/never-asked"


@pytest.fixture
def manifest(tmp_path: Path) -> Mapping[str, Network]:
    """``plain`` is stored as it comes; the tensors of ``small`` are known; those of ``large`` are not."""
    checksum = tensor_checksum(save_tensors(tmp_path / "small", vgg_values(VGG16_BLOCKS, seed=1)))
    small = UrlSource(url=UNUSED_URL, sha256="1" * 64, converter="keras-vgg-onnx", tensors_sha256=checksum)
    large = UrlSource(url=UNUSED_URL, sha256="2" * 64, converter="torchvision-vgg")
    networks = (
        plain_network("plain", UrlSource(url=UNUSED_URL, sha256=sha256(BYTES))),
        vgg_network("small", VGG16_BLOCKS, small),
        vgg_network("large", VGG19_BLOCKS, large),
    )
    return {network.name: network for network in networks}


@pytest.fixture
def store(tmp_path: Path, manifest: Mapping[str, Network]) -> WeightStore:
    directory = tmp_path / "store"
    directory.mkdir()
    (directory / "plain.bin").write_bytes(BYTES)
    save_tensors(directory / "small.safetensors", vgg_values(VGG16_BLOCKS, seed=1))
    large = save_tensors(directory / "large.safetensors", vgg_values(VGG19_BLOCKS, seed=2))
    record = {"source": UNUSED_URL, "source_sha256": "2" * 64, "checksum": tensor_checksum(large)}
    (directory / "large.safetensors.json").write_text(json.dumps(record))
    return WeightStore(directory, manifest=manifest)


def _problem(store: WeightStore, name: str) -> str:
    with pytest.raises(WeightsCorrupt) as caught:
        store.path(name)
    assert caught.value.name == name
    assert str(store.directory) in str(caught.value)
    assert str(caught.value).endswith(f"run: painterly weights fetch {name}")
    return caught.value.problem


@pytest.mark.parametrize("name", ["plain", "small", "large"])
def test_whole_file_is_handed_out(store: WeightStore, name: str) -> None:
    path = store.path(name)
    assert path.parent == store.directory
    assert path.stem == name
    assert store.status(name).state is WeightState.PRESENT


def test_checksum(store: WeightStore) -> None:
    assert store.checksum("plain") == f"sha256:{sha256(BYTES)}"
    assert store.checksum("small") == f"sha256:{tensor_checksum(store.directory / 'small.safetensors')}"


def test_missing_file_names_the_way_out(tmp_path: Path) -> None:
    store = WeightStore(tmp_path / "nowhere")
    with pytest.raises(WeightsMissing, match="run: painterly weights fetch vgg16") as caught:
        store.path("vgg16")
    assert caught.value.path == tmp_path / "nowhere" / "vgg16.safetensors"
    assert isinstance(caught.value, WeightsError)
    assert store.status("vgg16").state is WeightState.MISSING
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("method", ["path", "checksum", "status", "fetch"])
def test_unknown_name_lists_the_known(tmp_path: Path, method: str) -> None:
    with pytest.raises(UnknownWeights, match="'vgg17'; known names: vgg16, vgg19, u2net"):
        getattr(WeightStore(tmp_path), method)("vgg17")


@pytest.mark.parametrize("name", ["plain", "small", "large"])
def test_every_flipped_byte_is_noticed(store: WeightStore, name: str) -> None:
    path = store.path(name)
    whole = path.read_bytes()
    for position in (0, 9, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        _problem(store, name)
    path.write_bytes(whole)
    assert store.path(name) == path


@pytest.mark.parametrize("name", ["plain", "small", "large"])
def test_truncated_file_is_refused(store: WeightStore, name: str) -> None:
    path = store.path(name)
    path.write_bytes(path.read_bytes()[:-4])
    problem = _problem(store, name)
    assert name == "plain" or "truncated" in problem
    assert store.status(name).state is WeightState.CORRUPT
    assert store.status(name).checksum is None


def test_verification_happens_on_every_call(store: WeightStore) -> None:
    path = store.path("small")
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "checksum" in _problem(store, "small")


def test_another_networks_tensors_are_named(store: WeightStore) -> None:
    (store.directory / "large.safetensors").replace(store.directory / "small.safetensors")
    assert "it holds the tensors of large" in _problem(store, "small")


def test_another_networks_source_is_named(store: WeightStore) -> None:
    (store.directory / "plain.bin").replace(store.directory / "small.safetensors")
    assert "it is a source of plain" in _problem(store, "small")


def test_right_shapes_with_other_values_are_refused(store: WeightStore) -> None:
    save_tensors(store.directory / "small.safetensors", vgg_values(VGG16_BLOCKS, seed=3))
    assert "is none that is known" in _problem(store, "small")


def test_missing_tensor_is_named(store: WeightStore) -> None:
    tensors = vgg_values(VGG16_BLOCKS, seed=1)
    del tensors["conv3_2.bias"]
    save_tensors(store.directory / "small.safetensors", tensors)
    assert "conv3_2.bias is absent, expected F32 [8]" in _problem(store, "small")


def test_unknown_tensors_need_their_record(store: WeightStore) -> None:
    (store.directory / "large.safetensors.json").unlink()
    assert "no record beside it" in _problem(store, "large")


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"source": 1, "source_sha256": 2, "checksum": 3}'])
def test_unreadable_record_is_no_record(store: WeightStore, record: str) -> None:
    (store.directory / "large.safetensors.json").write_text(record)
    assert "no record beside it" in _problem(store, "large")


def test_record_cannot_vouch_for_tensors_that_the_manifest_knows(store: WeightStore) -> None:
    forged = save_tensors(store.directory / "small.safetensors", vgg_values(VGG16_BLOCKS, seed=3))
    record = {"source": UNUSED_URL, "source_sha256": "1" * 64, "checksum": tensor_checksum(forged)}
    (store.directory / "small.safetensors.json").write_text(json.dumps(record))
    assert "is none that is known" in _problem(store, "small")


def test_folder_in_the_files_place_is_corrupt(store: WeightStore) -> None:
    (store.directory / "plain.bin").unlink()
    (store.directory / "plain.bin").mkdir()
    assert "directory" in _problem(store, "plain")
    assert store.status("plain").size_bytes is None


def test_reading_writes_nothing(store: WeightStore) -> None:
    before = sorted(store.directory.rglob("*"))
    for name in store.names():
        store.path(name)
        store.status(name)
    assert sorted(store.directory.rglob("*")) == before


def test_status_tells_size_license_and_origin(store: WeightStore) -> None:
    status = store.status("large")
    assert status.size_bytes == (store.directory / "large.safetensors").stat().st_size
    assert status.license == "CC0"
    assert status.sources == (UNUSED_URL,)
    assert status.obtained_from == UNUSED_URL
    assert status.problem == ""
    assert store.status("plain").obtained_from is None


def test_directory_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAINTERLY_WEIGHTS_DIR", str(tmp_path / "there"))
    assert WeightStore().directory == tmp_path / "there"
    monkeypatch.setenv("PAINTERLY_WEIGHTS_DIR", "~/there")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert WeightStore().directory == tmp_path / "there"
    monkeypatch.setenv("PAINTERLY_WEIGHTS_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert WeightStore().directory == tmp_path / "cache" / "painterly" / "weights"
    assert tuple(MANIFEST) == WeightStore().names()
