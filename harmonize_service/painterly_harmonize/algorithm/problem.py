"""What both passes share: pictures at working size, the region to compute, the optimizer loop over its pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from painterly_harmonize.algorithm import masks
from painterly_harmonize.algorithm.continuation import PassControl, PassState
from painterly_harmonize.algorithm.errors import MaskEmpty, StageFailed, Stopped
from painterly_harmonize.algorithm.losses import total_variation
from painterly_harmonize.algorithm.optimize import Plateau, Step, Tolerances, minimize
from painterly_harmonize.algorithm.params import ParityParams, Pass1Params, Pass2Params
from painterly_harmonize.algorithm.partial import PartialFeatures, TapCells
from painterly_harmonize.algorithm.region import MaskedPixels, Region, bounding_box, region_around
from painterly_harmonize.algorithm.replay import Replay
from painterly_harmonize.algorithm.stage import MIN_LONG_SIDE_PX, Inputs, Iterate, Stage
from painterly_harmonize.algorithm.vgg import FeatureNetwork, stride

CONTENT_TAP = "relu4_1"
# 2.8 times: beyond that an enlarged picture has no detail that a tap could read.
MAX_ENLARGEMENT_QUARTER_OCTAVES = 6


@dataclass(frozen=True, kw_only=True)
class Working:
    """The pictures of a job at working size, in the network's dtype and on its device; shapes as in ``Inputs``."""

    composite: Tensor
    painting: Tensor
    mask: Tensor
    dilated_mask: Tensor
    style_mask: Tensor | None
    parity: ParityParams

    @property
    def pixel_scale(self) -> float:
        """What one unit of an image is in the network's 8-bit units. Source: section 1.3."""
        return 256.0 if self.parity.input_scale_256 else 255.0

    def style_cells(self, size: tuple[int, int]) -> Tensor | None:
        """The cells of a tap of that size, bool h×w, that lend the painting's hand; None is all."""
        return None if self.style_mask is None else masks.style_cells(self.style_mask, size)

    def blend(self, output: Tensor) -> Tensor:
        """An output over the painting, as a pass ends. Source: section 2.4."""
        weight = masks.blend_weight(self.mask, wide=self.parity.wide_blend_kernel)
        return masks.blend(output, self.painting, weight)


def working_long_side(mask: Tensor, limit: int, object_size: int | None) -> int:
    """The long side at which the passes run, px.

    Without ``object_size`` it is the picture's own, at most ``limit``. With it, the scale is such that the bounding box
    of the 1×1×H×W ``mask`` has about that many pixels, squared, so that the object has enough cells at every tap and
    no more than it needs; the picture is enlarged for that almost three times at most, and ``limit`` still holds.
    Scales are quarter octaves: close to its own size a picture keeps it, and a painting that is used again is likely
    to be seen at the same size again.
    """
    own = max(mask.shape[-2:])
    if object_size is None:
        return min(own, limit)
    box = bounding_box(mask)
    wanted = round(4 * math.log2(object_size / math.sqrt(box.height * box.width)))
    allowed = math.floor(4 * math.log2(limit / own))
    return max(MIN_LONG_SIDE_PX, round(own * 2 ** (min(wanted, allowed, MAX_ENLARGEMENT_QUARTER_OCTAVES) / 4)))


def working_pictures(inputs: Inputs, long_side: int, parity: ParityParams, network: FeatureNetwork) -> Working:
    """Bring a job's pictures to a working size.

    Raises: MaskEmpty when nothing of the mask is left at that size.
    """
    height, width = inputs.painting.shape[-2:]
    size = masks.working_size(height, width, long_side)

    def resize(image: Tensor) -> Tensor:
        return masks.resize(image.to(device=network.device, dtype=network.dtype), size).clamp(0, 1)

    def resize_mask(mask: Tensor) -> Tensor:
        return (resize(mask) >= 0.5).to(network.dtype)

    mask = resize_mask(inputs.mask)
    if not bool(mask.any()):
        raise MaskEmpty(
            "mask",
            f"nothing of it is left at {size[1]}x{size[0]} pixels; mark a larger object or raise the working size",
        )
    if inputs.dilated_mask is None:
        dilated = masks.dilate_mask(mask, union=not parity.derived_mask_without_union)
    else:
        dilated = torch.maximum(resize_mask(inputs.dilated_mask), mask)
    return Working(
        composite=resize(inputs.composite),
        painting=resize(inputs.painting),
        mask=mask,
        dilated_mask=dilated,
        style_mask=None if inputs.style_mask is None else resize(inputs.style_mask),
        parity=parity,
    )


def beginning(stage: Stage, iteration_count: int, working: Working) -> Iterate:
    """The iterate that announces a stage: nothing is optimized yet."""
    return Iterate(
        stage=stage,
        iteration=0,
        iteration_count=iteration_count,
        losses=dict,
        image=lambda: working.blend(working.composite),
    )


def raise_if(should_stop: Callable[[], bool]) -> Callable[[], None]:
    """A check that raises Stopped once ``should_stop()`` is true."""

    def check() -> None:
        if should_stop():
            raise Stopped

    return check


class TapTerm(Protocol):
    """The loss terms of one tap: adds their values to ``losses`` and returns their gradient by the features."""

    def __call__(self, features: Tensor, losses: dict[str, Tensor]) -> Tensor:
        """``features`` is C×N (the tap's positions flattened), to be read now; the gradient has the same shape."""


