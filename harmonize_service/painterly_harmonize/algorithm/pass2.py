"""Pass 2, refinement: one consistent mapping selects the style of every tap. Source: section 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm import losses as loss
from painterly_harmonize.algorithm.color import rgb_to_lab
from painterly_harmonize.algorithm.continuation import PassControl
from painterly_harmonize.algorithm.errors import MaskEmpty
from painterly_harmonize.algorithm.gradients import unit_norm
from painterly_harmonize.algorithm.masks import area_resize, binary_tap_mask, tight_tap_mask
from painterly_harmonize.algorithm.matching import (
    Measure,
    nearest_neighbor_field,
    refine_nnf,
    style_position_counts,
    upsample_positions,
)
from painterly_harmonize.algorithm.optimize import NEVER
from painterly_harmonize.algorithm.params import Pass2Params, RefinementGuide
from painterly_harmonize.algorithm.problem import CONTENT_TAP, Problem, Working, beginning, whole_position_count
from painterly_harmonize.algorithm.region import region_around
from painterly_harmonize.algorithm.stage import Iterate, Stage
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.style_level import Pass2Weights
from painterly_harmonize.algorithm.vgg import FeatureNetwork, stride

REFERENCE_TAP = "relu4_1"
STYLE_TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
HISTOGRAM_TAPS = ("relu1_1", "relu4_1")
# How far a pixel's effect on a masked feature at relu4_1 reaches, and that tap's stride (section 7, shortcut 4).
REACH_PX, ALIGNMENT_PX = 80, 8
# The refinement reads its neighbors' matches within this many cells.
_REFINEMENT_REACH_CELLS = 2
# Beside their cosine, the squared difference of two cells' colors counts over this, L*a*b* units.
_COLOR_SCALE = 100.0
# Below float32's resolution of a unit-norm sum a term adds nothing but its cost.
_NEGLIGIBLE_WEIGHT = 1e-6


@dataclass(frozen=True, kw_only=True)
class _Term:
    """The terms of one tap: style always, content and histogram where targets are given. All gradients unit-norm."""

    weights: Pass2Weights
    mask: Tensor
    area: Tensor
    gram_target: Tensor
    content_target: Tensor | None
    histogram_table: Tensor | None
    histogram_index: Tensor
    position_count: int

    def __call__(self, features: Tensor, losses: dict[str, Tensor]) -> Tensor:
        masked = features * self.mask
        gram = loss.gram_matrix(masked, self.area)
        losses["style"] = losses.get("style", 0) + loss.style_loss(gram, self.gram_target)
        gradient = unit_norm(
            loss.style_gradient(masked, self.mask, self.area, gram, self.gram_target), self.weights.style
        )
        if self.content_target is not None:
            gradient += self._content(features, self.content_target, losses)
        if self.histogram_table is not None:
            gradient += self._histogram(features, self.histogram_table, losses)
        return gradient

    def _content(self, features: Tensor, target: Tensor, losses: dict[str, Tensor]) -> Tensor:
        squared, count = self.mask.square(), self.position_count
        losses["content"] = loss.content_loss(features, target, squared, count)
        return unit_norm(loss.content_gradient(features, target, squared, count), self.weights.content)

    def _histogram(self, features: Tensor, table: Tensor, losses: dict[str, Tensor]) -> Tensor:
        # Where channels come last, rows are copied whole; what is sorted must lie side by side.
        values = features.T.index_select(0, self.histogram_index).T.contiguous()
        remapped = loss.remap_by_rank(values, table)
        losses["histogram"] = losses.get("histogram", 0) + loss.histogram_loss(values, remapped)
        gradient = torch.zeros_like(features)
        gradient.T.index_copy_(0, self.histogram_index, (values - remapped).T)
        return unit_norm(gradient, self.weights.histogram)


def cell_colors(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean colors of a tap's cells, 1×3×h×w, such that their squared differences weigh as in the matching."""
    return area_resize(rgb_to_lab(image.clamp(0, 1)), size) / _COLOR_SCALE


