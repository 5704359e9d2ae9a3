"""What a plan says of a job: the sizes and rectangles that it will have, and how its costs grow."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from painterly_harmonize.algorithm import pass1, pass2
from painterly_harmonize.algorithm.params import HarmonizeParams, NetworkName, Pass1Params, Pass2Params
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.plan import ObjectShape, largest_long_side, plan_at, plan_job
from painterly_harmonize.algorithm.problem import Problem, working_pictures
from painterly_harmonize.algorithm.region import region_around
from painterly_harmonize.algorithm.stage import Inputs, Result, Stage
from painterly_harmonize.algorithm.vgg import FeatureNetwork, sketch_network
from tests.harmonize.algorithm.toy import rectangle_mask, toy_inputs, toy_network

CPU = torch.device("cpu")
HEIGHT, WIDTH = 300, 400
PARAMS = HarmonizeParams(
    working_long_side_px=512,
    object_size_px=None,
    pass1=Pass1Params(iteration_count=3),
    pass2=Pass2Params(iteration_count=2),
)


def mask_of(rows: tuple[int, int] = (100, 180), columns: tuple[int, int] = (150, 260)) -> Tensor:
    return rectangle_mask(HEIGHT, WIDTH, rows, columns)


@pytest.fixture
def network() -> FeatureNetwork:
    return toy_network()


@pytest.mark.parametrize(("object_size", "limit"), [(None, 512), (None, 200), (60, 512), (200, 300)])
def test_the_size_is_the_pipelines(object_size: int | None, limit: int, network: FeatureNetwork) -> None:
    params = replace(PARAMS, object_size_px=object_size, working_long_side_px=limit)
    inputs = toy_inputs(HEIGHT, WIDTH, mask=mask_of())
    plan = plan_job(inputs.mask, None, params, network, CPU)
    result = list(harmonize(inputs, params, network, lambda: False))[-1]
    assert isinstance(result, Result)
    assert plan.working_size == result.working_size
    assert [stage.stage for stage in plan.stages] == [Stage.PASS1, Stage.PASS2, Stage.POSTPROCESSING]


@pytest.mark.parametrize("long_side", [150, 400])
@pytest.mark.parametrize("rows", [(100, 180), (0, 30), (200, HEIGHT)])
def test_rectangles_are_those_of_the_passes(rows: tuple[int, int], long_side: int, network: FeatureNetwork) -> None:
    inputs = toy_inputs(HEIGHT, WIDTH, mask=mask_of(rows))
    working = working_pictures(inputs, long_side, PARAMS.parity, network)
    plan = plan_at(ObjectShape.of(inputs.mask), long_side, PARAMS, network, CPU)
    real = region_around(working.dilated_mask, 1, 1)
    for stage in plan.stages[:2]:
        found = stage.region
        for ours, theirs in zip(vars(found).values(), vars(real).values(), strict=True):
            assert abs(ours - theirs) <= 2
        assert found.intersection(real).height >= real.height - 2


def test_an_objects_share_is_that_of_the_dilated_mask() -> None:
    mask, dilated = mask_of(), mask_of((80, 200), (130, 280))
    assert ObjectShape.of(mask, dilated).dilated_share == pytest.approx(float(dilated.mean()), rel=0.03)
    # The paper's rule grows it by 12 px at 700.
    grown = 12 * WIDTH / 700
    expected = (80 + 2 * grown) * (110 + 2 * grown) / (HEIGHT * WIDTH)
    assert ObjectShape.of(mask).dilated_share == pytest.approx(expected, rel=0.06)


def operations(inputs: Inputs, network: FeatureNetwork) -> tuple[int, int]:
    """What one evaluation of each pass's gradient really computes in convolutions."""
    working = working_pictures(inputs, WIDTH, PARAMS.parity, network)
    counts = []
    for taps, reach, alignment in (
        (pass1.STYLE_TAPS, pass1.REACH_PX, pass1.ALIGNMENT_PX),
        (pass2.STYLE_TAPS, pass2.REACH_PX, pass2.ALIGNMENT_PX),
    ):
        problem = Problem.around_mask(working, network, taps, reach=reach, alignment=alignment)
        terms = {tap: lambda features, _: torch.zeros_like(features) for tap in taps}
        with FlopCounterMode(display=False) as counter:
            problem.gradient(problem.pixels(working.composite), terms, torch.zeros_like)
        counts.append(counter.get_total_flops())
    return counts[0], counts[1]


def test_an_iterations_operations_are_those_of_its_convolutions(network: FeatureNetwork) -> None:
    inputs = toy_inputs(HEIGHT, WIDTH, mask=mask_of())
    plan = plan_job(inputs.mask, None, PARAMS, network, CPU)
    for stage, real in zip(plan.stages, operations(inputs, network), strict=False):
        # Borders around each layer's rectangle come on top, products for styles and the optimizer are left out there.
        assert 0.5 < stage.iteration.flop / real < 1.3


def test_costs_grow_with_the_object_and_its_size() -> None:
    network, shape = sketch_network(NetworkName.VGG16), ObjectShape.of(mask_of())
    larger = ObjectShape.of(mask_of((50, 250), (50, 350)))
    plans = [plan_at(each, side, PARAMS, network, CPU) for each, side in ((shape, 256), (larger, 256), (larger, 512))]
    for before, after in itertools.pairwise(plans):
        assert before.peak_bytes < after.peak_bytes
        for one, other in zip(before.stages[:2], after.stages[:2], strict=True):
            assert one.iteration.flop < other.iteration.flop
    assert plans[2].stages[0].iteration.flop == pytest.approx(4 * plans[1].stages[0].iteration.flop, rel=0.05)


def test_the_largest_size_fits_and_the_next_does_not() -> None:
    network, shape = sketch_network(NetworkName.VGG16), ObjectShape.of(mask_of())
    budget = plan_at(shape, 400, PARAMS, network, CPU).peak_bytes
    largest = largest_long_side(shape, PARAMS, network, CPU, budget, limit=2048)
    assert largest is not None
    assert largest >= 400
    assert plan_at(shape, largest, PARAMS, network, CPU).peak_bytes <= budget
    assert plan_at(shape, largest + 1, PARAMS, network, CPU).peak_bytes > budget
    assert largest_long_side(shape, PARAMS, network, CPU, budget, limit=300) == 300
    assert largest_long_side(shape, PARAMS, network, CPU, 1 << 20, limit=2048) is None


def test_iterations_and_history_count() -> None:
    network, shape = sketch_network(NetworkName.VGG16), ObjectShape.of(mask_of((20, 280), (20, 380)))

    def planned(iterations: int, history: int) -> tuple[float, int]:
        params = replace(PARAMS, pass1=Pass1Params(iteration_count=iterations, history_size=history))
        stage = plan_at(shape, 700, params, network, CPU).stages[0]
        return stage.work.flop, stage.peak_bytes

    few, more = planned(10, 10)[0], planned(20, 10)[0]
    assert planned(30, 10)[0] - more == pytest.approx(more - few)
    assert more > few
    assert planned(100, 100)[1] > planned(100, 10)[1] == planned(10, 100)[1]
