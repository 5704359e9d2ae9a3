"""Parameters, stream options and errors, between messages and the algorithm's own types."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2
from painterly.v1.error_reason_pb2 import ErrorReason
from painterly_harmonize.algorithm import errors
from painterly_harmonize.algorithm.params import (
    PRESETS,
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
    require_range,
)
from painterly_harmonize.algorithm.stage import Stage
from painterly_harmonize.planning import Decision, Speed

# An unset proto field means the default, so zero is in each table.
_PRESETS = {
    pb.PRESET_UNSPECIFIED: Preset.STANDARD,
    pb.PRESET_DRAFT: Preset.DRAFT,
    pb.PRESET_STANDARD: Preset.STANDARD,
    pb.PRESET_FULL: Preset.FULL,
}
_NETWORKS = {
    pb.NETWORK_UNSPECIFIED: NetworkName.VGG16,
    pb.NETWORK_VGG16: NetworkName.VGG16,
    pb.NETWORK_VGG19: NetworkName.VGG19,
}
_GUIDES = {
    pb.REFINEMENT_GUIDE_UNSPECIFIED: RefinementGuide.RGB,
    pb.REFINEMENT_GUIDE_RGB: RefinementGuide.RGB,
    pb.REFINEMENT_GUIDE_FEATURES: RefinementGuide.FEATURES,
}
_POLICIES = {
    pb.MEMORY_POLICY_UNSPECIFIED: MemoryPolicy.REDUCE,
    pb.MEMORY_POLICY_REFUSE: MemoryPolicy.REFUSE,
    pb.MEMORY_POLICY_REDUCE: MemoryPolicy.REDUCE,
}
_FORMATS = {number: number for number in image_pb2.ImageFormat.values()}

STAGE_NUMBERS: Mapping[Stage, pb.Stage.ValueType] = {
    Stage.PASS1: pb.STAGE_PASS1,
    Stage.PASS2: pb.STAGE_PASS2,
    Stage.POSTPROCESSING: pb.STAGE_POSTPROCESSING,
}

MAX_INTERVAL_S = 3600.0

_Params = TypeVar("_Params")
_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """What the stream carries. Intervals in seconds, 0 to 3600; raises ParameterError outside."""

    progress_interval_s: float = 0.25
    frame_interval_s: float = 1.0
    frame_long_side_px: int = 768
    frame_format: image_pb2.ImageFormat.ValueType = image_pb2.IMAGE_FORMAT_JPEG
    omit_frames: bool = False
    result_format: image_pb2.ImageFormat.ValueType = image_pb2.IMAGE_FORMAT_PNG

    def __post_init__(self) -> None:
        require_range("progress_interval", self.progress_interval_s, 0, MAX_INTERVAL_S)
        require_range("frame_interval", self.frame_interval_s, 0, MAX_INTERVAL_S)
        require_range("frame_long_side_px", self.frame_long_side_px, 16, 4096)


def params_from_proto(message: pb.HarmonizeParameters) -> HarmonizeParams:
    """Read parameters; what is unset becomes the preset's or the dataclass's default.

    Raises: ServiceError FIELD_OUT_OF_RANGE or UNKNOWN_ENUM_VALUE with the path from ``parameters`` on.
    """
    preset = _enum_value(message, "preset", _PRESETS, "parameters")
    guide = _enum_value(message.pass2, "refinement_guide", _GUIDES, "parameters.pass2")
    defaults = PRESETS[preset]
    pass1 = {
        "iteration_count": defaults.pass1_iteration_count,
        "max_step": defaults.max_step,
        **_given(message.pass1),
    }
    pass2 = {
        "iteration_count": defaults.pass2_iteration_count,
        "learning_rate": defaults.pass2_learning_rate,
        "max_step": defaults.max_step,
        **_given(message.pass2),
        "refinement_guide": guide,
    }
    whole: dict[str, Any] = {"working_long_side_px": defaults.working_long_side_px, "object_size_px": None}
    if not message.HasField("working_long_side_px"):
        whole["object_size_px"] = defaults.object_size_px
    whole.update(_given(message))
    if message.HasField("style_region"):
        whole["style_region"] = _build(StyleRegion, "parameters.style_region", **_given(message.style_region))
    return _build(
        HarmonizeParams,
        "parameters",
        preset=preset,
        network=_enum_value(message, "network", _NETWORKS, "parameters"),
        memory_policy=_memory_policy(message),
        pass1=_build(Pass1Params, "parameters.pass1", **pass1),
        pass2=_build(Pass2Params, "parameters.pass2", **pass2),
        postprocess=_build(PostprocessParams, "parameters.postprocess", **_given(message.postprocess)),
        parity=_build(ParityParams, "parameters.parity", **_given(message.parity)),
        **whole,
    )


def _memory_policy(message: pb.HarmonizeParameters) -> MemoryPolicy:
    is_named = message.HasField("working_long_side_px") or message.HasField("object_size_px")
    if is_named and message.memory_policy == pb.MEMORY_POLICY_UNSPECIFIED:
        return MemoryPolicy.REFUSE
    return _enum_value(message, "memory_policy", _POLICIES, "parameters")


def params_to_proto(params: HarmonizeParams) -> pb.HarmonizeParameters:
    """Write parameters with every field set, but for an object size or a level where there is none."""
    return pb.HarmonizeParameters(
        preset=_number_of(params.preset, _PRESETS),
        network=_number_of(params.network, _NETWORKS),
        stylization_level=params.stylization_level,
        working_long_side_px=params.working_long_side_px,
        object_size_px=params.object_size_px,
        seed=params.seed,
        memory_policy=_number_of(params.memory_policy, _POLICIES),
        style_region=None if params.style_region is None else pb.StyleRegion(**dataclasses.asdict(params.style_region)),
        pass1=pb.Pass1Parameters(**dataclasses.asdict(params.pass1)),
        pass2=pb.Pass2Parameters(
            **{
                **dataclasses.asdict(params.pass2),
                "refinement_guide": _number_of(params.pass2.refinement_guide, _GUIDES),
            }
        ),
        postprocess=pb.PostprocessParameters(**dataclasses.asdict(params.postprocess)),
        parity=pb.ParityParameters(**dataclasses.asdict(params.parity)),
    )


def plan_response(decision: Decision, speed: Speed, device: str) -> pb.PlanResponse:
    """Write what a request would take."""
    plan = decision.plan
    return pb.PlanResponse(
        fits=decision.fits,
        is_reduced=decision.is_reduced,
        working_width_px=plan.working_size[1],
        working_height_px=plan.working_size[0],
        stages=[
            pb.StagePlan(
                stage=STAGE_NUMBERS[stage.stage],
                left_px=stage.region.left,
                top_px=stage.region.top,
                width_px=stage.region.width,
                height_px=stage.region.height,
                predicted_peak_memory_bytes=stage.peak_bytes,
                predicted_duration=duration(speed.seconds(stage.work)),
            )
            for stage in plan.stages
        ],
        predicted_peak_memory_bytes=plan.peak_bytes,
        available_memory_bytes=decision.available,
        predicted_duration=duration(speed.seconds(plan.work)),
        largest_working_long_side_px=decision.largest,
        matching_chunk_pairs=plan.chunk_elements,
        device=device,
        parameters_used=params_to_proto(decision.params),
    )


def stream_options_from_proto(message: pb.StreamOptions) -> StreamOptions:
    """Read stream options; what is unset becomes the default.

    Raises: ServiceError FIELD_OUT_OF_RANGE or UNKNOWN_ENUM_VALUE with the path from ``stream`` on.
    """
    values = _given(message)
    for name in ("progress_interval", "frame_interval"):
        if message.HasField(name):
            values[f"{name}_s"] = _seconds(getattr(message, name), f"stream.{name}")
    for name in ("frame_format", "result_format"):
        if number := _enum_value(message, name, _FORMATS, "stream"):
            values[name] = number
    return _build(StreamOptions, "stream", **values)


def duration(seconds: float) -> Duration:
    """A proto duration, to the microsecond."""
    message = Duration()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


def to_service_error(error: BaseException) -> BaseException:
    """The error that a caller is meant to see for an error of the algorithm; any other comes back as it is."""
    if isinstance(error, errors.ParameterError):
        return _out_of_range(error, "parameters")
    if isinstance(error, errors.SizeMismatch):
        sizes = {"value": error.size, "expected": error.expected}
        return _invalid(reasons.ERROR_REASON_IMAGE_SIZE_MISMATCH, error, **sizes)
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return _invalid(reason, error)
    if isinstance(error, errors.StageFailed):
        return ServiceError(reasons.ERROR_REASON_STAGE_FAILED, str(error), metadata={"stage": error.stage})
    if isinstance(error, errors.Stopped):
        return ServiceError(reasons.ERROR_REASON_CANCELLED, "the call was cancelled")
    return error


_REASONS: Mapping[type[errors.AlgorithmError], ErrorReason.ValueType] = {
    errors.MaskEmpty: reasons.ERROR_REASON_MASK_EMPTY,
    errors.MaskFull: reasons.ERROR_REASON_MASK_FULL,
    errors.MaskNotContained: reasons.ERROR_REASON_MASK_NOT_CONTAINED,
}


def _invalid(reason: ErrorReason.ValueType, error: errors.AlgorithmError, **metadata: str) -> ServiceError:
    return ServiceError(reason, str(error), field=error.field, metadata=metadata)


def _out_of_range(error: errors.ParameterError, prefix: str) -> ServiceError:
    return ServiceError(
        reasons.ERROR_REASON_FIELD_OUT_OF_RANGE,
        f"{prefix}.{error}",
        field=f"{prefix}.{error.field}",
        metadata={"value": str(error.value)},
    )


def _given(message: Message) -> dict[str, Any]:
    """The plain fields that the caller set, by name."""
    return {
        field.name: value
        for field, value in message.ListFields()
        if field.message_type is None and field.enum_type is None
    }


def _build(make: Callable[..., _Params], path: str, **values: Any) -> _Params:
    try:
        return make(**values)
    except errors.ParameterError as error:
        raise _out_of_range(error, path) from None


def _enum_value(message: Message, name: str, table: Mapping[Any, _Value], path: str) -> _Value:
    number = getattr(message, name)
    if number in table:
        return table[number]
    enum = message.DESCRIPTOR.fields_by_name[name].enum_type
    assert enum is not None
    known = ", ".join(value.name for value in enum.values if value.number != 0)
    raise ServiceError(
        reasons.ERROR_REASON_UNKNOWN_ENUM_VALUE,
        f"{path}.{name}: unknown value {number}; known are {known}",
        field=f"{path}.{name}",
        metadata={"value": str(number)},
    )


def _number_of(value: _Value, table: Mapping[Any, _Value]) -> Any:
    return next(number for number, named in table.items() if named == value and number != 0)


def _seconds(message: Duration, path: str) -> float:
    # A hand-made duration may have nanoseconds of a second or more, or of the other sign: it has no meaning then.
    if abs(message.nanos) >= 10**9 or message.seconds * message.nanos < 0:
        value, rule = f"{message.seconds}s {message.nanos}ns", "is not a valid duration"
        raise ServiceError(
            reasons.ERROR_REASON_FIELD_OUT_OF_RANGE, f"{path}: {value} {rule}", field=path, metadata={"value": value}
        )
    return math.fsum((message.seconds, message.nanos / 1e9))
