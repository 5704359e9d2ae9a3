"""The rectangle that a pass computes and the pixels that it optimizes."""

from __future__ import annotations

import pytest
import torch

from painterly_harmonize.algorithm.region import MaskedPixels, Region, region_around
from tests.harmonize.algorithm.toy import rectangle_mask


def test_region_reaches_around_the_mask_and_is_aligned() -> None:
    mask = rectangle_mask(200, 300, (90, 101), (150, 151))
    assert region_around(mask, 20, 16) == Region(top=64, left=128, bottom=128, right=176)
    assert region_around(mask, 0, 1) == Region(top=90, left=150, bottom=101, right=151)


def test_region_ends_at_the_picture() -> None:
    mask = rectangle_mask(37, 50, (0, 37), (45, 50))
    assert region_around(mask, 20, 16) == Region(top=0, left=16, bottom=37, right=50)


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16])
def test_a_taps_crop_is_the_crops_tap(stride: int) -> None:
    # A tap's cell knows its index in the whole picture; cropping the picture first must give the same cells.
    size = (77, 93)
    region = region_around(rectangle_mask(*size, (50, 77), (40, 44)), 3, 16)
    rows, columns = (torch.arange(-(-side // stride)) for side in size)
    cells = rows[:, None] * 1000 + columns
    pixels = (torch.arange(size[0]) // stride)[:, None] * 1000 + torch.arange(size[1]) // stride
    cropped = region.crop(pixels)
    assert torch.equal(region.crop_tap(cells, stride), cropped[::stride, ::stride])


def test_masked_pixels_go_there_and_back() -> None:
    base = torch.arange(24.0).view(1, 3, 2, 4)
    mask = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]]).view(1, 1, 2, 4)
    variable = MaskedPixels.under(base, mask)
    vector = variable.gather(base)
    assert vector.tolist() == [1, 4, 7, 9, 12, 15, 17, 20, 23]
    assert torch.equal(variable.scatter(vector), base)
    changed = variable.scatter(-vector)
    assert torch.equal(changed, torch.where(mask > 0, -base, base))
    assert base[0, 0, 0, 1] == 1, "the base is not written to"
