"""The feature network: torchvision's own models as twins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from painterly_harmonize.algorithm.params import NetworkName
from painterly_harmonize.algorithm.vgg import (
    CAFFE_INPUT,
    TORCHVISION_INPUT,
    FeatureNetwork,
    build_network,
    layer_names,
    layer_plan,
    load_network,
)
from tests.harmonize.algorithm import reference
from tests.harmonize.algorithm.toy import TOY_PLAN, plan_tensors, toy_network

TAPS = tuple(f"relu{block}_1" for block in range(1, 6))
# 0-based positions of the taps in torchvision's `features` (section 1.2).
POSITIONS = {NetworkName.VGG16: (1, 6, 11, 18, 25), NetworkName.VGG19: (1, 6, 11, 20, 29)}
MAKERS = {NetworkName.VGG16: torchvision.models.vgg16, NetworkName.VGG19: torchvision.models.vgg19}


def torchvision_features(name: NetworkName) -> nn.Sequential:
    """The `features` of torchvision's model, with fixed random weights and poolings that round up."""
    with torch.device("meta"):
        layers: nn.Sequential = MAKERS[name](init_weights=False).features[: POSITIONS[name][-1] + 1]
    layers = layers.to_empty(device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            layer.weight.normal_(0, (2 / (9 * layer.in_channels)) ** 0.5, generator=generator)
            layer.bias.uniform_(0, 0.1, generator=generator)  # type: ignore[union-attr]
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    return layers


def stored(layers: nn.Sequential, path: Path) -> Path:
    """Write a model's tensors as the weight store names them."""
    tensors = {}
    for name, layer in zip(layer_names(layers), layers, strict=True):
        for kind, tensor in layer.state_dict().items():
            tensors[f"{name}.{kind}"] = tensor
    safetensors.torch.save_file(tensors, path)
    return path


def activations(layers: nn.Sequential, x: Tensor, positions: Sequence[int]) -> dict[int, Tensor]:
    found = {}
    for position, layer in enumerate(layers):
        x = layer(x)
        if position in positions:
            found[position] = x.clone()
    return found


def random_pixels(height: int, width: int) -> Tensor:
    return 255 * torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_vgg16_equals_torchvisions_on_caffe_input(tmp_path: Path) -> None:
    layers = torchvision_features(NetworkName.VGG16)
    network = load_network(NetworkName.VGG16, stored(layers, tmp_path / "vgg16.safetensors"), torch.device("cpu"))
    pixels = random_pixels(37, 50)
    mean = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    expected = activations(layers, pixels - mean, POSITIONS[NetworkName.VGG16])
    found = network.features(pixels, TAPS)
    for tap, position in zip(TAPS, POSITIONS[NetworkName.VGG16], strict=True):
        assert_close(found[tap], expected[position])


def test_vgg19_is_57_4_times_torchvisions(tmp_path: Path) -> None:
    layers = torchvision_features(NetworkName.VGG19)
    network = load_network(NetworkName.VGG19, stored(layers, tmp_path / "vgg19.safetensors"), torch.device("cpu"))
    pixels = random_pixels(37, 50)
    mean, deviation = (
        torch.tensor(values).view(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    expected = activations(layers, (pixels / 255 - mean) / deviation, POSITIONS[NetworkName.VGG19])
    found = network.features(pixels, TAPS)
    for tap, position in zip(TAPS, POSITIONS[NetworkName.VGG19], strict=True):
        assert_close(found[tap], 57.4 * expected[position])


@pytest.mark.parametrize("name", list(NetworkName))
def test_taps_are_where_the_table_says(name: NetworkName) -> None:
    with torch.device("meta"):
        names = layer_names(MAKERS[name](init_weights=False).features)
    assert [names.index(tap) for tap in TAPS] == list(POSITIONS[name])
    assert len(layer_plan(name)) == sum(not n.startswith("relu") for n in names[: POSITIONS[name][-1] + 1])


@pytest.mark.parametrize("size", [(64, 80), (37, 50), (17, 16), (5, 64)])
def test_features_equal_plain_convolutions_and_poolings(size: tuple[int, int]) -> None:
    tensors = plan_tensors(TOY_PLAN, dtype=torch.float64)
    network = build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="toy")
    pixels = random_pixels(*size).double()
    expected, found = reference.features(tensors, pixels), network.features(pixels, TAPS)
    for block, tap in enumerate(TAPS):
        torch.testing.assert_close(found[tap], expected[tap])
        assert found[tap].shape[-2:] == tuple(-(-side // 2**block) for side in size)
        assert 0.1 < float((found[tap] > 0).double().mean()) < 1, "alive, and with post-ReLU zeros"


def test_tapped_tensors_are_not_overwritten_by_deeper_layers() -> None:
    network = toy_network(torch.float64)
    pixels = random_pixels(32, 32).double()
    alone = network.features(pixels, ["relu1_1"])["relu1_1"]
    assert torch.equal(network.features(pixels, TAPS)["relu1_1"], alone)


def test_weights_are_fixed() -> None:
    network = toy_network()
    pixels = random_pixels(16, 16).requires_grad_(True)
    assert network.features(pixels, ["relu2_1"])["relu2_1"].requires_grad
    assert not network.features(pixels.detach(), ["relu2_1"])["relu2_1"].requires_grad


def test_scaled_biases_scale_activations_exactly() -> None:
    tensors = plan_tensors(TOY_PLAN, dtype=torch.float64)
    pixels = random_pixels(32, 32).double()
    plain = build_network(TOY_PLAN, tensors, TORCHVISION_INPUT, name="plain")
    # 2 is exact in binary: twice the biases on twice the input gives twice the activations to the last bit.
    doubled = build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="doubled", bias_scale=2)
    x = pixels * plain.gain + plain._offset
    mean = torch.tensor([123.68, 116.779, 103.939], dtype=torch.float64).view(1, 3, 1, 1)
    unscaled = reference.features(tensors, x + mean)
    found = doubled.features(2 * x + mean, TAPS)
    for tap in TAPS:
        torch.testing.assert_close(found[tap], 2 * unscaled[tap])


def test_unknown_taps_and_unfitting_tensors_are_refused() -> None:
    network: FeatureNetwork = toy_network()
    with pytest.raises(KeyError, match="relu6_1"):
        network.features(random_pixels(16, 16), ["relu1_1", "relu6_1"])
    tensors = plan_tensors(TOY_PLAN)
    with pytest.raises(KeyError, match=r"conv5_1\.weight"):
        build_network(
            TOY_PLAN, {k: v for k, v in tensors.items() if not k.startswith("conv5_1")}, CAFFE_INPUT, name="toy"
        )
    with pytest.raises(RuntimeError, match="size mismatch"):
        build_network(TOY_PLAN, {**tensors, "conv1_1.bias": torch.zeros(7)}, CAFFE_INPUT, name="toy")


@pytest.mark.weights
def test_the_stored_network_is_vgg16_at_caffes_scale(vgg16: FeatureNetwork) -> None:
    assert vgg16.kinds[-1] == "relu5_1"
    found = vgg16.features(random_pixels(48, 48), TAPS)
    assert [x.shape[1] for x in found.values()] == [64, 128, 256, 512, 512]
    # One 8-bit step is about 1 (section 1.3): torchvision's scale would give activations of some units.
    assert all(50 < float(x.max()) < 1e5 for x in found.values())
