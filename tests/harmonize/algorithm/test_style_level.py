"""From a painting's noise and the stylization level to weights: oracles 26 to 28, to the last digit."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.style_level import (
    level_from_probabilities,
    painting_noise,
    pass2_weights,
    total_variation_level,
)


def ramp(slope: float) -> Tensor:
    return (slope * torch.arange(12, dtype=torch.float64)).expand(1, 3, 7, 12)


@pytest.mark.parametrize(("slope", "noise", "level"), [(0.05, 0.00125, 9.99996), (0.0707107, 0.0025, 5.0)])
def test_oracle_26_noise_of_a_ramp(slope: float, noise: float, level: float) -> None:
    assert painting_noise(ramp(slope)) == pytest.approx(slope**2 / 2, rel=1e-9)
    assert painting_noise(ramp(slope)) == pytest.approx(noise, abs=1e-8)
    assert painting_noise(ramp(slope).transpose(-1, -2)) == pytest.approx(slope**2 / 2, rel=1e-9)
    # The slope is given to seven digits; at 5 the level is steep: 25000 · Δσ.
    assert total_variation_level(painting_noise(ramp(slope))) == pytest.approx(level, abs=1e-4)


@pytest.mark.parametrize(
    ("noise", "level", "tolerance"),
    [(0.0, 10 - 1.4e-10, 1e-11), (0.002, 9.93307, 1e-5), (0.003, 0.0669285, 1e-7), (0.0025, 5.0, 1e-12)],
)
def test_oracle_27_total_variation_level(noise: float, level: float, tolerance: float) -> None:
    assert total_variation_level(noise) == pytest.approx(level, abs=tolerance)


def test_oracle_27_total_variation_level_never_overflows() -> None:
    for noise in (0.05, 0.1, 1.0, 1e300):
        assert 0 <= total_variation_level(noise) < 1e-100
        assert math.isfinite(total_variation_level(noise))


@pytest.mark.parametrize(
    ("level", "noise", "expected"),
    [(5, 0.0025, (1, 5, 25, 25)), (1, 0.0, (1, 1, 0, 10)), (10, 1.0, (1, 10, 100, 0))],
)
def test_oracle_28_weights(level: float, noise: float, expected: tuple[float, ...]) -> None:
    weights = pass2_weights(level, noise, histogram_by_noise=True)
    names = ("content", "style", "histogram", "total_variation")
    assert weights.as_dict() == pytest.approx(dict(zip(names, expected, strict=True)), abs=1e-8)
    ours = pass2_weights(level, noise)
    assert ours.histogram == level
    assert replace(ours, histogram=weights.histogram) == weights


def test_oracle_28_level_of_a_classifier() -> None:
    assert level_from_probabilities(0.2, 0.5, 0.3) == pytest.approx(5.7, abs=1e-12)


def test_noise_is_the_lower_median_over_all_channels() -> None:
    # Six (pixel, channel) values of 0 and six of (0.1² + 0.2²) / 2: the lower median of twelve is the sixth.
    image = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
    values = painting_noise(image)
    assert values == 0
    image[0, :, 0, 0] = 1  # one of four differences in each channel: still the median is 0
    assert painting_noise(image) == 0
    image[0, :, 0, 1] = 3  # now two of four: sixth of twelve is still 0, the lower one
    assert painting_noise(image) == 0
    image[0, 0, 1, 1] = 2  # a seventh value is positive
    assert painting_noise(image) > 0


def test_noise_ignores_the_last_row_and_column() -> None:
    image = torch.rand(1, 3, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = sorted(
        float((image[0, c, y, x] - image[0, c, y, x + 1]) ** 2 + (image[0, c, y, x] - image[0, c, y + 1, x]) ** 2) / 2
        for c in range(3)
        for y in range(5)
        for x in range(6)
    )
    assert painting_noise(image) == pytest.approx(values[(len(values) - 1) // 2], rel=1e-12)
