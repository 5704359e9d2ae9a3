"""The harmonize service's calls: a request becomes a job, the job's items become events. No pixel is computed here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import grpc
import torch

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import harmonize_service_pb2_grpc as pb_grpc
from painterly.weights import WeightsCorrupt, WeightsError, WeightsMissing, WeightStore
from painterly_harmonize.algorithm import pipeline
from painterly_harmonize.algorithm.errors import AlgorithmError
from painterly_harmonize.algorithm.memory import release_memory
from painterly_harmonize.algorithm.params import HarmonizeParams, NetworkName
from painterly_harmonize.algorithm.plan import STAGES
from painterly_harmonize.algorithm.stage import Event, Inputs, Stage
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network, sketch_network
from painterly_harmonize.conversion import (
    STAGE_NUMBERS,
    StreamOptions,
    duration,
    params_from_proto,
    params_to_proto,
    plan_response,
    stream_options_from_proto,
    to_service_error,
)
from painterly_harmonize.evaluation import answer_evaluate, report_of
from painterly_harmonize.images import (
    Pictures,
    Request,
    encode_frame,
    encode_result,
    read_masks,
    read_pictures,
    require_sendable,
)
from painterly_harmonize.jobs import JobQueue
from painterly_harmonize.manifest import environment_of, manifest_of, require_environment
from painterly_harmonize.planning import Decision, Planner
from painterly_harmonize.reporting import Finished, Frame, Item, Progress, Queued
from painterly_harmonize.settings import describe_device

logger = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Compute = Callable[[Inputs, HarmonizeParams, FeatureNetwork, Callable[[], bool], StyleCache], Iterator[Event]]


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    """A network on its device and the checksum of its weights, ``sha256:`` and 64 hex digits."""

    network: FeatureNetwork
    checksum: str


class Networks(Protocol):
    """Yields networks by name. First asked for on the worker thread, afterwards from any."""

    def __call__(self, name: NetworkName) -> LoadedNetwork:
        """The network. Raises: ServiceError WEIGHTS_MISSING, WEIGHTS_CORRUPT."""


class StoredNetworks:
    """Networks from the weight store, loaded when first asked for and kept."""

    def __init__(
        self,
        device: torch.device,
        store: WeightStore,
        layer_dtype: torch.dtype = torch.float32,
        *,
        replays: bool = False,
    ) -> None:
        self._device, self._layer_dtype, self._replays = device, layer_dtype, replays
        self._store = store
        self._loaded: dict[NetworkName, LoadedNetwork] = {}

    def __call__(self, name: NetworkName) -> LoadedNetwork:
        """The network. Raises: ServiceError WEIGHTS_MISSING, WEIGHTS_CORRUPT."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: NetworkName) -> LoadedNetwork:
        try:
            path, checksum = self._store.path(name.value), self._store.checksum(name.value)
        except WeightsMissing as error:
            raise _weights_error(error_reason_pb2.ERROR_REASON_WEIGHTS_MISSING, error) from error
        except WeightsCorrupt as error:
            raise _weights_error(error_reason_pb2.ERROR_REASON_WEIGHTS_CORRUPT, error) from error
        network = load_network(name, path, self._device, self._layer_dtype)
        network.replays = self._replays
        return LoadedNetwork(network=network, checksum=checksum)


def _weights_error(reason: error_reason_pb2.ErrorReason.ValueType, error: WeightsError) -> ServiceError:
    logger.warning("%s", error)
    return ServiceError(reason, error.told, metadata={"weights": error.name})


@dataclass(frozen=True, kw_only=True)
class _Order:
    """A request, read and checked."""

    params: HarmonizeParams
    options: StreamOptions
    pictures: Pictures


