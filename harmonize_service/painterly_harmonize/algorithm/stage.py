"""What the stages hand to each other and to their caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from painterly_harmonize.algorithm.errors import AlgorithmError, MaskEmpty, MaskFull, MaskNotContained, SizeMismatch
from painterly_harmonize.algorithm.params import HarmonizeParams


class Stage(str, Enum):
    """A part of the work."""

    PASS1 = "pass1"
    PASS2 = "pass2"
    POSTPROCESSING = "postprocessing"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The pictures of one job, all of the painting's size and on the device that computes.

    ``composite``, ``painting`` and ``pass1_result`` are RGB float32 in [0, 1], 1×3×H×W; ``mask`` (tight) and
    ``dilated_mask`` (loose, derived from ``mask`` when None) are float32 1×1×H×W with the values 0 and 1.

    Raises: SizeMismatch, MaskEmpty, MaskFull, MaskNotContained.
    """

    composite: Tensor
    painting: Tensor
    mask: Tensor
    dilated_mask: Tensor | None = None
    pass1_result: Tensor | None = None

    def __post_init__(self) -> None:
        height, width = self.painting.shape[-2:]
        for name in ("composite", "mask", "dilated_mask", "pass1_result"):
            image = getattr(self, name)
            if image is not None and image.shape[-2:] != (height, width):
                size = f"{image.shape[-1]}x{image.shape[-2]}"
                raise SizeMismatch(name, size, f"{width}x{height}")
        if max(height, width) < MIN_LONG_SIDE_PX:
            raise AlgorithmError("painting", f"its long side must be at least {MIN_LONG_SIDE_PX} pixels")
        if not bool(self.mask.any()):
            raise MaskEmpty("mask", "nothing is inside the mask; mark the object with white")
        if bool(self.mask.all()):
            raise MaskFull("mask", "the mask covers the whole painting; leave some of the painting outside")
        if self.dilated_mask is not None and not bool((self.dilated_mask >= self.mask).all()):
            raise MaskNotContained("dilated_mask", "does not contain the mask; dilate the mask or leave it out")


# relu5_1 then has at least four cells along the long side.
MIN_LONG_SIDE_PX = 64


@dataclass(frozen=True, kw_only=True)
class Iterate:
    """One optimizer step, or with ``iteration`` 0 the begin of a stage.

    ``losses`` and ``image`` compute when called: they wait for the device, so call them only to show something.
    ``losses()`` maps "content", "style", "histogram", "total_variation" to unweighted values (empty at iteration 0
    and in post-processing); ``image()`` is a preview, RGB float32 1×3×h×w in [0, 1], at the working size.
    """

    stage: Stage
    iteration: int
    iteration_count: int
    losses: Callable[[], Mapping[str, float]]
    image: Callable[[], Tensor]


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
    among them; ``level`` tells where that came from.
    """

    image: Tensor
    painting_noise: float
    pass2_weights: Mapping[str, float]
    changed_pixel_count: int
    blend_pixel_count: int
    working_size: tuple[int, int]
    params: HarmonizeParams
    level: StylizationLevel


Event = Iterate | StageResult | Result
