"""VGG features by tap name, at the scale of the original Caffe weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from painterly_harmonize.algorithm.params import NetworkName

# One entry per layer up to the last tap: an output channel count for a convolution with its ReLU, "M" for a pooling.
LayerPlan = Sequence[int | str]

# One 8-bit step is about this many times smaller in torchvision's normalized input (255 · 0.225; section 1.3).
TORCHVISION_SCALE = 57.4


@dataclass(frozen=True, kw_only=True)
class InputScale:
    """How an 8-bit-scaled RGB pixel becomes network input: ``gain · pixel + offset`` per channel."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)


CAFFE_INPUT = InputScale(offset=(-123.68, -116.779, -103.939))
_TORCHVISION_MEAN, _TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION_INPUT = InputScale(
    gain=tuple(TORCHVISION_SCALE / (255 * s) for s in _TORCHVISION_STD),  # type: ignore[arg-type]
    offset=tuple(-TORCHVISION_SCALE * m / s for m, s in zip(_TORCHVISION_MEAN, _TORCHVISION_STD, strict=True)),  # type: ignore[arg-type]
)


class FeatureNetwork:
    """A convolutional network whose post-ReLU activations are read at named taps such as ``relu4_1``.

    Poolings round up (Caffe's rule), so the size at a tap of stride s is ``ceil(size / s)``. Weights are fixed.
    Source: sections 1.2 and 1.3.
    """

    def __init__(self, layers: nn.Sequential, input_scale: InputScale, name: str) -> None:
        self.name = name
        parameter = next(layers.parameters())
        self.device, self.layer_dtype = parameter.device, parameter.dtype
        # Losses and pictures are never computed with half the digits.
        self.dtype = torch.float32 if self.layer_dtype == torch.bfloat16 else self.layer_dtype
        # Channels last is what CPUs and tensor cores convolve fastest, but in double precision slowest.
        self.layout = torch.contiguous_format if self.dtype == torch.float64 else torch.channels_last
        # Whether iterations are recorded once and replayed, where the device can.
        self.replays = False
        self._layers = layers.requires_grad_(False).eval().to(memory_format=self.layout)
        self._names = layer_names(layers)
        self._transposed: dict[str, Tensor] = {}
        for layer in layers:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
        self.gain = self._per_channel(input_scale.gain)
        self._offset = self._per_channel(input_scale.offset)

    def _per_channel(self, values: tuple[float, float, float]) -> Tensor:
        return torch.tensor(values, device=self.device, dtype=self.dtype).view(1, 3, 1, 1)

    @property
    def layers(self) -> Iterator[tuple[str, nn.Module]]:
        """All layers in order, with their names."""
        return zip(self._names, self._layers, strict=True)

    @cached_property
    def checksum(self) -> str:
        """The sha256 of all weights as they are computed with, 64 hex digits."""
        digest = hashlib.sha256()
        for name, layer in self.layers:
            for part, tensor in sorted(layer.state_dict().items()):
                digest.update(f"{name}.{part} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def to_input(self, pixels: Tensor) -> Tensor:
        """RGB in 8-bit units, 1×3×H×W, as the first layer reads it."""
        return (pixels * self.gain + self._offset).to(self.layer_dtype).contiguous(memory_format=self.layout)

    def transposed_weight(self, name: str) -> Tensor:
        """The weights with which the gradient behind the convolution ``name`` is convolved, Cin×Cout×3×3."""
        if name not in self._transposed:
            weight = dict(self.layers)[name].weight
            assert isinstance(weight, Tensor)
            self._transposed[name] = weight.flip(-2, -1).transpose(0, 1).contiguous(memory_format=self.layout)
        return self._transposed[name]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of all layers in order: ``conv1_1, relu1_1, …, pool1, …``."""
        return self._names

    def features(self, pixels: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Activations at ``taps``, each 1×C×ceil(H/s)×ceil(W/s).

        ``pixels`` is 1×3×H×W RGB in 8-bit units (0 to 255, not clipped).
        """
        wanted = set(taps)
        found: dict[str, Tensor] = {}
        x = self.to_input(pixels)
        for name, layer in self.layers:
            x = layer(x)
            if name in wanted:
                found[name] = x.to(self.dtype)
                if len(found) == len(wanted):
                    return found
        raise KeyError(f"network {self.name} has no taps {sorted(wanted - found.keys())}")


def stride(tap: str) -> int:
    """Pixels per cell of a tap: 1 for ``relu1_1``, 8 for ``relu4_1``."""
    return 1 << (int(tap[len("relu")]) - 1)


def layer_names(layers: Iterable[nn.Module]) -> tuple[str, ...]:
    """Name the layers of a VGG-shaped sequence: ``conv{block}_{index}``, ``relu{block}_{index}``, ``pool{block}``."""
    names, block, index = [], 1, 0
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            index += 1
            names.append(f"conv{block}_{index}")
        elif isinstance(layer, nn.MaxPool2d):
            names.append(f"pool{block}")
            block, index = block + 1, 0
        else:
            names.append(f"relu{block}_{index}")
    return tuple(names)


def build_network(
    plan: LayerPlan,
    tensors: Mapping[str, Tensor],
    input_scale: InputScale,
    *,
    name: str,
    bias_scale: float = 1.0,
    layer_dtype: torch.dtype | None = None,
) -> FeatureNetwork:
    """Build a network from a layer plan and tensors named ``conv1_1.weight``, ``conv1_1.bias`` and so on.

    ``bias_scale`` multiplies all biases: a ReLU network fed with ``k`` times its input and ``k`` times its biases
    yields exactly ``k`` times its activations. ``layer_dtype`` is what layers compute in, by default the tensors'.

    Raises: KeyError or RuntimeError when the tensors do not fit the plan.
    """
    with torch.device("meta"):
        layers = make_layers(list(plan))
    state = {}
    for position, layer_name in enumerate(layer_names(layers)):
        if layer_name.startswith("conv"):
            state[f"{position}.weight"] = tensors[f"{layer_name}.weight"]
            state[f"{position}.bias"] = tensors[f"{layer_name}.bias"] * bias_scale
    layers.load_state_dict(state, assign=True)
    if layer_dtype is not None:
        layers.to(layer_dtype)
    return FeatureNetwork(layers, input_scale, name)


def layer_plan(name: NetworkName) -> LayerPlan:
    """The published plan of a network, cut after the last convolution that a tap needs."""
    plan: LayerPlan = cfgs["D" if name is NetworkName.VGG16 else "E"]
    fifth_block = [position for position, kind in enumerate(plan) if kind == "M"][3] + 1
    return plan[: fifth_block + 1]


def sketch_network(name: NetworkName) -> FeatureNetwork:
    """A network without weights, to learn its shapes from."""
    with torch.device("meta"):
        layers = make_layers(list(layer_plan(name)))
    return FeatureNetwork(layers, CAFFE_INPUT, name.value)


def load_network(
    name: NetworkName, path: Path, device: torch.device, layer_dtype: torch.dtype = torch.float32
) -> FeatureNetwork:
    """Load a network from the weight store's safetensors file onto ``device``; its layers compute in ``layer_dtype``.

    VGG-19's torchvision weights are brought to the Caffe scale (exactly, see :func:`build_network`), so that raw
    weights mean the same for both networks. Source: section 1.3.
    """
    tensors = safetensors.torch.load_file(path, device=str(device))
    if name is NetworkName.VGG16:
        return build_network(layer_plan(name), tensors, CAFFE_INPUT, name=name.value, layer_dtype=layer_dtype)
    return build_network(
        layer_plan(name),
        tensors,
        TORCHVISION_INPUT,
        name=name.value,
        bias_scale=TORCHVISION_SCALE,
        layer_dtype=layer_dtype,
    )
