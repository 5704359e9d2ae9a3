"""painterly_preprocess.conversion: both ways, and the errors' paths."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.weights import WeightsCorrupt, WeightsMissing
from painterly_preprocess import conversion
from painterly_preprocess.imaging import errors
from painterly_preprocess.imaging.params import (
    SIZE_FIELDS,
    Anchor,
    Compositing,
    DilationRule,
    KernelShape,
    MaskDilation,
    Placement,
    RemovalMethod,
    SuggestionWish,
)


def test_unset_means_the_default() -> None:
    assert conversion.placement_from_proto(pb.Placement()) == Placement()
    assert conversion.dilation_from_proto(pb.MaskDilation()) == MaskDilation()
    assert conversion.method_from_proto(pb.BackgroundRemoval()) is RemovalMethod.AUTO


def test_zero_is_not_unset() -> None:
    assert conversion.placement_from_proto(pb.Placement(center_x_fraction=0)).center_x_fraction == 0
    with pytest.raises(ServiceError):
        conversion.dilation_from_proto(pb.MaskDilation(kernel_size_px=0))


def test_placement_there_and_back() -> None:
    placement = Placement(
        center_x_fraction=0.1,
        center_y_fraction=-0.2,
        height_fraction=3,
        rotation_degrees=-45,
        flip_horizontal=True,
        anchor=Anchor.BOTTOM_LEFT,
        flip_vertical=True,
        opacity=0.5,
        z_order=-3,
    )
    message = conversion.placement_to_proto(placement)
    unset = {"width_fraction", "height_px", "width_px", "is_automatic"}
    assert {field.name for field, _ in message.ListFields()} == set(pb.Placement.DESCRIPTOR.fields_by_name) - unset
    assert conversion.placement_from_proto(message) == placement


@pytest.mark.parametrize("size", SIZE_FIELDS)
def test_the_size_that_was_used_goes_back_alone(size: str) -> None:
    message = conversion.placement_to_proto(Placement(**{size: 2}))  # type: ignore[arg-type]
    assert [
        name for name in ("height_fraction", "width_fraction", "height_px", "width_px") if message.HasField(name)
    ] == [size]


@pytest.mark.parametrize("anchor", Anchor)
def test_every_anchor_there_and_back(anchor: Anchor) -> None:
    message = conversion.placement_to_proto(Placement(anchor=anchor))
    assert pb.PlacementAnchor.Name(message.anchor) == f"PLACEMENT_ANCHOR_{anchor.name}"
    assert conversion.placement_from_proto(message).anchor is anchor


@pytest.mark.parametrize(
    ("message", "field", "other"),
    [
        (pb.Placement(height_px=3, width_px=3), "width_px", "height_px"),
        (pb.Placement(is_automatic=True, center_y_fraction=0), "center_y_fraction", "is_automatic"),
        (pb.Placement(is_automatic=True, anchor=pb.PLACEMENT_ANCHOR_CENTER), "anchor", "is_automatic"),
    ],
)
def test_what_excludes_each_other(message: pb.Placement, field: str, other: str) -> None:
    with pytest.raises(ServiceError) as caught:
        conversion.placement_from_proto(message, "elements[2].placement")
    assert caught.value.reason == reasons.ERROR_REASON_FIELDS_CONFLICT
    path = "elements[2].placement."
    assert caught.value.metadata == {"field": path + field, "conflicts_with": path + other}


@pytest.mark.parametrize(
    ("convert", "message", "field"),
    [
        (conversion.placement_from_proto, pb.Placement(anchor=77), "placement.anchor"),  # type: ignore[arg-type]
        (conversion.dilation_from_proto, pb.MaskDilation(rule=77), "dilation.rule"),  # type: ignore[arg-type]
        (conversion.dilation_from_proto, pb.MaskDilation(kernel_shape=77), "dilation.kernel_shape"),  # type: ignore[arg-type]
    ],
)
def test_unknown_enum_values_are_named(convert: Any, message: Any, field: str) -> None:
    with pytest.raises(ServiceError, match="unknown value 77; known are ") as caught:
        convert(message)
    assert caught.value.reason == reasons.ERROR_REASON_UNKNOWN_ENUM_VALUE
    assert caught.value.metadata == {"field": field, "value": "77"}


def test_compositing_there_and_back() -> None:
    compositing = Compositing(linear_light=True, tone_match_strength=0.5, fill_mask_holes=True)
    assert conversion.compositing_from_proto(conversion.compositing_to_proto(compositing)) == compositing
    with pytest.raises(ServiceError) as caught:
        conversion.compositing_from_proto(pb.Compositing(tone_match_strength=2))
    assert caught.value.metadata == {"field": "compositing.tone_match_strength", "value": "2.0"}


def test_wishes() -> None:
    message = pb.SuggestPlacementRequest(aspect_ratio=2, height_fraction=0.3, suggestion_count=7)
    assert conversion.wish_from_proto(message) == SuggestionWish(
        aspect_ratio=2, height_fraction=0.3, suggestion_count=7
    )
    with pytest.raises(ServiceError) as caught:
        conversion.wish_from_proto(pb.SuggestPlacementRequest(suggestion_count=0))
    assert caught.value.metadata == {"field": "suggestion_count", "value": "0"}


def test_dilation_there_and_back() -> None:
    dilation = MaskDilation(
        kernel_size_px=8,
        omit_mask_union=True,
        rule=DilationRule.CLASSIC,
        kernel_shape=KernelShape.CROSS,
        iteration_count=2,
        fill_holes=True,
        feather_px=3,
    )
    assert conversion.dilation_from_proto(conversion.dilation_to_proto(dilation)) == dilation


def test_every_method_there_and_back() -> None:
    numbers = set(pb.BackgroundRemovalMethod.values()) - {pb.BACKGROUND_REMOVAL_METHOD_UNSPECIFIED}
    assert {conversion.method_to_proto(method) for method in RemovalMethod} == numbers
    for method in RemovalMethod:
        assert conversion.method_from_proto(pb.BackgroundRemoval(method=conversion.method_to_proto(method))) is method


@pytest.mark.parametrize("number", [8, 99, -1])
def test_unknown_method(number: int) -> None:
    with pytest.raises(ServiceError) as caught:
        conversion.method_from_proto(pb.BackgroundRemoval(method=number))  # type: ignore[arg-type]
    assert caught.value.reason == reasons.ERROR_REASON_UNKNOWN_ENUM_VALUE
    assert caught.value.metadata == {"field": "background_removal.method", "value": str(number)}
    assert "BACKGROUND_REMOVAL_METHOD_GRABCUT" in caught.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("center_x_fraction", 2.5),
        ("center_y_fraction", math.nan),
        ("height_fraction", 0.0),
        ("height_fraction", math.inf),
        ("rotation_degrees", -361.0),
    ],
)
def test_placement_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ServiceError) as caught:
        conversion.placement_from_proto(pb.Placement(**{field: value}))  # type: ignore[arg-type]
    assert caught.value.reason == reasons.ERROR_REASON_FIELD_OUT_OF_RANGE
    assert caught.value.metadata == {"field": f"placement.{field}", "value": str(value)}
    assert caught.value.message.startswith(f"placement.{field} must be from ")


@pytest.mark.parametrize("size", [0, -3, 2, 1025])
def test_dilation_out_of_range(size: int) -> None:
    with pytest.raises(ServiceError) as caught:
        conversion.dilation_from_proto(pb.MaskDilation(kernel_size_px=size))
    assert caught.value.metadata == {"field": "dilation.kernel_size_px", "value": str(size)}


@pytest.mark.parametrize("kind", errors.ImagingError.__subclasses__())
def test_every_imaging_error_has_its_reason(kind: type[errors.ImagingError]) -> None:
    takes_more = kind in (errors.ParameterError, errors.ParameterConflict)
    error = kind("mask", "other", "is wrong") if takes_more else kind("mask", "is wrong")  # type: ignore[call-arg]
    converted = conversion.to_service_error(error)
    assert converted.code.name == "INVALID_ARGUMENT"
    assert converted.field == "mask"
    assert converted.message.startswith("mask is wrong")


def test_weights_errors() -> None:
    missing = conversion.to_service_error(WeightsMissing("u2net", Path("u2net.onnx")))
    corrupt = conversion.to_service_error(WeightsCorrupt("u2net", Path("u2net.onnx"), "is short"))
    assert missing.reason == reasons.ERROR_REASON_WEIGHTS_MISSING
    assert corrupt.reason == reasons.ERROR_REASON_WEIGHTS_CORRUPT
    assert missing.metadata == corrupt.metadata == {"weights": "u2net"}
    for error in (missing, corrupt):
        assert "painterly weights fetch u2net" in error.message
        assert "u2net.onnx" not in error.message
