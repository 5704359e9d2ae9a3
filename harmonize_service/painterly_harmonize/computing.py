"""One job on one device: the request in, the algorithm's events out, checkpoints on the way."""

from __future__ import annotations

import contextlib
import json
import logging
import struct
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2
from painterly_harmonize.algorithm import checkpoint as checkpoints
from painterly_harmonize.algorithm.errors import AlgorithmError, CheckpointInvalid, CheckpointMismatch, Stopped
from painterly_harmonize.algorithm.memory import is_out_of_memory, release_memory
from painterly_harmonize.algorithm.stage import Event, Inputs, Iterate, Stage, StageResult
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.vgg import FeatureNetwork
from painterly_harmonize.conversion import to_service_error
from painterly_harmonize.job_events import accepted_emission, emission_of, result_emission
from painterly_harmonize.job_requests import KINDS, Kind, Order, read_order
from painterly_harmonize.jobs.context import Emission, JobContext, JobFailed, JobStopped, WorkerBroken
from painterly_harmonize.jobs.records import Place
from painterly_harmonize.jobs.refusals import to_failure
from painterly_harmonize.manifest import environment_of, manifest_of, require_environment
from painterly_harmonize.networks import Networks
from painterly_harmonize.planning import Decision, Planner
from painterly_harmonize.reporting import Finished, Reporter
from painterly_harmonize.settings import describe_device

logger = logging.getLogger(__name__)

_LENGTH = struct.Struct("<I")


@dataclass(kw_only=True)
class _Progress:
    """Where the run is, and whether a checkpoint was offered there already: the second offer is a stage's end."""

    place: Place | None = None
    is_offered: bool = False

    def note(self, event: Event) -> None:
        if isinstance(event, Iterate):
            self.place = Place(
                stage=event.stage.value, iteration=event.iteration, iteration_count=event.iteration_count
            )
            self.is_offered = False


class Computer:
    """Computes jobs on one device, one at a time."""

    def __init__(self, *, device: torch.device, networks: Networks, styles: StyleCache, planner: Planner) -> None:
        self._device, self._networks, self._styles, self._planner = device, networks, styles, planner

    def run_job(self, context: JobContext) -> Emission:
        """Compute a job; returns its result. Raises: JobFailed, JobStopped, WorkerBroken."""
        try:
            return self._run(context)
        except Stopped:
            raise JobStopped from None
        except ServiceError as error:
            raise JobFailed(to_failure(error)) from None
        except AlgorithmError as error:
            raise _failed(error) from None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                if _is_device_broken(error):
                    logger.exception("the device failed")
                    raise WorkerBroken(str(error)) from None
                raise _failed(error) from error
            logger.warning("out of memory on %s: %s", self._device, error)
        # Only here, with the error and its frames gone, nothing holds on to the job's tensors.
        release_memory(self._device)
        raise JobFailed(
            to_failure(
                ServiceError(
                    error_reason_pb2.ERROR_REASON_DEVICE_OUT_OF_MEMORY,
                    f"the memory of {self._device} does not suffice; lower parameters.working_long_side_px",
                    metadata={"device": str(self._device)},
                )
            )
        )

    def _run(self, context: JobContext) -> Emission:
        kind = KINDS[context.kind]
        request = kind.request.FromString(context.request)
        order = read_order(request)
        loaded = self._networks(order.params.network)
        environment = environment_of(loaded.network, loaded.checksum)
        require_environment(request, environment)
        inputs = order.pictures.to_inputs(self._device)
        decision = self._admit(inputs, order, loaded.network, kind)
        hits, misses = self._styles.hit_count, self._styles.miss_count
        began_s = time.monotonic()
        finished = self._follow(context, kind, order, inputs, decision, loaded.network, named=bool(request.job_key))
        self._planner.speed.learn(decision.plan.work, time.monotonic() - began_s)
        logger.info(
            "the painting's features: %d taps known, %d computed",
            self._styles.hit_count - hits,
            self._styles.miss_count - misses,
        )
        manifest = partial(manifest_of, request, order.pictures, finished.result, kind.stages, environment)
        return result_emission(finished, order, describe_device(self._device), loaded.checksum, manifest)

    def _admit(self, inputs: Inputs, order: Order, network: FeatureNetwork, kind: Kind) -> Decision:
        """What becomes of a job, now that it may begin. Raises: ServiceError DEVICE_OUT_OF_MEMORY."""

        def decide() -> Decision:
            return self._planner.decide(inputs.mask, inputs.dilated_mask, order.params, network, kind.stages)

        decision = decide()
        if not decision.fits or decision.is_reduced:
            self._styles.clear()
            release_memory(self._device)
            decision = decide()
        decision.require_fit(self._device)
        self._planner.log(decision)
        return decision

    def _follow(
        self,
        context: JobContext,
        kind: Kind,
        order: Order,
        inputs: Inputs,
        decision: Decision,
        network: FeatureNetwork,
        *,
        named: bool,
    ) -> Finished:
        """Emit what there is to show, write checkpoints, and return the end."""
        at = _Progress()
        saved = context.load_checkpoint()
        times_s, state = ({}, None) if saved is None else _opened(saved)
        reporter: Reporter

        def on_checkpoint(make: Callable[[], bytes]) -> None:
            is_stage_end, at.is_offered = at.is_offered, True
            if at.place is not None and context.wants_checkpoint(is_stage_end=is_stage_end):
                place = _next_place(at.place, kind) if is_stage_end else at.place
                context.checkpoint(lambda: _sealed(make(), reporter.times_s()), place)

        def compute(state: bytes | None) -> Iterator[Event]:
            return kind.compute(
                inputs,
                decision.params,
                network,
                context.should_stop,
                self._styles,
                checkpoint=state,
                on_checkpoint=on_checkpoint,
                should_finish_stage=context.should_finish_stage,
            )

        events, resumed_from, restart_reason = _resumed(compute, state, kind)
        if resumed_from is None:
            times_s = {}
        if context.attempt > 1:
            reason = restart_reason or ("" if resumed_from else "no checkpoint")
            context.begin(resumed_from, reason)
            context.emit(
                accepted_emission(
                    context.job_id, named=named, attempt=context.attempt, at=resumed_from, restart_reason=reason
                )
            )
        reporter = Reporter(order.options, times_before_s=times_s)
        with contextlib.closing(events):
            for event in events:
                at.note(event)
                for item in reporter.items(event):
                    if isinstance(item, Finished):
                        return item
                    context.emit(emission_of(item, order.options))
                if isinstance(event, StageResult):
                    context.end_stage()
        raise RuntimeError("the work ended without a result")


