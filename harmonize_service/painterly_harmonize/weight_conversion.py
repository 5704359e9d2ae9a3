"""Converters of published VGG files into the stored form: safetensors, RGB order, ``conv1_1`` to ``conv5_1``.

Each takes the published file and the file to write, and raises ValueError when the first is not what it reads.
``painterly.weights`` finds them as entry points of the group ``painterly.weight_converters``.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import safetensors.numpy
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

LAST_LAYER = "conv5_1"

_KERAS_LAYER = re.compile(r"(?:^|/)block(\d)_conv(\d)_\d+/")
_TORCHVISION_LAYER = re.compile(r"features\.(\d+)\.weight")
# Positions of a pooling in torchvision's ``features``: a gap of three instead of two between convolutions.
_POOLING_GAP = 3


def convert_keras_vgg_onnx(source: Path, destination: Path) -> None:
    """Convert an ONNX export of a Keras VGG, whose input is BGR, keeping the original Caffe scale."""
    try:
        model = onnx.load(source)
    except DecodeError as error:
        raise ValueError(f"it is no ONNX file: {error}") from error
    tensors = {}
    for initializer in model.graph.initializer:
        layer = _KERAS_LAYER.search(initializer.name)
        if layer is not None:
            part = "weight" if len(initializer.dims) == 4 else "bias"
            tensors[f"conv{layer[1]}_{layer[2]}.{part}"] = onnx.numpy_helper.to_array(initializer)
    first = "conv1_1.weight"
    if first not in tensors:
        raise ValueError("it has no initializer of block1_conv1")
    _save({**tensors, first: tensors[first][:, ::-1]}, destination)


def convert_torchvision_vgg(source: Path, destination: Path) -> None:
    """Convert a state dict of torchvision's VGG-16 or VGG-19, keeping the scale that it has."""
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"it is no file of tensors: {error}") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"it holds a {type(state).__name__}, no state dict")
    matches = [_TORCHVISION_LAYER.fullmatch(str(key)) for key in state]
    positions = sorted(int(match[1]) for match in matches if match is not None)
    tensors = {}
    for name, position in _layer_names(positions).items():
        for part in ("weight", "bias"):
            key = f"features.{position}.{part}"
            if not isinstance(state.get(key), torch.Tensor):
                raise ValueError(f"it has no tensor {key}")
            tensors[f"{name}.{part}"] = state[key].float().numpy()
    _save(tensors, destination)


def _layer_names(positions: list[int]) -> dict[str, int]:
    """Name convolutions by their positions among the layers, where a pooling lies between two blocks."""
    names, block, index, previous = {}, 1, 0, -2
    for position in positions:
        block, index = (block + 1, 1) if position - previous == _POOLING_GAP else (block, index + 1)
        names[f"conv{block}_{index}"] = position
        previous = position
    return names


def _save(tensors: Mapping[str, NDArray[np.float32]], destination: Path) -> None:
    kept = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items() if name.split(".")[0] <= LAST_LAYER}
    if f"{LAST_LAYER}.weight" not in kept:
        raise ValueError(f"it has no {LAST_LAYER}; its last layer is {max(kept, default='none')}")
    safetensors.numpy.save_file(kept, destination)
