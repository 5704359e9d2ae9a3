"""Parameters, stream options and errors between the wire and the algorithm."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from painterly.errors import ServiceError, reason_name
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2
from painterly_harmonize.algorithm import errors
from painterly_harmonize.algorithm.params import (
    HarmonizeParams,
    MemoryPolicy,
    NetworkName,
    ParityParams,
    Pass1Params,
    Pass2Params,
    PostprocessParams,
    Preset,
    RefinementGuide,
    StyleRegion,
)
from painterly_harmonize.algorithm.stage import Stage
from painterly_harmonize.conversion import (
    STAGE_NUMBERS,
    StreamOptions,
    duration,
    params_from_proto,
    params_to_proto,
    stream_options_from_proto,
    to_service_error,
)


def test_an_empty_message_means_the_defaults() -> None:
    assert params_from_proto(pb.HarmonizeParameters()) == HarmonizeParams()
    assert stream_options_from_proto(pb.StreamOptions()) == StreamOptions()


@pytest.mark.parametrize(
    ("preset", "long_side", "object_size", "pass1", "pass2", "rate", "step"),
    [
        (pb.PRESET_UNSPECIFIED, 1536, 256, 200, 200, 0.5, 16),
        (pb.PRESET_DRAFT, 1024, 176, 40, 50, 0.5, 16),
        (pb.PRESET_STANDARD, 1536, 256, 200, 200, 0.5, 16),
        (pb.PRESET_FULL, 700, None, 1000, 1000, 0.1, 0),
    ],
)
def test_a_preset_sets_sizes_and_iteration_counts(
    preset: pb.Preset.ValueType,
    long_side: int,
    object_size: int | None,
    pass1: int,
    pass2: int,
    rate: float,
    step: float,
) -> None:
    params = params_from_proto(pb.HarmonizeParameters(preset=preset))
    assert params.working_long_side_px == long_side
    assert params.object_size_px == object_size
    assert (params.pass1.iteration_count, params.pass2.iteration_count) == (pass1, pass2)
    assert (params.pass1.learning_rate, params.pass2.learning_rate) == (1, rate)
    assert params.pass1.max_step == params.pass2.max_step == step
    assert params_from_proto(params_to_proto(params)) == params


def test_explicit_values_win_over_the_preset_and_zero_is_not_unset() -> None:
    message = pb.HarmonizeParameters(
        preset=pb.PRESET_DRAFT,
        pass1=pb.Pass1Parameters(iteration_count=7, content_weight=0),
        pass2=pb.Pass2Parameters(ring_radius_cells=0),
    )
    params = params_from_proto(message)
    assert params.pass1 == Pass1Params(iteration_count=7, content_weight=0.0, max_step=16)
    assert params.pass2 == Pass2Params(iteration_count=50, learning_rate=0.5, max_step=16, ring_radius_cells=0)
    assert params.working_long_side_px == 1024


def test_a_given_long_side_takes_the_place_of_the_presets_object_size() -> None:
    by_side = params_from_proto(pb.HarmonizeParameters(working_long_side_px=512))
    assert (by_side.working_long_side_px, by_side.object_size_px) == (512, None)
    by_object = params_from_proto(pb.HarmonizeParameters(object_size_px=100))
    assert (by_object.working_long_side_px, by_object.object_size_px) == (1536, 100)
    both = params_from_proto(pb.HarmonizeParameters(working_long_side_px=512, object_size_px=100))
    assert (both.working_long_side_px, both.object_size_px) == (512, 100)


OWN = HarmonizeParams(
    preset=Preset.FULL,
    network=NetworkName.VGG19,
    stylization_level=7.5,
    working_long_side_px=333,
    object_size_px=99,
    seed=2**31 - 1,
    pass1=Pass1Params(
        iteration_count=11,
        content_weight=1.5,
        style_weight=2.5,
        total_variation_weight=3.5,
        learning_rate=0.5,
        history_size=9,
        max_step=2.5,
        min_improvement=0.25,
    ),
    pass2=Pass2Params(
        iteration_count=12,
        content_weight=4.5,
        style_weight_scale=5.5,
        histogram_weight_scale=6.5,
        total_variation_weight_scale=7.5,
        learning_rate=0.25,
        history_size=8,
        max_step=3.5,
        min_improvement=0.125,
        refinement_guide=RefinementGuide.FEATURES,
        ring_radius_cells=3,
    ),
    postprocess=PostprocessParams(skip_chrominance_denoising=True, skip_patch_synthesis=True),
    parity=ParityParams(**{field.name: True for field in dataclasses.fields(ParityParams)}),
    memory_policy=MemoryPolicy.REFUSE,
    style_region=StyleRegion(left_fraction=0.0, top_fraction=0.25, width_fraction=0.5, height_fraction=0.75),
)


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, MemoryPolicy.REDUCE),
        ({"working_long_side_px": 512}, MemoryPolicy.REFUSE),
        ({"object_size_px": 100}, MemoryPolicy.REFUSE),
        ({"object_size_px": 100, "memory_policy": pb.MEMORY_POLICY_REDUCE}, MemoryPolicy.REDUCE),
        ({"memory_policy": pb.MEMORY_POLICY_REFUSE}, MemoryPolicy.REFUSE),
    ],
)
def test_a_size_that_was_asked_for_is_not_reduced_unasked(given: dict[str, Any], policy: MemoryPolicy) -> None:
    assert params_from_proto(pb.HarmonizeParameters(**given)).memory_policy is policy


def test_parameters_survive_the_wire() -> None:
    message = pb.HarmonizeParameters.FromString(params_to_proto(OWN).SerializeToString())
    assert params_from_proto(message) == OWN


def unset_fields(message: Message) -> list[str]:
    """Fields with presence that are unset, and enums that are zero, of a message and those in it."""
    unset = []
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if (field.has_presence and not message.HasField(field.name)) or (field.enum_type and value == 0):
            unset.append(field.name)
        if isinstance(value, Message):
            unset += [f"{field.name}.{name}" for name in unset_fields(value)]
    return unset


def test_parameters_used_have_every_field_set() -> None:
    assert unset_fields(params_to_proto(OWN)) == []
    message = params_to_proto(HarmonizeParams())
    # Only a painting can say more of the level, and nothing of a region is the whole.
    assert [name for name in unset_fields(message) if not name.startswith("style_region.")] == [
        "stylization_level",
        "style_region",
    ]
    assert message.preset == pb.PRESET_STANDARD
    assert message.pass1.iteration_count == 200
    assert message.pass2.refinement_guide == pb.REFINEMENT_GUIDE_RGB


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (HarmonizeParams, pb.HarmonizeParameters),
        (Pass1Params, pb.Pass1Parameters),
        (Pass2Params, pb.Pass2Parameters),
        (PostprocessParams, pb.PostprocessParameters),
        (ParityParams, pb.ParityParameters),
        (StyleRegion, pb.StyleRegion),
    ],
)
def test_the_contract_and_the_algorithm_have_the_same_parameters(params: Any, message: Any) -> None:
    assert [field.name for field in message.DESCRIPTOR.fields] == [field.name for field in dataclasses.fields(params)]


PARAMETER_FAULTS = [
    (pb.HarmonizeParameters(stylization_level=math.nan), "parameters.stylization_level", "nan"),
    (pb.HarmonizeParameters(stylization_level=0.5), "parameters.stylization_level", "0.5"),
    (pb.HarmonizeParameters(working_long_side_px=63), "parameters.working_long_side_px", "63"),
    (pb.HarmonizeParameters(object_size_px=15), "parameters.object_size_px", "15"),
    (pb.HarmonizeParameters(seed=-1), "parameters.seed", "-1"),
    (
        pb.HarmonizeParameters(style_region=pb.StyleRegion(left_fraction=0.5, width_fraction=0.6, height_fraction=1)),
        "parameters.style_region.width_fraction",
        "0.6",
    ),
    (
        pb.HarmonizeParameters(style_region=pb.StyleRegion(width_fraction=1)),
        "parameters.style_region.height_fraction",
        "0.0",
    ),
    (pb.HarmonizeParameters(pass1=pb.Pass1Parameters(iteration_count=0)), "parameters.pass1.iteration_count", "0"),
    (pb.HarmonizeParameters(pass1=pb.Pass1Parameters(style_weight=math.inf)), "parameters.pass1.style_weight", "inf"),
    (pb.HarmonizeParameters(pass2=pb.Pass2Parameters(history_size=1001)), "parameters.pass2.history_size", "1001"),
]


@pytest.mark.parametrize(("message", "field", "value"), PARAMETER_FAULTS)
def test_a_parameter_out_of_range_is_named_by_its_path(message: pb.HarmonizeParameters, field: str, value: str) -> None:
    with pytest.raises(ServiceError) as caught:
        params_from_proto(message)
    assert reason_name(caught.value.reason) == "FIELD_OUT_OF_RANGE"
    assert caught.value.metadata == {"field": field, "value": value}
    assert caught.value.message.startswith(f"{field}: must be from ")


def number(value: int) -> Any:
    """A number that no enum has; protobuf keeps it."""
    return value


ENUM_FAULTS = [
    (pb.HarmonizeParameters(preset=number(9)), "parameters.preset", "PRESET_DRAFT, PRESET_STANDARD, PRESET_FULL"),
    (pb.HarmonizeParameters(network=number(9)), "parameters.network", "NETWORK_VGG16, NETWORK_VGG19"),
    (
        pb.HarmonizeParameters(pass2=pb.Pass2Parameters(refinement_guide=number(9))),
        "parameters.pass2.refinement_guide",
        "REFINEMENT_GUIDE_RGB, REFINEMENT_GUIDE_FEATURES",
    ),
]


@pytest.mark.parametrize(("message", "field", "known"), ENUM_FAULTS)
def test_an_unknown_enum_value_is_named_by_its_path(message: pb.HarmonizeParameters, field: str, known: str) -> None:
    with pytest.raises(ServiceError) as caught:
        params_from_proto(message)
    assert reason_name(caught.value.reason) == "UNKNOWN_ENUM_VALUE"
    assert caught.value.metadata == {"field": field, "value": "9"}
    assert caught.value.message == f"{field}: unknown value 9; known are {known}"


def test_stream_options_are_read() -> None:
    message = pb.StreamOptions(
        progress_interval=Duration(seconds=2, nanos=500_000_000),
        frame_interval=Duration(),
        frame_long_side_px=16,
        frame_format=image_pb2.IMAGE_FORMAT_WEBP,
        omit_frames=True,
        result_format=image_pb2.IMAGE_FORMAT_TIFF,
    )
    assert stream_options_from_proto(message) == StreamOptions(
        progress_interval_s=2.5,
        frame_interval_s=0.0,
        frame_long_side_px=16,
        frame_format=image_pb2.IMAGE_FORMAT_WEBP,
        omit_frames=True,
        result_format=image_pb2.IMAGE_FORMAT_TIFF,
    )


STREAM_FAULTS = [
    (pb.StreamOptions(progress_interval=Duration(seconds=-1)), "stream.progress_interval", "-1.0"),
    (pb.StreamOptions(frame_interval=Duration(seconds=3600, nanos=1)), "stream.frame_interval", "3600.000000001"),
    (pb.StreamOptions(frame_interval=Duration(nanos=1_000_000_000)), "stream.frame_interval", "0s 1000000000ns"),
    (pb.StreamOptions(frame_interval=Duration(seconds=1, nanos=-1)), "stream.frame_interval", "1s -1ns"),
    (pb.StreamOptions(frame_long_side_px=15), "stream.frame_long_side_px", "15"),
    (pb.StreamOptions(frame_long_side_px=4097), "stream.frame_long_side_px", "4097"),
]


@pytest.mark.parametrize(("message", "field", "value"), STREAM_FAULTS)
def test_a_stream_option_out_of_range_is_named_by_its_path(message: pb.StreamOptions, field: str, value: str) -> None:
    with pytest.raises(ServiceError) as caught:
        stream_options_from_proto(message)
    assert reason_name(caught.value.reason) == "FIELD_OUT_OF_RANGE"
    assert caught.value.metadata == {"field": field, "value": value}


@pytest.mark.parametrize("name", ["frame_format", "result_format"])
def test_an_unknown_format_is_named_by_its_path(name: str) -> None:
    with pytest.raises(ServiceError) as caught:
        stream_options_from_proto(pb.StreamOptions(**{name: number(77)}))
    assert reason_name(caught.value.reason) == "UNKNOWN_ENUM_VALUE"
    assert caught.value.metadata == {"field": f"stream.{name}", "value": "77"}


ALGORITHM_ERRORS = [
    (errors.MaskEmpty("mask", "m"), "MASK_EMPTY", {"field": "mask"}),
    (errors.MaskFull("mask", "m"), "MASK_FULL", {"field": "mask"}),
    (errors.MaskNotContained("dilated_mask", "m"), "MASK_NOT_CONTAINED", {"field": "dilated_mask"}),
    (
        errors.SizeMismatch("composite", "3x4", "5x6"),
        "IMAGE_SIZE_MISMATCH",
        {"field": "composite", "value": "3x4", "expected": "5x6"},
    ),
    (
        errors.ParameterError("pass1.learning_rate", 11, "m"),
        "FIELD_OUT_OF_RANGE",
        {"field": "parameters.pass1.learning_rate", "value": "11"},
    ),
    (errors.StageFailed("pass2", "m"), "STAGE_FAILED", {"stage": "pass2"}),
    (errors.Stopped(), "CANCELLED", {}),
]


@pytest.mark.parametrize(("error", "reason", "metadata"), ALGORITHM_ERRORS)
def test_each_error_of_the_algorithm_has_its_reason(error: Exception, reason: str, metadata: dict[str, str]) -> None:
    converted = to_service_error(error)
    assert isinstance(converted, ServiceError)
    assert reason_name(converted.reason) == reason
    assert converted.metadata == metadata


def test_an_error_of_nobody_stays_as_it_is() -> None:
    bug = KeyError("relu9_9")
    assert to_service_error(bug) is bug


def test_every_stage_has_its_number() -> None:
    assert set(STAGE_NUMBERS) == set(Stage)
    assert sorted(STAGE_NUMBERS.values()) == sorted(set(pb.Stage.values()) - {pb.STAGE_UNSPECIFIED})


def test_durations_hold_microseconds() -> None:
    assert duration(1.2345678) == Duration(seconds=1, nanos=234_568_000)
