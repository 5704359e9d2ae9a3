from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm.errors import MaskEmpty, SizeMismatch
from painterly_harmonize.algorithm.masks import to_bytes
from painterly_harmonize.algorithm.quality import evaluate
from painterly_harmonize.algorithm.quality_types import QualityReport, WarningCode
from painterly_harmonize.algorithm.stage import Inputs

SIZE = 96


def texture(seed: int, *, size: int = SIZE, scale: float = 0.08) -> Tensor:
    """Small smooth shapes with grain, in whole 8-bit levels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 0.2 + 0.6 * torch.rand(1, 3, size // 4, size // 4, generator=generator)
    smooth = functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    grainy = smooth + scale * torch.randn(1, 3, size, size, generator=generator)
    return (grainy.clamp(0, 1) * 255).round() / 255


def object_mask(size: int = SIZE) -> Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[..., size // 3 : 2 * size // 3, size // 3 : 2 * size // 3] = 1
    return mask


def scene(size: int = SIZE, **changes: Tensor | None) -> Inputs:
    painting, mask = texture(1, size=size), object_mask(size)
    composite = torch.where(mask > 0, texture(2, size=size, scale=0.2), painting)
    return dataclasses.replace(Inputs(composite=composite, painting=painting, mask=mask), **changes)  # type: ignore[arg-type]


def codes(report: QualityReport) -> set[WarningCode]:
    return {warning.code for warning in report.warnings}


def test_the_composite_as_the_result_measures_as_before() -> None:
    inputs = scene()
    report = evaluate(to_bytes(inputs.composite), inputs)
    assert report.after == report.before
    assert report.after.structure_kept == pytest.approx(1)
    assert report.object_area == pytest.approx(1 / 9)
    assert report.evaluated_size == (SIZE, SIZE)
    assert WarningCode.NOT_BETTER_THAN_PASTE in codes(report)


def test_the_painting_as_the_result_is_all_like_the_painting() -> None:
    inputs = scene()
    report = evaluate(to_bytes(inputs.painting), inputs)
    before, after = report.before.painting, report.after.painting
    assert report.after.seam_ratio == 1
    assert after.chroma_noise_ratio == pytest.approx(1, abs=0.2)
    assert after.luma_detail_ratio == pytest.approx(1, abs=0.2)
    for name in ("sliced_wasserstein", "gram_distance", "nearest_patch"):
        assert getattr(after, name) < getattr(before, name)
    assert abs(report.after.structure_kept) < 0.5
    assert WarningCode.STRUCTURE_LOST in codes(report)
    assert WarningCode.NOT_BETTER_THAN_PASTE not in codes(report)


def test_pictures_of_the_same_constant_color_are_at_distance_nothing() -> None:
    flat = torch.full((1, 3, SIZE, SIZE), 100 / 255)
    report = evaluate(to_bytes(flat), scene(composite=flat, painting=flat))
    style = report.after.painting
    distances = (
        style.lab_mean_distance,
        style.lab_deviation_distance,
        style.sliced_wasserstein,
        style.gram_distance,
        style.nearest_patch,
        style.palette_distance,
    )
    assert distances == pytest.approx((0,) * 6, abs=1e-4)
    assert (style.chroma_noise_ratio, style.luma_detail_ratio, report.after.seam_ratio) == (1, 1, 1)


def test_a_lighter_gray_is_away_by_its_lightness_in_every_distance() -> None:
    # Gray levels 119 and 132 are L* 50.03 and 55.15.
    painting = torch.full((1, 3, SIZE, SIZE), 119 / 255)
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 10:86, 10:50] = 1
    lighter = torch.where(mask > 0, 132 / 255, painting)
    style = evaluate(to_bytes(lighter), Inputs(composite=lighter, painting=painting, mask=mask)).after.painting
    assert style.lab_mean_distance == pytest.approx(5.11, abs=0.02)
    # Patches and large pixels at the object's edge are nearer: they are partly painting.
    assert 4 < style.palette_distance < 5.11
    assert 4 < style.nearest_patch < 5.11
    assert 4 < style.sliced_wasserstein < 5.11


def test_one_byte_of_the_background_is_found() -> None:
    inputs = scene()
    result = to_bytes(inputs.composite)
    assert evaluate(result, inputs).after.background_changed_pixel_count == 0
    result[5, 90, 1] ^= 3
    report = evaluate(result, inputs)
    assert report.after.background_changed_pixel_count == 1
    assert 0 < report.after.background_largest_change <= 3
    assert report.before.background_changed_pixel_count == 0
    assert WarningCode.BACKGROUND_CHANGED in codes(report)


def test_the_background_begins_beyond_the_blend_and_the_dilated_mask() -> None:
    inputs = scene()
    result = to_bytes(inputs.composite)
    first, last = SIZE // 3 - 6, 2 * SIZE // 3 + 6
    result[first:last, first:last] = 255 - result[first:last, first:last]
    assert evaluate(result, inputs).after.background_changed_pixel_count == 0
    result[first - 1, 40] = 255 - result[first - 1, 40]
    assert evaluate(result, inputs).after.background_changed_pixel_count == 1
    dilated = functional.max_pool2d(inputs.mask, 15, stride=1, padding=7)
    assert evaluate(result, scene(dilated_mask=dilated)).after.background_changed_pixel_count == 0


def test_the_style_region_is_measured_beside_the_painting() -> None:
    inputs = scene()
    left = inputs.painting.clone()
    left[..., :24] = texture(3, scale=0.3)[..., :24]
    inputs = dataclasses.replace(inputs, painting=left, composite=torch.where(inputs.mask > 0, inputs.composite, left))
    style_mask = torch.zeros(1, 1, SIZE, SIZE)
    style_mask[..., :24] = 1
    plain = evaluate(to_bytes(inputs.composite), inputs).after
    both = evaluate(to_bytes(inputs.composite), inputs, style_mask=style_mask).after
    assert plain.style_region is None
    assert plain.style == plain.painting == both.painting
    assert both.style_region is not None
    assert both.style == both.style_region
    # The region is grainier than the rest, so against it the object has less.
    assert both.style_region.chroma_noise_ratio < both.painting.chroma_noise_ratio
    everywhere = evaluate(to_bytes(inputs.composite), inputs, style_mask=torch.ones(1, 1, SIZE, SIZE)).after
    assert everywhere.style_region is not None
    mean = everywhere.style_region.lab_mean_distance
    assert mean == pytest.approx(everywhere.painting.lab_mean_distance, abs=5)


def test_a_report_is_the_same_whatever_else_draws_random_numbers_and_on_any_number_of_threads() -> None:
    inputs = scene(160)
    result = to_bytes(texture(5, size=160))
    torch.manual_seed(0)
    first = evaluate(result, inputs)
    state = torch.random.get_rng_state()
    torch.manual_seed(99)
    assert evaluate(result, inputs) == first
    torch.manual_seed(0)
    assert torch.equal(torch.random.get_rng_state(), state)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        other = evaluate(result, inputs)
    finally:
        torch.set_num_threads(threads)
    for name, value in dataclasses.asdict(first.after.painting).items():
        assert getattr(other.after.painting, name) == pytest.approx(value, rel=1e-4)


def test_a_large_picture_is_measured_at_a_bounded_size() -> None:
    inputs = scene(200)
    report = evaluate(to_bytes(inputs.composite), inputs, long_side_px=100)
    assert report.evaluated_size == (100, 100)


@pytest.mark.parametrize("shape", [(64, 1), (70, 2), (300, 16)])
def test_thin_pictures_and_small_objects_are_measured(shape: tuple[int, int]) -> None:
    painting = texture(1, size=300)[..., : shape[0], : shape[1]]
    mask = torch.zeros(1, 1, *shape)
    mask[..., 30, 0] = 1
    report = evaluate(to_bytes(painting), Inputs(composite=painting, painting=painting, mask=mask))
    assert report.after == report.before


def test_an_object_over_nearly_everything_is_compared_with_the_painting_under_it() -> None:
    mask = torch.ones(1, 1, SIZE, SIZE)
    mask[..., :2, :2] = 0
    inputs = scene(mask=mask)
    report = evaluate(to_bytes(inputs.painting), inputs)
    assert report.after.painting.lab_mean_distance == pytest.approx(0, abs=0.1)
    assert WarningCode.OBJECT_COVERS_CANVAS in codes(report)


def test_what_does_not_fit_is_refused() -> None:
    inputs = scene()
    with pytest.raises(SizeMismatch, match="result: is 20x96 pixels but must be 96x96"):
        evaluate(to_bytes(inputs.painting)[:, :20], inputs)
    with pytest.raises(SizeMismatch, match="style_mask"):
        evaluate(to_bytes(inputs.painting), inputs, style_mask=inputs.mask[..., :40])
    with pytest.raises(MaskEmpty, match="style_mask"):
        evaluate(to_bytes(inputs.painting), inputs, style_mask=0 * inputs.mask)
