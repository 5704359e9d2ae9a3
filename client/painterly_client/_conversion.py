"""Parameters to messages and back, images to messages, messages to events. No I/O.

Dataclasses and messages have the same field names, but for durations: ``progress_interval_s`` here, a ``Duration``
named ``progress_interval`` there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from painterly.errors import ErrorDetails
from painterly.limits import MAX_ENCODED_IMAGE_BYTES
from painterly.v1 import harmonize_service_pb2 as harmonize_pb
from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as preprocess_pb
from painterly_client import _jobs, _types
from painterly_client._errors import ServerError, invalid
from painterly_client._events import (
    Accepted,
    Event,
    Frame,
    Heartbeat,
    Progress,
    Queued,
    RestartReason,
    Result,
    ResumePoint,
    StylizationLevel,
)
from painterly_client._manifest import Environment, ImageDigest, Manifest
from painterly_client._quality import quality_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

EventResponse: TypeAlias = (
    harmonize_pb.RunPass1Response
    | harmonize_pb.RunPass2Response
    | harmonize_pb.HarmonizeResponse
    | harmonize_pb.WatchJobResponse
)

_Message = TypeVar("_Message", bound=Message)
_Parameters = TypeVar("_Parameters", bound="DataclassInstance")
_Enum = TypeVar("_Enum", bound=Enum)

_ENUMS: Mapping[str, type[Enum]] = {
    preprocess_pb.BackgroundRemovalMethod.DESCRIPTOR.full_name: _types.BackgroundRemovalMethod,
    preprocess_pb.RemoveBgSize.DESCRIPTOR.full_name: _types.RemoveBgSize,
    preprocess_pb.RemoveBgType.DESCRIPTOR.full_name: _types.RemoveBgType,
    image_pb2.ImageFormat.DESCRIPTOR.full_name: _types.ImageFormat,
    preprocess_pb.PlacementAnchor.DESCRIPTOR.full_name: _types.PlacementAnchor,
    preprocess_pb.DilationRule.DESCRIPTOR.full_name: _types.DilationRule,
    preprocess_pb.KernelShape.DESCRIPTOR.full_name: _types.KernelShape,
    harmonize_pb.JobKind.DESCRIPTOR.full_name: _jobs.JobKind,
    harmonize_pb.JobState.DESCRIPTOR.full_name: _jobs.JobState,
    harmonize_pb.MemoryPolicy.DESCRIPTOR.full_name: _types.MemoryPolicy,
    harmonize_pb.Network.DESCRIPTOR.full_name: _types.Network,
    harmonize_pb.Preset.DESCRIPTOR.full_name: _types.Preset,
    harmonize_pb.RefinementGuide.DESCRIPTOR.full_name: _types.RefinementGuide,
    harmonize_pb.RestartReason.DESCRIPTOR.full_name: RestartReason,
    harmonize_pb.Stage.DESCRIPTOR.full_name: _types.Stage,
}

_PARAMETERS: Mapping[str, type[DataclassInstance]] = {
    preprocess_pb.BackgroundRemoval.DESCRIPTOR.full_name: _types.BackgroundRemoval,
    preprocess_pb.BackgroundRemovalDetails.DESCRIPTOR.full_name: _types.BackgroundRemovalDetails,
    preprocess_pb.ChromaKey.DESCRIPTOR.full_name: _types.ChromaKey,
    preprocess_pb.GrabCut.DESCRIPTOR.full_name: _types.GrabCut,
    preprocess_pb.ObjectSelection.DESCRIPTOR.full_name: _types.ObjectSelection,
    preprocess_pb.PhotoBox.DESCRIPTOR.full_name: _types.PhotoBox,
    preprocess_pb.PhotoPoint.DESCRIPTOR.full_name: _types.PhotoPoint,
    preprocess_pb.RemoveBg.DESCRIPTOR.full_name: _types.RemoveBg,
    preprocess_pb.RemoveBgUsage.DESCRIPTOR.full_name: _types.RemoveBgUsage,
    preprocess_pb.RgbColor.DESCRIPTOR.full_name: _types.RgbColor,
    preprocess_pb.Placement.DESCRIPTOR.full_name: _types.Placement,
    preprocess_pb.MaskDilation.DESCRIPTOR.full_name: _types.MaskDilation,
    preprocess_pb.Compositing.DESCRIPTOR.full_name: _types.Compositing,
    preprocess_pb.OutputOptions.DESCRIPTOR.full_name: _types.OutputOptions,
    harmonize_pb.Pass1Parameters.DESCRIPTOR.full_name: _types.Pass1Parameters,
    harmonize_pb.Pass2Parameters.DESCRIPTOR.full_name: _types.Pass2Parameters,
    harmonize_pb.PostprocessParameters.DESCRIPTOR.full_name: _types.PostprocessParameters,
    harmonize_pb.ParityParameters.DESCRIPTOR.full_name: _types.ParityParameters,
    harmonize_pb.HarmonizeParameters.DESCRIPTOR.full_name: _types.HarmonizeParameters,
    harmonize_pb.StreamOptions.DESCRIPTOR.full_name: _types.StreamOptions,
    harmonize_pb.StyleRegion.DESCRIPTOR.full_name: _types.StyleRegion,
}


def image_message(data: bytes, field: str) -> image_pb2.Image:
    """Wrap encoded bytes; the server recognizes the format. Raises: InvalidRequest if too large or not bytes."""
    if not isinstance(data, bytes):
        text = f"{field}: encoded image bytes are needed, not {type(data).__name__}; read the file first"
        raise invalid("IMAGE_UNDECODABLE", text, field=field)
    if len(data) > MAX_ENCODED_IMAGE_BYTES:
        text = f"{field}: {len(data)} bytes are more than the limit of {MAX_ENCODED_IMAGE_BYTES}; send a smaller image"
        raise invalid("IMAGE_SIZE_OUT_OF_RANGE", text, field=field, value=str(len(data)))
    return image_pb2.Image(data=data)


def parameters_message(parameters: DataclassInstance | None, kind: type[_Message], path: str) -> _Message | None:
    """Write parameters as a message of ``kind``, what is None left unset; None becomes None.

    ``path`` is the proto path of the message. Raises: InvalidRequest with the path of the field at fault.
    """
    return None if parameters is None else _fill(kind(), parameters, path)


def parameters_of(message: Message, kind: type[_Parameters]) -> _Parameters:
    """Read parameters of ``kind``; what is unset becomes None. Raises: ServerError for an enum value not known here."""
    values = {}
    for field in dataclasses.fields(kind):
        descriptor = message.DESCRIPTOR.fields_by_name[_proto_name(field.name)]
        if message.HasField(descriptor.name) if descriptor.has_presence else getattr(message, descriptor.name):
            values[field.name] = _read(descriptor, getattr(message, descriptor.name))
    return kind(**values)


def enum_number(value: Enum | str, descriptor: EnumDescriptor, path: str) -> int:
    """The number of an enum member, or of its value. Raises: InvalidRequest if there is no such member."""
    kind = _ENUMS[descriptor.full_name]
    try:
        member = kind(value)
    except ValueError:
        known = ", ".join(str(each.value) for each in kind)
        text = f"{path}: unknown value {value!r}; known are {known}"
        raise invalid("UNKNOWN_ENUM_VALUE", text, field=path, value=str(value)) from None
    return descriptor.values_by_name[_prefix(descriptor) + member.name].number


def enum_member(number: int, descriptor: EnumDescriptor, kind: type[_Enum]) -> _Enum:
    """The member for a number. Raises: ServerError if there is none here, as from a server newer than this client."""
    name = descriptor.values_by_number[number].name if number in descriptor.values_by_number else str(number)
    try:
        return kind[name.removeprefix(_prefix(descriptor))]
    except KeyError:
        text = f"the server answered with the {descriptor.name} {name}, unknown here; upgrade this client"
        raise ServerError(ErrorDetails(code=grpc.StatusCode.UNKNOWN, message=text)) from None


def event_of(response: EventResponse) -> Event | None:
    """The event of a response; None for a kind that a newer server may send and this client does not know."""
    kind = response.WhichOneof("event")
    if kind == "accepted":
        return _accepted(response.accepted)
    if kind == "queued":
        return _queued(response.queued)
    if kind == "progress":
        return progress_of(response.progress)
    if kind == "frame":
        return _frame(response.frame)
    if kind == "heartbeat":
        return Heartbeat()
    return _result(response.result) if kind == "result" else None


def resume_point_of(message: harmonize_pb.ResumePoint) -> ResumePoint:
    """How far a checkpoint is."""
    return ResumePoint(stage=_stage(message.stage), iteration=message.iteration)


def progress_of(message: harmonize_pb.ProgressEvent) -> Progress:
    """How far a stage is."""
    return Progress(
        stage=_stage(message.stage),
        iteration=message.iteration,
        iteration_count=message.iteration_count,
        losses={field.name: value for field, value in message.losses.ListFields()},
        elapsed_s=seconds_of(message.elapsed),
    )


def plan_of(message: harmonize_pb.PlanResponse) -> _types.JobPlan:
    """The plan of a response."""
    has_largest = message.HasField("largest_working_long_side_px")
    return _types.JobPlan(
        fits=message.fits,
        is_reduced=message.is_reduced,
        working_width_px=message.working_width_px,
        working_height_px=message.working_height_px,
        stages=tuple(_stage_plan(stage) for stage in message.stages),
        predicted_peak_memory_bytes=message.predicted_peak_memory_bytes,
        available_memory_bytes=message.available_memory_bytes,
        predicted_duration_s=seconds_of(message.predicted_duration),
        largest_working_long_side_px=message.largest_working_long_side_px if has_largest else None,
        matching_chunk_pairs=message.matching_chunk_pairs,
        device=message.device,
        parameters_used=parameters_of(message.parameters_used, _types.HarmonizeParameters),
    )


def _stage_plan(message: harmonize_pb.StagePlan) -> _types.StagePlan:
    return _types.StagePlan(
        stage=_stage(message.stage),
        left_px=message.left_px,
        top_px=message.top_px,
        width_px=message.width_px,
        height_px=message.height_px,
        predicted_peak_memory_bytes=message.predicted_peak_memory_bytes,
        predicted_duration_s=seconds_of(message.predicted_duration),
    )


def _accepted(message: harmonize_pb.AcceptedEvent) -> Accepted:
    has_reason = message.restart_reason != harmonize_pb.RESTART_REASON_UNSPECIFIED
    return Accepted(
        job_id=message.job_id,
        named=message.named,
        resumed_from=resume_point_of(message.resumed_from) if message.HasField("resumed_from") else None,
        restart_reason=enum_member(message.restart_reason, harmonize_pb.RestartReason.DESCRIPTOR, RestartReason)
        if has_reason
        else None,
        attempt=message.attempt,
    )


def _queued(message: harmonize_pb.QueuedEvent) -> Queued:
    has_wait = message.HasField("estimated_wait")
    return Queued(position=message.position, estimated_wait_s=seconds_of(message.estimated_wait) if has_wait else None)


def _frame(message: harmonize_pb.FrameEvent) -> Frame:
    return Frame(
        stage=_stage(message.stage),
        iteration=message.iteration,
        image=message.image.data,
        format=_format(message.image),
        is_stage_result=message.is_stage_result,
    )


def _result(message: harmonize_pb.ResultEvent) -> Result:
    weights = message.pass2_weights
    return Result(
        image=message.image.data,
        format=_format(message.image),
        width_px=message.image.width_px,
        height_px=message.image.height_px,
        parameters_used=parameters_of(message.parameters_used, _types.HarmonizeParameters),
        painting_noise=message.painting_noise,
        pass2_weights={field.name: getattr(weights, field.name) for field in weights.DESCRIPTOR.fields}
        if message.HasField("pass2_weights")
        else {},
        changed_pixel_count=message.changed_pixel_count,
        blend_pixel_count=message.blend_pixel_count,
        working_width_px=message.working_width_px,
        working_height_px=message.working_height_px,
        device=message.device,
        weights_checksum=message.weights_checksum,
        stage_times_s={_stage(each.stage): seconds_of(each.duration) for each in message.stage_times},
        quality=quality_of(message.quality) if message.HasField("quality") else None,
        stylization_level=_level(message.stylization_level) if message.HasField("stylization_level") else None,
        manifest=_manifest(message.manifest) if message.HasField("manifest") else None,
    )


def _manifest(message: harmonize_pb.Manifest) -> Manifest:
    """The manifest of a result."""
    environment = message.environment
    return Manifest(
        stages=tuple(_stage(stage) for stage in message.stages),
        inputs={each.name: _digest(each) for each in message.inputs},
        parameters=parameters_of(message.parameters, _types.HarmonizeParameters),
        environment=Environment(
            device=environment.device,
            instructions=environment.instructions,
            thread_count=environment.thread_count,
            precision=environment.precision,
            weights_checksum=environment.weights_checksum,
            versions=dict(sorted(environment.versions.items())),
        ),
        output=_digest(message.output),
    )


def _digest(message: harmonize_pb.ImageDigest) -> ImageDigest:
    return ImageDigest(
        sha256=message.sha256,
        pixels_sha256=message.pixels_sha256,
        width_px=message.width_px,
        height_px=message.height_px,
    )


def _level(message: harmonize_pb.StylizationLevel) -> StylizationLevel:
    return StylizationLevel(value=message.value, is_estimated=message.is_estimated, reasons=tuple(message.reasons))


def _fill(message: _Message, parameters: Any, path: str) -> _Message:
    kind = _PARAMETERS[message.DESCRIPTOR.full_name]
    if not isinstance(parameters, kind):
        raise _out_of_range(path, parameters, f"must be {kind.__name__}")
    for field in dataclasses.fields(parameters):
        value = getattr(parameters, field.name)
        if value is not None:
            descriptor = message.DESCRIPTOR.fields_by_name[_proto_name(field.name)]
            _write(message, descriptor, value, f"{path}.{descriptor.name}")
    return message


def _write(message: Message, descriptor: Any, value: Any, path: str) -> None:
    if descriptor.enum_type is not None:
        setattr(message, descriptor.name, enum_number(value, descriptor.enum_type, path))
        return
    child = getattr(message, descriptor.name)
    try:
        if isinstance(child, Duration):
            child.FromNanoseconds(round(value * 1e9))
        elif isinstance(child, image_pb2.Image):
            child.CopyFrom(image_message(value, path))
        elif isinstance(child, Message):
            child.SetInParent()
            _fill(child, value, path)
        else:
            setattr(message, descriptor.name, value)
    except (TypeError, ValueError, OverflowError):
        kind = type(child).__name__ if not isinstance(child, Duration) else "number of seconds"
        raise _out_of_range(path, value, f"is not a {kind} that fits the field") from None


def _read(descriptor: Any, value: Any) -> Any:
    if descriptor.enum_type is not None:
        return enum_member(value, descriptor.enum_type, _ENUMS[descriptor.enum_type.full_name])
    if isinstance(value, Duration):
        return seconds_of(value)
    return parameters_of(value, _PARAMETERS[value.DESCRIPTOR.full_name]) if isinstance(value, Message) else value


def _out_of_range(path: str, value: Any, rule: str) -> Exception:
    return invalid("FIELD_OUT_OF_RANGE", f"{path}: {value!r} {rule}", field=path, value=str(value))


def _proto_name(name: str) -> str:
    return name.removesuffix("_s")


def _prefix(descriptor: EnumDescriptor) -> str:
    return descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")


def seconds_of(duration: Duration) -> float:
    """A duration in seconds."""
    return duration.ToNanoseconds() / 1e9


def _stage(number: int) -> _types.Stage:
    return enum_member(number, harmonize_pb.Stage.DESCRIPTOR, _types.Stage)


def _format(image: image_pb2.Image) -> _types.ImageFormat:
    return enum_member(image.format, image_pb2.ImageFormat.DESCRIPTOR, _types.ImageFormat)
