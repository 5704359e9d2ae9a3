"""Both passes as optimization problems: literal twins on the whole picture, and oracles 18, 19, 24, 35, 38 and 39."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm import masks, pass1, pass2, problem
from painterly_harmonize.algorithm.continuation import PassControl
from painterly_harmonize.algorithm.errors import MaskEmpty, StageFailed, Stopped
from painterly_harmonize.algorithm.gradients import unit_norm
from painterly_harmonize.algorithm.losses import binned_table, remap_by_rank
from painterly_harmonize.algorithm.optimize import NEVER, Evaluation, Tolerances, minimize
from painterly_harmonize.algorithm.params import ParityParams, Pass1Params, Pass2Params, RefinementGuide
from painterly_harmonize.algorithm.problem import PixelTerm, Problem, TapTerm, Working, raise_if, working_pictures
from painterly_harmonize.algorithm.region import MaskedPixels, Region
from painterly_harmonize.algorithm.stage import Inputs, Iterate, Stage
from painterly_harmonize.algorithm.style_level import Pass2Weights
from painterly_harmonize.algorithm.vgg import CAFFE_INPUT, FeatureNetwork, LayerPlan, build_network
from tests.harmonize.algorithm import reference
from tests.harmonize.algorithm.toy import (
    TOY19_PLAN,
    TOY_PLAN,
    picture,
    plan_tensors,
    rectangle_mask,
    toy_inputs,
    toy_network,
)

Steps = Generator[Iterate, None, Tensor]
Pass = Callable[[Working], Steps]
WEIGHTS = Pass2Weights(content=1, style=5, histogram=20, total_variation=25)
ONLY_CONTENT = Pass2Weights(content=1, style=0, histogram=0, total_variation=0)


def never() -> None:
    """The check of a run that nobody stops."""


def working(inputs: Inputs, network: FeatureNetwork, parity: ParityParams | None = None) -> Working:
    return working_pictures(inputs, max(inputs.painting.shape), parity or ParityParams(), network)


def first_pass(network: FeatureNetwork, params: Pass1Params | None = None) -> Pass:
    chosen = params or Pass1Params(iteration_count=4)
    return lambda pictures: pass1.run_pass1(pictures, chosen, network, never)


def second_pass(network: FeatureNetwork, params: Pass2Params | None = None, weights: Pass2Weights = WEIGHTS) -> Pass:
    """The second pass; another picture of the size stands in for the first one's result."""
    chosen = params or Pass2Params(iteration_count=4)
    return lambda pictures: pass2.run_pass2(pictures, first_result(pictures), chosen, weights, network, never)


def first_result(pictures: Working) -> Tensor:
    return pictures.painting.flip(-1)


def run(steps: Steps) -> tuple[list[Iterate], Tensor]:
    """All iterates and the output, not yet blended."""
    iterates = []
    while True:
        try:
            iterates.append(next(steps))
        except StopIteration as end:
            result: Tensor = end.value
            return iterates, result


@dataclass(frozen=True, kw_only=True)
class Caught:
    """A pass's problem as it was about to be optimized."""

    problem: Problem
    tap_terms: Mapping[str, TapTerm]
    pixel_term: PixelTerm
    tolerances: Tolerances

    def gradient(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Gradient by the whole picture's pixels in 8-bit units, where ``image`` is RGB in [0, 1]; and the losses."""
        found, losses = self.problem.gradient(self.problem.pixels(image), self.tap_terms, self.pixel_term)
        whole = torch.zeros_like(image)
        self.problem.live.crop(whole).copy_(found)
        return whole, losses

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """What each tap's terms read, C×N."""
        taps = self.problem.features(self.problem.pixels(image))
        return {name: tap.cells[0].flatten(1) for name, tap in taps.items()}


@pytest.fixture
def catch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Steps], Caught]:
    """Runs a pass up to its optimization."""

    def catch(steps: Steps) -> Caught:
        found: list[Caught] = []

        def optimize(
            self: Problem,
            stage: Stage,
            params: Pass1Params | Pass2Params,
            tap_terms: Mapping[str, TapTerm],
            pixel_term: PixelTerm,
            tolerances: Tolerances,
            control: PassControl,
            matches: Mapping[str, Tensor],
        ) -> Iterator[Iterate]:
            found.append(Caught(problem=self, tap_terms=tap_terms, pixel_term=pixel_term, tolerances=tolerances))
            yield from ()

        with monkeypatch.context() as patch:
            patch.setattr(Problem, "optimize", optimize)
            run(steps)
        return found[0]

    return catch


Catch = Callable[[Steps], Caught]


