"""Runs that are interrupted and go on from their checkpoint, and passes that are told to end early."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm import pass2
from painterly_harmonize.algorithm.checkpoint import Position, position
from painterly_harmonize.algorithm.errors import CheckpointInvalid, CheckpointMismatch, Stopped
from painterly_harmonize.algorithm.params import (
    HarmonizeParams,
    ParityParams,
    Pass1Params,
    Pass2Params,
    PostprocessParams,
    StyleRegion,
)
from painterly_harmonize.algorithm.pipeline import harmonize, run_pass1, run_pass2, why_not
from painterly_harmonize.algorithm.stage import Event, Inputs, Iterate, Result, Stage, StageResult
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.vgg import FeatureNetwork
from tests.harmonize.algorithm.test_real_runs import astronaut_in_a_painting
from tests.harmonize.algorithm.toy import rectangle_mask, toy_inputs, toy_network

PASSES = (Stage.PASS1, Stage.PASS2)
# What is compared at many points has no patches synthesized: that takes most of the time.
QUICK = PostprocessParams(skip_patch_synthesis=True)
PARAMS = HarmonizeParams(
    pass1=Pass1Params(iteration_count=5, history_size=2, max_step=16),
    pass2=Pass2Params(iteration_count=4, history_size=2, learning_rate=0.5, max_step=16),
    working_long_side_px=2048,
    object_size_px=None,
    seed=7,
)


def go_on() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an event shows, kept beyond it."""

    stage: Stage | None
    iteration: int | None
    losses: dict[str, float]
    image: Tensor
    result: Result | None = None


def seen(event: Event) -> Seen:
    if isinstance(event, Iterate):
        return Seen(
            stage=event.stage, iteration=event.iteration, losses=dict(event.losses()), image=event.image().clone()
        )
    if isinstance(event, StageResult):
        return Seen(stage=event.stage, iteration=None, losses={}, image=event.image)
    return Seen(stage=None, iteration=None, losses={}, image=event.image, result=event)


