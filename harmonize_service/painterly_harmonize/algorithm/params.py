"""Every parameter of the computation, validated where it is made. Defaults live here alone.

Source: docs/algorithm.md section 9, with the parity switches listed there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from painterly_harmonize.algorithm.errors import ParameterError


class Preset(str, Enum):
    """A set of defaults for size and iteration counts."""

    DRAFT = "draft"
    STANDARD = "standard"
    FULL = "full"


class NetworkName(str, Enum):
    """The feature network."""

    VGG16 = "vgg16"
    VGG19 = "vgg19"


class MemoryPolicy(str, Enum):
    """What to do when a job would need more memory than there is."""

    REFUSE = "refuse"
    REDUCE = "reduce"


class RefinementGuide(str, Enum):
    """What decides whether neighboring correspondences agree."""

    RGB = "rgb"
    FEATURES = "features"


def require_range(name: str, value: float, low: float, high: float) -> None:
    """Raise :class:`ParameterError` unless ``value`` is finite and within [low, high]."""
    if not (math.isfinite(value) and low <= value <= high):
        raise ParameterError(name, value, f"must be from {low:g} to {high:g}")


@dataclass(frozen=True, kw_only=True)
class Pass1Params:
    """Coarse harmonization.

    Weights are for the Caffe input scale (one 8-bit step is 1), like all raw weights of section 2. ``max_step`` is how
    far a pixel may move in one iteration, in 8-bit steps; 0 does not bound it. The pass ends early once its style loss
    falls by less than the share ``min_improvement`` in 25 iterations; 0 never ends it.
    """

    iteration_count: int = 1000
    content_weight: float = 5.0
    style_weight: float = 100.0
    total_variation_weight: float = 1e-3
    learning_rate: float = 1.0
    history_size: int = 100
    max_step: float = 0.0
    min_improvement: float = 0.0

    def __post_init__(self) -> None:
        require_range("iteration_count", self.iteration_count, 1, 10_000)
        require_range("content_weight", self.content_weight, 0, 1e6)
        require_range("style_weight", self.style_weight, 0, 1e6)
        require_range("total_variation_weight", self.total_variation_weight, 0, 1e6)
        require_range("learning_rate", self.learning_rate, 1e-6, 10)
        require_range("history_size", self.history_size, 1, 1000)
        require_range("max_step", self.max_step, 0, 255)
        require_range("min_improvement", self.min_improvement, 0, 0.5)


@dataclass(frozen=True, kw_only=True)
class Pass2Params:
    """Refinement. The scales multiply the weights that follow from stylization level and noise (section 3.7).

    ``max_step`` and ``min_improvement`` are those of :class:`Pass1Params`.
    """

    iteration_count: int = 1000
    content_weight: float = 2.0
    style_weight_scale: float = 1.0
    histogram_weight_scale: float = 1.0
    total_variation_weight_scale: float = 1.0
    learning_rate: float = 0.1
    history_size: int = 100
    refinement_guide: RefinementGuide = RefinementGuide.RGB
    ring_radius_cells: int = 1
    max_step: float = 0.0
    min_improvement: float = 0.0

    def __post_init__(self) -> None:
        require_range("iteration_count", self.iteration_count, 1, 10_000)
        require_range("content_weight", self.content_weight, 0, 1e6)
        require_range("style_weight_scale", self.style_weight_scale, 0, 1e3)
        require_range("histogram_weight_scale", self.histogram_weight_scale, 0, 1e3)
        require_range("total_variation_weight_scale", self.total_variation_weight_scale, 0, 1e3)
        require_range("learning_rate", self.learning_rate, 1e-6, 10)
        require_range("history_size", self.history_size, 1, 1000)
        require_range("max_step", self.max_step, 0, 255)
        require_range("min_improvement", self.min_improvement, 0, 0.5)
        require_range("ring_radius_cells", self.ring_radius_cells, 0, 8)


@dataclass(frozen=True, kw_only=True)
class PostprocessParams:
    """Chrominance denoising and patch synthesis; the blend always runs."""

    skip_chrominance_denoising: bool = False
    skip_patch_synthesis: bool = False


@dataclass(frozen=True, kw_only=True)
class ParityParams:
    """Switches back to the behavior of the paper's authors where ours differs (section 9)."""

    input_scale_256: bool = False
    wide_blend_kernel: bool = False
    joint_validity_matching: bool = False
    binned_histogram: bool = False
    asymmetric_refinement_bounds: bool = False
    partial_total_variation: bool = False
    derived_mask_without_union: bool = False
    quantize_pass1_result: bool = False
    truncate_on_export: bool = False
    unlimited_detail: bool = False
    keep_photo_noise: bool = False
    style_positions_once: bool = False
    keep_photo_colors: bool = False
    repaint_structure: bool = False
    histogram_by_noise: bool = False
    match_features_only: bool = False


