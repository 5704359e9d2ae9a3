from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm import quality_metrics as metrics


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*size: int, seed: int = 1, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*size, generator=generator(seed))


def everywhere(lab: Tensor) -> Tensor:
    return torch.ones(1, 1, *lab.shape[-2:], dtype=torch.bool)


def square(size: int, first: int, last: int) -> Tensor:
    mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
    mask[..., first:last, first:last] = True
    return mask


def test_means_and_deviations_are_those_of_the_masked_pixels() -> None:
    lab = torch.tensor([[1.0, 3.0, 90.0], [0.0, 4.0, 9.0], [7.0, 7.0, 0.0]]).view(1, 3, 1, 3)
    mean, deviation = metrics.mean_and_deviation(lab, torch.tensor([True, True, False]).view(1, 1, 1, 3))
    assert mean.tolist() == [2, 2, 7]
    assert deviation.tolist() == [1, 2, 0]


def test_a_lightness_five_higher_is_five_away() -> None:
    lab, mask = noise(1, 3, 20, 20, scale=10), square(20, 5, 15)
    shifted = lab + torch.tensor([5.0, 0, 0]).view(1, 3, 1, 1)
    (first, spread), (second, same) = (metrics.mean_and_deviation(each, mask) for each in (lab, shifted))
    assert metrics.distance(first, second) == pytest.approx(5, abs=1e-5)
    assert metrics.distance(spread, same) == pytest.approx(0, abs=1e-5)


def test_patches_are_the_pixels_around_a_position_and_the_border_goes_on() -> None:
    lab = noise(1, 3, 9, 11)
    inner, corner = metrics.patches(lab, torch.tensor([4 * 11 + 5, 0]))
    assert torch.equal(inner.view(3, 7, 7), lab[0, :, 1:8, 2:9])
    assert torch.equal(corner.view(3, 7, 7)[:, 3:, 3:], lab[0, :, :4, :4])
    assert torch.equal(corner.view(3, 7, 7)[:, :4, :4], lab[0, :, :1, :1].expand(3, 4, 4))


def test_positions_are_all_of_the_mask_or_a_sample_of_it() -> None:
    mask = square(6, 2, 4)
    assert metrics.sample_positions(mask, 4, generator()).tolist() == [14, 15, 20, 21]
    sampled = metrics.sample_positions(mask, 3, generator()).tolist()
    assert len(set(sampled)) == 3
    assert set(sampled) < {14, 15, 20, 21}
    assert sampled == metrics.sample_positions(mask, 3, generator()).tolist()


def test_a_rotation_is_orthonormal() -> None:
    rotation = metrics.random_rotation(12, generator())
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(12), atol=1e-6, rtol=0)


def wasserstein(first: Tensor, second: Tensor, rotation: Tensor) -> float:
    return metrics.sliced_wasserstein(metrics.quantiles(first, rotation), metrics.quantiles(second, rotation))


def test_the_sliced_distance_of_a_constant_shift_is_its_color_difference() -> None:
    samples, rotation = noise(500, 147, scale=20), metrics.random_rotation(147, generator(2))
    shift = torch.tensor([3.0, 0, 4]).repeat_interleave(49)
    assert wasserstein(samples, samples, rotation) == 0
    assert wasserstein(samples, samples + shift, rotation) == pytest.approx(5, rel=1e-4)


def test_the_sliced_distance_is_the_best_assignment_along_each_direction() -> None:
    # Four samples fill whole shares, so that the quantiles are exact.
    first, second = noise(4, 3, seed=3), noise(4, 3, seed=4)
    rotation = metrics.random_rotation(3, generator(5))
    costs = []
    for direction in rotation.T:
        a, b = (first @ direction).tolist(), (second @ direction).tolist()
        best = min(
            sum((x - b[each]) ** 2 for x, each in zip(a, order, strict=True))
            for order in itertools.permutations(range(4))
        )
        costs.append(best / 4)
    assert wasserstein(first, second, rotation) == pytest.approx((3 * sum(costs) / 3) ** 0.5, rel=1e-5)


def test_the_sliced_distance_does_not_mind_how_many_samples_there_are() -> None:
    samples, rotation = noise(256, 147), metrics.random_rotation(147, generator(2))
    assert wasserstein(samples, samples.repeat(4, 1), rotation) == pytest.approx(0, abs=1e-5)


def test_a_gram_matrix_is_the_mean_product_of_the_rectified_responses() -> None:
    lab, mask, center = noise(1, 3, 6, 6), square(6, 2, 4), torch.tensor([1.0, -1, 2])
    filters = metrics.random_filters(generator())
    torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(64))
    total = torch.zeros(64, 64)
    for row, column in itertools.product((2, 3), (2, 3)):
        around = lab[0, :, row - 1 : row + 2, column - 1 : column + 2] - center.view(3, 1, 1)
        response = torch.tensor([float((each * around).sum().clamp(min=0)) for each in filters])
        total += response[:, None] * response[None, :]
    torch.testing.assert_close(metrics.gram_matrix(lab, mask, center, filters), total / 4)