def perturbed(pictures: Working, *, seed: int = 7) -> Tensor:
    """The composite with other values under the dilated mask."""
    noise = torch.randn(pictures.composite.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return pictures.composite + 0.1 * noise.to(pictures.composite) * pictures.dilated_mask


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def plan_network(plan: LayerPlan) -> tuple[dict[str, Tensor], FeatureNetwork]:
    tensors = plan_tensors(plan, dtype=torch.float64)
    return tensors, build_network(plan, tensors, CAFFE_INPUT, name="toy")


def pass1_twin(tensors: Mapping[str, Tensor], pictures: Working) -> reference.Pass1:
    return reference.Pass1(tensors, pictures.composite, pictures.painting, pictures.dilated_mask)


def pass2_twin(
    tensors: Mapping[str, Tensor],
    pictures: Working,
    weights: Pass2Weights = WEIGHTS,
    *,
    first: Callable[[Working], Tensor] | None = None,
    ring: int = 1,
    once: bool = False,
) -> reference.Pass2:
    return reference.Pass2(
        tensors,
        pictures.composite,
        pictures.painting,
        pictures.mask,
        pictures.dilated_mask,
        (first or first_result)(pictures),
        weights=weights.as_dict(),
        ring=ring,
        once=once,
    )


# --- twins ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [TOY_PLAN, TOY19_PLAN])
@pytest.mark.parametrize("rows", [(27, 53), (0, 20)])
def test_pass1_gradient_equals_autograd_with_hooks(plan: LayerPlan, rows: tuple[int, int], catch: Catch) -> None:
    tensors, network = plan_network(plan)
    mask = rectangle_mask(80, 64, rows, (20, 40), dtype=torch.float64)
    pictures = working(toy_inputs(mask=mask, dtype=torch.float64), network)
    image = perturbed(pictures)
    found, losses = catch(first_pass(network)(pictures)).gradient(image)
    twin = pass1_twin(tensors, pictures)
    assert relative(found, twin.gradient(image * 255)) < 1e-10
    for term in ("content", "style", "smooth"):
        without = twin.gradient(image * 255, **{term: 0.0})
        assert relative(found, without) > 1e-8, f"{term} has a part in it"
    assert set(losses) == {"content", "style", "total_variation"}


@pytest.mark.parametrize("plan", [TOY_PLAN, TOY19_PLAN])
@pytest.mark.parametrize("rows", [(27, 53), (0, 20)])
def test_pass2_gradient_equals_unit_norm_autograd(plan: LayerPlan, rows: tuple[int, int], catch: Catch) -> None:
    tensors, network = plan_network(plan)
    mask = rectangle_mask(80, 64, rows, (20, 40), dtype=torch.float64)
    pictures = working(toy_inputs(mask=mask, dtype=torch.float64), network)
    image = perturbed(pictures)
    found, losses = catch(second_pass(network)(pictures)).gradient(image)
    twin = pass2_twin(tensors, pictures)
    assert 1 < len(twin.selected) < pictures.painting[..., ::8, ::8].numel() // 3
    assert relative(found, twin.gradient(image * 255)) < 1e-8
    for term in ("content", "style", "histogram", "total_variation"):
        without = pass2_twin(tensors, pictures, replace(WEIGHTS, **{term: 0.0}))
        assert relative(found, without.gradient(image * 255)) > 1e-4, f"{term} has a part in it"
    assert set(losses) == {"content", "style", "histogram", "total_variation"}


@pytest.mark.weights
def test_gradients_with_real_weights_equal_the_twins(vgg16: FeatureNetwork, catch: Catch) -> None:
    state = {
        f"{name}.{kind}": tensor.double()
        for name, layer in zip(vgg16.kinds, vgg16._layers, strict=True)
        for kind, tensor in layer.state_dict().items()
    }
    plan = [("M" if n.startswith("pool") else len(state[f"{n}.bias"])) for n in vgg16.kinds if not n.startswith("relu")]
    network = build_network(plan, state, CAFFE_INPUT, name="vgg16 in float64")
    pictures = working(toy_inputs(64, 64, dtype=torch.float64), network)
    image = perturbed(pictures)
    for steps, twin in ((first_pass, pass1_twin), (second_pass, pass2_twin)):
        found, _ = catch(steps(network)(pictures)).gradient(image)
        assert relative(found, twin(state, pictures).gradient(image * 255)) < 1e-7


def assert_run_equals_twin(
    pictures: Working, steps: Steps, gradient: Callable[[Tensor], Tensor], *, rate: float, count: int, precision: float
) -> None:
    _, found = run(steps)
    output = reference.optimize(pictures.composite * 255, gradient, iteration_count=count, learning_rate=rate) / 255
    assert float((output - pictures.composite).abs().max()) > 100 * precision
    assert float((found - output).abs().max()) < precision


def test_a_whole_pass1_equals_pytorchs_lbfgs_on_the_whole_picture() -> None:
    tensors, network = plan_network(TOY_PLAN)
    pictures = working(toy_inputs(dtype=torch.float64), network)
    steps = first_pass(network, Pass1Params(iteration_count=8))(pictures)
    gradient = pass1_twin(tensors, pictures).gradient
    assert_run_equals_twin(pictures, steps, gradient, rate=1.0, count=8, precision=1e-9)


# The content term's direction is 0/0 at the start and after the tiny first step still mostly rounding, which the
# unit norm then enlarges (section 3.6): with it two correct runs agree for some steps only.
@pytest.mark.parametrize(("content", "count", "precision"), [(0.0, 8, 1e-9), (1.0, 2, 5e-8)])
def test_a_whole_pass2_equals_pytorchs_lbfgs_on_the_whole_picture(content: float, count: int, precision: float) -> None:
    tensors, network = plan_network(TOY_PLAN)
    pictures = working(toy_inputs(dtype=torch.float64), network)
    weights = replace(WEIGHTS, content=content)
    steps = second_pass(network, Pass2Params(iteration_count=count), weights)(pictures)
    gradient = pass2_twin(tensors, pictures, weights).gradient
    assert_run_equals_twin(pictures, steps, gradient, rate=0.1, count=count, precision=precision)


# --- oracles --------------------------------------------------------------------------------------------------------


def small(network: FeatureNetwork, *, mask: Tensor | None = None, dilated_mask: Tensor | None = None) -> Working:
    return working(replace(toy_inputs(mask=mask), dilated_mask=dilated_mask), network)


def test_oracle_18_pass1_starts_without_content(network: FeatureNetwork, catch: Catch) -> None:
    pictures = small(network)
    (_, first, second, *_), _ = run(first_pass(network)(pictures))
    assert first.losses()["content"] == 0
    assert first.losses()["style"] > 0
    assert second.losses()["content"] > 0
    only_content = Pass1Params(iteration_count=4, style_weight=0, total_variation_weight=0)
    caught = catch(first_pass(network, only_content)(pictures))
    assert not caught.gradient(pictures.composite)[0].any()
    assert caught.gradient(perturbed(pictures))[0].any()
    iterates, result = run(first_pass(network, only_content)(pictures))
    assert [iterate.iteration for iterate in iterates] == [0], "nothing to do: the tolerances end the pass"
    assert torch.equal(pictures.blend(result), pictures.blend(pictures.composite))


def test_oracle_18_pass2_starts_without_content(network: FeatureNetwork, catch: Catch) -> None:
    pictures = small(network)
    (_, first, second, *_), _ = run(second_pass(network)(pictures))
    assert first.losses()["content"] == 0
    assert first.losses()["style"] > 0
    assert first.losses()["histogram"] > 0
    assert second.losses()["content"] > 0
    steps = second_pass(network, weights=ONLY_CONTENT)
    assert not catch(steps(pictures)).gradient(pictures.composite)[0].any()
    assert catch(steps(pictures)).gradient(perturbed(pictures))[0].any()
    iterates, result = run(steps(pictures))
    assert [iterate.iteration for iterate in iterates] == [0, 1, 2, 3, 4], "no tolerance ends this pass"
    assert torch.equal(pictures.blend(result), pictures.blend(pictures.composite))


@pytest.mark.parametrize("make", [first_pass, second_pass])
def test_oracle_19_nothing_moves_outside_the_dilated_mask(
    make: Callable[[FeatureNetwork], Pass], network: FeatureNetwork, catch: Catch
) -> None:
    # With the tight mask as dilated one the blend still shows 3 px around it, which must be the composite's.
    mask = rectangle_mask(80, 64, (24, 48), (20, 40))
    pictures = small(network, mask=mask, dilated_mask=mask)
    pictures = replace(pictures, composite=torch.where(pictures.mask > 0, pictures.composite, pictures.composite * 0.9))
    gradient, _ = catch(make(network)(pictures)).gradient(perturbed(pictures))
    outside = (pictures.dilated_mask == 0).expand_as(gradient)
    assert not gradient[outside].any()
    assert bool((gradient[~outside] != 0).float().mean() > 0.99)
    iterates, _ = run(make(network)(pictures))
    shown = iterates[-1].image()
    assert not torch.equal(shown[~outside], pictures.blend(pictures.composite)[~outside])
    weight = masks.blend_weight(pictures.mask).expand_as(shown)
    around = outside & (weight > 0)
    expected = weight * pictures.composite + (1 - weight) * pictures.painting
    torch.testing.assert_close(shown[around], expected[around], atol=1e-6, rtol=0)
    assert torch.equal(shown[weight == 0], pictures.painting[weight == 0])


def test_oracle_19_pixels_outside_are_the_same_bits_after_every_step() -> None:
    network = toy_network(torch.float32)
    mask = rectangle_mask(80, 64, (24, 48), (20, 40))
    pictures = small(network, mask=mask, dilated_mask=mask)
    outside = (pictures.mask == 0).expand_as(pictures.composite)
    for make in (first_pass, second_pass):
        for iterate in make(network)(pictures):
            assert torch.equal(iterate.image()[outside], pictures.blend(pictures.composite)[outside])


def test_oracle_24_histogram_gradient_is_the_difference_under_the_binary_mask(catch: Catch) -> None:
    tensors, network = plan_network(TOY_PLAN)
    pictures = working(toy_inputs(dtype=torch.float64), network)
    only_histogram = Pass2Weights(content=0, style=0, histogram=50, total_variation=0)
    caught = catch(second_pass(network, weights=only_histogram)(pictures))
    twin = pass2_twin(tensors, pictures)
    for tap, features in caught.features(perturbed(pictures)).items():
        term = caught.tap_terms[tap]
        gradient = term(features, {})
        inside = (caught.problem.soft_masks[tap] > 0.1).flatten()
        assert 0 < int(inside.sum()) < inside.numel()
        assert not gradient[:, ~inside].any()
        if tap not in ("relu1_1", "relu4_1"):
            assert not gradient.any()
            continue
        # R is a constant: the gradient of ½‖F − R‖² is F − R and nothing else.
        values, style = features[:, inside], twin._style[tap]
        remapped = [reference.quantile_remap(v.tolist(), s.tolist()) for v, s in zip(values, style, strict=True)]
        difference = values - torch.tensor(remapped, dtype=torch.float64)
        torch.testing.assert_close(gradient[:, inside], 50 * difference / difference.norm(), atol=1e-7, rtol=0)


@pytest.mark.parametrize("make", [first_pass, second_pass])
def test_oracle_35_masked_pixels_run_like_whole_pictures(
    make: Callable[[FeatureNetwork], Pass], network: FeatureNetwork, catch: Catch
) -> None:
    pictures = small(network)
    caught = catch(make(network)(pictures))
    start = caught.problem.pixels(pictures.composite)
    variable = MaskedPixels.under(start, caught.problem.live.crop(pictures.dilated_mask))
    calls = 0

    def gradient(pixels: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return caught.problem.gradient(pixels, caught.tap_terms, caught.pixel_term)[0]

    def masked_gradient(x: Tensor) -> Evaluation:
        return variable.gather(gradient(variable.scatter(x))), {}

    def whole_gradient(x: Tensor) -> Evaluation:
        return gradient(x.view_as(start)).flatten(), {}

    short = partial(minimize, iteration_count=6, learning_rate=1.0, history_size=3)
    *_, masked = short(variable.gather(start), masked_gradient)
    *_, whole = short(start.flatten(), whole_gradient)
    assert calls == 12
    assert masked.vector.numel() < whole.vector.numel()
    difference = (variable.scatter(masked.vector).flatten() - whole.vector).abs().max()
    moved = (whole.vector - start.flatten()).abs().max()
    # Equal but for the order of summation in dot products, which L-BFGS carries on from step to step.
    assert float(difference / moved) < (1e-9 if network.dtype == torch.float64 else 1e-2)


def test_oracle_38_nothing_pasted_nothing_changed(network: FeatureNetwork, catch: Catch) -> None:
    painting = picture(80, 64, seed=0)
    mask = rectangle_mask(80, 64, (24, 48), (20, 40))
    pictures = working(Inputs(composite=painting, painting=painting, mask=mask), network)
    smooth = Pass1Params(iteration_count=8, total_variation_weight=0)
    gradient, losses = catch(first_pass(network, smooth)(pictures)).gradient(pictures.composite)
    other, _ = catch(first_pass(network, smooth)(small(network, mask=mask))).gradient(pictures.composite)
    precision = 1e-12 if network.dtype == torch.float64 else 1e-6
    assert float(gradient.abs().max()) < precision * float(other.abs().max())
    assert float(losses["content"]) == 0
    _, result = run(first_pass(network, smooth)(pictures))
    assert float((result - pictures.painting).abs().max()) < 1e-5


# The picture's sides, odd so that poolings round up at the far edges, and the object's top left corner.
PLACES = {
    (1, "inside"): (425, 417, 204, 200),
    (1, "in a corner"): (265, 257, 0, 0),
    (1, "at the far corner"): (265, 257, 241, 233),
    (2, "inside"): (233, 225, 104, 101),
    (2, "in a corner"): (169, 161, 0, 0),
    (2, "at the far corner"): (169, 161, 145, 137),
}


@pytest.mark.parametrize(("number", "place"), PLACES)
def test_oracle_39_a_crop_has_the_whole_pictures_gradients(
    number: int, place: str, catch: Catch, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width, top, left = PLACES[number, place]
    mask = rectangle_mask(height, width, (top, top + 24), (left, left + 24), dtype=torch.float64)
    network = plan_network(TOY19_PLAN)[1]  # which reaches farther than VGG-16's
    pictures = working(toy_inputs(height, width, mask=mask, dtype=torch.float64), network)
    compare_crop_with_whole(pictures, network, number, catch, monkeypatch, precision=1e-9)


@pytest.mark.weights
@pytest.mark.parametrize("number", [1, 2])
def test_oracle_39_a_crop_has_the_whole_pictures_gradients_with_real_weights(
    number: int, vgg16: FeatureNetwork, catch: Catch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = rectangle_mask(224, 208, (0, 16), (0, 16))
    pictures = working(toy_inputs(224, 208, mask=mask), vgg16)
    compare_crop_with_whole(pictures, vgg16, number, catch, monkeypatch, precision=1e-4)


def compare_crop_with_whole(
    pictures: Working,
    network: FeatureNetwork,
    number: int,
    catch: Catch,
    monkeypatch: pytest.MonkeyPatch,
    *,
    precision: float,
) -> None:
    make = first_pass if number == 1 else second_pass
    image = perturbed(pictures)
    found, losses = (crop := catch(make(network)(pictures))).gradient(image)
    with monkeypatch.context() as patch:
        everything = Region(top=0, left=0, bottom=image.shape[-2], right=image.shape[-1])
        patch.setattr(problem, "region_around", lambda *_: everything)
        expected, whole_losses = (whole := catch(make(network)(pictures))).gradient(image)
    assert whole.problem.pixels(image).shape == image.shape
    assert crop.problem.region.height * crop.problem.region.width < 0.95 * image[0, 0].numel()
    assert crop.problem.pixels(image).numel() < 0.1 * image.numel()
    assert relative(found, expected) < precision
    for name in losses.keys() - {"total_variation"}:
        torch.testing.assert_close(losses[name], whole_losses[name], atol=0, rtol=precision)
    for layer in crop.problem.features._cells:
        layer.cells.zero_()
    assert relative(crop.gradient(image)[0], expected) > 10 * precision, "what lies around has a part in it"


# --- what else a pass promises --------------------------------------------------------------------------------------


def test_passes_announce_themselves_and_count_their_iterations() -> None:
    network = toy_network(torch.float64)
    pictures = small(network)
    for make, stage in ((first_pass, Stage.PASS1), (second_pass, Stage.PASS2)):
        iterates, _ = run(make(network)(pictures))
        assert [(i.stage, i.iteration, i.iteration_count) for i in iterates] == [(stage, n, 4) for n in range(5)]
        assert iterates[0].losses() == {}
        assert torch.equal(iterates[0].image(), pictures.blend(pictures.composite))


def test_the_passes_stop_rules(catch: Catch) -> None:
    network = toy_network(torch.float64)
    pictures = small(network)
    assert catch(second_pass(network)(pictures)).tolerances == NEVER
    tolerances = catch(first_pass(network)(pictures)).tolerances
    assert tolerances.gradient > 0
    assert tolerances.move > 0


def test_pass2_starts_from_the_composite_and_not_from_the_first_result() -> None:
    network = toy_network(torch.float64)
    pictures = small(network)
    still = Pass2Weights(content=0, style=0, histogram=0, total_variation=0)
    _, result = run(second_pass(network, weights=still)(pictures))
    assert torch.equal(pictures.blend(result), pictures.blend(pictures.composite))


def test_the_ring_and_the_guide_change_what_is_selected(catch: Catch) -> None:
    network = toy_network(torch.float64, seed=4)
    pictures = small(network, mask=rectangle_mask(80, 64, (0, 40), (0, 40)))
    plain, ringed, by_features = (
        catch(second_pass(network, params)(pictures)).gradient(pictures.composite)[0]
        for params in (
            Pass2Params(ring_radius_cells=0),
            Pass2Params(ring_radius_cells=1),
            Pass2Params(ring_radius_cells=0, refinement_guide=RefinementGuide.FEATURES),
        )
    )
    assert relative(ringed, plain) > 1e-3
    assert relative(by_features, plain) > 1e-3


def test_refined_matches_are_those_of_the_literal_field() -> None:
    tensors, network = plan_network(TOY_PLAN)
    pictures = working(toy_inputs(dtype=torch.float64), network)
    twin_features = reference.features(tensors, pictures.painting * 255)["relu4_1"]
    source = reference.features(tensors, first_result(pictures) * 255)["relu4_1"]
    nnf = reference.pass2_match(source, twin_features, (first_result(pictures), pictures.painting)).tolist()
    inside = torch.nonzero(pictures.mask[0, 0, ::8, ::8].flatten()).flatten().tolist()
    for kind in RefinementGuide:
        guide = (
            torch.nn.functional.avg_pool2d(pictures.painting, 8)[0] if kind is RefinementGuide.RGB else twin_features[0]
        )
        found = pass2.consistent_matches(pictures, first_result(pictures), twin_features, network, kind, never)
        refined = reference.refine_nnf(nnf, inside, guide)
        assert found.tolist() == [refined[p] for p in inside]


def test_a_mask_without_cells_is_refused() -> None:
    network = toy_network(torch.float64)
    pictures = small(network)
    empty = replace(pictures, mask=torch.zeros_like(pictures.mask))
    with pytest.raises(MaskEmpty, match="relu4_1") as caught:
        run(second_pass(network)(empty))
    assert caught.value.field == "mask"


@pytest.mark.parametrize(("height", "width"), [(80, 64), (1, 64)])
def test_a_mask_of_a_few_pixels_runs(height: int, width: int) -> None:
    # The soft mask nowhere exceeds 0.1 at relu4_1: that tap has no histogram term.
    network = toy_network(torch.float64)
    mask = rectangle_mask(height, width, (0, 1), (30, 32), dtype=torch.float64)
    inputs = replace(toy_inputs(height, width, mask=mask, dtype=torch.float64), dilated_mask=mask)
    pictures = working(inputs, network)
    assert float(masks.soft_tap_masks(mask, network.kinds)["relu4_1"].max()) < 0.1
    for make in (first_pass, second_pass):
        _, result = run(make(network)(pictures))
        assert bool(torch.isfinite(result).all())


def test_a_mask_of_all_but_one_pixel_runs() -> None:
    network = toy_network(torch.float64)
    mask = torch.ones(1, 1, 80, 64, dtype=torch.float64)
    mask[..., 79, 63] = 0
    pictures = working(toy_inputs(mask=mask, dtype=torch.float64), network)
    for make in (first_pass, second_pass):
        _, result = run(make(network)(pictures))
        assert bool(torch.isfinite(result).all())


@pytest.mark.parametrize("make", [first_pass, second_pass])
def test_a_network_of_nans_fails_the_stage(make: Callable[[FeatureNetwork], Pass]) -> None:
    tensors = plan_tensors(TOY_PLAN, dtype=torch.float64)
    tensors["conv3_1.weight"][0, 0, 0, 0] = torch.nan
    network = build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="broken")
    with pytest.raises(StageFailed, match="not finite") as caught:
        run(make(network)(small(network)))
    assert caught.value.stage == ("pass1" if make is first_pass else "pass2")


# --- parity switches ------------------------------------------------------------------------------------------------


def caught_with(catch: Catch, make: Callable[[FeatureNetwork], Pass], parity: ParityParams) -> tuple[Caught, Working]:
    network = toy_network(torch.float64)
    pictures = working(toy_inputs(dtype=torch.float64), network, parity)
    return catch(make(network)(pictures)), pictures


@pytest.mark.parametrize("make", [first_pass, second_pass])
def test_parity_input_scale_feeds_256_for_white(make: Callable[[FeatureNetwork], Pass], catch: Catch) -> None:
    caught, pictures = caught_with(catch, make, ParityParams(input_scale_256=True))
    white = torch.ones_like(pictures.composite)
    assert set(caught.problem.pixels(white).flatten().tolist()) == {256.0}
    plain, _ = caught_with(catch, make, ParityParams())
    assert set(plain.problem.pixels(white).flatten().tolist()) == {255.0}
    image = perturbed(pictures)
    found = caught.gradient(image)[0]
    if make is first_pass:
        # 256/255 of the pixels through the same formulas: a twin fed with brighter pictures.
        brighter = replace(pictures, composite=pictures.composite * 256 / 255, painting=pictures.painting * 256 / 255)
        twin = pass1_twin(plan_tensors(TOY_PLAN, dtype=torch.float64), brighter)
        assert relative(found, twin.gradient(image * 256)) < 1e-10
    assert relative(found, plain.gradient(image)[0]) > 1e-3


def test_parity_joint_validity_matches_by_shared_cells() -> None:
    network = toy_network(torch.float64, seed=2)
    mask = rectangle_mask(80, 64, (0, 80), (0, 60), dtype=torch.float64)
    pictures = working(toy_inputs(mask=mask, dtype=torch.float64), network, ParityParams(joint_validity_matching=True))
    composite, painting = (
        network.features(x * 255, ["relu5_1"])["relu5_1"] for x in (pictures.composite, pictures.painting)
    )
    soft = masks.soft_tap_masks(pictures.dilated_mask, network.kinds)["relu5_1"]
    grams = {}
    for measure in ("joint cosine", "cosine"):
        match, _ = reference.nearest_neighbor_field(composite[0], painting[0], measure)
        matched = painting[0].flatten(1)[:, match].view_as(composite)
        grams[measure] = reference.gram(soft * matched, soft.sum())
    whole = Problem.around_mask(pictures, network, pass1.STYLE_TAPS, reach=176, alignment=16)
    painting_taps = network.features(pictures.painting * 255, pass1.STYLE_TAPS)
    matches = pass1.style_matches(whole, painting_taps, never)
    found, area = pass1.style_gram_targets(whole, painting_taps, matches)["relu5_1"]
    torch.testing.assert_close(found, grams["joint cosine"])
    torch.testing.assert_close(area, soft.sum())
    assert relative(found, grams["cosine"]) > 1e-3


def test_parity_style_positions_once_makes_them_a_set(catch: Catch) -> None:
    # What is plain matches the same few cells again and again.
    def plain(pictures: Working) -> Tensor:
        return torch.full_like(pictures.painting, 0.5)

    def second_pass_of_plain(network: FeatureNetwork) -> Pass:
        params = Pass2Params(iteration_count=4, ring_radius_cells=0)
        return lambda pictures: pass2.run_pass2(pictures, plain(pictures), params, WEIGHTS, network, never)

    found = {}
    for once in (True, False):
        caught, pictures = caught_with(catch, second_pass_of_plain, ParityParams(style_positions_once=once))
        image = perturbed(pictures)
        found[once] = caught.gradient(image)[0]
        twin = pass2_twin(plan_tensors(TOY_PLAN, dtype=torch.float64), pictures, first=plain, ring=0, once=once)
        assert relative(found[once], twin.gradient(image * 255)) < 1e-8
    assert relative(found[True], found[False]) > 1e-3


def test_parity_binned_histogram_uses_the_bins(catch: Catch) -> None:
    caught, pictures = caught_with(catch, second_pass, ParityParams(binned_histogram=True))
    plain, _ = caught_with(catch, second_pass, ParityParams())
    image = perturbed(pictures)
    assert relative(caught.gradient(image)[0], plain.gradient(image)[0]) > 1e-6
    twin = pass2_twin(plan_tensors(TOY_PLAN, dtype=torch.float64), pictures)
    x = caught.features(image)["relu1_1"]
    inside = (caught.problem.soft_masks["relu1_1"] > 0.1).flatten()
    values = x[:, inside]
    difference = values - remap_by_rank(values, binned_table(twin._style["relu1_1"], values.shape[1]))
    losses: dict[str, Tensor] = {}
    caught.tap_terms["relu1_1"](x, losses)
    torch.testing.assert_close(losses["histogram"], 0.5 * difference.square().sum())
    assert unit_norm(difference, 1).norm() == pytest.approx(1)


def test_parity_match_features_only_leaves_colors_out() -> None:
    network, found = toy_network(torch.float64), []
    for switch in (True, False):
        pictures = working(toy_inputs(dtype=torch.float64), network, ParityParams(match_features_only=switch))
        painting = network.features(pictures.painting * 255, ["relu4_1"])["relu4_1"]
        source = network.features(first_result(pictures) * 255, ["relu4_1"])["relu4_1"]
        inside = torch.nonzero(pictures.mask[0, 0, ::8, ::8].flatten()).flatten().tolist()
        colors = None if switch else (first_result(pictures), pictures.painting)
        nnf = reference.pass2_match(source, painting, colors).tolist()
        refined = reference.refine_nnf(nnf, inside, torch.nn.functional.avg_pool2d(pictures.painting, 8)[0])
        matches = pass2.consistent_matches(
            pictures, first_result(pictures), painting, network, RefinementGuide.RGB, never
        )
        assert matches.tolist() == [refined[p] for p in inside]
        found.append(matches.tolist())
    assert found[0] != found[1]


def test_parity_asymmetric_bounds_reach_the_refinement() -> None:
    network = toy_network(torch.float64)
    mask = rectangle_mask(80, 64, (0, 80), (0, 60), dtype=torch.float64)
    found = {}
    for asymmetric in (False, True):
        pictures = working(
            toy_inputs(mask=mask, dtype=torch.float64), network, ParityParams(asymmetric_refinement_bounds=asymmetric)
        )
        painting = network.features(pictures.painting * 255, ["relu4_1"])["relu4_1"]
        source = network.features(first_result(pictures) * 255, ["relu4_1"])["relu4_1"]
        nnf = reference.pass2_match(source, painting, (first_result(pictures), pictures.painting)).tolist()
        inside = torch.nonzero(pictures.mask[0, 0, ::8, ::8].flatten()).flatten().tolist()
        refined = reference.refine_nnf(
            nnf, inside, torch.nn.functional.avg_pool2d(pictures.painting, 8)[0], bound=2 if asymmetric else 1
        )
        matches = pass2.consistent_matches(
            pictures, first_result(pictures), painting, network, RefinementGuide.RGB, never
        )
        assert matches.tolist() == [refined[p] for p in inside]
        found[asymmetric] = matches
    assert not torch.equal(found[False], found[True])


@pytest.mark.parametrize("make", [first_pass, second_pass])
def test_parity_partial_variation_reaches_pixels_and_losses(
    make: Callable[[FeatureNetwork], Pass], catch: Catch
) -> None:
    network = toy_network(torch.float64)
    mask = rectangle_mask(80, 64, (60, 80), (40, 64), dtype=torch.float64)
    inputs = toy_inputs(mask=mask, dtype=torch.float64)
    plain, partial = (
        catch(make(network)(working(inputs, network, ParityParams(partial_total_variation=switch))))
        for switch in (False, True)
    )
    pixels = plain.problem.pixels(inputs.composite)
    difference = (plain.pixel_term(pixels) - partial.pixel_term(pixels)).abs().sum((0, 1))
    if make is first_pass:
        assert not difference[:-1, :-1].any()
    assert difference[-1].any()
    assert difference[:, -1].any()
    values = [caught.gradient(inputs.composite)[1]["total_variation"] for caught in (plain, partial)]
    last_row = (pixels[..., -1, 1:] - pixels[..., -1, :-1]).square().sum()
    last_column = (pixels[..., 1:, -1] - pixels[..., :-1, -1]).square().sum()
    torch.testing.assert_close(values[0] - values[1], 0.5 * (last_row + last_column))


def test_parity_without_union_lets_small_shapes_vanish() -> None:
    network = toy_network(torch.float64)
    mask = rectangle_mask(720, 700, (300, 340), (300, 340))
    mask[..., 10:14, 10:14] = 1
    inputs = toy_inputs(720, 700, mask=mask)
    united, plain = (
        working(inputs, network, ParityParams(derived_mask_without_union=switch)).dilated_mask
        for switch in (False, True)
    )
    assert bool(united[..., 10:14, 10:14].all())
    assert not plain[..., :100, :100].any()
    assert torch.equal(united[..., 200:, 200:], plain[..., 200:, 200:])


def test_parity_wide_kernel_blends_almost_like_a_box() -> None:
    network = toy_network(torch.float64)
    inputs = toy_inputs(dtype=torch.float64)
    pictures = working(inputs, network, ParityParams(wide_blend_kernel=True))
    white, black = torch.ones_like(pictures.composite), torch.zeros_like(pictures.composite)
    shown = replace(pictures, painting=black).blend(white)[0, 0]
    edge = inputs.mask[0, 0, 40].nonzero()[0, 0]
    box = torch.nn.functional.avg_pool2d(inputs.mask, 7, stride=1, padding=3)[0, 0]
    assert float((shown - box).abs().max()) < 0.01
    assert float((working(inputs, network).blend(white) - pictures.blend(white)).abs().max()) > 0.01
    assert float(shown[40, edge]) == pytest.approx(4 / 7, abs=0.01)


def test_a_stopped_check_reaches_the_matching() -> None:
    network = toy_network(torch.float64)
    pictures = small(network)
    stopped = False
    check = raise_if(lambda: stopped)
    steps = pass1.run_pass1(pictures, Pass1Params(iteration_count=4), network, check)
    assert next(steps).iteration == 0
    stopped = True
    with pytest.raises(Stopped):
        next(steps)