# The gradient of the total variation by the region's pixels, before it is masked.
PixelTerm = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A pass as an optimization problem over the rectangle ``live`` around the dilated mask.

    ``features`` computes what that rectangle can change; ``region``, larger, holds all that it depends on.
    ``soft_masks`` are the soft dilated masks of the taps, 1×1×h×w over the rectangles of ``features.taps``, computed
    on the whole picture and then cropped. With ``replays`` an iteration is recorded once and replayed.
    """

    working: Working
    region: Region
    live: Region
    features: PartialFeatures
    soft_masks: Mapping[str, Tensor]
    replays: bool

    @classmethod
    def around_mask(
        cls, working: Working, network: FeatureNetwork, taps: Iterable[str], *, reach: int, alignment: int
    ) -> Problem:
        """Take what affects, or is affected by, the pixels under the dilated mask through ``taps``."""
        region = region_around(working.dilated_mask, reach, alignment)
        # One more pixel, so that the total variation sees the neighbors of every pixel that moves.
        live = region_around(working.dilated_mask, 1, 1)
        soft = masks.soft_tap_masks(working.dilated_mask, network.kinds)
        wanted = {tap: _with_neighbors(soft[tap]).within(region.cells(stride(tap))) for tap in taps}
        composite = region.crop(working.composite) * working.pixel_scale
        features = PartialFeatures(network, composite, live.within(region), wanted)
        soft_masks = {
            name: tap.region.crop(region.crop_tap(soft[name], stride(name))) for name, tap in features.taps.items()
        }
        return cls(
            working=working,
            region=region,
            live=live,
            features=features,
            soft_masks=soft_masks,
            replays=network.replays,
        )

    def pixels(self, image: Tensor) -> Tensor:
        """The live rectangle of an image in the network's 8-bit units."""
        return self.live.crop(image) * self.working.pixel_scale

    def gradient(
        self, pixels: Tensor, tap_terms: Mapping[str, TapTerm], pixel_term: PixelTerm
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The masked gradient of all terms by the live rectangle's pixels, and the unweighted losses.

        At each tap the terms' gradient is added to what arrives from deeper layers, and the sum is masked.
        Source: sections 2.3 and 3.6.
        """
        losses: dict[str, Tensor] = {}

        def at_tap(name: str, tap: TapCells, arriving: Tensor | None) -> Tensor:
            own = tap.crop_live(tap_terms[name](tap.cells[0].flatten(1), losses).view(tap.cells.shape))
            return tap.crop_live(self.soft_masks[name]) * (own if arriving is None else own + arriving)

        gradient = self.features.gradient(pixels, at_tap)
        losses["total_variation"] = total_variation(pixels, partial=self.working.parity.partial_total_variation)
        return self.live.crop(self.working.dilated_mask) * gradient + pixel_term(pixels), losses

    def optimize(
        self,
        stage: Stage,
        params: Pass1Params | Pass2Params,
        tap_terms: Mapping[str, TapTerm],
        pixel_term: PixelTerm,
        tolerances: Tolerances,
        control: PassControl,
        matches: Mapping[str, Tensor],
    ) -> Generator[Iterate, None, Tensor]:
        """Run a pass from the composite, yielding every iterate; returns the output at working size, not yet blended.

        With a state in ``control`` it goes on from there. ``matches`` are kept in the states.
        Raises: StageFailed when the output is not finite; CheckpointInvalid.
        """
        start = self.pixels(self.working.composite)
        variable = MaskedPixels.under(start, self.live.crop(self.working.dilated_mask))

        def evaluate(vector: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
            gradient, losses = self.gradient(variable.scatter(vector), tap_terms, pixel_term)
            return variable.gather(gradient), losses

        def output(vector: Tensor) -> Tensor:
            whole = self.working.composite.clone()
            self.live.crop(whole).copy_(variable.scatter(vector) / self.working.pixel_scale)
            return whole

        def picture(vector: Tensor) -> Tensor:
            return self.working.blend(output(vector))

        vector = control.vector(variable.gather(start))
        plateau = Plateau(params.min_improvement, control.least_loss)

        def state(step: Step, is_last: bool) -> PassState:
            tensors = {**step.state(), **matches}
            return PassState(iteration=step.iteration, is_last=is_last, least_loss=plateau.least, tensors=tensors)

        steps = minimize(
            vector,
            Replay(evaluate, vector) if self.replays else evaluate,
            iteration_count=params.iteration_count,
            learning_rate=params.learning_rate,
            history_size=params.history_size,
            tolerances=tolerances,
            max_step=params.max_step,
            resume=control.take(),
        )
        for step in () if control.has_ended else _finite(steps, stage):
            vector = step.vector
            is_last = plateau.is_reached(step.iteration, step.losses["style"]) | control.should_finish()
            yield Iterate(
                stage=stage,
                iteration=step.iteration,
                iteration_count=step.iteration if is_last else params.iteration_count,
                losses=partial(_fetch, step.losses),
                image=partial(picture, step.vector),
                state=partial(state, step, is_last),
            )
            if is_last:
                break
        result = output(vector)
        if not bool(torch.isfinite(result).all()):
            raise _not_finite(stage)
        return result


def _with_neighbors(soft_mask: Tensor) -> Region:
    """The cells of a soft mask that are not zero and those beside them, which patches of 3×3 cells read."""
    height, width = soft_mask.shape[-2:]
    whole = Region(top=0, left=0, bottom=height, right=width)
    return bounding_box(soft_mask).grown(1).intersection(whole)


def _finite(steps: Iterator[Step], stage: Stage) -> Iterator[Step]:
    try:
        yield from steps
    except FloatingPointError:
        raise _not_finite(stage) from None


def _not_finite(stage: Stage) -> StageFailed:
    return StageFailed(stage.value, "the picture has values that are not finite; lower the learning rate")


def _fetch(losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in losses.items()}


def whole_position_count(working: Working, tap: str) -> int:
    """The number N of positions of a tap over the whole working picture."""
    height, width = (-(-side // stride(tap)) for side in working.composite.shape[-2:])
    return height * width
