"""Parameters, inputs and errors: validated where they are made, each error naming its field."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
import torch

from painterly_harmonize.algorithm.errors import (
    AlgorithmError,
    MaskEmpty,
    MaskFull,
    MaskNotContained,
    ParameterError,
    SizeMismatch,
)
from painterly_harmonize.algorithm.params import (
    PRESETS,
    HarmonizeParams,
    ParityParams,
    Pass1Params,
    Pass2Params,
    Preset,
    RefinementGuide,
)
from painterly_harmonize.algorithm.stage import Inputs
from tests.harmonize.algorithm.toy import picture, rectangle_mask


def test_defaults_are_the_methods() -> None:
    """Section 9."""
    first, second = Pass1Params(), Pass2Params()
    assert (first.iteration_count, first.learning_rate, first.history_size) == (1000, 1.0, 100)
    assert (first.content_weight, first.style_weight, first.total_variation_weight) == (5, 100, 1e-3)
    assert (second.iteration_count, second.learning_rate, second.history_size) == (1000, 0.1, 100)
    assert (second.content_weight, second.ring_radius_cells) == (2, 1)
    assert second.refinement_guide is RefinementGuide.RGB
    assert HarmonizeParams().stylization_level is None
    assert not any(getattr(ParityParams(), field.name) for field in fields(ParityParams))
    full = PRESETS[Preset.FULL]
    assert (full.working_long_side_px, full.pass1_iteration_count, full.pass2_iteration_count) == (700, 1000, 1000)
    assert full.object_size_px is None
    standard = PRESETS[Preset.STANDARD]
    assert HarmonizeParams().pass1.iteration_count == standard.pass1_iteration_count
    assert HarmonizeParams().pass2.iteration_count == standard.pass2_iteration_count
    assert HarmonizeParams().working_long_side_px == standard.working_long_side_px
    assert HarmonizeParams().object_size_px == standard.object_size_px


RANGES: list[tuple[Callable[..., object], str, float, float]] = [
    (Pass1Params, "iteration_count", 1, 10_000),
    (Pass1Params, "content_weight", 0, 1e6),
    (Pass1Params, "style_weight", 0, 1e6),
    (Pass1Params, "total_variation_weight", 0, 1e6),
    (Pass1Params, "learning_rate", 1e-6, 10),
    (Pass1Params, "history_size", 1, 1000),
    (Pass2Params, "iteration_count", 1, 10_000),
    (Pass2Params, "content_weight", 0, 1e6),
    (Pass2Params, "style_weight_scale", 0, 1e3),
    (Pass2Params, "histogram_weight_scale", 0, 1e3),
    (Pass2Params, "total_variation_weight_scale", 0, 1e3),
    (Pass2Params, "learning_rate", 1e-6, 10),
    (Pass2Params, "history_size", 1, 1000),
    (Pass2Params, "ring_radius_cells", 0, 8),
    (HarmonizeParams, "stylization_level", 1, 10),
    (HarmonizeParams, "working_long_side_px", 64, 2048),
    (HarmonizeParams, "object_size_px", 16, 1024),
    (HarmonizeParams, "seed", 0, 2**31 - 1),
]


@pytest.mark.parametrize(("make", "name", "low", "high"), RANGES)
def test_ranges_include_their_ends_and_nothing_beyond(
    make: Callable[..., object], name: str, low: float, high: float
) -> None:
    for value in (low, high):
        assert getattr(make(**{name: value}), name) == value
    for value in (low - 1, high + 1, math.nan, math.inf, -math.inf):
        with pytest.raises(ParameterError, match=f"^{name}: must be from .* to .*, got") as caught:
            make(**{name: value})
        assert caught.value.field == name
        assert caught.value.value is value or caught.value.value == value


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        HarmonizeParams().seed = 1  # type: ignore[misc]


def test_an_error_can_be_told_its_place() -> None:
    with pytest.raises(ParameterError) as caught:
        Pass1Params(history_size=0)
    within = caught.value.within("parameters.pass1")
    assert (within.field, within.value) == ("parameters.pass1.history_size", 0)
    assert str(within) == "parameters.pass1.history_size: must be from 1 to 1000, got 0"


def inputs(**changes: Any) -> Inputs:
    pictures: dict[str, Any] = {
        "composite": picture(48, 64, seed=1),
        "painting": picture(48, 64, seed=0),
        "mask": rectangle_mask(48, 64, (10, 20), (10, 20)),
    }
    return Inputs(**{**pictures, **changes})


def test_good_inputs_are_taken() -> None:
    inputs()
    inputs(dilated_mask=rectangle_mask(48, 64, (8, 22), (8, 22)), pass1_result=picture(48, 64, seed=2))
    inputs(dilated_mask=rectangle_mask(48, 64, (10, 20), (10, 20)))


@pytest.mark.parametrize("name", ["composite", "mask", "dilated_mask", "pass1_result"])
def test_every_picture_has_the_paintings_size(name: str) -> None:
    channels = 1 if "mask" in name else 3
    with pytest.raises(SizeMismatch, match=rf"^{name}: is 65x47 pixels but must be 64x48") as caught:
        inputs(**{name: torch.ones(1, channels, 47, 65)})
    assert (caught.value.field, caught.value.size, caught.value.expected) == (name, "65x47", "64x48")


def test_masks_that_leave_nothing_to_do_are_refused() -> None:
    with pytest.raises(MaskEmpty) as empty:
        inputs(mask=torch.zeros(1, 1, 48, 64))
    with pytest.raises(MaskFull) as full:
        inputs(mask=torch.ones(1, 1, 48, 64))
    with pytest.raises(MaskNotContained) as outside:
        inputs(dilated_mask=rectangle_mask(48, 64, (11, 22), (8, 22)))
    assert (empty.value.field, full.value.field, outside.value.field) == ("mask", "mask", "dilated_mask")


def test_small_paintings_are_refused() -> None:
    small = picture(48, 63, seed=0)
    with pytest.raises(AlgorithmError, match="at least 64 pixels") as caught:
        Inputs(composite=small, painting=small, mask=rectangle_mask(48, 63, (1, 2), (1, 2)))
    assert caught.value.field == "painting"
