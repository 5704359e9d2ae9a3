"""Colors as a whole: a known change is found, applied under the mask alone, and bounded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.color import lab_to_rgb, rgb_to_lab
from painterly_harmonize.algorithm.recoloring import ColorMap
from tests.harmonize.algorithm.toy import picture, rectangle_mask

MASK = rectangle_mask(150, 64, (10, 140), (8, 56))


def triple(first: float, second: float, third: float) -> Tensor:
    return torch.tensor([first, second, third]).view(1, 3, 1, 1)


def muted(seed: int) -> Tensor:
    """A picture whose colors stay inside sRGB when they change a little."""
    return 0.35 + 0.3 * picture(150, 64, seed=seed)


def test_a_known_change_is_found_and_made() -> None:
    before = muted(1)
    lab = rgb_to_lab(before)
    center = (lab * MASK).sum((-2, -1), keepdim=True) / MASK.sum()
    gain, shift = triple(1.3, 0.8, 1.1), triple(6, -4, 3)
    after = torch.where(MASK > 0, lab_to_rgb((lab - center) * gain + center + shift), muted(2))
    found = ColorMap.between(before, after, MASK)
    torch.testing.assert_close(found.center, center, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.target, center + shift, atol=1e-2, rtol=0)
    variance = ((lab - center).square() * MASK).sum((-2, -1), keepdim=True) / MASK.sum()
    torch.testing.assert_close(found.gain, ((gain**2 * variance + 1) / (variance + 1)).sqrt(), atol=1e-3, rtol=0)
    made = found.recolor(before, MASK)
    assert torch.equal(made[MASK.expand_as(made) == 0], before[MASK.expand_as(made) == 0])
    # What is left is the gains' pull towards 1.
    assert float((rgb_to_lab(made) - rgb_to_lab(after))[MASK.expand_as(made) > 0].abs().max()) < 1.0


def test_the_same_colors_stay() -> None:
    before = muted(1)
    found = ColorMap.between(before, before, MASK)
    torch.testing.assert_close(found.gain, torch.ones_like(found.gain))
    torch.testing.assert_close(found.recolor(before, MASK), before, atol=1e-5, rtol=0)


def test_a_plain_object_is_shifted_alone() -> None:
    before, after = torch.full((1, 3, 150, 64), 0.4), torch.full((1, 3, 150, 64), 0.6)
    found = ColorMap.between(before, after, MASK)
    torch.testing.assert_close(found.gain, torch.ones_like(found.gain))
    torch.testing.assert_close(found.recolor(before, MASK)[MASK.expand_as(after) > 0].mean(), after.mean())


@pytest.mark.parametrize(("contrast", "expected"), [(0.0, 0.6), (4.0, 1.6)])
def test_gains_are_bounded(contrast: float, expected: float) -> None:
    before = muted(1)
    lab = rgb_to_lab(before)
    after = lab_to_rgb((lab - lab.mean((-2, -1), keepdim=True)) * triple(contrast, 1, 1) + triple(50, 0, 0)).clamp(0, 1)
    assert float(ColorMap.between(before, after, MASK).gain[0, 0]) == pytest.approx(expected)
