"""A whole run by preset: what its parts take, when the first picture is there, and its peak memory."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from painterly.v1 import harmonize_service_pb2 as pb
from painterly_harmonize.algorithm.errors import AlgorithmError, StageFailed
from painterly_harmonize.algorithm.params import HarmonizeParams, Preset
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.stage import Event, Iterate, Result, Stage, StageResult
from painterly_harmonize.algorithm.vgg import FeatureNetwork
from painterly_harmonize.benchmark.cases import load_case
from painterly_harmonize.benchmark.errors import BenchmarkError
from painterly_harmonize.benchmark.measuring import Clock, PeakMemory, Setting, prepare, stored_network
from painterly_harmonize.conversion import params_from_proto

# Of the gaps between iterations, the first ones still warm caches up.
_WARM_UP = 2


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """A whole run to measure. ``iterations`` cuts both passes short; None runs the preset's."""

    setting: Setting
    preset: Preset
    iterations: int | None = None


@dataclass(frozen=True, kw_only=True)
class PassTimes:
    """A pass: seconds before its first iteration (matching and targets), of one iteration (median), and how many."""

    matching_s: float
    iteration_s: float
    iteration_count: int


@dataclass(frozen=True, kw_only=True)
class RunTimes:
    """A run's seconds, and the size at which its passes work.

    ``first_picture_s`` is until the picture of iteration 0 is there, ``first_frame_s`` until that of iteration 1.
    """

    pass1: PassTimes
    pass2: PassTimes
    postprocessing_s: float
    total_s: float
    first_picture_s: float
    first_frame_s: float
    working_px: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """A measured run.

    ``mask_share`` is the element's share of the painting. ``preset_total_s`` is the total, extrapolated to the
    preset's iterations when the run was cut short. ``peak_memory_bytes`` is beyond libraries and weights; None where
    it cannot be measured.
    """

    case: str
    size_px: int
    painting_px: tuple[int, int]
    mask_share: float
    preset: str
    device: str
    times: RunTimes
    preset_total_s: float
    peak_memory_bytes: int | None


def measure_run(spec: RunSpec) -> RunFigures:
    """Run a case from decoded pictures to the result. Raises: BenchmarkError."""
    device = prepare(spec.setting)
    network = stored_network(spec.setting, device)
    memory = PeakMemory(device)
    return run_figures(spec, network, memory)


def run_figures(spec: RunSpec, network: FeatureNetwork, memory: PeakMemory) -> RunFigures:
    """The same with a network that is loaded. Raises: BenchmarkError."""
    setting = spec.setting
    inputs = load_case(setting.case, setting.size_px, network.device)
    params = cut_short(preset_params(spec), spec.iterations)
    clock = Clock(network.device)
    try:
        times = follow(lambda: harmonize(inputs, params, network, lambda: False), clock.now)
    except (AlgorithmError, StageFailed) as error:
        raise BenchmarkError(f"the case {setting.case.name} at {setting.size_px} px: {error}") from error
    height, width = inputs.painting.shape[-2:]
    return RunFigures(
        case=setting.case.name,
        size_px=setting.size_px,
        painting_px=(width, height),
        mask_share=float(inputs.mask.mean()),
        preset=spec.preset.value,
        device=setting.device,
        times=times,
        preset_total_s=whole_total(spec, times),
        peak_memory_bytes=memory.beyond(),
    )


def preset_params(spec: RunSpec) -> HarmonizeParams:
    """What the service makes of a request for the preset and network."""
    return params_from_proto(
        pb.HarmonizeParameters(
            preset=pb.Preset.Value(f"PRESET_{spec.preset.name}"),
            network=pb.Network.Value(f"NETWORK_{spec.setting.network.name}"),
        )
    )


def cut_short(params: HarmonizeParams, iterations: int | None) -> HarmonizeParams:
    """The same with ``iterations`` in both passes; None leaves them."""
    if iterations is None:
        return params
    return replace(
        params,
        pass1=replace(params.pass1, iteration_count=iterations),
        pass2=replace(params.pass2, iteration_count=iterations),
    )


def whole_total(spec: RunSpec, times: RunTimes) -> float:
    """Seconds that all of the preset's iterations would have taken; the measured total when the run was not cut."""
    if spec.iterations is None:
        return times.total_s
    params = preset_params(spec)
    missing1 = params.pass1.iteration_count - times.pass1.iteration_count
    missing2 = params.pass2.iteration_count - times.pass2.iteration_count
    return times.total_s + missing1 * times.pass1.iteration_s + missing2 * times.pass2.iteration_s


def follow(start: Callable[[], Iterator[Event]], now: Callable[[], float]) -> RunTimes:
    """Run to the end, noting when each event arrives; iterations 0 and 1 of pass 1 are shown, as a viewer would."""
    marks: dict[Stage, list[float]] = {Stage.PASS1: [], Stage.PASS2: []}
    shown: list[float] = []
    working_px = (0, 0)
    begin = now()
    finished = pass2_finished = begin
    for event in start():
        if isinstance(event, Iterate) and event.stage in marks:
            arrived = now()
            if event.stage is Stage.PASS1 and event.iteration <= 1:
                height, width = event.image().shape[-2:]
                working_px = (width, height)
                shown.append(now())
            # What follows iteration 0 is timed without the showing.
            marks[event.stage].append(arrived if event.iteration else now())
        elif isinstance(event, StageResult) and event.stage is Stage.PASS2:
            pass2_finished = now()
        elif isinstance(event, Result):
            finished = now()
    pass1, pass2 = (_pass_times(stage, marks[stage]) for stage in (Stage.PASS1, Stage.PASS2))
    first_picture, first_frame = shown
    return RunTimes(
        pass1=pass1,
        pass2=pass2,
        postprocessing_s=finished - pass2_finished,
        total_s=finished - begin,
        first_picture_s=first_picture - begin,
        first_frame_s=first_frame - begin,
        working_px=working_px,
    )


def _pass_times(stage: Stage, marks: list[float]) -> PassTimes:
    """From the moments of iterations 0, 1, and so on. Raises: BenchmarkError."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(marks[1:])]
    if not gaps:
        raise BenchmarkError(
            f"{stage.value} ended after {len(marks) - 1} iterations, too few to time; take another case"
        )
    iteration = statistics.median(gaps[_WARM_UP:] or gaps)
    # What comes before the first iteration is not told from that iteration by any event.
    matching = max(0.0, marks[1] - marks[0] - iteration)
    return PassTimes(matching_s=matching, iteration_s=iteration, iteration_count=len(marks) - 1)
