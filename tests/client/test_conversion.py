"""Dataclasses to messages and back, refusals with the field's path, events from messages."""

from __future__ import annotations

import dataclasses
import math
from enum import Enum
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

import painterly_client
from painterly.limits import MAX_ENCODED_IMAGE_BYTES
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as preprocess_pb
from painterly_client import (
    Compositing,
    DilationRule,
    Frame,
    HarmonizeParameters,
    ImageFormat,
    InvalidRequest,
    KernelShape,
    MaskDilation,
    Network,
    OutputOptions,
    ParityParameters,
    Pass1Parameters,
    Pass2Parameters,
    Placement,
    PlacementAnchor,
    PostprocessParameters,
    Preset,
    Progress,
    Queued,
    RefinementGuide,
    Result,
    ServerError,
    Stage,
    StreamOptions,
    StylizationLevel,
)
from painterly_client._conversion import (
    _ENUMS,
    _PARAMETERS,
    enum_member,
    enum_number,
    event_of,
    image_message,
    parameters_message,
    parameters_of,
)

KINDS: dict[type[Any], type[Message]] = {
    Placement: preprocess_pb.Placement,
    MaskDilation: preprocess_pb.MaskDilation,
    Compositing: preprocess_pb.Compositing,
    OutputOptions: preprocess_pb.OutputOptions,
    HarmonizeParameters: pb.HarmonizeParameters,
    StreamOptions: pb.StreamOptions,
}
NUMBERS = st.none() | st.floats(allow_nan=False)
COUNTS = st.none() | st.integers(-(2**31), 2**31 - 1)
SECONDS = st.none() | st.integers(0, 3_600_000_000).map(lambda microseconds: microseconds / 1e6)


def optional(kind: type[Enum]) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(kind)


PASS1 = st.builds(
    Pass1Parameters,
    iteration_count=COUNTS,
    content_weight=NUMBERS,
    style_weight=NUMBERS,
    total_variation_weight=NUMBERS,
    learning_rate=NUMBERS,
    history_size=COUNTS,
)
PASS2 = st.builds(
    Pass2Parameters,
    iteration_count=COUNTS,
    content_weight=NUMBERS,
    style_weight_scale=NUMBERS,
    histogram_weight_scale=NUMBERS,
    total_variation_weight_scale=NUMBERS,
    learning_rate=NUMBERS,
    history_size=COUNTS,
    refinement_guide=optional(RefinementGuide),
    ring_radius_cells=COUNTS,
)
PARAMETERS = st.one_of(
    st.builds(
        HarmonizeParameters,
        preset=optional(Preset),
        network=optional(Network),
        stylization_level=NUMBERS,
        working_long_side_px=COUNTS,
        object_size_px=COUNTS,
        seed=COUNTS,
        pass1=st.none() | PASS1,
        pass2=st.none() | PASS2,
        postprocess=st.none() | st.builds(PostprocessParameters, skip_patch_synthesis=st.booleans()),
        parity=st.none() | st.builds(ParityParameters, wide_blend_kernel=st.booleans(), input_scale_256=st.booleans()),
    ),
    st.builds(
        StreamOptions,
        progress_interval_s=SECONDS,
        frame_interval_s=SECONDS,
        frame_long_side_px=COUNTS,
        frame_format=optional(ImageFormat),
        omit_frames=st.booleans(),
        result_format=optional(ImageFormat),
    ),
    st.builds(
        Placement,
        center_x_fraction=NUMBERS,
        center_y_fraction=NUMBERS,
        height_fraction=NUMBERS,
        rotation_degrees=NUMBERS,
        flip_horizontal=st.booleans(),
        anchor=optional(PlacementAnchor),
        width_fraction=NUMBERS,
        height_px=NUMBERS,
        width_px=NUMBERS,
        flip_vertical=st.booleans(),
        opacity=NUMBERS,
        z_order=COUNTS,
        is_automatic=st.booleans(),
    ),
    st.builds(
        MaskDilation,
        kernel_size_px=COUNTS,
        omit_mask_union=st.booleans(),
        rule=optional(DilationRule),
        kernel_shape=optional(KernelShape),
        iteration_count=COUNTS,
        fill_holes=st.booleans(),
        feather_px=NUMBERS,
    ),
    st.builds(Compositing, linear_light=st.booleans(), tone_match_strength=NUMBERS, fill_mask_holes=st.booleans()),
    st.builds(
        OutputOptions,
        format=optional(ImageFormat),
        quality=COUNTS,
        allow_lossy=st.booleans(),
        include_alpha=st.booleans(),
    ),
)