class HarmonizeServicer(pb_grpc.HarmonizeServiceServicer):
    """RunPass1, RunPass2 and Harmonize over one device's queue; Plan and Evaluate beside it."""

    def __init__(
        self, *, device: torch.device, queue: JobQueue, networks: Networks, styles: StyleCache, planner: Planner
    ) -> None:
        """``styles`` is used on the queue's worker thread alone."""
        self._planner = planner
        self._device = device
        self._queue = queue
        self._networks = networks
        self._styles = styles
        # Pictures grow when they are read: one evaluation at a time bounds the memory.
        self._evaluating = asyncio.Lock()

    async def RunPass1(
        self, request: pb.RunPass1Request, context: Context
    ) -> AsyncGenerator[pb.RunPass1Response, None]:
        """Stream the first pass's events."""
        async with contextlib.aclosing(self._events(request, pipeline.run_pass1, (Stage.PASS1,))) as events:
            async for event in events:
                yield pb.RunPass1Response(**event)

    async def RunPass2(
        self, request: pb.RunPass2Request, context: Context
    ) -> AsyncGenerator[pb.RunPass2Response, None]:
        """Stream the second pass's events."""
        async with contextlib.aclosing(self._events(request, pipeline.run_pass2, (Stage.PASS2,))) as events:
            async for event in events:
                yield pb.RunPass2Response(**event)

    async def Harmonize(
        self, request: pb.HarmonizeRequest, context: Context
    ) -> AsyncGenerator[pb.HarmonizeResponse, None]:
        """Stream the events of both passes and the post-processing."""
        async with contextlib.aclosing(self._events(request, pipeline.harmonize, STAGES)) as events:
            async for event in events:
                yield pb.HarmonizeResponse(**event)

    async def Plan(self, request: pb.PlanRequest, context: Context) -> pb.PlanResponse:
        """Say what a request would take. It waits for no job."""
        return await asyncio.to_thread(self._plan, request)

    async def Evaluate(self, request: pb.EvaluateRequest, context: Context) -> pb.EvaluateResponse:
        """Measure a finished picture. It waits for no job, only for other evaluations."""
        async with self._evaluating:
            return await asyncio.to_thread(answer_evaluate, request)

    def _plan(self, request: pb.PlanRequest) -> pb.PlanResponse:
        params = params_from_proto(request.parameters)
        try:
            masks = read_masks(request)
        except AlgorithmError as error:
            raise to_service_error(error) from None
        decision = self._planner.decide(*masks, params, sketch_network(params.network))
        return plan_response(decision, self._planner.speed, describe_device(self._device))

    def _admit(
        self, inputs: Inputs, params: HarmonizeParams, network: FeatureNetwork, stages: tuple[Stage, ...]
    ) -> Decision:
        """What becomes of a job, once it may begin. Raises: ServiceError DEVICE_OUT_OF_MEMORY."""

        def decide() -> Decision:
            return self._planner.decide(inputs.mask, inputs.dilated_mask, params, network, stages)

        decision = decide()
        if not decision.fits or decision.is_reduced:
            self._styles.clear()
            release_memory(self._device)
            decision = decide()
        decision.require_fit(self._device)
        self._planner.log(decision)
        return decision

    async def _events(
        self, request: Request, compute: Compute, stages: tuple[Stage, ...]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Each event as the one field of the response's oneof. Decoding and encoding stay off the event loop."""
        order = await asyncio.to_thread(_read_order, request)

        environment = pb.Environment()

        def work(should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
            loaded = self._networks(order.params.network)
            network = loaded.network
            environment.CopyFrom(environment_of(network, loaded.checksum))
            require_environment(request, environment)
            inputs = order.pictures.to_inputs(self._device)
            decision = self._admit(inputs, order.params, network, stages)
            hits, misses = self._styles.hit_count, self._styles.miss_count
            began_s = time.monotonic()
            yield from compute(inputs, decision.params, network, should_stop, self._styles)
            self._planner.speed.learn(decision.plan.work, time.monotonic() - began_s)
            logger.info(
                "the painting's features: %d taps known, %d computed",
                self._styles.hit_count - hits,
                self._styles.miss_count - misses,
            )

        job = self._queue.submit(work, order.options)
        try:
            async with contextlib.aclosing(job.events()) as items:
                async for item in items:
                    event = await self._event(item, order)
                    if isinstance(item, Finished):
                        made = (order.pictures, item.result, stages, environment, event["result"].image)
                        manifest = await asyncio.to_thread(manifest_of, request, *made)
                        event["result"].manifest.CopyFrom(manifest)
                    yield event
        finally:
            job.cancel()

    async def _event(self, item: Item, order: _Order) -> dict[str, Any]:
        if isinstance(item, Queued):
            return {"queued": pb.QueuedEvent(position=item.position)}
        if isinstance(item, Progress):
            return {"progress": _progress_event(item)}
        if isinstance(item, Frame):
            return {"frame": await asyncio.to_thread(_frame_event, item, order.options)}
        return {"result": await asyncio.to_thread(self._result_event, item, order)}

    def _result_event(self, item: Finished, order: _Order) -> pb.ResultEvent:
        result, pixels = item.result, item.result.image.numpy()
        changed_pixel_count = int((pixels != order.pictures.painting).any(axis=2).sum())
        if changed_pixel_count != result.changed_pixel_count:
            raise RuntimeError(
                f"{changed_pixel_count} pixels differ from the painting's file, not {result.changed_pixel_count}"
            )
        return pb.ResultEvent(
            image=encode_result(pixels, order.options.result_format),
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
            device=describe_device(self._device),
            weights_checksum=self._networks(result.params.network).checksum,
            stage_times=[
                pb.StageTime(stage=STAGE_NUMBERS[stage], duration=duration(seconds))
                for stage, seconds in item.stage_times_s.items()
            ],
            quality=report_of(result.image, order.pictures, result.style_mask),
        )


def _read_order(request: Request) -> _Order:
    params = params_from_proto(request.parameters)
    options = stream_options_from_proto(request.stream)
    try:
        pictures = read_pictures(request)
    except AlgorithmError as error:
        raise to_service_error(error) from None
    require_sendable(pictures.painting, options.result_format)
    return _Order(params=params, options=options, pictures=pictures)


def _progress_event(item: Progress) -> pb.ProgressEvent:
    return pb.ProgressEvent(
        stage=STAGE_NUMBERS[item.stage],
        iteration=item.iteration,
        iteration_count=item.iteration_count,
        losses=pb.Losses(**item.losses) if item.losses else None,
        elapsed=duration(item.elapsed_s),
    )


def _frame_event(item: Frame, options: StreamOptions) -> pb.FrameEvent:
    if item.is_stage_result:
        image = encode_result(item.pixels, image_pb2.IMAGE_FORMAT_PNG)
    else:
        image = encode_frame(item.pixels, options.frame_format)
    return pb.FrameEvent(
        stage=STAGE_NUMBERS[item.stage], iteration=item.iteration, image=image, is_stage_result=item.is_stage_result
    )
