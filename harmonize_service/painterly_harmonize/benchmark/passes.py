"""Both passes and the matching at one size, the plain twin beside them where it is asked for, and their memory.

The passes run at the setting's size, whatever a preset would choose.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from painterly_harmonize.algorithm.errors import AlgorithmError
from painterly_harmonize.algorithm.params import ParityParams
from painterly_harmonize.algorithm.problem import Working, working_pictures
from painterly_harmonize.algorithm.vgg import FeatureNetwork
from painterly_harmonize.benchmark.cases import load_case
from painterly_harmonize.benchmark.errors import BAD_INPUT, BenchmarkError
from painterly_harmonize.benchmark.fields import MatchingFigures, fields_of, time_matching
from painterly_harmonize.benchmark.iterations import IterationFigures, run_twin, time_passes
from painterly_harmonize.benchmark.measuring import Clock, PeakMemory, Setting, prepare, stored_network, weights_path
from painterly_harmonize.benchmark.plain_twin import PlainNetwork, load_plain_network
from painterly_harmonize.benchmark.roofline import Convolution, best_convolution

# What the passes hold does not depend on how many iterations they run, but for the twin's growing history.
_MEMORY_ITERATIONS = 1


class Side(str, Enum):
    """Who computes."""

    PRODUCT = "product"
    TWIN = "twin"


class Part(str, Enum):
    """What is computed: the nearest-neighbor fields alone, or a few iterations of both passes."""

    MATCHING = "matching"
    PASSES = "passes"


@dataclass(frozen=True, kw_only=True)
class PassesSpec:
    """What to time: ``iterations`` of each pass and the matching, with ``baseline`` beside the twin's."""

    setting: Setting
    iterations: int
    baseline: bool


@dataclass(frozen=True, kw_only=True)
class PassesFigures:
    """What was timed."""

    case: str
    size_px: int
    device: str
    pass1: IterationFigures
    pass2: IterationFigures
    matching: MatchingFigures
    convolution: Convolution


@dataclass(frozen=True, kw_only=True)
class MemorySpec:
    """Memory to measure: of one part, computed by one side."""

    setting: Setting
    part: Part
    side: Side


def measure_passes(spec: PassesSpec) -> PassesFigures:
    """Time both passes and the matching. Raises: BenchmarkError."""
    working, network, plain = _loaded(spec.setting)
    clock = Clock(network.device)
    before = best_convolution(network.device)
    first, second = time_passes(working, network, plain if spec.baseline else None, spec.iterations, clock)
    matching = time_matching(fields_of(working, plain), baseline=spec.baseline, clock=clock)
    # Once more: other work on the machine comes and goes.
    after = best_convolution(network.device)
    return PassesFigures(
        case=spec.setting.case.name,
        size_px=spec.setting.size_px,
        device=spec.setting.device,
        pass1=first,
        pass2=second,
        matching=matching,
        convolution=max(before, after, key=lambda convolution: convolution.flop_per_s),
    )


def measure_memory(spec: MemorySpec) -> int | None:
    """Peak memory in bytes beyond libraries, weights and pictures; None where it cannot be measured.

    Matching's is also beyond the features that are matched. Raises: BenchmarkError.
    """
    working, network, plain = _loaded(spec.setting)
    fields = fields_of(working, plain) if spec.part is Part.MATCHING else []
    memory = PeakMemory(network.device)
    if spec.part is Part.MATCHING:
        for field in fields:
            field.by_product() if spec.side is Side.PRODUCT else field.by_twin()
    elif spec.side is Side.PRODUCT:
        time_passes(working, network, None, _MEMORY_ITERATIONS, Clock(network.device))
    else:
        run_twin(working, plain, _MEMORY_ITERATIONS)
    return memory.beyond()


def _loaded(setting: Setting) -> tuple[Working, FeatureNetwork, PlainNetwork]:
    device = prepare(setting)
    network = stored_network(setting, device)
    plain = load_plain_network(setting.network, weights_path(setting.network), device)
    inputs = load_case(setting.case, setting.size_px, device)
    try:
        return working_pictures(inputs, setting.size_px, ParityParams(), network), network, plain
    except AlgorithmError as error:
        raise BenchmarkError(f"the case {setting.case.name} at {setting.size_px} px: {error}", BAD_INPUT) from error