def reference_cells(mask: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The cells of the reference tap inside the tight mask, and these with all that the refinement reads around them.

    ``mask`` is 1×1×H×W, ``size`` the tap's; both results are 1×1×h×w, bool. Sources: sections 1.4 and 3.2.
    """
    tight = tight_tap_mask(mask, size)
    reach = _REFINEMENT_REACH_CELLS
    return tight, functional.max_pool2d(tight.float(), 2 * reach + 1, stride=1, padding=reach) > 0


def consistent_matches(
    working: Working,
    pass1_result: Tensor,
    painting_features: Tensor,
    network: FeatureNetwork,
    guide_kind: RefinementGuide,
    check: Callable[[], None],
    chunk_elements: int | None = None,
) -> Tensor:
    """The refined matches of the tight mask's cells at the reference tap, flat painting positions.

    Source: sections 3.1 and 3.2. Raises: MaskEmpty when no cell of the tap lies inside the mask.
    """
    size = (painting_features.shape[-2], painting_features.shape[-1])
    tight, near = reference_cells(working.mask, size)
    inside = torch.nonzero(tight.flatten()).flatten()
    if inside.numel() == 0:
        raise MaskEmpty("mask", "no cell of relu4_1 lies inside it; mark a larger object or raise the working size")
    positions = torch.nonzero(near.flatten()).flatten()
    region = region_around(working.dilated_mask, REACH_PX, ALIGNMENT_PX)
    pixels = region.crop(pass1_result) * working.pixel_scale
    source = network.features(pixels, [REFERENCE_TAP])[REFERENCE_TAP]
    cells = torch.nonzero(region.crop_tap(near, stride(REFERENCE_TAP)).flatten()).flatten()
    allowed = working.style_cells(size)
    colors = None
    if not working.parity.match_features_only:
        wanted = region.crop_tap(cell_colors(pass1_result, size), stride(REFERENCE_TAP))
        colors = wanted[0], cell_colors(working.painting, size)[0]
    match, _ = nearest_neighbor_field(
        source[0],
        painting_features[0],
        cells,
        Measure.UNIT_SUM,
        colors=colors,
        allowed=allowed,
        chunk_elements=chunk_elements,
        check=check,
    )
    nnf = torch.zeros(size[0] * size[1], dtype=torch.int64, device=match.device)
    nnf[positions] = match
    guide = area_resize(working.painting, size)[0] if guide_kind is RefinementGuide.RGB else painting_features[0]
    asymmetric = working.parity.asymmetric_refinement_bounds
    return refine_nnf(nnf, inside, guide, allowed=allowed, asymmetric_bounds=asymmetric)[inside]


def run_pass2(
    working: Working,
    pass1_result: Tensor,
    params: Pass2Params,
    weights: Pass2Weights,
    network: FeatureNetwork,
    check: Callable[[], None],
    styles: StyleCache | None = None,
    chunk_elements: int | None = None,
    note_style: Callable[[Tensor], None] = lambda _cells: None,
    control: PassControl | None = None,
) -> Generator[Iterate, None, Tensor]:
    """Run the second pass, yielding every iterate; returns its output at working size, not yet blended or clipped.

    ``pass1_result`` (1×3×h×w) steers the matching only: start and content are the composite's (section 3.4).
    ``chunk_elements`` is how many pairs of positions are compared at a time; ``note_style`` is told which cells of the
    painting lend their style, bool h×w of the reference tap. Where ``control`` has a state, the next iteration is the
    first that is yielded.
    Raises: MaskEmpty, StageFailed, CheckpointInvalid; whatever ``check`` raises.
    """
    control = control or PassControl()
    if not control.is_resumed:
        yield beginning(Stage.PASS2, params.iteration_count, working)
    painting = (styles or StyleCache()).features(network, working.painting * working.pixel_scale, STYLE_TAPS)
    check()
    reference_size = (painting[REFERENCE_TAP].shape[-2], painting[REFERENCE_TAP].shape[-1])
    if control.is_resumed:
        count = int(reference_cells(working.mask, reference_size)[0].count_nonzero())
        matches = control.matches(REFERENCE_TAP, count, math.prod(reference_size), network.device)
    else:
        matches = consistent_matches(
            working, pass1_result, painting[REFERENCE_TAP], network, params.refinement_guide, check, chunk_elements
        )
    chosen = style_position_counts(matches, reference_size, params.ring_radius_cells)
    allowed = working.style_cells(reference_size)
    if allowed is not None:
        chosen *= allowed
    if working.parity.style_positions_once:
        chosen.clamp_(max=1)
    note_style(chosen > 0)
    problem = Problem.around_mask(working, network, STYLE_TAPS, reach=REACH_PX, alignment=ALIGNMENT_PX)
    terms = {}
    for tap in STYLE_TAPS:
        check()
        counts = upsample_positions(chosen, (painting[tap].shape[-2], painting[tap].shape[-1])).flatten()
        style_values = painting[tap][0].flatten(1)[:, counts > 0]
        counts = counts[counts > 0]
        soft = problem.soft_masks[tap]
        index = torch.nonzero(binary_tap_mask(soft).flatten()).flatten()
        histogram_table = _histogram_table(tap, style_values, counts, index.numel(), working, weights)
        style_values *= counts.to(style_values).sqrt()
        terms[tap] = _Term(
            weights=weights,
            mask=soft.flatten(),
            area=soft.sum(),
            gram_target=loss.gram_matrix(style_values, counts.sum()),
            content_target=problem.features.taps[tap].cells[0].flatten(1).clone() if tap == CONTENT_TAP else None,
            histogram_table=histogram_table,
            histogram_index=index,
            position_count=whole_position_count(working, tap),
        )
    mask = problem.live.crop(working.dilated_mask)

    def smooth(pixels: Tensor) -> Tensor:
        gradient = loss.total_variation_gradient(pixels, partial=working.parity.partial_total_variation)
        return unit_norm(mask * gradient, weights.total_variation)

    return (yield from problem.optimize(Stage.PASS2, params, terms, smooth, NEVER, control, {REFERENCE_TAP: matches}))


def _histogram_table(
    tap: str, style_values: Tensor, counts: Tensor, count: int, working: Working, weights: Pass2Weights
) -> Tensor | None:
    if tap not in HISTOGRAM_TAPS or weights.histogram < _NEGLIGIBLE_WEIGHT:
        return None
    make = loss.binned_table if working.parity.binned_histogram else loss.quantile_table
    return make(style_values, count, counts)
