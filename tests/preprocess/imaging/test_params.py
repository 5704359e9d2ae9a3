"""painterly_preprocess.imaging.params: ranges."""

from __future__ import annotations

import math
from typing import Any

import pytest

from painterly_preprocess.imaging.errors import ParameterConflict, ParameterError
from painterly_preprocess.imaging.params import (
    SIZE_FIELDS,
    Anchor,
    Compositing,
    DilationRule,
    MaskDilation,
    Placement,
    SuggestionWish,
)


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("center_x_fraction", -1, 2),
        ("center_y_fraction", -1, 2),
        ("height_fraction", 0.01, 4),
        ("width_fraction", 0.01, 4),
        ("height_px", 1, 65_536),
        ("width_px", 1, 65_536),
        ("opacity", 0.01, 1),
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
        center_x_fraction=0.5,
        center_y_fraction=0.5,
        height_fraction=0.5,
        rotation_degrees=0,
        flip_horizontal=False,
        anchor=Anchor.CENTER,
        flip_vertical=False,
        opacity=1,
        z_order=0,
        is_automatic=False,
    )
    assert Placement(width_px=30).height_fraction is None


@pytest.mark.parametrize("first", SIZE_FIELDS)
@pytest.mark.parametrize("second", SIZE_FIELDS)
def test_one_size_is_enough(first: str, second: str) -> None:
    if first == second:
        return
    with pytest.raises(ParameterConflict, match="keep one of the two") as caught:
        Placement(**{first: 1, second: 1})  # type: ignore[arg-type]
    assert {caught.value.field, caught.value.conflicts_with} == {first, second}


@pytest.mark.parametrize("given", [{"center_x_fraction": 0.5}, {"center_y_fraction": 0.5}, {"anchor": Anchor.CENTER}])
def test_a_position_that_is_to_be_found_is_not_given(given: dict[str, Any]) -> None:
    assert Placement(is_automatic=True, height_px=30).center_x_fraction is None
    with pytest.raises(ParameterConflict) as caught:
        Placement(is_automatic=True, **given)
    assert (caught.value.field, caught.value.conflicts_with) == (next(iter(given)), "is_automatic")


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_tone_match_range(value: float) -> None:
    with pytest.raises(ParameterError) as caught:
        Compositing(tone_match_strength=value)
    assert caught.value.field == "tone_match_strength"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("aspect_ratio", value) for value in (0.04, 21, math.inf)),
        *(("height_fraction", value) for value in (0, 5)),
        *(("suggestion_count", value) for value in (0, 21)),
    ],
)
def test_wishes_have_ranges(field: str, value: float) -> None:
    with pytest.raises(ParameterError) as caught:
        SuggestionWish(**{field: value})  # type: ignore[arg-type]
    assert (caught.value.field, caught.value.value) == (field, value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("iteration_count", 0), ("iteration_count", 101), ("feather_px", -1), ("feather_px", math.inf)],
)
def test_dilation_ranges(field: str, value: float) -> None:
    with pytest.raises(ParameterError) as caught:
        MaskDilation(rule=DilationRule.CLASSIC, **{field: value})  # type: ignore[arg-type]
    assert (caught.value.field, caught.value.value) == (field, value)


def test_the_classic_rule_takes_even_kernels() -> None:
    assert MaskDilation(kernel_size_px=20, rule=DilationRule.CLASSIC).kernel_size_px == 20


@pytest.mark.parametrize("size", [1, 35, 1023, None])
def test_dilation_accepts(size: int | None) -> None:
    assert MaskDilation(kernel_size_px=size).kernel_size_px == size


@pytest.mark.parametrize(("size", "rule"), [(0, "from 1 to 1023"), (-1, "from 1"), (1025, "from 1"), (34, "odd")])
def test_dilation_refuses(size: int, rule: str) -> None:
    with pytest.raises(ParameterError, match=rule) as caught:
        MaskDilation(kernel_size_px=size)
    assert (caught.value.field, caught.value.value) == ("kernel_size_px", size)
