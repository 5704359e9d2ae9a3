"""What a quality report holds, and how it is read from a message."""

from __future__ import annotations

from dataclasses import dataclass

from painterly.v1 import quality_pb2


@dataclass(frozen=True, kw_only=True)
class StyleMeasures:
    """The pixels under the mask, compared with a part of the painting.

    Distances are in units of CIELAB, of which about 2 is just visible; less is better. ``gram_distance`` is a share.
    The ratios of fine detail are best at 1. The contract and docs/quality.md say how each one is measured.
    """

    lab_mean_distance: float
    lab_deviation_distance: float
    sliced_wasserstein: float
    gram_distance: float
    nearest_patch: float
    palette_distance: float
    chroma_noise_ratio: float
    luma_detail_ratio: float


@dataclass(frozen=True, kw_only=True)
class QualityMeasures:
    """The numbers of one picture.

    ``background_changed_pixel_count`` is 0 where the background is exact, ``background_largest_change`` in 8-bit
    levels. ``painting`` compares with the painting away from the object, ``style_region`` with the part that lent its
    style, None without one. ``seam_ratio`` is best at 1 or less, ``structure_kept`` at 1.
    """

    background_changed_pixel_count: int
    background_largest_change: int
    painting: StyleMeasures
    style_region: StyleMeasures | None
    seam_ratio: float
    structure_kept: float


@dataclass(frozen=True, kw_only=True)
class QualityWarning:
    """Something to look at: a stable ``code``, a sentence with the value, and a way out."""

    code: str
    message: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """How well an object fits into a painting: ``before`` of the composite, ``after`` of the result.

    ``object_area`` is the mask's share of the painting, 0 to 1; all but the background was measured at
    ``evaluated_width_px`` by ``evaluated_height_px``.
    """

    before: QualityMeasures
    after: QualityMeasures
    object_area: float
    evaluated_width_px: int
    evaluated_height_px: int
    warnings: tuple[QualityWarning, ...]


def quality_of(message: quality_pb2.QualityReport) -> QualityReport:
    """The report of a message."""
    return QualityReport(
        before=_measures(message.before),
        after=_measures(message.after),
        object_area=message.object_area,
        evaluated_width_px=message.evaluated_width_px,
        evaluated_height_px=message.evaluated_height_px,
        warnings=tuple(
            QualityWarning(code=each.code, message=each.message, advice=each.advice) for each in message.warnings
        ),
    )


def _measures(message: quality_pb2.QualityMeasures) -> QualityMeasures:
    return QualityMeasures(
        background_changed_pixel_count=message.background_changed_pixel_count,
        background_largest_change=message.background_largest_change,
        painting=_style(message.painting),
        style_region=_style(message.style_region) if message.HasField("style_region") else None,
        seam_ratio=message.seam_ratio,
        structure_kept=message.structure_kept,
    )


def _style(message: quality_pb2.StyleMeasures) -> StyleMeasures:
    return StyleMeasures(
        lab_mean_distance=message.lab_mean_distance,
        lab_deviation_distance=message.lab_deviation_distance,
        sliced_wasserstein=message.sliced_wasserstein,
        gram_distance=message.gram_distance,
        nearest_patch=message.nearest_patch,
        palette_distance=message.palette_distance,
        chroma_noise_ratio=message.chroma_noise_ratio,
        luma_detail_ratio=message.luma_detail_ratio,
    )
