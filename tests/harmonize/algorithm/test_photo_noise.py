"""The sensor's noise: measured against noise that was put in, told from texture, and taken off."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.masks import gaussian_blur
from painterly_harmonize.algorithm.photo_noise import (
    LEAST_NOISE,
    cosine_blocks,
    sensor_noise,
    threshold_blocks,
    without_noise,
)
from tests.harmonize.algorithm.toy import rectangle_mask

HEIGHT, WIDTH = 150, 90
MASK = rectangle_mask(HEIGHT, WIDTH, (10, 140), (15, 75))


def noise(channels: int, sigma: float, seed: int) -> Tensor:
    return sigma / 255 * torch.randn(1, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def shapes() -> Tensor:
    """Two colors with a sharp edge between them, and a slow change of light."""
    left = (torch.arange(WIDTH) < 45).float()
    light = torch.linspace(0.8, 1.2, HEIGHT)[:, None]
    colors = torch.tensor([0.7, 0.5, 0.3]).view(1, 3, 1, 1), torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    return light * (colors[0] * left + colors[1] * (1 - left))


@pytest.mark.parametrize("sigma", [3.0, 8.0, 20.0])
def test_noise_is_measured(sigma: float) -> None:
    assert sensor_noise(shapes() + noise(3, sigma, 1), MASK) == pytest.approx(sigma / 255, rel=0.06)


def test_texture_and_edges_are_no_noise() -> None:
    textured = shapes() + noise(1, 20, 2)
    assert sensor_noise(textured, MASK) < 1e-6
    assert sensor_noise(shapes(), MASK) < 1e-6
    assert without_noise(textured, MASK) is textured


def test_only_what_is_inside_counts() -> None:
    picture = torch.where(MASK > 0, shapes(), shapes() + noise(3, 30, 3))
    assert sensor_noise(picture, MASK) < 1e-6
    assert sensor_noise(shapes() + noise(3, 30, 3), rectangle_mask(HEIGHT, WIDTH, (20, 26), (20, 26))) == 0


@pytest.mark.parametrize("sigma", [4.0, 10.0])
def test_noise_goes_and_shapes_stay(sigma: float) -> None:
    clean = shapes()
    noisy = clean + noise(3, sigma, 4)
    found = without_noise(noisy, MASK)
    assert torch.equal(found[MASK.expand_as(found) == 0], noisy[MASK.expand_as(found) == 0])
    inside = (MASK[0, 0] > 0) & (torch.arange(WIDTH) > 15)

    def error(picture: Tensor) -> float:
        return float((picture - clean)[0][:, inside].square().mean().sqrt()) * 255

    assert error(found) < 0.5 * error(noisy)
    # The step between the two colors is as steep as it was: within a tenth of its height.
    step = (found[..., 44] - found[..., 45])[0][:, 20:130].mean(1)
    assert step == pytest.approx((clean[..., 44] - clean[..., 45])[0][:, 20:130].mean(1), rel=0.1)


def test_little_noise_stays() -> None:
    quiet = shapes() + noise(3, 0.8 * LEAST_NOISE * 255, 5)
    assert without_noise(quiet, MASK) is quiet


def test_bands_leave_no_trace() -> None:
    # Taller than two bands: what is the same in all rows stays so.
    row = noise(3, 10, 6)[..., :1, :].expand(1, 3, HEIGHT, WIDTH) + gaussian_blur(shapes(), 7, 1.0)[..., :1, :]
    whole = torch.ones(1, 1, HEIGHT, WIDTH)
    found = without_noise(row + noise(3, 0, 0), whole)
    torch.testing.assert_close(found[..., 20:130, :], found[..., 20:21, :].expand(1, 3, 110, WIDTH))


def test_the_blocks_basis_is_orthonormal() -> None:
    basis = cosine_blocks(torch.device("cpu"), torch.float64).flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(64, dtype=torch.float64))
    torch.testing.assert_close(basis[0], torch.full((64,), 1 / 8, dtype=torch.float64))


def test_without_a_threshold_a_picture_stays() -> None:
    picture = shapes() + noise(3, 10, 7)
    torch.testing.assert_close(threshold_blocks(picture, 0.0), picture, atol=1e-5, rtol=0)


def test_above_all_coefficients_blocks_become_their_means() -> None:
    picture = (shapes() + noise(3, 10, 8)).double()
    padded = torch.nn.functional.pad(picture, (7, 7, 7, 7), mode="replicate")
    twice = torch.nn.functional.avg_pool2d(torch.nn.functional.avg_pool2d(padded, 8, stride=1), 8, stride=1)
    torch.testing.assert_close(threshold_blocks(picture, 1e6), twice)


def test_a_pixel_is_the_weighted_mean_of_the_blocks_over_it() -> None:
    picture = noise(1, 20, 9).double()
    threshold, (y, x) = 30 / 255, (70, 40)
    basis = cosine_blocks(torch.device("cpu"), torch.float64)[:, 0]
    total, weights = 0.0, 0.0
    for top in range(y - 7, y + 1):
        for left in range(x - 7, x + 1):
            coefficients = (basis * picture[0, 0, top : top + 8, left : left + 8]).sum((1, 2))
            kept = coefficients.abs() > threshold
            kept[0] = True
            rebuilt = (basis * (coefficients * kept)[:, None, None]).sum(0)
            weight = 1 / float(kept.sum())
            total, weights = total + weight * float(rebuilt[y - top, x - left]), weights + weight
    assert float(threshold_blocks(picture, threshold)[0, 0, y, x]) == pytest.approx(total / weights, abs=1e-9)
