"""From measures to plain sentences. The thresholds are first guesses at where one begins to see it in a picture."""

from __future__ import annotations

from collections.abc import Iterator

from painterly_harmonize.algorithm.quality_types import QualityMeasures, QualityWarning, WarningCode

_NOISE_HIGH, _NOISE_LOW = 1.5, 0.6
_DETAIL_HIGH, _DETAIL_LOW = 1.5, 0.6
_LARGE_OBJECT = 0.5
_SEAM = 2.0
_STRUCTURE = 0.6
_PALETTE = 8.0


def find_warnings(before: QualityMeasures, after: QualityMeasures, object_area: float) -> tuple[QualityWarning, ...]:
    """What is worth telling of a result, in a fixed order."""
    return tuple(
        QualityWarning(code=code, message=message, advice=advice)
        for code, message, advice in _found(before, after, object_area)
    )


def _found(
    before: QualityMeasures, after: QualityMeasures, object_area: float
) -> Iterator[tuple[WarningCode, str, str]]:
    style = after.style
    if after.background_changed_pixel_count:
        yield (
            WarningCode.BACKGROUND_CHANGED,
            f"{after.background_changed_pixel_count} pixels away from the object differ from the painting's, "
            f"by up to {after.background_largest_change} of 255 levels",
            "keep the result in a lossless format such as PNG",
        )
    if _not_better(before, after):
        yield (
            WarningCode.NOT_BETTER_THAN_PASTE,
            f"the object is no nearer to the painting than the plain paste (patches {style.sliced_wasserstein:.1f}, "
            f"before {before.style.sliced_wasserstein:.1f})",
            "give the part of the painting that should lend its style, or another stylization level",
        )
    if style.palette_distance > _PALETTE:
        yield (
            WarningCode.PALETTE_UNLIKELY,
            f"the object's colors are on average {style.palette_distance:.1f} away from any color of the painting",
            "raise the stylization level, or choose a painting with such colors",
        )
    if style.chroma_noise_ratio > _NOISE_HIGH:
        yield (
            WarningCode.COLOR_NOISE_HIGH,
            f"the object has {style.chroma_noise_ratio:.2f} times the painting's color noise",
            "leave chrominance denoising on, or lower the stylization level",
        )
    if style.chroma_noise_ratio < _NOISE_LOW:
        yield (
            WarningCode.COLOR_NOISE_LOW,
            f"the object has only {style.chroma_noise_ratio:.2f} times the painting's color variation",
            "raise the stylization level",
        )
    if style.luma_detail_ratio > _DETAIL_HIGH:
        yield (
            WarningCode.DETAIL_HIGH,
            f"the object has {style.luma_detail_ratio:.2f} times the painting's fine detail",
            "raise the iteration counts, or run the passes at a larger size",
        )
    if style.luma_detail_ratio < _DETAIL_LOW:
        yield (
            WarningCode.DETAIL_LOW,
            f"the object has only {style.luma_detail_ratio:.2f} times the painting's fine detail and may look smooth",
            "raise the stylization level, or run the passes at a larger size",
        )
    if after.seam_ratio > _SEAM and after.seam_ratio > before.seam_ratio:
        yield (
            WarningCode.SEAM_VISIBLE,
            f"the edge of the object is {after.seam_ratio:.1f} times as strong as the painting is there, "
            f"{before.seam_ratio:.1f} times before",
            "check that the mask fits the object",
        )
    if after.structure_kept < _STRUCTURE:
        yield (
            WarningCode.STRUCTURE_LOST,
            f"the object's shading agrees with the composite's by {after.structure_kept:.2f} only (1 is all of it)",
            "lower the stylization level, or raise the content weight",
        )
    if object_area > _LARGE_OBJECT:
        yield (
            WarningCode.OBJECT_COVERS_CANVAS,
            f"the object covers {object_area:.0%} of the painting, which leaves little to learn the style from",
            "make the object smaller, or give more of the painting",
        )


def _not_better(before: QualityMeasures, after: QualityMeasures) -> bool:
    """Neither patches nor texture are nearer; without a style region, the nearest patches are no nearer either.

    An object that took on the hand of one part of the painting may leave the painting's average, and be right.
    """
    names = ("sliced_wasserstein", "gram_distance", *(() if after.style_region else ("nearest_patch",)))
    return all(getattr(after.style, name) >= getattr(before.style, name) for name in names)
