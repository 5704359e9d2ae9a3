"""Pass 1, coarse harmonization: each position at each tap is mapped on its own. Source: section 2."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from painterly_harmonize.algorithm.continuation import PassControl
from painterly_harmonize.algorithm.losses import (
    content_gradient,
    content_loss,
    gram_matrix,
    style_gradient,
    style_loss,
    total_variation_gradient,
)
from painterly_harmonize.algorithm.matching import Measure, nearest_neighbor_field
from painterly_harmonize.algorithm.optimize import Tolerances
from painterly_harmonize.algorithm.params import Pass1Params
from painterly_harmonize.algorithm.problem import CONTENT_TAP, Problem, Working, beginning, whole_position_count
from painterly_harmonize.algorithm.stage import Iterate, Stage
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.vgg import FeatureNetwork

STYLE_TAPS = ("relu3_1", "relu4_1", "relu5_1")
# How far a pixel's effect on a masked feature at relu5_1 reaches, and that tap's stride (section 7, shortcut 4).
REACH_PX, ALIGNMENT_PX = 176, 16


@dataclass(frozen=True, kw_only=True)
class _Term:
    """The terms of one tap: style always, content where a target is given."""

    params: Pass1Params
    mask: Tensor
    area: Tensor
    gram_target: Tensor
    content_target: Tensor | None
    position_count: int

    def __call__(self, features: Tensor, losses: dict[str, Tensor]) -> Tensor:
        masked = features * self.mask
        gram = gram_matrix(masked, self.area)
        losses["style"] = losses.get("style", 0) + style_loss(gram, self.gram_target)
        gradient = self.params.style_weight * style_gradient(masked, self.mask, self.area, gram, self.gram_target)
        if self.content_target is not None:
            losses["content"] = content_loss(features, self.content_target, self.mask, self.position_count)
            gradient += self.params.content_weight * content_gradient(
                features, self.content_target, self.mask, self.position_count
            )
        return gradient


def style_matches(
    problem: Problem,
    painting: Mapping[str, Tensor],
    check: Callable[[], None],
    chunk_elements: int | None = None,
) -> dict[str, Tensor]:
    """Per style tap the flat painting position that each masked position is matched with, int64.

    ``painting`` holds the whole painting's features, 1×C×h×w per tap. Source: section 2.1.
    """
    measure = Measure.JOINT_COSINE if problem.working.parity.joint_validity_matching else Measure.COSINE
    matches = {}
    for tap in STYLE_TAPS:
        style = painting[tap][0]
        matches[tap], _ = nearest_neighbor_field(
            problem.features.taps[tap].cells[0],
            style,
            torch.nonzero(problem.soft_masks[tap].flatten()).flatten(),
            measure,
            allowed=problem.working.style_cells((style.shape[-2], style.shape[-1])),
            chunk_elements=chunk_elements,
            check=check,
        )
    return matches


def style_gram_targets(
    problem: Problem, painting: Mapping[str, Tensor], matches: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Per style tap the Gram matrix of the matched painting features, C×C, and the mask's area. Source: section 2.2."""
    targets = {}
    for tap in STYLE_TAPS:
        mask = problem.soft_masks[tap].flatten()
        weights = mask[torch.nonzero(mask).flatten()]
        matched = painting[tap][0].flatten(1)[:, matches[tap]] * weights
        targets[tap] = (gram_matrix(matched, mask.sum()), mask.sum())
    return targets


def _kept_matches(control: PassControl, problem: Problem, painting: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The matches of the state that the pass goes on from. Raises: CheckpointInvalid."""
    matches = {}
    for tap in STYLE_TAPS:
        features, count = painting[tap], int(problem.soft_masks[tap].count_nonzero())
        matches[tap] = control.matches(tap, count, features.shape[-2] * features.shape[-1], features.device)
    return matches


def run_pass1(
    working: Working,
    params: Pass1Params,
    network: FeatureNetwork,
    check: Callable[[], None],
    styles: StyleCache | None = None,
    chunk_elements: int | None = None,
    control: PassControl | None = None,
) -> Generator[Iterate, None, Tensor]:
    """Run the first pass, yielding every iterate; returns its output at working size, not yet blended or clipped.

    ``chunk_elements`` is how many pairs of positions are compared at a time. Where ``control`` has a state, the next
    iteration is the first that is yielded.
    Raises: StageFailed; CheckpointInvalid; whatever ``check`` raises.
    """
    control = control or PassControl()
    if not control.is_resumed:
        yield beginning(Stage.PASS1, params.iteration_count, working)
    painting = (styles or StyleCache()).features(network, working.painting * working.pixel_scale, STYLE_TAPS)
    check()
    problem = Problem.around_mask(working, network, STYLE_TAPS, reach=REACH_PX, alignment=ALIGNMENT_PX)
    check()
    if control.is_resumed:
        matches = _kept_matches(control, problem, painting)
    else:
        matches = style_matches(problem, painting, check, chunk_elements)
    targets = style_gram_targets(problem, painting, matches)
    terms = {
        tap: _Term(
            params=params,
            mask=problem.soft_masks[tap].flatten(),
            area=area,
            gram_target=gram,
            content_target=problem.features.taps[tap].cells[0].flatten(1).clone() if tap == CONTENT_TAP else None,
            position_count=whole_position_count(working, tap),
        )
        for tap, (gram, area) in targets.items()
    }
    mask = problem.live.crop(working.dilated_mask)

    def smooth(pixels: Tensor) -> Tensor:
        gradient = total_variation_gradient(pixels, partial=working.parity.partial_total_variation)
        return params.total_variation_weight * mask * gradient

    return (yield from problem.optimize(Stage.PASS1, params, terms, smooth, Tolerances(), control, matches))
