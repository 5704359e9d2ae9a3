"""What a job emits, as the bytes of the contract's responses.

The four kinds of responses have the same fields under the same numbers, so that the bytes of one are those of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2
from painterly_harmonize.algorithm.stage import Stage
from painterly_harmonize.conversion import STAGE_NUMBERS, StreamOptions, duration, params_to_proto
from painterly_harmonize.evaluation import report_of
from painterly_harmonize.images import encode_frame, encode_result
from painterly_harmonize.job_requests import Order
from painterly_harmonize.jobs.context import Emission
from painterly_harmonize.jobs.records import Place
from painterly_harmonize.reporting import Finished, Frame, Progress

# The manifest of a result that is encoded as that image.
MakeManifest = Callable[[image_pb2.Image], pb.Manifest]

# As the front counts what its readers did not get.
_PROGRESS_SLOT, _FRAME_SLOT = "progress", "frame"

RESTART_REASONS: Mapping[str, pb.RestartReason.ValueType] = {
    "": pb.RESTART_REASON_UNSPECIFIED,
    "no checkpoint": pb.RESTART_REASON_NO_CHECKPOINT,
    "damaged": pb.RESTART_REASON_CHECKPOINT_DAMAGED,
    "request": pb.RESTART_REASON_REQUEST_DIFFERS,
    "weights": pb.RESTART_REASON_WEIGHTS_DIFFER,
    "version": pb.RESTART_REASON_VERSION_DIFFERS,
}


def emission_of(item: Progress | Frame, options: StreamOptions) -> Emission:
    """An item of the stream; encoded when it is sent."""
    if isinstance(item, Progress):
        place = Place(stage=item.stage.value, iteration=item.iteration, iteration_count=item.iteration_count)
        return Emission(
            write=partial(_bytes, partial(_progress, item)),
            slot=_PROGRESS_SLOT if item.droppable else "",
            place=place,
        )
    return Emission(write=partial(_bytes, partial(_frame, item, options)), slot=_FRAME_SLOT if item.droppable else "")


def accepted_emission(job_id: str, *, named: bool, attempt: int, at: Place | None, restart_reason: str) -> Emission:
    """The job goes on after an interruption."""
    event = accepted_event(job_id, named=named, attempt=attempt, at=at, restart_reason=restart_reason)
    return Emission(write=pb.WatchJobResponse(accepted=event).SerializeToString)


def result_emission(item: Finished, order: Order, device: str, checksum: str, manifest: MakeManifest) -> Emission:
    """The result; measured and encoded when it is sent."""

    def write() -> bytes:
        return pb.WatchJobResponse(result=_result(item, order, device, checksum, manifest)).SerializeToString()

    return Emission(write=write)


def accepted_event(
    job_id: str, *, named: bool, attempt: int, at: Place | None, restart_reason: str
) -> pb.AcceptedEvent:
    """How a job stands."""
    return pb.AcceptedEvent(
        job_id=job_id,
        named=named,
        attempt=attempt,
        resumed_from=resume_point(at),
        restart_reason=RESTART_REASONS[restart_reason],
    )


def resume_point(place: Place | None) -> pb.ResumePoint | None:
    """Where a job goes on."""
    if place is None:
        return None
    return pb.ResumePoint(stage=STAGE_NUMBERS[Stage(place.stage)], iteration=place.iteration)


def _bytes(make: Callable[[], pb.WatchJobResponse]) -> bytes:
    return make().SerializeToString()


def _progress(item: Progress) -> pb.WatchJobResponse:
    event = pb.ProgressEvent(
        stage=STAGE_NUMBERS[item.stage],
        iteration=item.iteration,
        iteration_count=item.iteration_count,
        losses=pb.Losses(**item.losses) if item.losses else None,
        elapsed=duration(item.elapsed_s),
    )
    return pb.WatchJobResponse(progress=event)


def _frame(item: Frame, options: StreamOptions) -> pb.WatchJobResponse:
    if item.is_stage_result:
        image = encode_result(item.pixels, image_pb2.IMAGE_FORMAT_PNG)
    else:
        image = encode_frame(item.pixels, options.frame_format)
    event = pb.FrameEvent(
        stage=STAGE_NUMBERS[item.stage], iteration=item.iteration, image=image, is_stage_result=item.is_stage_result
    )
    return pb.WatchJobResponse(frame=event)


def _result(item: Finished, order: Order, device: str, checksum: str, manifest: MakeManifest) -> pb.ResultEvent:
    result, pixels = item.result, item.result.image.numpy()
    changed_pixel_count = int((pixels != order.pictures.painting).any(axis=2).sum())
    if changed_pixel_count != result.changed_pixel_count:
        raise RuntimeError(
            f"{changed_pixel_count} pixels differ from the painting's file, not {result.changed_pixel_count}"
        )
    image = encode_result(pixels, order.options.result_format)
    return pb.ResultEvent(
        image=image,
        manifest=manifest(image),
        parameters_used=params_to_proto(result.params),
        painting_noise=result.painting_noise,
        pass2_weights=pb.Pass2Weights(**result.pass2_weights) if result.pass2_weights else None,
        changed_pixel_count=result.changed_pixel_count,
        blend_pixel_count=result.blend_pixel_count,
        stylization_level=pb.StylizationLevel(
            value=result.level.value, is_estimated=result.level.is_estimated, reasons=result.level.reasons
        ),
        working_height_px=result.working_size[0],
        working_width_px=result.working_size[1],
        device=device,
        weights_checksum=checksum,
        stage_times=[
            pb.StageTime(stage=STAGE_NUMBERS[stage], duration=duration(seconds))
            for stage, seconds in item.stage_times_s.items()
        ],
        quality=report_of(result.image, order.pictures, result.style_mask),
    )