@dataclass(frozen=True, kw_only=True)
class StyleRegion:
    """The rectangle of the painting that lends its hand, as fractions of the painting's sides."""

    left_fraction: float = 0.0
    top_fraction: float = 0.0
    width_fraction: float = 0.0
    height_fraction: float = 0.0

    def __post_init__(self) -> None:
        for start, length in (("left_fraction", "width_fraction"), ("top_fraction", "height_fraction")):
            require_range(start, getattr(self, start), 0, 1)
            # The rounding of fractions that add up to the whole side.
            require_range(length, getattr(self, length), 1e-6, 1 - getattr(self, start) + 1e-9)


@dataclass(frozen=True, kw_only=True)
class PresetDefaults:
    """What a preset stands for."""

    working_long_side_px: int
    object_size_px: int | None
    pass1_iteration_count: int
    pass2_iteration_count: int
    pass2_learning_rate: float
    max_step: float


PRESETS: Mapping[Preset, PresetDefaults] = {
    Preset.DRAFT: PresetDefaults(
        working_long_side_px=1024,
        object_size_px=176,
        pass1_iteration_count=40,
        pass2_iteration_count=50,
        pass2_learning_rate=0.5,
        max_step=16,
    ),
    Preset.STANDARD: PresetDefaults(
        working_long_side_px=1536,
        object_size_px=256,
        pass1_iteration_count=200,
        pass2_iteration_count=200,
        pass2_learning_rate=0.5,
        max_step=16,
    ),
    Preset.FULL: PresetDefaults(
        working_long_side_px=700,
        object_size_px=None,
        pass1_iteration_count=1000,
        pass2_iteration_count=1000,
        pass2_learning_rate=0.1,
        max_step=0,
    ),
}


@dataclass(frozen=True, kw_only=True)
class HarmonizeParams:
    """Everything that decides a result, besides its inputs and the device.

    ``working_long_side_px`` bounds the size at which the passes run and ``object_size_px``, where given, chooses it:
    the square root of the area, px, that the mask's bounding box is to have. ``stylization_level`` is 1 (realistic
    painting) to 10 (expressionist), or None to estimate it from the painting; ``seed`` starts every random generator.
    ``style_region`` is the part of the painting that lends its hand, None all of it or what ``Inputs.style_mask`` says.
    """

    preset: Preset = Preset.STANDARD
    network: NetworkName = NetworkName.VGG16
    stylization_level: float | None = None
    working_long_side_px: int = PRESETS[Preset.STANDARD].working_long_side_px
    object_size_px: int | None = PRESETS[Preset.STANDARD].object_size_px
    seed: int = 0
    pass1: Pass1Params = field(
        default_factory=lambda: Pass1Params(
            iteration_count=PRESETS[Preset.STANDARD].pass1_iteration_count,
            max_step=PRESETS[Preset.STANDARD].max_step,
        )
    )
    pass2: Pass2Params = field(
        default_factory=lambda: Pass2Params(
            iteration_count=PRESETS[Preset.STANDARD].pass2_iteration_count,
            learning_rate=PRESETS[Preset.STANDARD].pass2_learning_rate,
            max_step=PRESETS[Preset.STANDARD].max_step,
        )
    )
    postprocess: PostprocessParams = field(default_factory=PostprocessParams)
    parity: ParityParams = field(default_factory=ParityParams)
    memory_policy: MemoryPolicy = MemoryPolicy.REDUCE
    style_region: StyleRegion | None = None

    def __post_init__(self) -> None:
        if self.stylization_level is not None:
            require_range("stylization_level", self.stylization_level, 1, 10)
        require_range("working_long_side_px", self.working_long_side_px, 64, 2048)
        if self.object_size_px is not None:
            require_range("object_size_px", self.object_size_px, 16, 1024)
        require_range("seed", self.seed, 0, 2**31 - 1)
