"""A network over a part of a picture: hooks, and the taps that it must have. Its values: the passes' twins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.partial import PartialFeatures
from painterly_harmonize.algorithm.region import Region
from tests.harmonize.algorithm.toy import picture, toy_network

WHOLE = Region(top=0, left=0, bottom=32, right=32)
TAPS = ("relu3_1", "relu1_1", "relu2_1")


def test_a_hook_changes_what_deeper_layers_read() -> None:
    network, order = toy_network(torch.float64), []
    pixels = picture(32, 32, seed=1, dtype=torch.float64) * 255
    partial = PartialFeatures(network, pixels, WHOLE, dict.fromkeys(TAPS, Region(top=0, left=0, bottom=1, right=1)))
    found: dict[str, Tensor] = {}

    def zero(tap: str, x: Tensor) -> Tensor:
        order.append(tap)
        found[tap] = x * 0 if tap == "relu2_1" else x
        return found[tap]

    deepest = partial(pixels, zero)
    assert order == list(found) == ["relu1_1", "relu2_1", "relu3_1"]
    assert torch.equal(deepest, found["relu3_1"])
    assert not found["relu2_1"].any()
    assert torch.equal(found["relu1_1"], network.features(pixels, ["relu1_1"])["relu1_1"])
    assert not torch.equal(found["relu3_1"], network.features(pixels, ["relu3_1"])["relu3_1"])


def test_a_tap_that_the_network_does_not_have_is_named() -> None:
    pixels = picture(32, 32, seed=1) * 255
    with pytest.raises(KeyError, match="relu9_1"):
        PartialFeatures(toy_network(), pixels, WHOLE, {"relu9_1": WHOLE})