def assert_same(found: list[Seen], expected: list[Seen]) -> None:
    assert [(each.stage, each.iteration) for each in found] == [(each.stage, each.iteration) for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.losses == theirs.losses
        assert torch.equal(ours.image, theirs.image)
    one, two = found[-1].result, expected[-1].result
    assert one is not None
    assert two is not None
    for name in ("painting_noise", "pass2_weights", "changed_pixel_count", "iteration_counts", "params", "level"):
        assert getattr(one, name) == getattr(two, name)
    assert (one.style_mask is None) == (two.style_mask is None)
    if one.style_mask is not None and two.style_mask is not None:
        assert torch.equal(one.style_mask, two.style_mask)


Start = Callable[..., Iterator[Event]]


def recorded(start: Start) -> tuple[list[Seen], list[tuple[int, bytes]]]:
    """All events of a run, and each checkpoint with the number of events before it."""
    events: list[Seen] = []
    checkpoints: list[tuple[int, bytes]] = []

    def keep(make: Callable[[], bytes]) -> None:
        checkpoints.append((len(events), make()))

    for event in start(on_checkpoint=keep):
        events.append(seen(event))
    return events, checkpoints


def assert_resumes(start: Start, every: int = 1) -> list[Position]:
    """From each of its checkpoints, or some, a run shows what the rest of the uninterrupted one did.

    Returns where all of them were.
    """
    plain = [seen(event) for event in start()]
    events, checkpoints = recorded(start)
    # Writing them changes nothing.
    assert_same(events, plain)
    for count, checkpoint in checkpoints[every // 2 :: every]:
        # Another run in between leaves random generators and memory as it likes.
        torch.manual_seed(count)
        assert_same([seen(event) for event in start(checkpoint=checkpoint)], plain[count:])
    return [position(checkpoint) for _, checkpoint in checkpoints]


def test_a_run_goes_on_from_everywhere_with_the_same_bytes() -> None:
    positions = assert_resumes(partial(harmonize, toy_inputs(), PARAMS, toy_network(), go_on))
    found = [(each.stage, each.iteration, each.is_finished) for each in positions]
    assert found == [
        *((Stage.PASS1, n, False) for n in range(1, 6)),
        (Stage.PASS1, 5, True),
        *((Stage.PASS2, n, False) for n in range(1, 5)),
        (Stage.PASS2, 4, True),
    ]


def test_single_passes_go_on_too() -> None:
    inputs, network = toy_inputs(), toy_network()
    positions = assert_resumes(partial(run_pass1, inputs, PARAMS, network, go_on))
    assert [each.stage for each in positions] == [Stage.PASS1] * 6
    assert_resumes(partial(run_pass2, replace(inputs, pass1_result=inputs.composite), PARAMS, network, go_on))


@pytest.mark.parametrize(
    "change",
    [
        {"stylization_level": 3.0, "parity": ParityParams(quantize_pass1_result=True, joint_validity_matching=True)},
        {"style_region": StyleRegion(left_fraction=0, top_fraction=0, width_fraction=0.6, height_fraction=1)},
        # The optimizer's first step is not bounded here, and the tolerances of pass 1 end nothing.
        {"pass1": Pass1Params(iteration_count=6), "pass2": Pass2Params(iteration_count=6)},
        {"working_long_side_px": 96},
    ],
)
def test_a_run_of_other_parameters_goes_on(change: dict[str, object]) -> None:
    inputs = toy_inputs(160, 138, mask=rectangle_mask(160, 138, (50, 90), (40, 80)))
    params = replace(PARAMS, postprocess=QUICK, **change)  # type: ignore[arg-type]
    assert_resumes(partial(harmonize, inputs, params, toy_network(), go_on), every=4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_run_of_other_precision_goes_on(dtype: torch.dtype) -> None:
    network = toy_network(dtype) if dtype is torch.float64 else toy_network(layer_dtype=dtype)
    short = replace(
        PARAMS, pass1=Pass1Params(iteration_count=3), pass2=Pass2Params(iteration_count=3), postprocess=QUICK
    )
    assert_resumes(partial(harmonize, toy_inputs(), short, network, go_on), every=3)


def test_what_ends_a_pass_early_is_kept() -> None:
    # The plateau compares with what was 25 iterations ago; the tolerances are met where nothing pulls.
    plateau = Pass1Params(iteration_count=300, max_step=16, min_improvement=0.5)
    still = Pass2Params(iteration_count=1)
    params = replace(PARAMS, pass1=plateau, pass2=still, postprocess=QUICK)
    start = partial(harmonize, toy_inputs(), params, toy_network(), go_on)
    events, checkpoints = recorded(start)
    result = events[-1].result
    assert result is not None
    assert result.iteration_counts[Stage.PASS1] in range(50, 300, 25)
    for count, checkpoint in checkpoints[20:50:13]:
        assert_same([seen(event) for event in start(checkpoint=checkpoint)], events[count:])
    resting = Pass1Params(iteration_count=30, style_weight=0, content_weight=1, total_variation_weight=1e-12)
    assert_resumes(partial(run_pass1, toy_inputs(), replace(PARAMS, pass1=resting), toy_network(torch.float64), go_on))


def test_a_run_is_interrupted_many_times() -> None:
    params = replace(PARAMS, postprocess=QUICK)
    start = partial(harmonize, toy_inputs(), params, toy_network(), styles=StyleCache())
    plain = [seen(event) for event in start(should_stop=go_on)]
    found: list[Seen] = []
    checkpoint: bytes | None = None
    interruptions = 0
    while True:
        kept: list[bytes] = []

        def keep(make: Callable[[], bytes], kept: list[bytes] = kept) -> None:
            kept.append(make())

        run = start(should_stop=go_on, checkpoint=checkpoint, on_checkpoint=keep)
        # Two events after the checkpoint are lost with the worker, and come again.
        for event in run:
            found.append(seen(event))
            if len(kept) == 3:
                break
        if found[-1].result is not None:
            break
        checkpoint, interruptions = kept[-1], interruptions + 1
        lost = position(checkpoint)
        while (found[-1].stage, found[-1].iteration) != (lost.stage, None if lost.is_finished else lost.iteration):
            found.pop()
    assert interruptions > 2
    assert_same(found, plain)


def test_a_checkpoint_is_offered_before_the_run_stops() -> None:
    # So that who stops a run can write down where it was.
    stopped = False
    kept: list[bytes] = []

    def keep(make: Callable[[], bytes]) -> None:
        if stopped:
            kept.append(make())

    inputs, network = toy_inputs(), toy_network()
    run = harmonize(inputs, PARAMS, network, lambda: stopped, on_checkpoint=keep)
    for event in run:
        if isinstance(event, Iterate) and (event.stage, event.iteration) == (Stage.PASS2, 2):
            stopped = True
            break
    with pytest.raises(Stopped):
        next(run)
    assert [position(each) for each in kept] == [Position(stage=Stage.PASS2, iteration=2, is_finished=False)]
    first = next(harmonize(inputs, PARAMS, network, go_on, checkpoint=kept[0]))
    assert isinstance(first, Iterate)
    assert (first.stage, first.iteration) == (Stage.PASS2, 3)


def test_a_resumed_stage_that_runs_out_of_memory_begins_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    start = partial(harmonize, toy_inputs(), replace(PARAMS, postprocess=QUICK), toy_network(), go_on)
    events, checkpoints = recorded(start)
    (checkpoint,) = (
        each for _, each in checkpoints if position(each) == Position(stage=Stage.PASS2, iteration=3, is_finished=False)
    )
    original, faults = pass2.run_pass2, [lambda: torch.empty(2**50)]

    def failing(*args: object, **kwargs: object) -> object:
        if faults:
            faults.pop()()
        return original(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(pass2, "run_pass2", failing)
    found = [seen(event) for event in start(checkpoint=checkpoint)]
    assert (found[0].stage, found[0].iteration) == (Stage.PASS2, 0)
    assert torch.equal(found[-1].image, events[-1].image)


@pytest.mark.parametrize("history", [1, 100])
def test_a_checkpoints_size_is_the_histories(history: int) -> None:
    params = replace(PARAMS, pass1=Pass1Params(iteration_count=8, history_size=history))
    _, checkpoints = recorded(partial(run_pass1, toy_inputs(), params, toy_network(), go_on))
    sizes = [len(each) for _, each in checkpoints[:-2]]
    inputs = toy_inputs()
    least = 3 * 4 * int(inputs.mask.sum())
    growth = [after - before for before, after in itertools.pairwise(sizes)]
    if history == 1:
        assert max(growth[1:]) < 64
    else:
        # A pair more at each iteration.
        assert len(set(growth[:-1])) <= 3
        assert min(growth) > 2 * least


# --- whose checkpoint it is -------------------------------------------------------------------------------------------


def checkpoint_of(inputs: Inputs, params: HarmonizeParams = PARAMS, network: FeatureNetwork | None = None) -> bytes:
    _, checkpoints = recorded(partial(run_pass1, inputs, params, network or toy_network(), go_on))
    return checkpoints[2][1]


def test_a_checkpoint_of_another_run_is_told_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, network = toy_inputs(), toy_network()
    mine = checkpoint_of(inputs)
    own = (Stage.PASS1,)
    assert why_not(mine, inputs, PARAMS, network, own) is None
    longer = replace(PARAMS, pass1=replace(PARAMS.pass1, iteration_count=9))
    dotted = inputs.mask.clone()
    dotted[..., 0, 0] = 1
    cases = [
        (inputs, longer, network, own, "parameters: pass1.iteration_count is 5 there and 9 here"),
        (replace(inputs, mask=dotted), PARAMS, network, own, "inputs: mask is"),
        (replace(inputs, style_mask=inputs.mask), PARAMS, network, own, "inputs: style_mask is absent there"),
        (inputs, PARAMS, toy_network(seed=1), own, "network: weights is"),
        (inputs, PARAMS, toy_network(torch.float64), own, "network: dtype is torch.float32 there and torch.float64"),
        (inputs, PARAMS, network, tuple(Stage), "its stages are pass1, not pass1, pass2, postprocessing"),
    ]
    for ours, params, net, wanted, text in cases:
        found = why_not(mine, ours, params, net, wanted)
        assert found is not None
        assert text in found
    with pytest.raises(CheckpointMismatch, match=r"pass1\.iteration_count is 5 there and 9 here; begin anew") as caught:
        next(run_pass1(inputs, longer, network, go_on, checkpoint=mine))
    assert "9 here" in caught.value.difference
    monkeypatch.setattr(torch, "__version__", "0.0.1")
    assert "code: torch is" in str(why_not(mine, inputs, PARAMS, network, own))


def test_what_is_no_checkpoint_is_told_and_refused() -> None:
    inputs, network = toy_inputs(), toy_network()
    whole = checkpoint_of(inputs)
    middle = len(whole) // 2
    flipped = bytearray(whole)
    flipped[middle] ^= 1
    for broken in (b"", b"PK\x03\x04", whole[:40], whole[:middle], whole[:-1], whole + b"\0", bytes(flipped)):
        found = why_not(broken, inputs, PARAMS, network, (Stage.PASS1,))
        assert found is not None
        assert "the checkpoint cannot be used" in found
        with pytest.raises(CheckpointInvalid, match="begin anew"):
            next(run_pass1(inputs, PARAMS, network, go_on, checkpoint=broken))


# --- ending early -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [(1, 1), (3, 7), (6, 2)])
def test_a_finished_pass_is_one_that_was_meant_to_be_as_short(ends: tuple[int, int]) -> None:
    asked = dict.fromkeys(PASSES, 0)
    now = [Stage.PASS1]

    def finish() -> bool:
        asked[now[0]] += 1
        return asked[now[0]] >= dict(zip(PASSES, ends, strict=True))[now[0]]

    long = replace(
        PARAMS,
        pass1=replace(PARAMS.pass1, history_size=100, iteration_count=8),
        pass2=replace(PARAMS.pass2, history_size=100, iteration_count=8),
        postprocess=QUICK,
    )
    found: list[Seen] = []
    for event in harmonize(toy_inputs(), long, toy_network(), go_on, should_finish_stage=finish):
        found.append(seen(event))
        if isinstance(event, Iterate):
            now[0] = event.stage
            if event.stage in PASSES and event.iteration == ends[PASSES.index(event.stage)]:
                assert event.iteration_count == event.iteration
    short = replace(
        long,
        pass1=replace(long.pass1, iteration_count=ends[0]),
        pass2=replace(long.pass2, iteration_count=ends[1]),
    )
    expected = [seen(event) for event in harmonize(toy_inputs(), short, toy_network(), go_on)]
    result = found[-1].result
    assert result is not None
    assert result.iteration_counts == dict(zip(PASSES, ends, strict=True))
    assert [(each.stage, each.iteration) for each in found] == [(each.stage, each.iteration) for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.losses == theirs.losses
        assert torch.equal(ours.image, theirs.image)
    # Asked once an iteration.
    assert tuple(asked.values()) == ends


def test_a_finished_pass_stays_finished_when_resumed() -> None:
    inputs, network, params = toy_inputs(), toy_network(), replace(PARAMS, postprocess=QUICK)
    events: list[Seen] = []
    kept: list[tuple[int, bytes]] = []
    run = harmonize(
        inputs,
        params,
        network,
        go_on,
        on_checkpoint=lambda make: kept.append((len(events), make())),
        should_finish_stage=lambda: (events[-1].stage, events[-1].iteration) == (Stage.PASS1, 2),
    )
    for event in run:
        events.append(seen(event))
    assert events[-1].result is not None
    assert events[-1].result.iteration_counts == {Stage.PASS1: 3, Stage.PASS2: 4}
    assert [position(each).iteration for _, each in kept] == [1, 2, 3, 3, 1, 2, 3, 4, 4]
    for count, checkpoint in kept[2:]:
        assert_same(
            [seen(event) for event in harmonize(inputs, params, network, go_on, checkpoint=checkpoint)], events[count:]
        )


# --- the real network -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(900)
def test_the_real_network_goes_on_with_the_same_bytes(vgg16: FeatureNetwork) -> None:
    inputs = astronaut_in_a_painting("van_gogh_village_street_auvers.jpg")
    params = HarmonizeParams(
        pass1=Pass1Params(iteration_count=10, max_step=16),
        pass2=Pass2Params(iteration_count=10, learning_rate=0.5, max_step=16),
        working_long_side_px=128,
        object_size_px=64,
    )
    start = partial(harmonize, inputs, params, vgg16, go_on)
    events, checkpoints = recorded(start)
    assert len(checkpoints) == 22
    for count, checkpoint in (*checkpoints[1:9:3], *checkpoints[9:12], *checkpoints[14:20:4], checkpoints[21]):
        assert_same([seen(event) for event in start(checkpoint=checkpoint)], events[count:])
