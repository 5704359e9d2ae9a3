"""painterly_preprocess.imaging.cutout_params."""

from __future__ import annotations

from typing import Any

import pytest

from painterly_preprocess.imaging.cutout_params import Box, ChromaKey, ObjectSelection, Point
from painterly_preprocess.imaging.errors import ParameterError


def box(left: float, top: float, right: float, bottom: float) -> Box:
    return Box(left_fraction=left, top_fraction=top, right_fraction=right, bottom_fraction=bottom)


def test_a_box_in_pixels() -> None:
    assert box(0.25, 0, 0.5, 1).pixels(100, 200) == (slice(0, 100), slice(50, 100))
    # However small it is, it has a pixel, and one inside the photo.
    assert box(0.999, 0.5, 1, 0.501).pixels(10, 10) == (slice(5, 6), slice(9, 10))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ((-0.1, 0, 1, 1), "left_fraction"),
        ((0, 0, 1.1, 1), "right_fraction"),
        ((0, float("nan"), 1, 1), "top_fraction"),
        ((0.5, 0, 0.5, 1), "right_fraction"),
        ((0, 0.7, 1, 0.6), "bottom_fraction"),
    ],
)
def test_boxes_out_of_range(values: tuple[float, float, float, float], field: str) -> None:
    with pytest.raises(ParameterError) as caught:
        box(*values)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        (Point, {"x_fraction": 0, "y_fraction": 2}, "y_fraction"),
        (ChromaKey, {"color": (0, 256, 0)}, "color.green"),
        (ChromaKey, {"tolerance": 0.5}, "tolerance"),
        (ObjectSelection, {"island_fraction": -1}, "island_fraction"),
        (ObjectSelection, {"largest": True, "point": Point(x_fraction=0, y_fraction=0)}, "point"),
    ],
)
def test_what_is_refused(kind: Any, values: dict[str, Any], field: str) -> None:
    with pytest.raises(ParameterError) as caught:
        kind(**values)
    assert caught.value.field == field
