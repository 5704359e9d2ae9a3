"""CIELAB: oracle 37 and published values."""

from __future__ import annotations

import pytest
import torch

from painterly_harmonize.algorithm.color import lab_to_rgb, rgb_to_lab


# CIELAB under D65 of sRGB's corners, as in every color calculator.
@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
    ],
)
def test_oracle_37_white_and_the_other_corners(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    found = rgb_to_lab(torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)).flatten().tolist()
    assert found == pytest.approx(lab, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_oracle_37_round_trip(dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0), dtype=dtype)
    image[..., 0, :] *= 0.02  # the straight parts of the curves, too
    assert float((lab_to_rgb(rgb_to_lab(image)) - image).abs().max()) < 1e-3


def test_colors_outside_srgb_leave_the_unit_range() -> None:
    assert float(lab_to_rgb(torch.tensor([50.0, 120.0, 0.0]).view(1, 3, 1, 1)).max()) > 1