def test_the_relative_distance_of_gram_matrices() -> None:
    gram = noise(64, 64).abs()
    assert metrics.relative_distance(gram, gram) == 0
    assert metrics.relative_distance(1.5 * gram, gram) == pytest.approx(0.5, rel=1e-5)
    assert metrics.relative_distance(0 * gram, gram) == pytest.approx(1)


def test_the_nearest_distance_is_that_of_brute_force() -> None:
    samples, references = noise(300, 147, seed=6, scale=9), noise(40, 147, seed=7, scale=9)
    expected = (torch.cdist(samples.double(), references.double()).amin(1) * (3 / 147) ** 0.5).mean()
    assert metrics.nearest_distance(samples, references) == pytest.approx(float(expected), rel=1e-5)
    assert metrics.nearest_distance(references, references) == 0
    shift = torch.tensor([0.0, 0.3, 0.4]).repeat_interleave(49)
    assert metrics.nearest_distance(references + shift, references) == pytest.approx(0.5, rel=1e-4)


def test_noise_of_twice_the_deviation_has_twice_the_detail() -> None:
    lab = noise(1, 3, 64, 64)
    single, double = (metrics.detail_deviations(lab * scale, everywhere(lab)) for scale in (1, 2))
    for first, second in zip(single, double, strict=True):
        assert metrics.detail_ratio(second, first) == pytest.approx(2, rel=1e-5)
    # White noise of deviation 1 less its Gaussian mean keeps nearly all; two channels of chroma together √2.
    assert single[0] == pytest.approx(0.97, abs=0.03)
    assert single[1] == pytest.approx(0.97 * 2**0.5, abs=0.04)


def test_detail_does_not_leak_in_across_the_edge() -> None:
    lab, mask = torch.zeros(1, 3, 32, 32), square(32, 8, 24)
    lab[mask.expand_as(lab)] = 50
    assert metrics.detail_deviations(lab, mask) == pytest.approx((0, 0), abs=1e-3)


def test_detail_that_is_not_there_is_like_the_painting() -> None:
    assert metrics.detail_ratio(0.0, 0.0) == 1
    assert metrics.detail_ratio(1.0, 0.0) == 4


def test_gradients_of_a_ramp() -> None:
    plane = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 1, 4, 6) * 2
    across, down = metrics.gradients(plane)
    assert across[0, 0, 0].tolist() == [1, 2, 2, 2, 2, 1]
    assert not down.any()


def test_growing_and_shrinking_squares() -> None:
    assert torch.equal(metrics.grow(square(9, 3, 6), 2), square(9, 1, 8))
    assert torch.equal(metrics.grow(square(9, 1, 8), -2), square(9, 3, 6))
    # The frame is no edge.
    assert torch.equal(metrics.grow(everywhere(torch.zeros(1, 1, 5, 5)), -2), everywhere(torch.zeros(1, 1, 5, 5)))


def test_a_step_at_the_edge_is_its_height_over_the_band() -> None:
    mask = torch.zeros(1, 1, 10, 20, dtype=torch.bool)
    mask[..., 10:] = True
    band = metrics.edge_band(mask)
    assert band[0, 0, 0].nonzero().flatten().tolist() == [8, 9, 10, 11]
    lab = torch.zeros(1, 3, 10, 20)
    lab[:, 0, :, 10:] = 8
    # Half the step at each of the two pixels beside it, none at the other two.
    assert metrics.mean_gradient(lab, band) == pytest.approx(2)
    ramp = torch.arange(20.0).expand(1, 3, 10, 20)
    assert metrics.mean_gradient(ramp, band) == pytest.approx(1)
    assert metrics.seam_ratio(metrics.mean_gradient(lab, band), metrics.mean_gradient(ramp, band)) == pytest.approx(2)
    assert metrics.seam_ratio(1.0, 0.0) == 4


def test_structure_agrees_with_itself_and_not_with_noise() -> None:
    lab, other, mask = noise(1, 3, 160, 160, scale=30), noise(1, 3, 160, 160, seed=9, scale=30), square(160, 8, 152)
    assert metrics.structure_kept(lab, lab, mask) == pytest.approx(1)
    assert metrics.structure_kept(3 * lab + 7, lab, mask) == pytest.approx(1)
    assert metrics.structure_kept(-lab, lab, mask) == pytest.approx(-1)
    assert abs(metrics.structure_kept(other, lab, mask)) < 0.15


def test_structure_of_a_flat_object() -> None:
    lab, flat, mask = noise(1, 3, 40, 40, scale=30), torch.full((1, 3, 40, 40), 50.0), square(40, 8, 32)
    assert metrics.structure_kept(lab, flat, mask) == 1
    assert metrics.structure_kept(flat, lab, mask) == 0
