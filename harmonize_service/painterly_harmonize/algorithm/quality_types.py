"""What a quality report holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, kw_only=True)
class StyleMeasures:
    """How far the object, in one picture, is from what it should look like: the painting, or a region of it.

    Distances are in CIELAB units (2 is just visible, 10 is plain to see), 0 or more, lower is better, unless said
    otherwise. ``lab_mean_distance`` and ``lab_deviation_distance``: between mean colors, between standard deviations.
    ``sliced_wasserstein``: between the distributions of 7×7 patches, mean of 3 octaves. ``gram_distance``: between
    Gram matrices of random filters over the painting's, mean of 3 octaves; a share, 1 is as far as no texture.
    ``nearest_patch``: mean distance of the object's patches to their nearest, mean of 3 octaves. ``palette_distance``:
    mean distance of the object's colors, at a quarter of the size, to the nearest color. ``chroma_noise_ratio`` and
    ``luma_detail_ratio``: fine detail as a multiple of the painting's; 1 is best.
    """

    lab_mean_distance: float
    lab_deviation_distance: float
    sliced_wasserstein: float
    gram_distance: float
    nearest_patch: float
    palette_distance: float
    chroma_noise_ratio: float
    luma_detail_ratio: float


@dataclass(frozen=True, kw_only=True)
class QualityMeasures:
    """All that is measured of one picture.

    ``background_changed_pixel_count``: pixels outside the dilated mask and the last blend's reach whose bytes are not
    the painting's, ``background_largest_change`` by how much at most, in 8-bit levels; 0 is exact. ``painting`` and
    ``style_region``: against the whole painting, and against the region that lent its style, None without one.
    ``seam_ratio``: gradient at the mask's edge as a multiple of the painting's there, best 1 or less.
    ``structure_kept``: correlation with the composite's shading, -1 to 1, 1 is best.
    """

    background_changed_pixel_count: int
    background_largest_change: int
    painting: StyleMeasures
    style_region: StyleMeasures | None
    seam_ratio: float
    structure_kept: float

    @property
    def style(self) -> StyleMeasures:
        """Against the region that lent its style where there is one, else against the painting."""
        return self.style_region or self.painting


class WarningCode(str, Enum):
    """What a warning is about. The values are stable."""

    BACKGROUND_CHANGED = "BACKGROUND_CHANGED"
    COLOR_NOISE_HIGH = "COLOR_NOISE_HIGH"
    COLOR_NOISE_LOW = "COLOR_NOISE_LOW"
    DETAIL_HIGH = "DETAIL_HIGH"
    DETAIL_LOW = "DETAIL_LOW"
    OBJECT_COVERS_CANVAS = "OBJECT_COVERS_CANVAS"
    SEAM_VISIBLE = "SEAM_VISIBLE"
    STRUCTURE_LOST = "STRUCTURE_LOST"
    PALETTE_UNLIKELY = "PALETTE_UNLIKELY"
    NOT_BETTER_THAN_PASTE = "NOT_BETTER_THAN_PASTE"


@dataclass(frozen=True, kw_only=True)
class QualityWarning:
    """Something to look at: ``message`` is a sentence with the value, ``advice`` a way out."""

    code: WarningCode
    message: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """``before`` is the composite's, ``after`` the result's, measured alike.

    ``object_area`` is the tight mask's share of the painting, 0 to 1; ``evaluated_size`` the height and width, px, at
    which all but the background was measured.
    """

    before: QualityMeasures
    after: QualityMeasures
    object_area: float
    evaluated_size: tuple[int, int]
    warnings: tuple[QualityWarning, ...]
