"""What the stages hand to each other and to their caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from painterly_harmonize.algorithm.continuation import PassState
from painterly_harmonize.algorithm.errors import AlgorithmError, MaskEmpty, MaskFull, MaskNotContained, SizeMismatch
from painterly_harmonize.algorithm.params import HarmonizeParams, StyleRegion


class Stage(str, Enum):
    """A part of the work."""

    PASS1 = "pass1"
    PASS2 = "pass2"
    POSTPROCESSING = "postprocessing"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The pictures of one job, all of the painting's size and on the device that computes.

    ``composite``, ``painting`` and ``pass1_result`` are RGB float32 in [0, 1], 1×3×H×W; ``mask`` (tight) and
    ``dilated_mask`` (loose, derived from ``mask`` when None) are float32 1×1×H×W with the values 0 and 1, and so is
    ``style_mask``, the part of the painting that lends its hand (all of it when None).

    Raises: SizeMismatch, MaskEmpty, MaskFull, MaskNotContained.
    """

    composite: Tensor
    painting: Tensor
    mask: Tensor
    dilated_mask: Tensor | None = None
    pass1_result: Tensor | None = None
    style_mask: Tensor | None = None

    def __post_init__(self) -> None:
        height, width = self.painting.shape[-2:]
        for name in ("composite", "mask", "dilated_mask", "pass1_result", "style_mask"):
            image = getattr(self, name)
            if image is not None and image.shape[-2:] != (height, width):
                size = f"{image.shape[-1]}x{image.shape[-2]}"
                raise SizeMismatch(name, size, f"{width}x{height}")
        if max(height, width) < MIN_LONG_SIDE_PX:
            raise AlgorithmError("painting", f"its long side must be at least {MIN_LONG_SIDE_PX} pixels")
        if not bool(self.mask.any()):
            raise MaskEmpty("mask", "nothing is inside the mask; mark the object with white")
        if self.style_mask is not None and not bool(self.style_mask.any()):
            raise MaskEmpty("style_mask", "nothing is inside it; mark some of the painting with white")
        if bool(self.mask.all()):
            raise MaskFull("mask", "the mask covers the whole painting; leave some of the painting outside")
        if self.dilated_mask is not None and not bool((self.dilated_mask >= self.mask).all()):
            raise MaskNotContained("dilated_mask", "does not contain the mask; dilate the mask or leave it out")


def with_style_region(inputs: Inputs, region: StyleRegion | None) -> Inputs:
    """The inputs with the rectangle as the style mask, at least one pixel of it; as they are for None.

    Raises: AlgorithmError when they have a style mask already.
    """
    if region is None:
        return inputs
    if inputs.style_mask is not None:
        raise AlgorithmError("style_mask", "is given beside parameters.style_region; leave one of them out")
    mask = torch.zeros_like(inputs.mask)
    height, width = mask.shape[-2:]
    rows, columns = (
        slice(first, max(first + 1, round((start + length) * side)))
        for start, length, side in (
            (region.top_fraction, region.height_fraction, height),
            (region.left_fraction, region.width_fraction, width),
        )
        for first in (min(round(start * side), side - 1),)
    )
    mask[..., rows, columns] = 1
    return replace(inputs, style_mask=mask)


# relu5_1 then has at least four cells along the long side.
MIN_LONG_SIDE_PX = 64


@dataclass(frozen=True, kw_only=True)
class Iterate:
    """One optimizer step, or with ``iteration`` 0 the begin of a stage.

    ``losses`` and ``image`` compute when called: they wait for the device, so call them only to show something.
    ``losses()`` maps "content", "style", "histogram", "total_variation" to unweighted values (empty at iteration 0
    and in post-processing); ``image()`` is a preview, RGB float32 1×3×h×w in [0, 1], at the working size.
    ``state()`` is what a pass can go on from; None before its first iteration and in post-processing.
    """

    stage: Stage
    iteration: int
    iteration_count: int
    losses: Callable[[], Mapping[str, float]]
    image: Callable[[], Tensor]
    state: Callable[[], PassState] | None = None


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """The finished picture of a stage, uint8 RGB H×W×3 on the CPU, of the painting's size."""

    stage: Stage
    image: Tensor


@dataclass(frozen=True, kw_only=True)
class StylizationLevel:
    """The level, 1 to 10, that a run used. Where it was estimated, ``reasons`` say why in plain words."""

    value: float
    is_estimated: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """The finished picture of a run, uint8 RGB H×W×3 on the CPU, of the painting's size, and what was found.

    Outside the blend's support its bytes are the painting's. ``pass2_weights`` is empty when pass 2 did not run.
    ``working_size`` is the height and width, px, at which the passes ran, ``params`` what they ran with, the level
    among them; ``level`` tells where that came from. ``style_mask`` is the part of the painting that lent its style to
    pass 2, bool H×W on the CPU; None when that did not run. ``iteration_counts`` are the iterations that each pass
    really had.
    """

    image: Tensor
    painting_noise: float
    pass2_weights: Mapping[str, float]
    changed_pixel_count: int
    blend_pixel_count: int
    working_size: tuple[int, int]
    style_mask: Tensor | None
    iteration_counts: Mapping[Stage, int]
    params: HarmonizeParams
    level: StylizationLevel


Event = Iterate | StageResult | Result
