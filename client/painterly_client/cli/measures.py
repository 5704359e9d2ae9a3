"""A quality report for people: each number before and after, and what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from painterly_client import QualityMeasures, QualityReport, StyleMeasures

# Name, field, decimals, meaning.
_STYLE_TEXTS: tuple[tuple[str, str, int, str], ...] = (
    ("mean color", "lab_mean_distance", 1, "distance of the mean colors; 2 is just visible, 0 is best"),
    ("color spread", "lab_deviation_distance", 1, "distance of the colors' standard deviations; 0 is best"),
    ("patches", "sliced_wasserstein", 1, "distance of all small patches, as a color difference; 0 is best"),
    ("texture", "gram_distance", 2, "distance of the texture, 1 as far as none at all; 0 is best"),
    ("nearest patches", "nearest_patch", 1, "how far the nearest patches of the painting are; 0 is best"),
    ("palette", "palette_distance", 1, "how far the nearest colors of the painting are; 0 is best"),
    ("color noise", "chroma_noise_ratio", 2, "times the painting's fine color variation; 1 is best"),
    ("fine detail", "luma_detail_ratio", 2, "times the painting's fine light and dark; 1 is best"),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table, as text."""

    name: str
    before: str
    after: str
    meaning: str


def measure_rows(report: QualityReport) -> Iterator[Row]:
    """The table of a report, row by row; against a style region once more where there is one."""
    before, after = report.before, report.after
    yield Row(
        name="background",
        before=_background(before),
        after=_background(after),
        meaning="pixels away from the object that are not the painting's; exact is best",
    )
    yield _row("edge", before.seam_ratio, after.seam_ratio, 2, "times the painting's contrast there; 1 or less is best")
    yield _row("structure", before.structure_kept, after.structure_kept, 2, "how much of the shading is kept; 1 is all")
    yield from _style_rows(before.painting, after.painting, "")
    if before.style_region and after.style_region:
        yield from _style_rows(before.style_region, after.style_region, ", style region")


def _style_rows(before: StyleMeasures, after: StyleMeasures, suffix: str) -> Iterator[Row]:
    for name, field, decimals, meaning in _STYLE_TEXTS:
        yield _row(f"{name}{suffix}", getattr(before, field), getattr(after, field), decimals, meaning)


def _row(name: str, before: float, after: float, decimals: int, meaning: str) -> Row:
    return Row(name=name, before=f"{before:.{decimals}f}", after=f"{after:.{decimals}f}", meaning=meaning)


def _background(measures: QualityMeasures) -> str:
    count = measures.background_changed_pixel_count
    return f"{count} by up to {measures.background_largest_change}" if count else "exact"
