"""Carrying a change to the painting's own size, and keeping the rest of the painting byte for byte."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm import masks
from painterly_harmonize.algorithm.canvas import Canvas
from painterly_harmonize.algorithm.errors import StageFailed
from painterly_harmonize.algorithm.params import ParityParams
from painterly_harmonize.algorithm.problem import Working, working_pictures
from painterly_harmonize.algorithm.stage import Inputs
from tests.harmonize.algorithm.toy import rectangle_mask, toy_inputs, toy_network

HEIGHT, WIDTH = 160, 138
ROWS, COLUMNS = (50, 90), (40, 80)


@pytest.fixture
def inputs() -> Inputs:
    return toy_inputs(HEIGHT, WIDTH, mask=rectangle_mask(HEIGHT, WIDTH, ROWS, COLUMNS), dtype=torch.float64)


def canvas_of(inputs: Inputs) -> Canvas:
    return Canvas(inputs, like=inputs.painting, wide_blend=False, truncate=False)


def working_at(inputs: Inputs, long_side: int) -> Working:
    return working_pictures(inputs, long_side, ParityParams(), toy_network(torch.float64))


def well_inside(canvas: Canvas, picture: Tensor) -> Tensor:
    """Where the blend shows the output alone."""
    return picture[(canvas.pass_weight > 1 - 1e-12).expand_as(picture)]


def test_only_what_a_blend_can_reach_is_computed(inputs: Inputs) -> None:
    region = canvas_of(inputs).region
    assert (region.top, region.bottom) == (ROWS[0] - 20, ROWS[1] + 20)
    assert (region.left, region.right) == (COLUMNS[0] - 20, COLUMNS[1] + 20)


@pytest.mark.parametrize("long_side", [96, HEIGHT, 200])
def test_a_constant_change_arrives_as_it_is(inputs: Inputs, long_side: int) -> None:
    working, canvas = working_at(inputs, long_side), canvas_of(inputs)
    picture = canvas.carry_back(working.composite + 0.25, working)
    torch.testing.assert_close(
        well_inside(canvas, picture), well_inside(canvas, canvas.composite + 0.25), rtol=0, atol=1e-9
    )


def test_a_change_that_follows_the_composite_follows_its_full_detail(inputs: Inputs) -> None:
    # Half of the contrast is taken away at working size: so it must be for the detail that is not there.
    working, canvas = working_at(inputs, 80), canvas_of(inputs)
    gray = 0.5
    picture = canvas.carry_back(gray + (working.composite - gray) / 2, working)
    found, composite = well_inside(canvas, picture), well_inside(canvas, canvas.composite)
    faded = gray + (composite - gray) / 2
    # The ridge of the fit keeps a little of what should go.
    assert float((found - faded).square().mean()) < 0.01 * float((composite - faded).square().mean())
    plain = masks.resize((working.composite - gray) / -2, (HEIGHT, WIDTH))
    interpolated = well_inside(canvas, canvas.composite + canvas.region.crop(plain))
    assert float((found - faded).square().mean()) < 0.05 * float((interpolated - faded).square().mean())


def test_a_change_at_the_paintings_size_arrives_to_the_last_bit(inputs: Inputs) -> None:
    working, canvas = working_at(inputs, HEIGHT), canvas_of(inputs)
    output = working.composite.clone()
    output[..., ROWS[0] : ROWS[1], COLUMNS[0] : COLUMNS[1]] = 0.123
    picture = well_inside(canvas, canvas.carry_back(output, working))
    torch.testing.assert_close(picture, torch.full_like(picture, 0.123), rtol=0, atol=1e-12)


def test_a_finished_picture_has_the_paintings_bytes_around_it(inputs: Inputs) -> None:
    canvas = canvas_of(inputs)
    picture = masks.blend(1 - canvas.painting, canvas.painting, canvas.final_weight)
    image = canvas.finished(picture)
    painting = masks.to_bytes(inputs.painting)
    support = masks.final_blend_weight(inputs.mask)[0, 0] > 0
    assert torch.equal(image[~support], painting[~support])
    changed = int((image != painting).any(-1).sum())
    assert canvas.count_changes(image, canvas.final_weight) == (changed, int(support.sum()))
    assert changed > 0.9 * float(support.sum())


@pytest.mark.parametrize("place", [(0, 0), (ROWS[0] - 7, COLUMNS[0]), (HEIGHT - 1, WIDTH - 1)])
def test_a_pixel_that_changed_outside_the_blend_is_a_failure(inputs: Inputs, place: tuple[int, int]) -> None:
    canvas = canvas_of(inputs)
    image = masks.to_bytes(inputs.painting)
    assert canvas.count_changes(image, canvas.final_weight)[0] == 0
    image[place] ^= 1
    with pytest.raises(StageFailed, match="outside the blend's support"):
        canvas.count_changes(image, canvas.final_weight)
