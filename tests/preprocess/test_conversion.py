"""painterly_preprocess.conversion: both ways, and the errors' paths."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.weights import WeightsCorrupt, WeightsMissing
from painterly_preprocess import conversion
from painterly_preprocess.imaging import errors
from painterly_preprocess.imaging.params import MaskDilation, Placement, RemovalMethod


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
    )
    message = conversion.placement_to_proto(placement)
    assert {field.name for field, _ in message.ListFields()} == {field.name for field in pb.Placement.DESCRIPTOR.fields}
    assert conversion.placement_from_proto(message) == placement


def test_dilation_there_and_back() -> None:
    dilation = MaskDilation(kernel_size_px=7, omit_mask_union=True)
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
    error = kind("mask", 7, "is wrong") if kind is errors.ParameterError else kind("mask", "is wrong")
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
    assert "painterly weights fetch u2net" in missing.message
