"""Converters on small files of the published formats."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch
from torchvision.models.vgg import cfgs

from painterly.weights import UrlSource, WeightsCorrupt, WeightStore, WeightsUnobtainable
from painterly.weights.checksums import tensor_specs
from painterly.weights.manifest import vgg_tensors
from painterly_harmonize.weight_conversion import convert_keras_vgg_onnx, convert_torchvision_vgg
from tests.weights.kit import (
    TINY_CHANNELS,
    VGG16_BLOCKS,
    VGG19_BLOCKS,
    Tensors,
    keras_onnx,
    save_tensors,
    sha256,
    vgg_network,
    vgg_values,
)

FULL_VGG16, FULL_VGG19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)


def _same(found: Tensors, expected: Tensors) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)


def _first_five_blocks(tensors: Tensors) -> Tensors:
    return {name: values for name, values in tensors.items() if not name.startswith(("conv5_2", "conv5_3", "conv5_4"))}


def torchvision_state(tensors: Tensors, plan: Sequence[int | str]) -> dict[str, torch.Tensor]:
    """A state dict as torchvision names it, by the positions in its own published plan of layers."""
    state, position, block, index = {}, 0, 1, 0
    for layer in plan:
        if layer == "M":
            position, block, index = position + 1, block + 1, 0
            continue
        index += 1
        for part in ("weight", "bias"):
            state[f"features.{position}.{part}"] = torch.from_numpy(tensors[f"conv{block}_{index}.{part}"])
        position += 2
    return {**state, "classifier.0.weight": torch.full((2, 2), float("nan"))}


def test_keras_export_becomes_rgb(tmp_path: Path) -> None:
    tensors = vgg_values(FULL_VGG16, seed=1)
    source, destination = keras_onnx(tmp_path, tensors), tmp_path / "converted"
    convert_keras_vgg_onnx(source, destination)
    assert _same(safetensors.numpy.load_file(destination), _first_five_blocks(tensors))
    assert tensor_specs(destination) == vgg_tensors(VGG16_BLOCKS, TINY_CHANNELS)
    exported = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(source).graph.initializer}
    bgr = exported["functional_1/block1_conv1_1/convolution/ReadVariableOp:0"]
    rgb = safetensors.numpy.load_file(destination)["conv1_1.weight"]
    for red, blue in ((0, 2), (1, 1), (2, 0)):
        assert np.array_equal(rgb[:, red], bgr[:, blue])


@pytest.mark.parametrize(
    ("full", "kept", "plan"), [(FULL_VGG16, VGG16_BLOCKS, cfgs["D"]), (FULL_VGG19, VGG19_BLOCKS, cfgs["E"])]
)
def test_torchvision_state(
    full: tuple[int, ...], kept: tuple[int, ...], plan: Sequence[int | str], tmp_path: Path
) -> None:
    tensors = vgg_values(full, seed=2)
    source, destination = tmp_path / "vgg.pth", tmp_path / "converted"
    for is_zip in (True, False):
        torch.save(torchvision_state(tensors, plan), source, _use_new_zipfile_serialization=is_zip)
        convert_torchvision_vgg(source, destination)
        assert _same(safetensors.numpy.load_file(destination), _first_five_blocks(tensors))
    assert tensor_specs(destination) == vgg_tensors(kept, TINY_CHANNELS)


def test_conversion_gives_the_same_file_twice(tmp_path: Path) -> None:
    source = keras_onnx(tmp_path, vgg_values(FULL_VGG16, seed=1))
    convert_keras_vgg_onnx(source, tmp_path / "first")
    convert_keras_vgg_onnx(source, tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_keras_export_of_something_else(tmp_path: Path) -> None:
    source = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "other", [], [])), source)
    with pytest.raises(ValueError, match="no initializer of block1_conv1"):
        convert_keras_vgg_onnx(source, tmp_path / "converted")
    source.write_bytes(b"no protobuf at all")
    with pytest.raises(ValueError, match="no ONNX file"):
        convert_keras_vgg_onnx(source, tmp_path / "converted")


def test_keras_export_without_the_fifth_block(tmp_path: Path) -> None:
    tensors = {name: values for name, values in vgg_values(FULL_VGG16, seed=1).items() if name < "conv5"}
    with pytest.raises(ValueError, match="it has no conv5_1"):
        convert_keras_vgg_onnx(keras_onnx(tmp_path, tensors), tmp_path / "converted")


@pytest.mark.parametrize("content", [b"", b"no archive", pickle.dumps(Path("/"), protocol=2)])
def test_torchvision_file_of_something_else(content: bytes, tmp_path: Path) -> None:
    source = tmp_path / "other.pth"
    source.write_bytes(content)
    with pytest.raises(ValueError, match="it is no file of tensors"):
        convert_torchvision_vgg(source, tmp_path / "converted")


def test_torchvision_file_cannot_run_code(tmp_path: Path) -> None:
    source, trace = tmp_path / "evil.pth", tmp_path / "trace"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.mkdir, (trace,)  # type: ignore[return-value]

    torch.save({"features.0.weight": Evil()}, source)
    with pytest.raises(ValueError, match="it is no file of tensors"):
        convert_torchvision_vgg(source, tmp_path / "converted")
    assert not trace.exists()


def test_torchvision_state_with_a_gap(tmp_path: Path) -> None:
    state = torchvision_state(vgg_values(FULL_VGG16, seed=2), cfgs["D"])
    del state["features.5.bias"]
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"it has no tensor features\.5\.bias"):
        convert_torchvision_vgg(tmp_path / "vgg.pth", tmp_path / "converted")
    torch.save({"features.0.weight": "text"}, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"it has no tensor features\.0\.weight"):
        convert_torchvision_vgg(tmp_path / "vgg.pth", tmp_path / "converted")
    torch.save([1, 2], tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match="it holds a list, no state dict"):
        convert_torchvision_vgg(tmp_path / "vgg.pth", tmp_path / "converted")


def test_other_vgg_is_refused_by_the_store(tmp_path: Path) -> None:
    torch.save(torchvision_state(vgg_values(FULL_VGG19, seed=2), cfgs["E"]), tmp_path / "vgg.pth")
    source = UrlSource(
        url="http://127.0.0.1:9/never-asked",
        sha256=sha256((tmp_path / "vgg.pth").read_bytes()),
        converter="torchvision-vgg",
    )
    sixteen = WeightStore(tmp_path / "16", manifest={"vgg": vgg_network("vgg", VGG16_BLOCKS, source)})
    with pytest.raises(WeightsUnobtainable, match=r"conv3_4\.bias is F32 \[8\], expected absent"):
        sixteen.fetch("vgg", source=tmp_path / "vgg.pth")
    nineteen = WeightStore(tmp_path / "19", manifest={"vgg": vgg_network("vgg", VGG19_BLOCKS, source)})
    path = nineteen.fetch("vgg", source=tmp_path / "vgg.pth")
    assert nineteen.path("vgg") == path
    save_tensors(path, vgg_values(VGG19_BLOCKS, seed=5))
    with pytest.raises(WeightsCorrupt, match="is none that is known"):
        nineteen.path("vgg")
