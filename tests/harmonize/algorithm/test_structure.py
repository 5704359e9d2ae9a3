"""What is kept of the object's structure: by its energy beside the brushwork's, in the output's colors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.color import rgb_to_lab
from painterly_harmonize.algorithm.structure import keep_structure, local_energy, local_mean
from tests.harmonize.algorithm.toy import picture, rectangle_mask

HEIGHT, WIDTH = 96, 128
MASK = rectangle_mask(HEIGHT, WIDTH, (20, 76), (30, 100))
INSIDE, OUTSIDE = (MASK.expand(1, 3, -1, -1) == value for value in (1, 0))


def grain(contrast: float, seed: int) -> Tensor:
    """A gray picture with grain of all sizes from 1 px on."""
    noise = torch.randn(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return (0.5 + contrast * noise).expand(1, 3, -1, -1)


def test_local_mean_and_energy_equal_sums_over_the_window() -> None:
    image, sigma = picture(HEIGHT, WIDTH, seed=1, dtype=torch.float64), 1.5
    mask = MASK.double()
    lab, radius = rgb_to_lab(image), math.ceil(3 * sigma)

    def mean(values: Tensor, y: int, x: int) -> Tensor:
        total, weights = torch.zeros(values.shape[1], dtype=torch.float64), 0.0
        for row in range(y - radius, y + radius + 1):
            for column in range(x - radius, x + radius + 1):
                weight = math.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * sigma**2))
                weight *= float(mask[0, 0, row, column])
                total, weights = total + weight * values[0, :, row, column], weights + weight
        return total / weights

    means, energy = local_mean(lab, mask, sigma), local_energy(image, mask, sigma)
    squares = (lab - means).square().sum(1, keepdim=True)
    for y, x in ((20, 30), (48, 64), (75, 40)):
        torch.testing.assert_close(means[0, :, y, x], mean(lab, y, x))
        torch.testing.assert_close(energy[0, :, y, x], mean(squares, y, x))


def test_what_was_not_changed_stays() -> None:
    composite, painting = picture(HEIGHT, WIDTH, seed=1), picture(HEIGHT, WIDTH, seed=2)
    found = keep_structure(composite, composite, painting, MASK)
    torch.testing.assert_close(found, composite, atol=1e-5, rtol=0)


def test_outside_the_mask_nothing_changes() -> None:
    output, composite, painting = (picture(HEIGHT, WIDTH, seed=seed) for seed in (1, 2, 3))
    found = keep_structure(output, composite, painting, MASK)
    assert torch.equal(found[OUTSIDE], output[OUTSIDE])
    assert float((found - output)[INSIDE].abs().mean()) > 0.01


def test_a_plain_object_is_brushwork_alone() -> None:
    output = grain(0.1, 1)
    plain = torch.full_like(output, 0.3)
    assert torch.equal(keep_structure(output, plain, grain(0.1, 2), MASK), output)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 4.0])
def test_the_share_follows_from_the_energies(ratio: float) -> None:
    # The object's stripes have `ratio` times the painting's energy; the output has lost them.
    stripes = (torch.arange(WIDTH) // 2 % 2 - 0.5).expand(1, 3, HEIGHT, WIDTH)
    composite, painting = 0.5 + 0.1 * math.sqrt(ratio) * stripes, 0.5 + 0.1 * stripes
    output = torch.full_like(composite, 0.5)
    kept = keep_structure(output, composite, painting, MASK)
    # As a whole the object's colors have been flattened by the least gain, 0.6.
    own = 0.6 * (composite - 0.5)
    share = float(((kept - 0.5) * own)[INSIDE].sum() / own[INSIDE].square().sum())
    assert share == pytest.approx(0.36 * ratio / (0.36 * ratio + 0.1), abs=0.02)


def test_contours_come_back_and_plain_parts_keep_their_strokes() -> None:
    height, width, edge = 128, 512, 250
    mask = rectangle_mask(height, width, (10, 118), (150, 350))
    composite = torch.where(torch.arange(width) < edge, 0.25, 0.75).expand(1, 3, height, width)
    # The passes have painted a ragged edge, and strokes on both sides.
    ragged = torch.arange(width) >= edge + 8 * (torch.arange(height) // 6 % 2)[:, None]
    strokes = 0.03 * torch.sin(torch.arange(height) * 1.3)[:, None]
    output = (0.25 + 0.5 * ragged + strokes).expand(1, 3, -1, -1).contiguous()
    noise = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(1))
    found = keep_structure(output, composite, (0.5 + 0.02 * noise).expand(1, 3, -1, -1), mask)
    rows = slice(24, 104)

    def error(image: Tensor) -> float:
        return float((image - composite)[..., rows, edge : edge + 8].abs().mean())

    assert error(found) < 0.5 * error(output)
    for far in (slice(160, 230), slice(280, 340)):
        torch.testing.assert_close(found[..., rows, far], output[..., rows, far], atol=0.005, rtol=0)


def test_colors_are_the_outputs() -> None:
    composite = grain(0.1, 1)
    output = composite * torch.tensor([1.2, 1.0, 0.7]).view(1, 3, 1, 1)
    found = keep_structure(output, composite, grain(0.01, 2), MASK)
    difference = (rgb_to_lab(found.clamp(0, 1)) - rgb_to_lab(output.clamp(0, 1))) * MASK
    assert float(difference.sum((-2, -1)).abs().max() / MASK.sum()) < 0.5


def test_the_part_that_lends_its_hand_says_what_brushwork_is() -> None:
    composite, output = grain(0.05, 1), torch.full((1, 3, HEIGHT, WIDTH), 0.5)
    painting = torch.where(torch.arange(WIDTH) < 64, grain(0.01, 2), grain(0.2, 3))
    fine, coarse = (
        keep_structure(output, composite, painting, MASK, style_mask)
        for style_mask in (
            rectangle_mask(HEIGHT, WIDTH, (0, HEIGHT), (0, 60)),
            rectangle_mask(HEIGHT, WIDTH, (0, HEIGHT), (68, WIDTH)),
        )
    )
    assert float((fine - output)[INSIDE].abs().mean()) > 4 * float((coarse - output)[INSIDE].abs().mean())
