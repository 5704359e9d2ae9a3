"""A network over a part of a picture: its features and gradients are those of the whole one, by autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.partial import PartialFeatures, TapCells
from painterly_harmonize.algorithm.region import Region
from painterly_harmonize.algorithm.vgg import FeatureNetwork, stride
from tests.harmonize.algorithm.toy import picture, toy_network

HEIGHT, WIDTH = 37, 45
WHOLE = Region(top=0, left=0, bottom=HEIGHT, right=WIDTH)
TAPS = ("relu1_1", "relu2_1", "relu3_1")
# Inside, at each side, at odd places, everything.
LIVE = (
    Region(top=9, left=13, bottom=22, right=30),
    Region(top=0, left=11, bottom=8, right=19),
    Region(top=15, left=0, bottom=16, right=9),
    Region(top=21, left=27, bottom=HEIGHT, right=WIDTH),
    WHOLE,
)


@pytest.fixture
def network() -> FeatureNetwork:
    return toy_network(torch.float64)


@pytest.fixture
def known() -> Tensor:
    return picture(HEIGHT, WIDTH, seed=1, dtype=torch.float64) * 255


def moved(known: Tensor, live: Region) -> Tensor:
    """The known picture with other values in ``live``."""
    other = known.clone()
    live.crop(other).copy_(live.crop(picture(HEIGHT, WIDTH, seed=2, dtype=torch.float64) * 255))
    return other


def partial_features(network: FeatureNetwork, known: Tensor, live: Region) -> PartialFeatures:
    return PartialFeatures(network, known, live, {tap: WHOLE.cells(stride(tap)) for tap in TAPS})


@pytest.mark.parametrize("live", LIVE)
def test_features_are_those_of_the_whole_picture(network: FeatureNetwork, known: Tensor, live: Region) -> None:
    partial, other = partial_features(network, known, live), moved(known, live)
    before, after = network.features(known, TAPS), network.features(other, TAPS)
    for name, tap in partial.taps.items():
        torch.testing.assert_close(tap.cells, before[name], rtol=0, atol=1e-9)
    for name, tap in partial(live.crop(other)).items():
        torch.testing.assert_close(tap.cells, after[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("live", LIVE)
def test_gradients_are_autograds(network: FeatureNetwork, known: Tensor, live: Region) -> None:
    partial, other = partial_features(network, known, live), moved(known, live)
    weights = {tap: torch.randn_like(features) for tap, features in network.features(known, TAPS).items()}
    leaf = other.clone().requires_grad_(True)
    found = network.features(leaf, TAPS)
    loss = sum((weights[tap] * features.square()).sum() for tap, features in found.items())
    assert isinstance(loss, Tensor)
    (expected,) = torch.autograd.grad(loss, leaf)
    order = []

    def at_tap(name: str, tap: TapCells, arriving: Tensor | None) -> Tensor:
        order.append(name)
        own = 2 * tap.crop_live(weights[name] * tap.cells)
        return own if arriving is None else own + arriving

    gradient = partial.gradient(live.crop(other), at_tap)
    assert order == ["relu3_1", "relu2_1", "relu1_1"]
    scale = float(expected.abs().max())
    torch.testing.assert_close(gradient / scale, live.crop(expected) / scale, rtol=0, atol=1e-12)


def test_a_mask_at_a_tap_stops_what_comes_from_deeper_layers(network: FeatureNetwork, known: Tensor) -> None:
    live = LIVE[0]

    def constant(value: float, tap: TapCells) -> Tensor:
        return torch.full_like(tap.crop_live(tap.cells), value)

    def at_tap(name: str, tap: TapCells, arriving: Tensor | None) -> Tensor:
        return constant(0 if name == "relu2_1" else 1, tap)

    def without_deeper(name: str, tap: TapCells, arriving: Tensor | None) -> Tensor:
        return constant(1 if name == "relu1_1" else 0, tap)

    partial = partial_features(network, known, live)
    found, expected = (partial.gradient(live.crop(known), each) for each in (at_tap, without_deeper))
    assert torch.equal(found, expected)
    assert found.any()


def test_a_call_gives_the_known_features_to_the_last_bit(known: Tensor) -> None:
    network, live = toy_network(torch.float32), LIVE[0]
    partial = partial_features(network, known.float(), live)
    before = {name: tap.cells.clone() for name, tap in partial.taps.items()}
    for name, tap in partial(live.crop(known.float())).items():
        assert torch.equal(tap.cells, before[name])


def test_a_tap_that_the_network_does_not_have_is_named(network: FeatureNetwork, known: Tensor) -> None:
    with pytest.raises(KeyError, match="relu9_1"):
        PartialFeatures(network, known, WHOLE, {"relu9_1": WHOLE})


def test_half_precision_layers_give_whole_precision_features_and_nearly_the_same_gradient(known: Tensor) -> None:
    live = LIVE[0]
    gradients = {}
    for dtype in (torch.float32, torch.bfloat16):
        network = toy_network(torch.float32, layer_dtype=dtype)
        partial = partial_features(network, known.float(), live)
        other = moved(known.float(), live)

        def at_tap(name: str, tap: TapCells, arriving: Tensor | None) -> Tensor:
            assert tap.cells.dtype == torch.float32
            own = tap.crop_live(tap.cells)
            return own if arriving is None else own + arriving

        gradients[dtype] = partial.gradient(live.crop(other), at_tap).flatten()
        assert gradients[dtype].dtype == torch.float32
    exact, half = gradients[torch.float32], gradients[torch.bfloat16]
    assert not torch.equal(exact, half)
    # Rounding chooses another cell in some poolings, and other cells at some thresholds.
    assert float(torch.nn.functional.cosine_similarity(exact, half, dim=0)) > 0.97
