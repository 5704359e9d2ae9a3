"""The calls of the preprocess service: request to imaging to response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import cv2
import grpc
import numpy as np
from numpy.typing import NDArray

from painterly.errors import ServiceError
from painterly.limits import MAX_MESSAGE_BYTES
from painterly.serving import Listener, Server, listener_of
from painterly.serving.heavy_work import heavy_work
from painterly.v1 import error_reason_pb2, preprocess_service_pb2_grpc
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.weights import WeightsError, WeightStore
from painterly_images import decode
from painterly_preprocess import composing, conversion, removal_conversion
from painterly_preprocess.imaging.compositing import PlacedElement
from painterly_preprocess.imaging.errors import ImagingError
from painterly_preprocess.metrics import WorkMetrics
from painterly_preprocess.removal import BackgroundRemover, Removed
from painterly_preprocess.settings import Settings

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["PreprocessService"].full_name

_RETRY_AFTER_S = 1.0
_Request = TypeVar("_Request")
_Response = TypeVar("_Response", bound=Any)
_Context = grpc.aio.ServicerContext[Any, Any]


class WorkerPool:
    """Runs work on pictures in threads, so that the event loop stays free for health checks and other calls."""

    def __init__(self, thread_count: int, waiting_count: int, metrics: WorkMetrics) -> None:
        self._metrics = metrics
        self._thread_count = thread_count
        self._executor = ThreadPoolExecutor(thread_count, thread_name_prefix="imaging")
        self._waiting_count = waiting_count
        self._limit = thread_count + waiting_count
        self._running = 0

    async def run(self, work: Callable[[_Request], _Response], request: _Request) -> _Response:
        """Run ``work`` in a thread. Raises: ServiceError QUEUE_FULL when too many calls wait already."""
        if self._running >= self._limit:
            raise ServiceError(
                error_reason_pb2.ERROR_REASON_QUEUE_FULL,
                f"{self._waiting_count} calls wait already; try again in a moment",
                metadata={"queue_size": str(self._waiting_count)},
                retry_after_s=_RETRY_AFTER_S,
            )
        self._note(+1)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._timed, work, request)
        except (ImagingError, WeightsError) as error:
            raise conversion.to_service_error(error) from error
        finally:
            self._note(-1)

    def _note(self, change: int) -> None:
        self._running += change
        self._metrics.note_waiting(max(self._running - self._thread_count, 0))

    def _timed(self, work: Callable[[_Request], _Response], request: _Request) -> _Response:
        began_s = time.monotonic()
        try:
            with heavy_work():
                return work(request)
        finally:
            self._metrics.note_work(type(request).__name__.removesuffix("Request"), time.monotonic() - began_s)


class PreprocessServicer(preprocess_service_pb2_grpc.PreprocessServiceServicer):
    """PreprocessService: each call decodes, works and encodes in one thread of the pool."""

    def __init__(self, remover: BackgroundRemover, pool: WorkerPool) -> None:
        self._remover = remover
        self._pool = pool

    async def RemoveBackground(
        self,
        request: pb.RemoveBackgroundRequest,
        context: _Context,
    ) -> pb.RemoveBackgroundResponse:
        """Cut the foreground out of a photo."""
        return await self._pool.run(self._remove_background, request)

    async def Compose(self, request: pb.ComposeRequest, context: _Context) -> pb.ComposeResponse:
        """Place one cut-out element, or several, over a painting."""
        return await self._pool.run(_compose, request)

    async def SuggestPlacement(
        self, request: pb.SuggestPlacementRequest, context: _Context
    ) -> pb.SuggestPlacementResponse:
        """Rank positions and sizes for an element."""
        return await self._pool.run(composing.suggest_placement, request)

    async def DilateMask(self, request: pb.DilateMaskRequest, context: _Context) -> pb.DilateMaskResponse:
        """Grow a mask."""
        return await self._pool.run(composing.dilate_mask, request)

    async def Prepare(self, request: pb.PrepareRequest, context: _Context) -> pb.PrepareResponse:
        """Remove the background, compose, dilate."""
        return await self._pool.run(self._prepare, request)

    def _remove_background(self, request: pb.RemoveBackgroundRequest) -> pb.RemoveBackgroundResponse:
        output = composing.output_from_proto(request.output, needs_alpha=True)
        removed = self._cut_out(decode(request.photo, "photo", "RGBA"), request.background_removal)
        response = pb.RemoveBackgroundResponse(
            element=output.element(removed.cut_out.element),
            method_used=conversion.method_to_proto(removed.method),
            method_reason=removed.reason,
            details=removal_conversion.details_to_proto(removed),
        )
        return within_message_limit(response, "photo")

    def _prepare(self, request: pb.PrepareRequest) -> pb.PrepareResponse:
        conversion.method_from_proto(request.background_removal)
        placement = conversion.placement_from_proto(request.placement)
        dilation = conversion.dilation_from_proto(request.dilation)
        how = conversion.compositing_from_proto(request.compositing)
        output = composing.output_from_proto(request.output)
        photo, painting = decode(request.photo, "photo", "RGBA"), decode(request.painting, "painting", "RGB")
        removed = self._cut_out(photo, request.background_removal)
        element = removed.cut_out.element
        placed = composing.place([PlacedElement(pixels=element, placement=placement)], painting, how)
        grown = composing.grow(placed.composite.mask, dilation)
        has_feather = grown.HasField("feathered_mask")
        response = pb.PrepareResponse(
            composite=output.composite(placed.composite.pixels),
            mask=composing.encode_mask(placed.composite.mask),
            dilated_mask=grown.dilated_mask,
            element=output.element(element),
            method_used=conversion.method_to_proto(removed.method),
            method_reason=removed.reason,
            details=removal_conversion.details_to_proto(removed),
            placement_used=conversion.placement_to_proto(placed.placements[0]),
            dilation_used=grown.dilation_used,
            alpha=output.alpha(placed.composite.alpha),
            feathered_mask=grown.feathered_mask if has_feather else None,
            placement_reason=placed.reasons[0],
            compositing_used=conversion.compositing_to_proto(how),
        )
        return within_message_limit(response, "painting")

    def _cut_out(self, photo: NDArray[np.uint8], message: pb.BackgroundRemoval) -> Removed:
        wish = removal_conversion.removal_from_proto(message, photo)
        try:
            return self._remover.remove(photo, wish)
        except ImagingError as error:
            raise removal_conversion.removal_error(error) from error


def _compose(request: pb.ComposeRequest) -> pb.ComposeResponse:
    return within_message_limit(composing.compose(request), "painting")


def within_message_limit(response: _Response, field: str) -> _Response:
    """The response itself, unless gRPC would not carry it.

    Raises: ServiceError IMAGE_SIZE_OUT_OF_RANGE that names the picture ``field`` as the one to make smaller.
    """
    size = response.ByteSize()
    if size > MAX_MESSAGE_BYTES:
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE,
            f"the answer would have {size} bytes but a message may have at most {MAX_MESSAGE_BYTES}; "
            f"send a smaller {field}",
            field=field,
            metadata={"value": str(size)},
        )
    return response


def build_server(settings: Settings, store: WeightStore) -> tuple[Server, Listener]:
    """A server that is ready to start, and where it will listen. Raises: SettingsError, RuntimeError, OSError."""
    # Threads are this service's own: one per picture, not several for one.
    cv2.setNumThreads(1)
    listener = listener_of(settings)
    pool = WorkerPool(settings.threads, settings.queue_size, WorkMetrics(listener.registry))
    remover = BackgroundRemover(store, settings.network_threads, settings.remove_bg)
    servicer = PreprocessServicer(remover, pool)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        preprocess_service_pb2_grpc.add_PreprocessServiceServicer_to_server(servicer, server)
        return (SERVICE_NAME,)

    return Server(register, listener), listener
