"""Loss curves on real pictures with the real network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from painterly.weights import WeightStore
from painterly_harmonize.algorithm.params import HarmonizeParams, NetworkName, Pass1Params, Pass2Params
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.stage import Inputs, Iterate, Result, Stage
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network

EXAMPLES = Path(__file__).parents[3] / "examples"
WIDTH, HEIGHT = 112, 96


def load(path: Path, width: int, height: int) -> Tensor:
    """An example, cropped to the shape and reduced, RGB 1×3×H×W of whole 8-bit levels."""
    with Image.open(path) as image:
        ratio = min(image.width / width, image.height / height)
        crop = (width * ratio, height * ratio)
        left, top = (image.width - crop[0]) / 2, (image.height - crop[1]) / 4
        box = (left, top, left + crop[0], top + crop[1])
        pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BOX, box=box))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def astronaut_in_a_painting(painting_name: str) -> Inputs:
    """The astronaut in an ellipse in the middle of a painting."""
    painting = load(EXAMPLES / "paintings" / painting_name, WIDTH, HEIGHT)
    photo = load(EXAMPLES / "photos" / "astronaut.jpg", 48, 56)
    y, x = torch.meshgrid(torch.arange(56), torch.arange(48), indexing="ij")
    inside = (((y - 27.5) / 28) ** 2 + ((x - 23.5) / 24) ** 2 < 1).float()
    composite, mask = painting.clone(), torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., 24:80, 32:80] = inside
    composite[..., 24:80, 32:80] = torch.where(inside > 0, photo, painting[..., 24:80, 32:80])
    return Inputs(composite=composite, painting=painting, mask=mask)


Curves = dict[tuple[Stage, str], list[float]]


def run(inputs: Inputs, network: FeatureNetwork, count: int = 24) -> tuple[Curves, Result]:
    """All loss curves of a run of ``count`` iterations of each pass, and its result."""
    curves: Curves = {}
    params = HarmonizeParams(
        pass1=Pass1Params(iteration_count=count, max_step=16),
        pass2=Pass2Params(iteration_count=count, max_step=16, learning_rate=0.5),
    )
    for event in harmonize(inputs, params, network, lambda: False):
        if isinstance(event, Iterate) and event.iteration > 0:
            for name, value in event.losses().items():
                curves.setdefault((event.stage, name), []).append(value)
        elif isinstance(event, Result):
            return curves, event
    raise AssertionError("the run ended without a result")


@pytest.mark.weights
@pytest.mark.parametrize(
    "painting",
    [
        # Rough, so the total variation's weight is nothing.
        "van_gogh_village_street_auvers.jpg",
        # Smooth, so it is strong.
        pytest.param("hokusai_great_wave.jpg", marks=pytest.mark.slow),
    ],
)
def test_losses_fall_and_content_rises_from_zero(painting: str, vgg16: FeatureNetwork) -> None:
    inputs = astronaut_in_a_painting(painting)
    curves, result = run(inputs, vgg16)
    assert {len(curve) for curve in curves.values()} == {24}
    for stage, fraction in ((Stage.PASS1, 0.2), (Stage.PASS2, 0.4)):
        style, content = curves[stage, "style"], curves[stage, "content"]
        assert style[-1] < fraction * style[0]
        assert style[-1] == min(style)
        assert content[0] == 0
        assert content[-1] > content[len(content) // 2] > content[1] > 0
    histogram = curves[Stage.PASS2, "histogram"]
    assert histogram[-1] < 0.3 * histogram[0]
    if "great_wave" in painting:
        variation = curves[Stage.PASS2, "total_variation"]
        assert variation[-1] < 0.95 * variation[0]
    assert result.changed_pixel_count > 0.8 * int(inputs.mask.sum())
    original = (inputs.painting * 255).round().to(torch.uint8)[0].permute(1, 2, 0)
    outside = torch.nn.functional.max_pool2d(inputs.mask, 13, stride=1, padding=6)[0, 0] == 0
    assert torch.equal(result.image[outside], original[outside])


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(600)
def test_half_precision_convolutions_reach_the_same_losses(vgg16: FeatureNetwork) -> None:
    inputs = astronaut_in_a_painting("van_gogh_village_street_auvers.jpg")
    half = load_network(NetworkName.VGG16, WeightStore().path("vgg16"), torch.device("cpu"), torch.bfloat16)
    # Half precision is slow where a CPU has no instructions for it.
    exact, rough = (run(inputs, network, 10)[0] for network in (vgg16, half))
    for stage in (Stage.PASS1, Stage.PASS2):
        assert rough[stage, "style"][-1] == pytest.approx(exact[stage, "style"][-1], rel=0.05)
        # The content loss rises from nothing, and its path differs between processors.
        assert rough[stage, "content"][-1] == pytest.approx(exact[stage, "content"][-1], rel=0.25)
