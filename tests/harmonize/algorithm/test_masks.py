"""Masks at every tap, resizing, dilation and the blend: oracles 29 to 33."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.masks import (
    area_resize,
    binary_tap_mask,
    blend,
    blend_weight,
    dilate_mask,
    dilation_kernel_size,
    final_blend_weight,
    gaussian_blur,
    gaussian_kernel,
    nearest_indices,
    reduced_size,
    resize,
    resize_part,
    soft_tap_masks,
    tight_tap_mask,
    to_bytes,
    working_size,
)
from painterly_harmonize.algorithm.region import Region
from tests.harmonize.algorithm import reference
from tests.harmonize.algorithm.toy import TOY_PLAN, plan_tensors, rectangle_mask, toy_network

TAPS = tuple(f"relu{block}_1" for block in range(1, 6))
NETWORK = toy_network(torch.float64)


def half_plane(height: int, width: int, first_column: int) -> Tensor:
    return rectangle_mask(height, width, (0, height), (first_column, width), dtype=torch.float64)


def test_oracle_29_soft_mask_decays_at_the_frame() -> None:
    soft = soft_tap_masks(torch.ones(1, 1, 8, 8, dtype=torch.float64), NETWORK.kinds)["relu1_1"]
    expected = torch.full((8, 8), 2 / 3, dtype=torch.float64)
    expected[1:-1, 1:-1] = 1
    expected[::7, ::7] = 4 / 9
    torch.testing.assert_close(soft[0, 0], expected, atol=1e-6, rtol=0)


def test_oracle_29_an_empty_mask_stays_empty() -> None:
    for soft in soft_tap_masks(torch.zeros(1, 1, 37, 50), NETWORK.kinds).values():
        assert not soft.any()


@pytest.mark.parametrize("size", [(557, 700), (175, 140)])
def test_oracle_29_soft_masks_have_the_features_sizes(size: tuple[int, int]) -> None:
    network = toy_network(torch.float32, plan=(1, 1, "M", 1, 1, "M", 1, 1, 1, "M", 1, 1, 1, "M", 1))
    soft = soft_tap_masks(torch.ones(1, 1, *size), network.kinds)
    features = network.features(torch.zeros(1, 3, *size), TAPS)
    for tap in TAPS:
        assert soft[tap].shape[-2:] == features[tap].shape[-2:]
        assert float(soft[tap].max()) == pytest.approx(1, abs=1e-6)


def test_soft_masks_follow_the_number_of_convolutions() -> None:
    mask = rectangle_mask(64, 80, (20, 31), (17, 50), dtype=torch.float64)
    expected = reference.soft_masks(plan_tensors(TOY_PLAN, dtype=torch.float64), mask)
    found = soft_tap_masks(mask, NETWORK.kinds)
    assert set(TAPS) <= found.keys()
    for tap in TAPS:
        torch.testing.assert_close(found[tap], expected[tap], atol=1e-12, rtol=0)
        assert 0 <= float(found[tap].min()) < float(found[tap].max()) <= 1


def test_binary_mask_is_strictly_above_a_tenth() -> None:
    assert binary_tap_mask(torch.tensor([0.0, 0.1, 0.1001, 1.0])).tolist() == [False, False, True, True]


def test_oracle_30_area_resize_by_hand() -> None:
    line = torch.arange(5, dtype=torch.float64)
    expected = pytest.approx([0.4, 2, 3.6], abs=1e-6)
    assert area_resize(line[None, :], (1, 3))[0].tolist() == expected
    assert area_resize(line[:, None], (3, 1))[:, 0].tolist() == expected
    impulse = torch.zeros(1, 175, dtype=torch.float64)
    impulse[0, 0] = 1
    assert float(area_resize(impulse, (1, 88))[0, 0]) == pytest.approx(0.502857, abs=1e-6)


@pytest.mark.parametrize(("source", "target"), [(9, 4), (16, 8), (7, 7), (13, 5), (700, 448), (5, 1)])
def test_area_resize_equals_integration(source: int, target: int) -> None:
    line = torch.rand(source, generator=torch.Generator().manual_seed(source), dtype=torch.float64)
    expected = reference.area_resize_line(line.tolist(), target)
    assert area_resize(line[None, None, None], (1, target))[0, 0, 0].tolist() == pytest.approx(expected, abs=1e-9)


def test_area_resize_keeps_the_mean_and_constants() -> None:
    image = torch.rand(1, 3, 21, 34, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    small = area_resize(image, (8, 13))
    torch.testing.assert_close(small.mean((-1, -2)), image.mean((-1, -2)))
    torch.testing.assert_close(area_resize(torch.ones_like(image), (8, 13)), torch.ones(1, 3, 8, 13).double())


def test_oracle_31_a_straight_edge_grows_by_12_px() -> None:
    dilated = dilate_mask(half_plane(80, 700, 350))
    assert dilated[0, 0, 40].tolist() == [0.0] * 338 + [1.0] * 362
    assert dilate_mask(half_plane(80, 120, 60), 35)[0, 0, 40].tolist() == [0.0] * 48 + [1.0] * 72


@pytest.mark.parametrize(("side", "survives"), [(8, False), (9, True)])
def test_oracle_31_small_squares_vanish_without_the_union(side: int, survives: bool) -> None:
    mask = rectangle_mask(100, 100, (40, 40 + side), (40, 40 + side))
    assert bool(dilate_mask(mask, 35, union=False).any()) == survives
    united = dilate_mask(mask, 35)
    assert bool((united >= mask).all())
    assert bool(united.any())


def test_oracle_31_a_line_needs_three_px_without_the_union() -> None:
    for width, survives in ((2, False), (3, True)):
        line = rectangle_mask(120, 100, (0, 120), (50, 50 + width))
        assert bool(dilate_mask(line, 35, union=False).any()) == survives


def test_dilation_scales_with_the_picture() -> None:
    assert dilation_kernel_size(700) == 35
    for long_side in range(64, 2049):
        size = dilation_kernel_size(long_side)
        assert size % 2 == 1
        assert abs(size - 35 * long_side / 700) <= 1


def test_oracle_32_blend_kernel() -> None:
    kernel = torch.outer(gaussian_kernel(7, 3), gaussian_kernel(7, 3))
    assert float(kernel[3, 3]) == pytest.approx(0.030709, abs=1e-6)
    assert float(kernel[0, 0]) == pytest.approx(0.011297, abs=1e-6)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-12)
    wide = torch.outer(gaussian_kernel(7, 21), gaussian_kernel(7, 21))
    assert float(wide[3, 3]) == pytest.approx(0.020594, abs=1e-6)
    assert float(wide[0, 0] / wide[3, 3]) == pytest.approx(0.980, abs=1e-3)


def test_oracle_32_profile_across_an_edge() -> None:
    profile = blend_weight(half_plane(20, 40, 20))[0, 0, 10].tolist()
    assert profile[20:23] == pytest.approx([0.5876, 0.7534, 0.8937], abs=5e-5)
    assert profile[17:20] == pytest.approx([0.1063, 0.2466, 0.4124], abs=5e-5)
    assert profile[:17] == [0.0] * 17
    assert profile[23:37] == pytest.approx([1.0] * 14, abs=1e-12)


def test_blur_equals_a_loop_with_zero_padding() -> None:
    image = torch.rand(1, 2, 9, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = torch.outer(gaussian_kernel(7, 3), gaussian_kernel(7, 3))
    expected, inside = torch.zeros_like(image), torch.zeros_like(image[:, :1])
    for y, x, dy, dx in itertools.product(range(9), range(8), range(-3, 4), range(-3, 4)):
        if 0 <= y + dy < 9 and 0 <= x + dx < 8:
            expected[..., y, x] += kernel[3 + dy, 3 + dx] * image[..., y + dy, x + dx]
            inside[..., y, x] += kernel[3 + dy, 3 + dx]
    torch.testing.assert_close(gaussian_blur(image, 7, 3), expected)
    torch.testing.assert_close(gaussian_blur(image, 7, 3, normalized=True), expected / inside)


def test_an_object_at_the_frame_is_not_faded_there() -> None:
    weight = blend_weight(half_plane(20, 40, 20))
    torch.testing.assert_close(weight[0, 0, 0], weight[0, 0, 10])
    assert float(weight[0, 0, 0, -1]) == pytest.approx(1, abs=1e-12)


def test_oracle_33_weight_0_is_the_painting_and_weight_1_the_output() -> None:
    painting, output = torch.rand(1, 3, 4, 5), torch.rand(1, 3, 4, 5)
    output[..., 0, 0] = torch.nan
    weight = torch.tensor([0.0, 0.25, 0.5, 1.0, 0.0]).expand(1, 1, 4, 5)
    mixed = blend(output, painting, weight)
    assert torch.equal(mixed[..., 0], painting[..., 0])
    assert torch.equal(mixed[..., 4], painting[..., 4])
    assert torch.equal(mixed[..., 3], output[..., 3])
    torch.testing.assert_close(mixed[..., 1], 0.25 * output[..., 1] + 0.75 * painting[..., 1])


def distance_outside(mask: Tensor) -> Tensor:
    """How many px each pixel is from the mask, in the larger of the two directions."""
    inside = torch.nonzero(mask[0, 0])
    rows, columns = torch.arange(mask.shape[-2]), torch.arange(mask.shape[-1])
    dy = (rows[:, None] - inside[:, 0]).abs()[:, None, :]
    dx = (columns[:, None] - inside[:, 1]).abs()[None, :, :]
    return torch.maximum(dy.expand(-1, len(columns), -1), dx.expand(len(rows), -1, -1)).amin(-1)


def test_oracle_33_blends_reach_3_and_6_px() -> None:
    mask = rectangle_mask(40, 45, (12, 20), (15, 28))
    mask[..., 25, 20] = 1
    distance = distance_outside(mask)
    for wide in (False, True):
        assert torch.equal(blend_weight(mask, wide=wide)[0, 0] > 0, distance <= 3)
    assert torch.equal(final_blend_weight(mask)[0, 0] > 0, distance <= 6)


def test_final_blend_is_the_blur_of_the_blur_above_a_hundredth() -> None:
    mask = torch.zeros(1, 1, 40, 45, dtype=torch.float64)
    mask[..., 12:20, 15:28] = 1
    mask[..., 30, 20] = 1
    touched = (gaussian_blur(mask, 7, 3) > 0.01).double()
    torch.testing.assert_close(final_blend_weight(mask), gaussian_blur(touched, 7, 3))


def test_tight_mask_is_sampled_at_each_cell() -> None:
    mask = rectangle_mask(43, 50, (9, 30), (11, 40))
    size = (6, 7)
    expected = torch.tensor([[9 <= y * 43 // 6 < 30 and 11 <= x * 50 // 7 < 40 for x in range(7)] for y in range(6)])
    assert torch.equal(tight_tap_mask(mask, size)[0, 0], expected)
    assert nearest_indices(43, 6, torch.device("cpu")).tolist() == [0, 7, 14, 21, 28, 35]


def test_tight_mask_keeps_parts_thinner_than_a_cell() -> None:
    # Columns 10 and 11 lie between the samples 8 and 16.
    mask = rectangle_mask(64, 64, (0, 64), (10, 12))
    assert torch.nonzero(tight_tap_mask(mask, (8, 8))[0, 0]).tolist() == [[y, 1] for y in range(8)]
    dot = rectangle_mask(64, 64, (21, 22), (37, 38))
    assert torch.nonzero(tight_tap_mask(dot, (8, 8))[0, 0]).tolist() == [[2, 4]]
    # What sampling catches stays as sampled, though it touches the next cells as well.
    square = rectangle_mask(64, 64, (14, 30), (14, 30))
    assert torch.nonzero(tight_tap_mask(square, (8, 8))[0, 0]).tolist() == [[y, x] for y in (2, 3) for x in (2, 3)]


@pytest.mark.parametrize(
    ("height", "width", "long_side", "expected"),
    [
        (777, 1000, 700, (543, 700)),
        (1000, 333, 700, (700, 233)),
        (600, 700, 700, (600, 700)),
        (30, 64, 128, (60, 128)),
        (4, 4000, 64, (1, 64)),
    ],
)
def test_working_size_rounds_down(height: int, width: int, long_side: int, expected: tuple[int, int]) -> None:
    assert working_size(height, width, long_side) == expected


@pytest.mark.parametrize(("limit", "expected"), [(16, (12, 16)), (64, (48, 64)), (700, (48, 64))])
def test_a_reduced_size_is_never_larger(limit: int, expected: tuple[int, int]) -> None:
    assert reduced_size(48, 64, limit) == expected


def test_resizing_averages_to_smaller_and_interpolates_to_larger_sides() -> None:
    ramp = torch.linspace(0, 1, 40, dtype=torch.float64).expand(1, 3, 20, 40)
    assert torch.equal(resize(ramp, (20, 40)), ramp)
    assert torch.equal(resize(ramp, (7, 13)), area_resize(ramp, (7, 13)))
    larger = resize(ramp, (60, 80))
    centers = (torch.arange(80, dtype=torch.float64) + 0.5) / 2 - 0.5
    torch.testing.assert_close(larger[0, 0, 30, 6:-6], (centers / 39)[6:-6], atol=2e-3, rtol=0)
    assert resize(ramp, (10, 80)).shape == (1, 3, 10, 80)


def test_bytes_are_rounded_clipped_and_never_shift_a_level() -> None:
    levels = torch.arange(256, dtype=torch.float32)
    image = (levels / 255).expand(1, 3, 2, 256)
    for truncate in (False, True):
        for dtype in (torch.float32, torch.float64):
            assert torch.equal(
                to_bytes(image.to(dtype), truncate=truncate), levels.byte()[None, :, None].expand(2, 256, 3)
            )
    values = torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 99.5001 / 255, 99.9 / 255, 1.5]).expand(1, 3, 1, 6)
    assert to_bytes(values)[0, :, 0].tolist() == [0, 0, 1, 100, 100, 255]
    assert to_bytes(values, truncate=True)[0, :, 0].tolist() == [0, 0, 0, 99, 99, 255]
    colors = torch.tensor([0.0, 0.2, 1.0]).view(1, 3, 1, 1)
    assert to_bytes(colors).tolist() == [[[0, 51, 255]]]


@pytest.mark.parametrize("size", [(50, 61), (9, 8), (17, 13), (40, 7), (11, 29)])
def test_a_resized_part_is_the_part_of_the_resized(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, 17, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = resize(image, size)
    for part in (
        Region(top=0, left=0, bottom=size[0], right=size[1]),
        Region(top=2, left=size[1] - 3, bottom=size[0] - 1, right=size[1]),
    ):
        torch.testing.assert_close(resize_part(image, size, part), part.crop(whole), rtol=0, atol=1e-12)


def test_bytes_of_many_bands_are_those_of_each_row() -> None:
    image = torch.rand(1, 3, 600, 2, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([to_bytes(image[..., y : y + 1, :]) for y in range(600)])
    assert torch.equal(to_bytes(image), rows)
