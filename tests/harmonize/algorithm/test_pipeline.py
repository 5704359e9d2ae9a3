"""The whole method end to end on a toy network: oracles 33 and 40, events, stopping, failures, parity switches."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm import canvas, masks, pass2, patch_search, postprocess
from painterly_harmonize.algorithm.continuation import PassControl
from painterly_harmonize.algorithm.errors import AlgorithmError, MaskEmpty, ParameterError, StageFailed, Stopped
from painterly_harmonize.algorithm.level_estimate import estimate_level
from painterly_harmonize.algorithm.params import (
    HarmonizeParams,
    ParityParams,
    Pass1Params,
    Pass2Params,
    PostprocessParams,
    StyleRegion,
)
from painterly_harmonize.algorithm.pipeline import harmonize, run_pass1, run_pass2
from painterly_harmonize.algorithm.problem import Working
from painterly_harmonize.algorithm.recoloring import ColorMap
from painterly_harmonize.algorithm.region import Region
from painterly_harmonize.algorithm.stage import (
    Event,
    Inputs,
    Iterate,
    Result,
    Stage,
    StageResult,
    StylizationLevel,
    with_style_region,
)
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.style_level import Pass2Weights, painting_noise
from painterly_harmonize.algorithm.vgg import CAFFE_INPUT, FeatureNetwork, build_network
from tests.harmonize.algorithm.toy import (
    TOY_PLAN,
    picture,
    plan_tensors,
    rectangle_mask,
    toy_inputs,
    toy_network,
)

COUNTS = (5, 4)
PARAMS = HarmonizeParams(
    stylization_level=5.0,
    pass1=Pass1Params(iteration_count=COUNTS[0]),
    pass2=Pass2Params(iteration_count=COUNTS[1]),
    working_long_side_px=2048,
    object_size_px=None,
)


def go_on() -> bool:
    return False


def all_events(inputs: Inputs, params: HarmonizeParams = PARAMS, network: FeatureNetwork | None = None) -> list[Event]:
    return list(harmonize(inputs, params, network or toy_network(), go_on))


def result_of(events: list[Event]) -> Result:
    assert isinstance(events[-1], Result)
    return events[-1]


def stage_image(events: list[Event], stage: Stage) -> Tensor:
    (found,) = (event.image for event in events if isinstance(event, StageResult) and event.stage is stage)
    return found


def as_bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)[0].permute(1, 2, 0)


def as_picture(image: Tensor) -> Tensor:
    return image.permute(2, 0, 1)[None].float() / 255


def beyond(mask: Tensor, distance: int) -> Tensor:
    """Which pixels are at least ``distance`` px from the mask, bool H×W."""
    reach = 2 * distance - 1
    return torch.nn.functional.max_pool2d(mask, reach, stride=1, padding=distance - 1)[0, 0] == 0


# --- the part of the painting that lends its hand ---------------------------------------------------------------------


def with_other_columns(image: Tensor, first: int) -> Tensor:
    other = image.clone()
    other[..., first:] = 1 - image[..., first:]
    return other


def test_what_is_outside_the_style_region_has_no_say() -> None:
    # What changes is far to the right of object and region, beyond what any tap reads from there.
    inputs = toy_inputs(width=320, mask=rectangle_mask(80, 320, (26, 53), (40, 70)))
    region = StyleRegion(left_fraction=0, top_fraction=0, width_fraction=0.375, height_fraction=1)
    changed = replace(
        inputs,
        painting=with_other_columns(inputs.painting, 240),
        composite=with_other_columns(inputs.composite, 240),
    )

    def object_of(inputs: Inputs, params: HarmonizeParams) -> Tensor:
        return result_of(all_events(inputs, params)).image[:, :120]

    restricted = replace(PARAMS, style_region=region)
    assert torch.equal(object_of(inputs, restricted), object_of(changed, restricted))
    assert not torch.equal(object_of(inputs, PARAMS), object_of(changed, PARAMS))
    assert not torch.equal(object_of(inputs, PARAMS), object_of(inputs, restricted))
    lent = result_of(all_events(inputs, restricted)).style_mask
    assert lent is not None
    assert lent[:, :120].any()
    assert not lent[:, 120:].any()
    mask = torch.zeros_like(inputs.mask)
    mask[..., :120] = 1
    assert torch.equal(object_of(replace(inputs, style_mask=mask), PARAMS), object_of(inputs, restricted))


def test_a_style_region_has_one_pixel_at_least_and_one_source() -> None:
    inputs = toy_inputs()
    with pytest.raises(ParameterError, match=r"width_fraction: must be from 1e-06 to 0\.25, got 0\.5"):
        StyleRegion(left_fraction=0.75, top_fraction=0.5, width_fraction=0.5, height_fraction=0.5)
    dot = StyleRegion(left_fraction=0.5, top_fraction=0.5, width_fraction=1e-6, height_fraction=1e-6)
    mask = with_style_region(inputs, dot).style_mask
    assert mask is not None
    assert torch.nonzero(mask[0, 0]).tolist() == [[40, 32]]
    assert with_style_region(inputs, None) is inputs
    with pytest.raises(AlgorithmError, match="style_region"):
        with_style_region(replace(inputs, style_mask=mask), dot)
    with pytest.raises(MaskEmpty, match="style_mask"):
        replace(inputs, style_mask=torch.zeros_like(inputs.mask))


# --- events ---------------------------------------------------------------------------------------------------------


def test_events_come_in_order_and_end_in_one_result() -> None:
    events = all_events(toy_inputs())
    order: list[object] = []
    for event in events:
        if isinstance(event, Iterate) and event.stage is not Stage.POSTPROCESSING:
            order.append((event.stage.value, event.iteration, event.iteration_count))
        elif isinstance(event, StageResult):
            order.append(event.stage.value)
        elif isinstance(event, Result):
            order.append("result")
    assert order == [
        *(("pass1", n, COUNTS[0]) for n in range(COUNTS[0] + 1)),
        "pass1",
        *(("pass2", n, COUNTS[1]) for n in range(COUNTS[1] + 1)),
        "pass2",
        "result",
    ]
    last = [
        (e.iteration, e.iteration_count) for e in events if isinstance(e, Iterate) and e.stage is Stage.POSTPROCESSING
    ]
    assert last[0][0] == 0
    assert last[-1][0] == last[-1][1] > 0
    assert isinstance(events[-2], Iterate)
    assert events[-2].stage is Stage.POSTPROCESSING


@pytest.mark.parametrize("stage", [Stage.PASS1, Stage.PASS2])
def test_a_pass_ends_early_where_its_loss_no_longer_falls_with_the_picture_that_it_has(stage: Stage) -> None:
    passes = {Stage.PASS1: "pass1", Stage.PASS2: "pass2"}
    long = replace(
        PARAMS,
        pass1=Pass1Params(iteration_count=300 if stage is Stage.PASS1 else 2, max_step=16),
        pass2=Pass2Params(iteration_count=300 if stage is Stage.PASS2 else 2, max_step=16),
    )
    own = getattr(long, passes[stage])
    short = replace(long, **{passes[stage]: replace(own, min_improvement=0.5)})
    events = all_events(toy_inputs(), short)
    last = [e for e in events if isinstance(e, Iterate) and e.stage is stage][-1]
    assert last.iteration == last.iteration_count
    assert last.iteration in range(50, 300, 25)
    cut = replace(long, **{passes[stage]: replace(own, iteration_count=last.iteration)})
    assert torch.equal(result_of(events).image, result_of(all_events(toy_inputs(), cut)).image)


def test_iterates_show_losses_and_a_picture() -> None:
    inputs = toy_inputs()
    params = replace(PARAMS, parity=ParityParams(keep_photo_noise=True))
    shown: dict[Stage, list[Tensor]] = {stage: [] for stage in Stage}
    for event in harmonize(inputs, params, toy_network(), go_on):
        if isinstance(event, Iterate):
            names = {
                Stage.PASS1: {"content", "style", "total_variation"},
                Stage.PASS2: {"content", "style", "total_variation", "histogram"},
                Stage.POSTPROCESSING: set(),
            }[event.stage]
            assert event.losses().keys() == (names if event.iteration else set())
            image = event.image()
            assert image.shape == inputs.painting.shape
            shown[event.stage].append(image.clone())
    weight = masks.blend_weight(inputs.mask)
    first = shown[Stage.PASS1]
    torch.testing.assert_close(first[0], masks.blend(inputs.composite, inputs.painting, weight))
    # The second pass begins with the composite in the colors of the first one's result.
    recolored = ColorMap.between(inputs.composite, first[-1], inputs.mask).recolor(inputs.composite, inputs.mask)
    torch.testing.assert_close(shown[Stage.PASS2][0], masks.blend(recolored, inputs.painting, weight))
    for stage in (Stage.PASS1, Stage.PASS2):
        assert all(not torch.equal(a, b) for a, b in zip(shown[stage], shown[stage][1:], strict=False))


def test_result_tells_what_was_found() -> None:
    inputs = toy_inputs()
    result = result_of(all_events(inputs))
    assert result.image.dtype == torch.uint8
    assert result.image.shape == (80, 64, 3)
    assert result.image.device.type == "cpu"
    assert result.painting_noise == pytest.approx(painting_noise(inputs.painting))
    # Section 3.7 at level 5.
    smoothness = 10 / (1 + 2.718281828459045 ** (1e4 * result.painting_noise - 25))
    assert result.pass2_weights == pytest.approx(
        {"content": 2, "style": 5, "histogram": 5, "total_variation": smoothness * 5}, rel=1e-6
    )
    assert result.style_mask is not None
    assert (result.style_mask.shape, result.style_mask.dtype) == ((80, 64), torch.bool)
    assert 0 < int(result.style_mask.sum()) < 80 * 64
    changed = (result.image != as_bytes(inputs.painting)).any(-1)
    assert result.changed_pixel_count == int(changed.sum()) > 0
    assert result.blend_pixel_count == int((~beyond(inputs.mask, 7)).sum())


def test_a_given_level_wins_and_else_the_painting_decides() -> None:
    inputs = toy_inputs()
    given = result_of(all_events(inputs, replace(PARAMS, stylization_level=7.5)))
    assert given.level == StylizationLevel(value=7.5, is_estimated=False)
    assert (given.params.stylization_level, given.pass2_weights["style"]) == (7.5, 7.5)
    estimate = estimate_level(inputs.painting)
    found = result_of(all_events(inputs, replace(PARAMS, stylization_level=None)))
    assert found.level == StylizationLevel(value=estimate.level, is_estimated=True, reasons=estimate.reasons)
    assert (found.params.stylization_level, found.pass2_weights["style"]) == (estimate.level, estimate.level)


def test_weights_are_scaled_by_the_parameters() -> None:
    scaled = replace(
        PARAMS,
        stylization_level=2.0,
        pass2=Pass2Params(
            iteration_count=1,
            content_weight=3,
            style_weight_scale=0.5,
            histogram_weight_scale=0.25,
            total_variation_weight_scale=4,
        ),
    )
    plain = result_of(all_events(toy_inputs())).pass2_weights
    found = result_of(all_events(toy_inputs(), scaled)).pass2_weights
    assert found == pytest.approx(
        {
            "content": 3,
            "style": 1,
            "histogram": plain["histogram"] / 5 * 2 * 0.25,
            "total_variation": plain["total_variation"] / 5 * 2 * 4,
        }
    )


# --- the painting's bytes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("working_long_side", [96, 2048])
@pytest.mark.parametrize("rows", [(50, 90), (0, 30)])
def test_oracle_33_background_bytes_are_the_paintings(working_long_side: int, rows: tuple[int, int]) -> None:
    mask = rectangle_mask(160, 138, rows, (40, 80))
    inputs = toy_inputs(160, 138, mask=mask)
    # Outside the mask the composite is off by what a lossy file leaves: none of it may come through.
    inputs = replace(inputs, composite=torch.where(mask > 0, inputs.composite, (inputs.composite + 0.02).clamp(0, 1)))
    events = all_events(inputs, replace(PARAMS, working_long_side_px=working_long_side))
    painting = as_bytes(inputs.painting)
    for found, distance in (
        (stage_image(events, Stage.PASS1), 4),
        (stage_image(events, Stage.PASS2), 4),
        (result_of(events).image, 7),
    ):
        outside = beyond(mask, distance)
        assert found.shape == painting.shape
        assert torch.equal(found[outside], painting[outside])
        changed = (found != painting).any(-1)
        assert float(changed[mask[0, 0] > 0].float().mean()) > 0.9
        assert bool(changed[(mask[0, 0] == 0) & ~outside].any()), "the blend reaches beyond the mask"


def test_oracle_33_inside_the_optimized_picture_shows() -> None:
    inputs = toy_inputs()
    iterates = list(run_pass1(inputs, PARAMS, toy_network(torch.float64), go_on))
    last = [e for e in iterates if isinstance(e, Iterate)][-1]
    deep = torch.nn.functional.max_pool2d(1 - inputs.mask, 9, stride=1, padding=4)[0, 0] == 0
    result = result_of(iterates)
    expected = (last.image().clamp(0, 1) * 255).round().to(torch.uint8)[0].permute(1, 2, 0)
    assert torch.equal(result.image[deep], expected[deep])
    assert result.blend_pixel_count == int((~beyond(inputs.mask, 4)).sum())
    assert result.pass2_weights == {}


@pytest.mark.parametrize("run", [harmonize, run_pass1])
def test_a_result_is_checked_against_the_painting(
    run: Callable[..., Generator[Event, None, None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Were the blend wrong anywhere, the run must fail instead of handing out a changed background.
    original = masks.blend

    def leaking(output: Tensor, painting: Tensor, weight: Tensor) -> Tensor:
        mixed = original(output, painting, weight)
        mixed[..., 0, 0] = 1 - mixed[..., 0, 0]
        return mixed

    monkeypatch.setattr(masks, "blend", leaking)
    with pytest.raises(StageFailed, match="outside the blend"):
        list(run(toy_inputs(), PARAMS, toy_network(), go_on))


def test_a_smaller_working_size_carries_the_change_back() -> None:
    inputs = toy_inputs(160, 138, mask=rectangle_mask(160, 138, (50, 90), (40, 80)))
    small = replace(PARAMS, working_long_side_px=96)
    iterates = [e for e in harmonize(inputs, small, toy_network(), go_on) if isinstance(e, Iterate)]
    assert {(e.stage, tuple(e.image().shape[-2:])) for e in iterates} == {(stage, (96, 82)) for stage in Stage}


@pytest.mark.parametrize(
    ("object_size", "working"), [(80, (226, 194)), (20, (64, 55)), (400, (453, 390)), (62, (160, 138))]
)
def test_the_objects_size_chooses_the_working_size(object_size: int, working: tuple[int, int]) -> None:
    # The object's box is 40 by 90 pixels, 60 squared; scales are quarter octaves, up to six of them.
    inputs = toy_inputs(160, 138, mask=rectangle_mask(160, 138, (50, 90), (40, 130)))
    sized = replace(PARAMS, object_size_px=object_size, pass1=Pass1Params(iteration_count=1))
    events = list(run_pass1(inputs, sized, toy_network(), go_on))
    assert result_of(events).working_size == working
    assert {tuple(e.image().shape[-2:]) for e in events if isinstance(e, Iterate)} == {working}
    assert result_of(events).image.shape == (160, 138, 3)


def test_an_enlarged_working_picture_is_still_bounded() -> None:
    inputs = toy_inputs(160, 138, mask=rectangle_mask(160, 138, (50, 90), (40, 130)))
    sized = replace(PARAMS, object_size_px=400, working_long_side_px=200, pass1=Pass1Params(iteration_count=1))
    assert result_of(list(run_pass1(inputs, sized, toy_network(), go_on))).working_size == (190, 163)


def test_an_unchanged_working_picture_gives_the_composite_in_full_detail() -> None:
    # Nothing changes at working size, so nothing of the composite's detail may be lost at full size.
    inputs = toy_inputs(160, 138, mask=rectangle_mask(160, 138, (50, 90), (40, 80)))
    still = replace(
        PARAMS,
        working_long_side_px=96,
        object_size_px=None,
        pass1=Pass1Params(iteration_count=3, style_weight=0, content_weight=0, total_variation_weight=0),
        parity=ParityParams(keep_photo_noise=True),
    )
    result = result_of(list(run_pass1(inputs, still, toy_network(torch.float64), go_on)))
    # Blended once, at full size: from 4 px inside the mask the composite is there in full.
    weight = masks.blend_weight(inputs.mask)
    expected = masks.blend(inputs.composite, inputs.painting, weight)
    assert torch.equal(result.image, as_bytes(expected))
    inside = beyond(1 - inputs.mask, 4)
    assert int(inside.sum()) > 100
    assert torch.equal(result.image[inside], as_bytes(inputs.composite)[inside])


# --- determinism ----------------------------------------------------------------------------------------------------


def assert_runs_repeat(network: FeatureNetwork) -> None:
    runs: tuple[list[Tensor], list[Tensor]] = ([], [])
    for images in runs:
        for event in harmonize(toy_inputs(), PARAMS, network, go_on):
            images.append(event.image().clone() if isinstance(event, Iterate) else event.image)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_oracle_40_the_same_run_gives_the_same_bits(network: FeatureNetwork) -> None:
    assert_runs_repeat(network)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_oracle_40_the_same_run_gives_the_same_bits_on_a_gpu() -> None:
    tensors = {name: tensor.cuda() for name, tensor in plan_tensors(TOY_PLAN).items()}
    assert_runs_repeat(build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="toy on a GPU"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_replayed_iterations_are_those_that_are_launched() -> None:
    tensors = {name: tensor.cuda() for name, tensor in plan_tensors(TOY_PLAN).items()}
    inputs = toy_inputs()
    there = replace(inputs, composite=inputs.composite.cuda(), painting=inputs.painting.cuda(), mask=inputs.mask.cuda())
    images, losses = [], []
    for replays in (False, True):
        network = build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="toy on a GPU")
        network.replays = replays
        seen = []
        for event in harmonize(there, PARAMS, network, go_on):
            if isinstance(event, Iterate) and event.iteration:
                seen.append(dict(event.losses()))
            elif isinstance(event, Result):
                images.append(event.image)
        losses.append(seen)
    for launched, replayed in zip(*losses, strict=True):
        assert replayed == pytest.approx(launched, rel=1e-4)
    assert int((images[0].short() - images[1].short()).abs().max()) <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("stage", [Stage.PASS1, Stage.PASS2])
def test_the_host_never_waits_for_an_iteration(stage: Stage) -> None:
    tensors = {name: tensor.cuda() for name, tensor in plan_tensors(TOY_PLAN).items()}
    network, inputs = build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="toy on a GPU"), toy_inputs()
    there = replace(inputs, composite=inputs.composite.cuda(), painting=inputs.painting.cuda(), mask=inputs.mask.cuda())
    params = replace(PARAMS, pass1=Pass1Params(iteration_count=24), pass2=Pass2Params(iteration_count=24))
    try:
        for event in harmonize(there, params, network, go_on):
            if isinstance(event, Iterate) and event.stage is stage:
                # Set-up and the last iteration's question may wait.
                torch.cuda.set_sync_debug_mode("error" if 1 <= event.iteration < 23 else "default")
    finally:
        torch.cuda.set_sync_debug_mode("default")


# --- one pass alone -------------------------------------------------------------------------------------------------


def test_passes_alone_give_what_they_give_together() -> None:
    inputs, network = toy_inputs(), toy_network()
    params = replace(PARAMS, parity=ParityParams(quantize_pass1_result=True))
    together = all_events(inputs, params, network)
    alone = list(run_pass1(inputs, params, network, go_on))
    assert torch.equal(result_of(alone).image, stage_image(together, Stage.PASS1))
    assert torch.equal(stage_image(alone, Stage.PASS1), stage_image(together, Stage.PASS1))
    resumed = replace(inputs, pass1_result=as_picture(result_of(alone).image))
    second = list(run_pass2(resumed, params, network, go_on))
    assert torch.equal(result_of(second).image, stage_image(together, Stage.PASS2))
    assert result_of(second).pass2_weights == result_of(together).pass2_weights
    assert {e.stage for e in second if isinstance(e, Iterate | StageResult)} == {Stage.PASS2}


def test_pass2_alone_needs_the_first_result() -> None:
    with pytest.raises(AlgorithmError, match="needed") as caught:
        next(iter(run_pass2(toy_inputs(), PARAMS, toy_network(), go_on)))
    assert caught.value.field == "pass1_result"


def test_pass2_takes_a_first_result_of_the_paintings_size() -> None:
    inputs = toy_inputs(160, 138, mask=rectangle_mask(160, 138, (50, 90), (40, 80)))
    small = replace(PARAMS, working_long_side_px=96)
    first = result_of(list(run_pass1(inputs, small, toy_network(), go_on)))
    second = list(run_pass2(replace(inputs, pass1_result=as_picture(first.image)), small, toy_network(), go_on))
    assert result_of(second).image.shape == (160, 138, 3)


# --- post-processing ------------------------------------------------------------------------------------------------


def test_postprocessing_of_a_region_equals_that_of_the_whole_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = rectangle_mask(96, 90, (60, 90), (40, 60))
    inputs = toy_inputs(96, 90, mask=mask, dtype=torch.float64)
    network = toy_network(torch.float64)
    cropped = all_events(inputs, PARAMS, network)

    def whole(mask: Tensor, reach: int, alignment: int) -> Region:
        return Region(top=0, left=0, bottom=96, right=90)

    monkeypatch.setattr(canvas, "region_around", whole)
    assert torch.equal(result_of(all_events(inputs, PARAMS, network)).image, result_of(cropped).image)


def test_postprocessing_that_runs_out_of_memory_begins_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = all_events(toy_inputs())
    search, faults = patch_search.nearest_patches, [lambda: torch.empty(2**50)]

    def failing(*args: Any) -> Any:
        if faults:
            faults.pop()()
        return search(*args)

    monkeypatch.setattr(postprocess, "nearest_patches", failing)
    hit = all_events(toy_inputs())
    assert not faults
    assert [event.stage for event in hit if isinstance(event, StageResult)] == [Stage.PASS1, Stage.PASS2]
    assert torch.equal(result_of(hit).image, result_of(plain).image)
    faults += [lambda: torch.empty(2**50)] * 2
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        all_events(toy_inputs())


def test_postprocessing_steps_can_be_skipped() -> None:
    inputs, network = toy_inputs(), toy_network()
    images = {}
    for denoise in (False, True):
        for synthesize in (False, True):
            skip = PostprocessParams(skip_chrominance_denoising=denoise, skip_patch_synthesis=synthesize)
            params = replace(PARAMS, postprocess=skip, parity=ParityParams(repaint_structure=True))
            events = all_events(inputs, params, network)
            images[denoise, synthesize] = result_of(events).image
    found = list(images.values())
    assert all(not torch.equal(a, b) for n, a in enumerate(found) for b in found[n + 1 :])
    plain = masks.blend(
        as_picture(stage_image(events, Stage.PASS2)), inputs.painting, masks.final_blend_weight(inputs.mask)
    )
    # The second pass's picture was rounded to bytes on its way here and is blended once more.
    assert int((images[True, True].int() - as_bytes(plain).int()).abs().max()) <= 1


# --- stopping and failing -------------------------------------------------------------------------------------------


class Switch:
    """Says stop once it is told, and counts how often it is asked."""

    stopped = False
    asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.stopped


@pytest.mark.parametrize(
    ("stage", "iteration"),
    [(Stage.PASS1, 0), (Stage.PASS1, 3), (Stage.PASS2, 0), (Stage.PASS2, 2), (Stage.POSTPROCESSING, 0)],
)
def test_a_run_stops_within_one_iteration(stage: Stage, iteration: int) -> None:
    switch = Switch()
    events = harmonize(toy_inputs(), PARAMS, toy_network(), switch)
    for event in events:
        if isinstance(event, Iterate) and (event.stage, event.iteration) == (stage, iteration):
            switch.stopped = True
            break
    with pytest.raises(Stopped):
        next(events)


def test_a_run_that_is_stopped_before_it_begins_computes_nothing() -> None:
    switch = Switch()
    switch.stopped = True
    for run in (harmonize, run_pass1):
        with pytest.raises(Stopped):
            next(iter(run(toy_inputs(), PARAMS, toy_network(), switch)))


def test_stop_is_asked_in_every_iteration() -> None:
    switch, asked = Switch(), 0
    for event in harmonize(toy_inputs(), PARAMS, toy_network(), switch):
        if isinstance(event, Iterate):
            assert switch.asked > asked
            asked = switch.asked


def broken_network() -> FeatureNetwork:
    tensors = plan_tensors(TOY_PLAN)
    tensors["conv2_1.weight"][0, 0, 0, 0] = torch.nan
    return build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="broken")


def test_a_network_of_nans_fails_and_gives_no_picture() -> None:
    events: list[Event] = []
    with pytest.raises(StageFailed, match=r"pass1.*not finite") as caught:
        events.extend(harmonize(toy_inputs(), PARAMS, broken_network(), go_on))
    assert caught.value.stage == "pass1"
    assert not any(isinstance(event, StageResult | Result) for event in events)


def test_a_mask_that_vanishes_at_working_size_is_refused() -> None:
    mask = rectangle_mask(700, 640, (100, 102), (100, 102))
    inputs = toy_inputs(700, 640, mask=mask)
    with pytest.raises(MaskEmpty, match=r"58x64 pixels.*raise the working size") as caught:
        next(iter(harmonize(inputs, replace(PARAMS, working_long_side_px=64), toy_network(), go_on)))
    assert caught.value.field == "mask"


@pytest.mark.parametrize(("height", "width"), [(64, 16), (16, 64), (65, 67)])
def test_the_smallest_paintings_run(height: int, width: int) -> None:
    mask = rectangle_mask(height, width, (5, 9), (6, 10))
    result = result_of(all_events(toy_inputs(height, width, mask=mask)))
    assert result.image.shape == (height, width, 3)
    outside = beyond(mask, 7)
    assert torch.equal(result.image[outside], as_bytes(picture(height, width, seed=0))[outside])


# --- parity switches ------------------------------------------------------------------------------------------------


# Where these have no effect to be seen on the pictures below, they have tests of their own.
INVISIBLE = {"quantize_pass1_result", "unlimited_detail"}
VISIBLE = [field.name for field in fields(ParityParams) if field.name not in INVISIBLE]


@pytest.mark.parametrize("name", VISIBLE)
def test_every_parity_switch_changes_the_picture(name: str) -> None:
    # An object at three sides of the frame, where the border rules differ, and a dot that the dilation loses.
    mask = rectangle_mask(80, 64, (0, 80), (0, 50))
    mask[..., 70, 60] = 1
    inputs = toy_inputs(mask=mask)
    network = toy_network(seed=2)
    plain = all_events(inputs, PARAMS, network)
    switched = all_events(inputs, replace(PARAMS, parity=ParityParams(**{name: True})), network)
    assert len(plain) == len(switched)
    assert not torch.equal(result_of(plain).image, result_of(switched).image)
    outside = beyond(mask, 7)
    assert torch.equal(result_of(switched).image[outside], as_bytes(inputs.painting)[outside])


def test_truncation_cuts_off_and_changes_nothing_else() -> None:
    inputs, network = toy_inputs(), toy_network()
    plain = all_events(inputs, PARAMS, network)
    truncated = all_events(inputs, replace(PARAMS, parity=ParityParams(truncate_on_export=True)), network)
    difference = result_of(plain).image.int() - result_of(truncated).image.int()
    assert set(difference.flatten().tolist()) == {0, 1}


def test_detail_is_no_stronger_than_the_paintings_unless_asked_for() -> None:
    plain = toy_inputs()
    noise = 0.2 * torch.randn(plain.mask.shape[-2:], generator=torch.Generator().manual_seed(3))
    inputs = replace(plain, composite=(plain.composite + noise * plain.mask).clamp(0, 1))
    # Without what the painting has nothing like, whose detail comes first, and all of this noise is that.
    limited, unlimited = (
        result_of(
            all_events(
                inputs,
                replace(PARAMS, parity=ParityParams(unlimited_detail=switch, repaint_structure=True)),
                toy_network(),
            )
        )
        for switch in (False, True)
    )
    inside = beyond(1 - inputs.mask, 7)
    first, second = (
        postprocess.finest_detail(each.image.permute(2, 0, 1)[None].float() / 255)[0].permute(1, 2, 0)[inside].std()
        for each in (limited, unlimited)
    )
    assert first < 0.8 * second


@pytest.mark.parametrize("quantize", [False, True])
def test_quantized_first_results_are_whole_levels(quantize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    original = pass2.run_pass2

    def recording(
        working: Working,
        pass1_result: Tensor,
        params: Pass2Params,
        weights: Pass2Weights,
        network: FeatureNetwork,
        check: Callable[[], None],
        styles: StyleCache,
        chunk_elements: int,
        note_style: Callable[[Tensor], None],
        control: PassControl,
    ) -> Generator[Iterate, None, Tensor]:
        seen.append(pass1_result)
        return original(
            working, pass1_result, params, weights, network, check, styles, chunk_elements, note_style, control
        )

    monkeypatch.setattr(pass2, "run_pass2", recording)
    events = all_events(toy_inputs(), replace(PARAMS, parity=ParityParams(quantize_pass1_result=quantize)))
    levels = seen[0] * 255
    assert bool(((levels - levels.round()).abs() < 1e-3).all()) == quantize
    if quantize:
        assert torch.equal(as_bytes(seen[0]), stage_image(events, Stage.PASS1))
