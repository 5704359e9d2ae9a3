"""The plain twin computes what the product computes: the same matches and, step by step, the same pictures."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm import pass1, pass2
from painterly_harmonize.algorithm.matching import Measure, nearest_neighbor_field
from painterly_harmonize.algorithm.params import ParityParams, Pass1Params, Pass2Params
from painterly_harmonize.algorithm.problem import Working, working_pictures
from painterly_harmonize.algorithm.stage import Iterate
from painterly_harmonize.algorithm.style_level import Pass2Weights
from painterly_harmonize.algorithm.vgg import TORCHVISION_INPUT, TORCHVISION_SCALE, build_network
from painterly_harmonize.benchmark import plain_twin
from painterly_harmonize.benchmark.plain_twin import PlainNetwork, PlainPass1, PlainPass2
from tests.harmonize.algorithm.toy import (
    TOY19_PLAN,
    TOY_PLAN,
    picture,
    plan_tensors,
    rectangle_mask,
    toy_inputs,
    toy_network,
)

STEPS = 5
NETWORK = toy_network(torch.float64)
PLAIN_NETWORK = PlainNetwork(tensors=plan_tensors(TOY_PLAN, dtype=torch.float64))
# One inside the picture, one at its frame; sides that are no multiples of the deepest stride.
MASKS = {
    "inside": rectangle_mask(74, 88, (27, 48), (36, 61), dtype=torch.float64),
    "corner": rectangle_mask(74, 88, (0, 21), (60, 88), dtype=torch.float64),
}


@pytest.fixture(params=[*MASKS])
def working(request: pytest.FixtureRequest) -> Working:
    inputs = toy_inputs(74, 88, mask=MASKS[request.param], dtype=torch.float64)
    return working_pictures(inputs, 88, ParityParams(), NETWORK)


def follow(steps: Generator[Iterate, None, Tensor]) -> tuple[list[Tensor], Tensor]:
    """The picture of every iteration, and what the pass returns."""
    pictures: list[Tensor] = []
    while True:
        try:
            iterate = next(steps)
        except StopIteration as end:
            return pictures, end.value
        if iterate.iteration:
            pictures.append(iterate.image().clone())


def compare(steps: Generator[Iterate, None, Tensor], twin: Iterator[Tensor], working: Working) -> None:
    pictures, output = follow(steps)
    outputs = [pixels.clone() / working.pixel_scale for pixels in itertools.islice(twin, STEPS)]
    assert len(pictures) == STEPS
    for picture_, expected in zip(pictures, outputs, strict=True):
        torch.testing.assert_close(picture_, working.blend(expected), rtol=0, atol=1e-9)
    torch.testing.assert_close(output, outputs[-1], rtol=0, atol=1e-9)
    moved = (output - working.composite).abs()[working.dilated_mask.expand(1, 3, -1, -1) > 0]
    assert float(moved.median()) > 1e-5


def test_pass_1_takes_the_same_steps(working: Working) -> None:
    params = Pass1Params(iteration_count=STEPS)
    twin = plain_twin.iterates(
        working.composite * working.pixel_scale,
        PlainPass1(working, params, PLAIN_NETWORK).gradient,
        learning_rate=params.learning_rate,
        history_size=params.history_size,
    )
    compare(pass1.run_pass1(working, params, NETWORK, lambda: None), twin, working)


def test_pass_2_takes_the_same_steps(working: Working) -> None:
    params = Pass2Params(iteration_count=STEPS)
    weights = Pass2Weights(content=1, style=5, histogram=25, total_variation=25)
    pass1_result = working.blend(picture(74, 88, seed=3, dtype=torch.float64))
    twin = plain_twin.iterates(
        working.composite * working.pixel_scale,
        PlainPass2(working, pass1_result, params, weights, PLAIN_NETWORK).gradient,
        learning_rate=params.learning_rate,
        history_size=params.history_size,
    )
    compare(pass2.run_pass2(working, pass1_result, params, weights, NETWORK, lambda: None), twin, working)


def test_a_histogram_without_weight_is_left_out(working: Working) -> None:
    weights = Pass2Weights(content=1, style=5, histogram=1e-9, total_variation=25)
    twin = PlainPass2(working, working.painting, Pass2Params(), weights, PLAIN_NETWORK)
    heavier = Pass2Weights(content=1, style=5, histogram=25, total_variation=25)
    with_histogram = PlainPass2(working, working.painting, Pass2Params(), heavier, PLAIN_NETWORK)
    pixels = working.composite * working.pixel_scale
    assert not torch.equal(twin.gradient(pixels), with_histogram.gradient(pixels))


@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
@pytest.mark.parametrize(
    ("measure", "plain"),
    [(Measure.COSINE, plain_twin.cosine_matches), (Measure.UNIT_SUM, plain_twin.unit_sum_matches)],
)
def test_unfolded_patches_find_the_same_matches(measure: Measure, plain: object, chunk_rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    source, style = (torch.rand(1, 5, 9, 11, generator=generator, dtype=torch.float64) for _ in range(2))
    expected, _ = nearest_neighbor_field(source[0], style[0], torch.arange(99), measure)
    assert callable(plain)
    assert plain(source, style, chunk_rows * 99 * 8).tolist() == expected.tolist()


def test_the_plain_network_is_the_product_s_for_both_plans() -> None:
    pixels = picture(45, 70, seed=0, dtype=torch.float64) * 255
    taps = ("relu1_1", "relu3_1", "relu5_1")
    for name, found in PLAIN_NETWORK.features(pixels, taps).items():
        torch.testing.assert_close(found, NETWORK.features(pixels, taps)[name])
    tensors = plan_tensors(TOY19_PLAN, dtype=torch.float64)
    product = build_network(TOY19_PLAN, tensors, TORCHVISION_INPUT, name="toy", bias_scale=TORCHVISION_SCALE)
    scaled = {k: v * TORCHVISION_SCALE if k.endswith(".bias") else v for k, v in tensors.items()}
    plain = PlainNetwork(tensors=scaled, input_scale=TORCHVISION_INPUT)
    assert plain.kinds == product.kinds
    torch.testing.assert_close(plain.features(pixels, taps)["relu5_1"], product.features(pixels, taps)["relu5_1"])
