"""Post-processing: oracles 36 and 37, and a loop for every step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm import patch_search, postprocess, region
from painterly_harmonize.algorithm.color import lab_to_rgb, rgb_to_lab
from painterly_harmonize.algorithm.masks import gaussian_blur
from painterly_harmonize.algorithm.patch_index import PATCH_PX
from painterly_harmonize.algorithm.patch_search import PatchProgress, nearest_patches
from painterly_harmonize.algorithm.postprocess import (
    denoise_chrominance,
    detail_gain,
    detail_strength,
    finest_detail,
    guided_filter,
    keep_misfits,
    lightness_energy,
    patch_anchors,
    search_strides,
    synthesize_patches,
    vote,
)
from painterly_harmonize.algorithm.structure import local_mean
from tests.harmonize.algorithm import reference
from tests.harmonize.algorithm.toy import rectangle_mask


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def box_mean(image: Tensor, radius: int) -> Tensor:
    result = torch.zeros_like(image)
    for y, x in itertools.product(range(image.shape[-2]), range(image.shape[-1])):
        window = image[..., max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        result[..., y, x] = window.mean((-1, -2))
    return result


def test_oracle_36_constant_values_stay() -> None:
    filtered = guided_filter(torch.full((1, 2, 9, 8), 0.37, dtype=torch.float64), random(1, 3, 9, 8), 2, 0.01)
    assert float((filtered - 0.37).abs().max()) < 1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_oracle_36_a_constant_guide_leaves_two_box_means(channels: int) -> None:
    values = random(1, 2, 9, 8)
    filtered = guided_filter(values, torch.full((1, channels, 9, 8), 0.5, dtype=torch.float64), 2, 0.01)
    torch.testing.assert_close(filtered, box_mean(box_mean(values, 2), 2), atol=1e-6, rtol=0)


def test_oracle_36_values_affine_in_the_guide_stay() -> None:
    guide = random(1, 3, 9, 8)
    matrix = torch.tensor([[0.3, -2.0, 1.0], [0.0, 0.5, 4.0]], dtype=torch.float64)
    values = torch.einsum("ij,bjhw->bihw", matrix, guide) + 0.7
    torch.testing.assert_close(guided_filter(values, guide, 2, 0.0), values, atol=1e-6, rtol=0)


def test_oracle_36_a_unit_step() -> None:
    step = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    step[..., 5:] = 1
    expected = [0, 0.0029, 0.0056, 0.0104, 0.0198, 0.9802, 0.9896, 0.9944, 0.9971, 1]
    for row in guided_filter(step, step, 2, 0.01)[0, 0]:
        assert row.tolist() == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_guided_filter_equals_a_loop_over_windows(channels: int) -> None:
    values, guide = random(1, 2, 9, 11), random(1, channels, 9, 11, seed=1)
    expected = reference.guided_filter(values[0].numpy(), guide[0].numpy(), 2, 0.01)
    np.testing.assert_allclose(guided_filter(values, guide, 2, 0.01)[0].numpy(), expected, atol=1e-10)


def test_guided_filter_in_float32_is_close() -> None:
    values, guide = 200 * random(1, 2, 40, 50) - 100, random(1, 3, 40, 50, seed=1)
    exact = guided_filter(values, guide, 2, 0.01)
    assert float((guided_filter(values.float(), guide.float(), 2, 0.01) - exact).abs().max()) < 1e-2


def test_denoising_filters_a_and_b_and_keeps_the_lightness() -> None:
    image, guide = 0.3 + 0.4 * random(1, 3, 12, 13), random(1, 3, 12, 13, seed=1)
    found = denoise_chrominance(image, guide)
    lab = rgb_to_lab(image)
    filtered = torch.from_numpy(reference.guided_filter(lab[0, 1:].numpy(), guide[0].numpy(), 2, 0.01))[None]
    expected = lab_to_rgb(torch.cat((lab[:, :1], filtered), 1))
    assert 0 < float(expected.min()) < float(expected.max()) < 1, "nothing is clipped"
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(rgb_to_lab(found)[:, 0], lab[:, 0], atol=1e-6, rtol=0)
    assert float((rgb_to_lab(found) - lab).abs().max()) > 1


@pytest.mark.parametrize("band", [1, 4, 5, 12])
def test_denoising_in_bands_equals_denoising_at_once(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image, guide = random(1, 3, 23, 13), random(1, 3, 23, 13, seed=1)
    whole = denoise_chrominance(image, guide)
    monkeypatch.setattr(region, "BAND_PX", band)
    torch.testing.assert_close(denoise_chrominance(image, guide), whole, atol=1e-10, rtol=0)


def finish(steps: Iterator[PatchProgress | Tensor]) -> Tensor:
    *_, last = steps
    assert isinstance(last, Tensor)
    return last


def test_oracle_37_a_painting_votes_for_itself() -> None:
    painting = random(1, 3, 19, 23)
    anchors = patch_anchors(torch.ones(1, 1, 19, 23))
    found: list[Tensor] = []

    def search() -> Iterator[PatchProgress]:
        found.append((yield from nearest_patches(painting, anchors, painting)))

    assert [step.finished for step in search()] == [0, 13 * 17]
    assert torch.equal(found[0], anchors)
    base, covered = vote(found[0], anchors, (19, 23), painting)
    torch.testing.assert_close(base, painting, atol=1e-12, rtol=0)
    assert bool(covered.all())


def test_oracle_37_a_paintings_detail_is_added_to_it() -> None:
    painting = random(1, 3, 19, 23)
    found = finish(synthesize_patches(painting, painting, torch.ones(1, 1, 19, 23)))
    expected = painting + painting - gaussian_blur(painting, 7, 1)
    inside = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-6, rtol=0)
    # Departure at the frame: the kernel is normalized there, so a constant picture has no detail.
    constant = torch.full((1, 3, 19, 23), 0.4, dtype=torch.float64)
    torch.testing.assert_close(finish(synthesize_patches(constant, constant, torch.ones(1, 1, 19, 23))), constant)


def test_vote_is_the_mean_of_all_proposals() -> None:
    painting, size = random(1, 3, 11, 12), (13, 14)
    generator = torch.Generator().manual_seed(0)
    anchors = torch.tensor([y * 14 + x for y, x in [(0, 0), (0, 1), (2, 3), (6, 7), (6, 2)]])
    corners = torch.stack([torch.randint(n, (5,), generator=generator) for n in (5, 6)])
    total, count = torch.zeros(3, *size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for anchor, cy, cx in zip(anchors.tolist(), *corners.tolist(), strict=True):
        y, x = divmod(anchor, 14)
        total[:, y : y + 7, x : x + 7] += painting[0, :, cy : cy + 7, cx : cx + 7]
        count[y : y + 7, x : x + 7] += 1
    found, covered = vote(corners[0] * 12 + corners[1], anchors, size, painting)
    assert torch.equal(covered[0, 0], count > 0)
    torch.testing.assert_close(found[0], total / count.clamp(min=1))


def test_anchors_are_the_patches_that_touch_the_support() -> None:
    support = rectangle_mask(20, 25, (4, 6), (10, 12))
    support[..., 19, 24] = 1
    expected = [
        y * 25 + x
        for y in range(20 - 6)
        for x in range(25 - 6)
        if bool(support[..., y : y + PATCH_PX, x : x + PATCH_PX].any())
    ]
    assert patch_anchors(support).tolist() == expected
    assert patch_anchors(torch.zeros(1, 1, 20, 25)).numel() == 0


def synthesized(image: Tensor, painting: Tensor, support: Tensor, anchor_stride: int = 1, stride: int = 1) -> Tensor:
    """Steps 2 and 3 of section 4, patch by patch."""
    height, width = image.shape[-2:]
    total, count = torch.zeros_like(image), torch.zeros(height, width, dtype=image.dtype)
    style_height, style_width = painting.shape[-2:]
    corners = [(y, x) for y in range(0, style_height - 6, stride) for x in range(0, style_width - 6, stride)]
    candidates = torch.stack([painting[0, :, y : y + 7, x : x + 7].flatten() for y, x in corners])
    for y, x in itertools.product(range(0, height - 6, anchor_stride), range(0, width - 6, anchor_stride)):
        if bool(support[..., y : y + 7, x : x + 7].any()):
            distance = (candidates - image[0, :, y : y + 7, x : x + 7].flatten()).square().sum(1)
            cy, cx = corners[int(distance.argmin())]
            total[0, :, y : y + 7, x : x + 7] += painting[0, :, cy : cy + 7, cx : cx + 7]
            count[y : y + 7, x : x + 7] += 1
    detail = image - gaussian_blur(image, 7, 1, normalized=True)
    return torch.where((support > 0) & (count > 0), total / count.clamp(min=1) + detail, image)


@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (3, 2), (3, 5)])
def test_synthesis_equals_a_loop_over_patches(strides: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postprocess, "search_strides", lambda *_: strides)
    image, painting = random(1, 3, 22, 27), random(1, 3, 24, 21, seed=1)
    support = rectangle_mask(22, 27, (5, 12), (20, 27))
    found = finish(synthesize_patches(image, painting, support))
    torch.testing.assert_close(found, synthesized(image, painting, support, *strides), atol=1e-10, rtol=0)
    assert torch.equal(found[..., :5, :], image[..., :5, :])
    assert float((found - image)[..., 5:12, 20:27].abs().max()) > 0.01


def test_synthesis_reports_its_progress_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_search, "_PART_SIZES", (50, 50))
    image, painting = random(1, 3, 22, 27), random(1, 3, 24, 21, seed=1)
    support = rectangle_mask(22, 27, (5, 12), (10, 20))
    total = patch_anchors(support).numel()
    steps = [step for step in synthesize_patches(image, painting, support) if isinstance(step, PatchProgress)]
    assert [step.finished for step in steps] == [*range(0, total, 50), total]
    assert {step.total for step in steps} == {total}

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        finish(synthesize_patches(image, painting, support, stop))


def test_search_is_thinned_only_beyond_its_budget() -> None:
    assert search_strides(100_000, 250_000) == (1, 1)
    assert search_strides(10, 100, budget=1000) == (1, 1)
    assert search_strides(10, 101, budget=1000) == (2, 1)
    assert search_strides(90, 100, budget=1000) == (3, 1)
    for anchors, candidates in itertools.product((100, 10_000, 1_000_000), (1000, 50_000_000)):
        anchor_stride, stride = search_strides(anchors, candidates, budget=10**6)
        assert anchors / anchor_stride**2 * candidates / stride**2 <= 10**6 * (1 + 1e-9)
        assert 1 <= anchor_stride <= 3
        assert stride == 1 or anchor_stride == 3
    # A large painting has too many patches to hold even for a small object.
    assert search_strides(10, 1_000_000) == (1, 1)
    assert search_strides(10, 4_000_000) == (1, 2)


def noise_picture(height: int, width: int, contrast: float) -> Tensor:
    return 0.5 + contrast * (torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height)) - 0.5)


def test_detail_strength_is_the_root_mean_square_under_the_mask() -> None:
    # Taller than a band of rows.
    picture = noise_picture(200, 40, 0.5)
    left = (torch.arange(40) < 20).float().expand(1, 1, 200, 40)
    expected = finest_detail(picture)[..., :20].square().mean().sqrt()
    assert detail_strength(picture, left) == pytest.approx(float(expected), rel=1e-5)
    assert detail_strength(picture, 0 * left) == 0


@pytest.mark.parametrize("wanted", [0.5, 0.7, 0.9])
def test_detail_gain_leads_to_the_wanted_strength(wanted: float) -> None:
    base, detail = noise_picture(40, 30, 0.2), finest_detail(noise_picture(41, 30, 0.5)[..., 1:, :])
    support = (torch.arange(30) < 20).float().expand(1, 1, 40, 30)
    weak, strong = (detail_strength(base + gain * detail, support) for gain in (0.4, 1.0))
    strength = weak + wanted * (strong - weak)
    gain = detail_gain(base, detail, support, strength)
    assert 0.4 < gain < 1
    assert detail_strength(base + gain * detail, support) == pytest.approx(strength, rel=1e-5)
    assert detail_gain(base, detail, support, 2 * strong) == 1.0
    assert detail_gain(base, detail, support, weak / 2) == 0.4
    assert detail_gain(base, 0 * detail, support, strength) == 1.0


def test_detail_is_put_back_up_to_the_given_strength() -> None:
    image, painting = noise_picture(19, 23, 1.0), noise_picture(23, 19, 1.0)
    support = torch.ones(1, 1, 19, 23)
    detail = finest_detail(image)
    plain = finish(synthesize_patches(image, painting, support))
    base = plain - detail
    full, least = detail_strength(plain, support), detail_strength(base + 0.4 * detail, support)
    limited = finish(synthesize_patches(image, painting, support, strength=(full + least) / 2))
    assert detail_strength(limited, support) == pytest.approx((full + least) / 2, rel=1e-5)
    gain = detail_gain(base, detail, support, (full + least) / 2)
    torch.testing.assert_close(limited, base + gain * detail)
    torch.testing.assert_close(finish(synthesize_patches(image, painting, support, strength=full)), plain)


def test_lightness_energy_is_that_of_the_part_alone() -> None:
    stripes = 0.5 + 0.1 * (torch.arange(60) // 2 % 2 - 0.5)
    picture = stripes.expand(1, 3, 150, 60).contiguous()
    picture[..., :100, :] = 0.5
    lower = rectangle_mask(150, 60, (110, 150), (10, 50))
    upper = rectangle_mask(150, 60, (0, 90), (0, 60))
    assert lightness_energy(picture, upper) < 1e-6
    lightness = rgb_to_lab(picture)[:, :1]
    deviation = (lightness - local_mean(lightness, torch.ones_like(lightness), 2.0)).square()
    assert lightness_energy(picture, lower) == pytest.approx(float(deviation[lower > 0].mean()), rel=1e-5)


def test_misfits_keep_the_images_lightness() -> None:
    image, rebuilt = torch.full((1, 3, 150, 60), 0.5), torch.full((1, 3, 150, 60), 0.5)
    rebuilt[..., 75:, :] = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)
    support = rectangle_mask(150, 60, (10, 140), (5, 55))
    before, own = rgb_to_lab(rebuilt), rgb_to_lab(image)
    square = float((own - before)[0, 0, 120, 30]) ** 2
    found, share = keep_misfits(rebuilt, image, support, energy=2 * square)
    assert torch.equal(found[support.expand_as(found) == 0], rebuilt[support.expand_as(found) == 0])
    # The patches fit above, and nothing is taken from them; below d is what it is everywhere: 1 / (1 + 2/10) of it.
    torch.testing.assert_close(found[..., 20:60, 10:50], rebuilt[..., 20:60, 10:50], atol=1e-5, rtol=0)
    torch.testing.assert_close(share[..., 90:130, 10:50], torch.full((1, 1, 40, 40), 5 / 6), atol=1e-4, rtol=0)
    assert not share[support == 0].any()
    lab = rgb_to_lab(found)[0, :, 120, 30]
    expected = before[0, :, 120, 30].clone()
    expected[0] += (own - before)[0, 0, 120, 30] * (5 / 6)
    torch.testing.assert_close(lab, expected, atol=0.02, rtol=0)


def test_misfits_are_kept_in_bands_as_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    image, rebuilt = noise_picture(150, 40, 0.3), noise_picture(150, 40, 0.2)
    support = rectangle_mask(150, 40, (3, 147), (4, 36))
    banded = torch.cat(keep_misfits(rebuilt, image, support, energy=30.0), dim=1)
    monkeypatch.setattr(region, "BAND_PX", 1000)
    whole = torch.cat(keep_misfits(rebuilt, image, support, energy=30.0), dim=1)
    torch.testing.assert_close(whole, banded)


def test_what_the_painting_has_nothing_like_is_kept_below_its_finest_detail() -> None:
    image, painting = noise_picture(40, 44, 0.3), noise_picture(30, 32, 0.05)
    support = rectangle_mask(40, 44, (3, 36), (4, 40))
    detail = finest_detail(image)
    base = finish(synthesize_patches(image, painting, support)) - detail
    kept, share = keep_misfits(torch.where(support > 0, base, image), image - detail, support, energy=20.0)
    found = finish(synthesize_patches(image, painting, support, energy=20.0))
    torch.testing.assert_close(found, torch.where(support > 0, kept + detail, image))
    # Where less detail fits, what the painting has nothing like gets its own in full and the rest the least gain.
    found = finish(synthesize_patches(image, painting, support, strength=1e-3, energy=20.0))
    limited = kept + (share + 0.4 * (1 - share)) * detail
    torch.testing.assert_close(found, torch.where(support > 0, limited, image))