def _resumed(
    compute: Callable[[bytes | None], Iterator[Event]], state: bytes | None, kind: Kind
) -> tuple[Generator[Event, None, None], Place | None, str]:
    """The run's events, where it goes on, and why it does not go on at the checkpoint."""
    if state is None:
        return _chained((), compute(None)), None, ""
    events = compute(state)
    try:
        first = next(events)
        position = checkpoints.position(state)
    except CheckpointMismatch as error:
        logger.warning("a checkpoint is not used: %s", error)
        return _chained((), compute(None)), None, _restart_reason(error)
    except CheckpointInvalid as error:
        logger.warning("a checkpoint is not used: %s", error)
        return _chained((), compute(None)), None, "damaged"
    place = Place(stage=position.stage.value, iteration=position.iteration)
    if position.is_finished:
        place = _next_place(place, kind)
    return _chained((first,), events), place, ""


def _chained(first: tuple[Event, ...], rest: Iterator[Event]) -> Generator[Event, None, None]:
    """All events; closing it closes the run."""
    try:
        yield from first
        yield from rest
    finally:
        getattr(rest, "close", lambda: None)()


def _restart_reason(error: CheckpointMismatch) -> str:
    if error.difference.startswith("network"):
        return "weights"
    return "version" if error.difference.startswith("code") else "request"


def _next_place(place: Place, kind: Kind) -> Place:
    """Where a run goes on whose stage has ended."""
    index = kind.stages.index(Stage(place.stage)) + 1
    return Place(stage=kind.stages[index].value, iteration=0) if index < len(kind.stages) else place


def _sealed(state: bytes, times_s: dict[Stage, float]) -> bytes:
    """The algorithm's checkpoint, after the times that the stages have taken."""
    header = json.dumps({stage.value: seconds for stage, seconds in times_s.items()}).encode()
    return _LENGTH.pack(len(header)) + header + state


def _opened(saved: bytes) -> tuple[dict[Stage, float], bytes]:
    """The times and the algorithm's checkpoint; nonsense becomes a checkpoint that the algorithm refuses."""
    try:
        (length,) = _LENGTH.unpack_from(saved)
        end = _LENGTH.size + length
        times_s = {Stage(name): float(seconds) for name, seconds in json.loads(saved[_LENGTH.size : end]).items()}
    except (ValueError, struct.error, AttributeError):
        return {}, b""
    return times_s, saved[end:]


def _failed(error: BaseException) -> BaseException:
    """A caller's error as the job's failure; any other as it is."""
    told = to_service_error(error)
    return JobFailed(to_failure(told)) if isinstance(told, ServiceError) else error


def _is_device_broken(error: BaseException) -> bool:
    """Whether the process has lost its device for good, as after a failed assertion in a CUDA kernel."""
    broken = getattr(torch, "AcceleratorError", None)
    return (broken is not None and isinstance(error, broken)) or str(error).startswith("CUDA error")
