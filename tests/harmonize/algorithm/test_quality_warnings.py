from __future__ import annotations

from typing import Any

import pytest

from painterly_harmonize.algorithm.quality_types import QualityMeasures, StyleMeasures, WarningCode
from painterly_harmonize.algorithm.quality_warnings import find_warnings

STYLE = {
    "lab_mean_distance": 9.0,
    "lab_deviation_distance": 4.0,
    "sliced_wasserstein": 10.0,
    "gram_distance": 0.5,
    "nearest_patch": 6.0,
    "palette_distance": 2.0,
    "chroma_noise_ratio": 1.0,
    "luma_detail_ratio": 1.0,
}


def measures(*, region: dict[str, float] | None = None, **changes: Any) -> QualityMeasures:
    whole: dict[str, Any] = {
        "background_changed_pixel_count": 0,
        "background_largest_change": 0,
        "seam_ratio": 1.2,
        "structure_kept": 0.8,
    }
    style = {**STYLE, **{name: value for name, value in changes.items() if name in STYLE}}
    whole |= {name: value for name, value in changes.items() if name in whole}
    return QualityMeasures(
        painting=StyleMeasures(**style),
        style_region=None if region is None else StyleMeasures(**{**STYLE, **region}),
        **whole,
    )


BEFORE = measures(sliced_wasserstein=20, seam_ratio=2.5)


def codes(before: QualityMeasures, after: QualityMeasures, area: float = 0.1) -> list[WarningCode]:
    return [warning.code for warning in find_warnings(before, after, area)]


@pytest.mark.parametrize(
    ("changes", "code", "value"),
    [
        (
            {"background_changed_pixel_count": 7, "background_largest_change": 3},
            WarningCode.BACKGROUND_CHANGED,
            "7 pixels",
        ),
        ({"palette_distance": 8.5}, WarningCode.PALETTE_UNLIKELY, "8.5 away"),
        ({"chroma_noise_ratio": 1.75}, WarningCode.COLOR_NOISE_HIGH, "1.75 times"),
        ({"chroma_noise_ratio": 0.5}, WarningCode.COLOR_NOISE_LOW, "0.50 times"),
        ({"luma_detail_ratio": 1.75}, WarningCode.DETAIL_HIGH, "1.75 times"),
        ({"luma_detail_ratio": 0.5}, WarningCode.DETAIL_LOW, "0.50 times"),
        ({"seam_ratio": 3.0}, WarningCode.SEAM_VISIBLE, "3.0 times"),
        ({"structure_kept": 0.5}, WarningCode.STRUCTURE_LOST, "0.50 only"),
    ],
)
def test_each_warning_has_its_value_and_a_way_out(changes: dict[str, Any], code: WarningCode, value: str) -> None:
    assert codes(BEFORE, measures()) == []
    (warning,) = find_warnings(BEFORE, measures(**changes), 0.1)
    assert warning.code is code
    assert value in warning.message
    assert warning.advice


def test_an_edge_that_was_stronger_before_is_no_seam() -> None:
    assert codes(BEFORE, measures(seam_ratio=2.4)) == []


def test_a_large_object_is_told() -> None:
    (warning,) = find_warnings(BEFORE, measures(), 0.61)
    assert warning.code is WarningCode.OBJECT_COVERS_CANVAS
    assert "61%" in warning.message


def test_not_better_than_the_paste() -> None:
    worse: dict[str, Any] = {"sliced_wasserstein": 21.0, "gram_distance": 0.6}
    assert codes(BEFORE, measures(**worse, nearest_patch=7)) == [WarningCode.NOT_BETTER_THAN_PASTE]
    # Nearer to some of the painting, if not to its average.
    assert codes(BEFORE, measures(**worse, nearest_patch=5)) == []
    assert codes(BEFORE, measures(sliced_wasserstein=19, gram_distance=0.6, nearest_patch=7)) == []


def test_warnings_go_by_the_style_region_where_there_is_one() -> None:
    before = measures(region={"sliced_wasserstein": 20, "gram_distance": 0.5})
    worse = {"sliced_wasserstein": 21.0, "gram_distance": 0.6, "nearest_patch": 1.0}
    assert codes(before, measures(region=worse)) == [WarningCode.NOT_BETTER_THAN_PASTE]
    assert codes(before, measures(region={}, chroma_noise_ratio=9)) == []
    assert codes(before, measures(region={"chroma_noise_ratio": 9})) == [WarningCode.COLOR_NOISE_HIGH]