@given(PARAMETERS)
def test_parameters_survive_the_wire(parameters: Any) -> None:
    kind = KINDS[type(parameters)]
    message = parameters_message(parameters, kind, "parameters")
    assert message is not None
    assert parameters_of(kind.FromString(message.SerializeToString()), type(parameters)) == parameters


@pytest.mark.parametrize(("name", "kind"), _PARAMETERS.items())
def test_every_field_of_a_message_has_its_attribute_and_no_other(name: str, kind: type[Any]) -> None:
    module = preprocess_pb if hasattr(preprocess_pb, kind.__name__) else pb
    descriptor = getattr(module, kind.__name__).DESCRIPTOR
    assert descriptor.full_name == name
    durations = Duration.DESCRIPTOR
    expected = [field.name + "_s" * (field.message_type is durations) for field in descriptor.fields]
    assert [field.name for field in dataclasses.fields(kind)] == expected


@pytest.mark.parametrize(("name", "kind"), _ENUMS.items())
def test_every_value_of_an_enum_has_its_member_and_no_other(name: str, kind: type[Enum]) -> None:
    module = next(each for each in (image_pb2, preprocess_pb, pb) if hasattr(each, kind.__name__))
    descriptor = getattr(module, kind.__name__).DESCRIPTOR
    assert descriptor.full_name == name
    numbers = {member: enum_number(member, descriptor, "here") for member in kind}
    assert sorted(numbers.values()) == [value.number for value in descriptor.values if value.number != 0]
    assert {number: enum_member(number, descriptor, kind) for number in numbers.values()} == {
        number: member for member, number in numbers.items()
    }
    assert all(str(member.value) == member.name.lower() for member in kind)


def test_unset_parameters_stay_unset() -> None:
    assert parameters_message(None, pb.HarmonizeParameters, "parameters") is None
    message = parameters_message(HarmonizeParameters(), pb.HarmonizeParameters, "parameters")
    assert message == pb.HarmonizeParameters()
    with_zero = parameters_message(HarmonizeParameters(seed=0), pb.HarmonizeParameters, "parameters")
    assert with_zero is not None
    assert with_zero.HasField("seed")


def test_intervals_become_durations() -> None:
    options = StreamOptions(progress_interval_s=0.25, frame_interval_s=61.5)
    message = parameters_message(options, pb.StreamOptions, "stream")
    assert message is not None
    assert message.progress_interval == Duration(nanos=250_000_000)
    assert message.frame_interval == Duration(seconds=61, nanos=500_000_000)


