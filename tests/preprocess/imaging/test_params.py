"""painterly_preprocess.imaging.params: ranges."""

from __future__ import annotations

import math

import pytest

from painterly_preprocess.imaging.errors import ParameterError
from painterly_preprocess.imaging.params import MaskDilation, Placement


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("center_x_fraction", -1, 2),
        ("center_y_fraction", -1, 2),
        ("height_fraction", 0.01, 4),
        ("rotation_degrees", -360, 360),
    ],
)
def test_placement_ranges_are_inclusive(field: str, low: float, high: float) -> None:
    assert getattr(Placement(**{field: low}), field) == low  # type: ignore[arg-type]
    assert getattr(Placement(**{field: high}), field) == high  # type: ignore[arg-type]
    for value in (low - 1e-6, high + 1e-6, math.nan, math.inf, -math.inf):
        with pytest.raises(ParameterError, match=f"^{field} must be from {low:g} to {high:g}, got ") as caught:
            Placement(**{field: value})  # type: ignore[arg-type]
        assert caught.value.field == field
        assert caught.value.value is value


def test_placement_defaults() -> None:
    assert Placement() == Placement(
        center_x_fraction=0.5, center_y_fraction=0.5, height_fraction=0.5, rotation_degrees=0, flip_horizontal=False
    )


@pytest.mark.parametrize("size", [1, 35, 1023, None])
def test_dilation_accepts(size: int | None) -> None:
    assert MaskDilation(kernel_size_px=size).kernel_size_px == size


@pytest.mark.parametrize(("size", "rule"), [(0, "from 1 to 1023"), (-1, "from 1"), (1025, "from 1"), (34, "odd")])
def test_dilation_refuses(size: int, rule: str) -> None:
    with pytest.raises(ParameterError, match=rule) as caught:
        MaskDilation(kernel_size_px=size)
    assert (caught.value.field, caught.value.value) == ("kernel_size_px", size)