@pytest.mark.parametrize(
    ("parameters", "path", "value"),
    [
        (HarmonizeParameters(seed=2**31), "parameters.seed", "2147483648"),
        (
            HarmonizeParameters(pass1=Pass1Parameters(iteration_count=2**40)),
            "parameters.pass1.iteration_count",
            str(2**40),
        ),
        (HarmonizeParameters(pass2=Pass2Parameters(content_weight="much")), "parameters.pass2.content_weight", "much"),  # type: ignore[arg-type]
        (HarmonizeParameters(pass1={"iteration_count": 3}), "parameters.pass1", "{'iteration_count': 3}"),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_the_field_cannot_hold_is_named(parameters: Any, path: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parameters_message(parameters, pb.HarmonizeParameters, "parameters")
    assert (caught.value.reason, caught.value.field) == ("FIELD_OUT_OF_RANGE", path)
    assert caught.value.metadata == {"field": path, "value": value}
    assert path in str(caught.value)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 1e300, "1"])
def test_an_interval_that_is_no_time_is_named(seconds: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parameters_message(StreamOptions(frame_interval_s=seconds), pb.StreamOptions, "stream")
    assert (caught.value.field, caught.value.metadata["value"]) == ("stream.frame_interval", str(seconds))


def test_an_enum_takes_its_value_too_and_refuses_others() -> None:
    message = parameters_message(HarmonizeParameters(preset="draft"), pb.HarmonizeParameters, "parameters")  # type: ignore[arg-type]
    assert message == pb.HarmonizeParameters(preset=pb.PRESET_DRAFT)
    with pytest.raises(InvalidRequest, match="known are draft, standard, full") as caught:
        parameters_message(HarmonizeParameters(preset="fast"), pb.HarmonizeParameters, "parameters")  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.field) == ("UNKNOWN_ENUM_VALUE", "parameters.preset")
    assert caught.value.metadata["value"] == "fast"


def test_an_enum_value_of_a_newer_server_is_an_error_that_says_so() -> None:
    with pytest.raises(ServerError, match="Network 77, unknown here; upgrade"):
        parameters_of(pb.HarmonizeParameters(network=77), HarmonizeParameters)  # type: ignore[arg-type]


def test_images_have_a_limit_and_must_be_bytes() -> None:
    assert image_message(b"x" * MAX_ENCODED_IMAGE_BYTES, "photo").data == b"x" * MAX_ENCODED_IMAGE_BYTES
    with pytest.raises(InvalidRequest) as caught:
        image_message(b"x" * (MAX_ENCODED_IMAGE_BYTES + 1), "photo")
    assert (caught.value.reason, caught.value.field) == ("IMAGE_SIZE_OUT_OF_RANGE", "photo")
    assert caught.value.metadata["value"] == str(MAX_ENCODED_IMAGE_BYTES + 1)
    with pytest.raises(InvalidRequest, match="not str; read the file first") as caught:
        image_message("photo.jpg", "photo")  # type: ignore[arg-type]
    assert caught.value.field == "photo"


def test_progress_has_the_terms_that_were_set() -> None:
    message = pb.ProgressEvent(
        stage=pb.STAGE_PASS1,
        iteration=3,
        iteration_count=9,
        losses=pb.Losses(content=0.0, style=2.5, total_variation=1e-3),
        elapsed=Duration(seconds=2, nanos=500_000_000),
    )
    assert event_of(pb.RunPass1Response(progress=message)) == Progress(
        stage=Stage.PASS1,
        iteration=3,
        iteration_count=9,
        losses={"content": 0.0, "style": 2.5, "total_variation": 1e-3},
        elapsed_s=2.5,
    )


def test_queued_and_frames() -> None:
    assert event_of(pb.RunPass2Response(queued=pb.QueuedEvent())) == Queued(position=0)
    image = image_pb2.Image(data=b"jpeg", format=image_pb2.IMAGE_FORMAT_JPEG)
    message = pb.FrameEvent(stage=pb.STAGE_PASS2, iteration=7, image=image)
    assert event_of(pb.HarmonizeResponse(frame=message)) == Frame(
        stage=Stage.PASS2, iteration=7, image=b"jpeg", format=ImageFormat.JPEG, is_stage_result=False
    )


def test_a_result_carries_everything() -> None:
    used = HarmonizeParameters(preset=Preset.DRAFT, seed=0, pass1=Pass1Parameters(iteration_count=5))
    message = pb.ResultEvent(
        image=image_pb2.Image(data=b"tiff", format=image_pb2.IMAGE_FORMAT_TIFF, width_px=30, height_px=20),
        parameters_used=parameters_message(used, pb.HarmonizeParameters, "parameters"),
        painting_noise=0.5,
        pass2_weights=pb.Pass2Weights(content=1, style=2, total_variation=4),
        changed_pixel_count=2**40,
        blend_pixel_count=12,
        working_width_px=15,
        working_height_px=10,
        device="cpu",
        weights_checksum="sha256:00",
        stage_times=[
            pb.StageTime(stage=pb.STAGE_PASS1, duration=Duration(seconds=1)),
            pb.StageTime(stage=pb.STAGE_POSTPROCESSING, duration=Duration(nanos=1000)),
        ],
        stylization_level=pb.StylizationLevel(value=4.5, is_estimated=True, reasons=["deep shadows (-0.5)"]),
    )
    assert event_of(pb.HarmonizeResponse(result=message)) == Result(
        image=b"tiff",
        format=ImageFormat.TIFF,
        width_px=30,
        height_px=20,
        parameters_used=used,
        painting_noise=0.5,
        pass2_weights={"content": 1.0, "style": 2.0, "histogram": 0.0, "total_variation": 4.0},
        changed_pixel_count=2**40,
        blend_pixel_count=12,
        working_width_px=15,
        working_height_px=10,
        device="cpu",
        weights_checksum="sha256:00",
        stage_times_s={Stage.PASS1: 1.0, Stage.POSTPROCESSING: 1e-6},
        stylization_level=StylizationLevel(value=4.5, is_estimated=True, reasons=("deep shadows (-0.5)",)),
    )


def test_the_first_pass_alone_has_no_weights_of_the_second() -> None:
    image = image_pb2.Image(data=b"png", format=image_pb2.IMAGE_FORMAT_PNG)
    event = event_of(pb.RunPass1Response(result=pb.ResultEvent(image=image)))
    assert isinstance(event, Result)
    assert event.pass2_weights == {}
    assert event.stylization_level is None


def test_an_event_of_a_newer_server_is_skipped() -> None:
    unknown_field_9 = b"\x4a\x00"
    assert event_of(pb.HarmonizeResponse.FromString(unknown_field_9)) is None


def test_pictures_stay_out_of_texts() -> None:
    event = Frame(stage=Stage.PASS1, iteration=1, image=b"secret", format=ImageFormat.PNG, is_stage_result=True)
    assert "secret" not in repr(event)
    assert "secret" not in repr(painterly_client.Dilated(dilated_mask=b"secret", dilation_used=MaskDilation()))
