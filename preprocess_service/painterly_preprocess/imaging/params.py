"""Every parameter of the imaging, validated where it is made. Defaults live here alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from painterly_preprocess.imaging.errors import ParameterConflict, ParameterError

MAX_DILATION_KERNEL_PX = 1023
# A classic dilation's kernel size times its iterations: it bounds the time that a request can take.
MAX_DILATION_REACH_PX = 1023


class RemovalMethod(str, Enum):
    """How the foreground is found; ``AUTO`` leaves the choice to the caller of the imaging."""

    AUTO = "auto"
    ALPHA = "alpha"
    MASK = "mask"
    U2NET = "u2net"
    GRABCUT = "grabcut"
    REMOVE_BG = "remove_bg"
    CHROMA_KEY = "chroma_key"


class Anchor(str, Enum):
    """A point of an element's box, as mirrored and before it is turned."""

    CENTER = "center"
    TOP_LEFT = "top_left"
    TOP = "top"
    TOP_RIGHT = "top_right"
    LEFT = "left"
    RIGHT = "right"
    BOTTOM_LEFT = "bottom_left"
    BOTTOM = "bottom"
    BOTTOM_RIGHT = "bottom_right"


SIZE_FIELDS = ("height_fraction", "width_fraction", "height_px", "width_px")
_AUTOMATIC_FIELDS = ("center_x_fraction", "center_y_fraction", "anchor")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where an element goes. Raises ParameterError outside the ranges, ParameterConflict for what excludes each other.

    Fractions refer to the painting: where the element's ``anchor`` goes, from the left and from the top (-1 to 2), and
    one size before rotation: ``height_fraction`` or ``width_fraction`` (0.01 to 4), ``height_px`` or ``width_px`` (1 to
    65536). It is mirrored first, then turned counterclockwise about its anchor (degrees, -360 to 360). ``opacity``
    (0.01 to 1) multiplies its alpha, a higher ``z_order`` (-1000 to 1000) lies over a lower one. None is unset;
    position and anchor stay so only with ``is_automatic``, which leaves them, and a size that is unset, to the caller.
    """

    center_x_fraction: float | None = None
    center_y_fraction: float | None = None
    height_fraction: float | None = None
    rotation_degrees: float = 0.0
    flip_horizontal: bool = False
    anchor: Anchor | None = None
    width_fraction: float | None = None
    height_px: float | None = None
    width_px: float | None = None
    flip_vertical: bool = False
    opacity: float = 1.0
    z_order: int = 0
    is_automatic: bool = False

    def __post_init__(self) -> None:
        sizes = [name for name in SIZE_FIELDS if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise ParameterConflict(sizes[1], sizes[0], "sets the element's size a second time; keep one of the two")
        if self.is_automatic:
            for name in _AUTOMATIC_FIELDS:
                if getattr(self, name) is not None:
                    raise ParameterConflict(name, "is_automatic", "is set although the position is to be found")
        else:
            self._set_defaults(has_size=bool(sizes))
        for name in _AUTOMATIC_FIELDS[:2]:
            require_range(name, getattr(self, name), -1, 2)
        for name in SIZE_FIELDS[:2]:
            require_range(name, getattr(self, name), 0.01, 4)
        for name in SIZE_FIELDS[2:]:
            require_range(name, getattr(self, name), 1, 65_536)
        require_range("rotation_degrees", self.rotation_degrees, -360, 360)
        require_range("opacity", self.opacity, 0.01, 1)
        require_range("z_order", self.z_order, -1000, 1000)

    def _set_defaults(self, *, has_size: bool) -> None:
        defaults: dict[str, float | Anchor] = {
            "center_x_fraction": 0.5,
            "center_y_fraction": 0.5,
            "anchor": Anchor.CENTER,
        }
        if not has_size:
            defaults["height_fraction"] = 0.5
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True)
class Compositing:
    """How elements and painting become one picture. Raises ParameterError outside the range.

    ``linear_light`` mixes amounts of light instead of sRGB values; ``tone_match_strength`` (0 to 1) moves an element's
    colors towards its surroundings'; ``fill_mask_holes`` adds to the mask what it encloses.
    """

    linear_light: bool = False
    tone_match_strength: float = 0.0
    fill_mask_holes: bool = False

    def __post_init__(self) -> None:
        require_range("tone_match_strength", self.tone_match_strength, 0, 1)


class DilationRule(str, Enum):
    """How a mask is grown."""

    PAPER = "paper"
    CLASSIC = "classic"


class KernelShape(str, Enum):
    """The shape of a classic dilation's kernel."""

    RECTANGLE = "rectangle"
    ELLIPSE = "ellipse"
    CROSS = "cross"


@dataclass(frozen=True, kw_only=True)
class MaskDilation:
    """How a mask is grown. Raises ParameterError outside the ranges.

    ``kernel_size_px`` is 1 to 1023, by the paper's rule odd; None scales it with the mask. ``kernel_shape`` and
    ``iteration_count`` (1 to 100, and with the kernel's size at most 1023 px in all) are the classic rule's,
    ``omit_mask_union`` the paper's. ``fill_holes`` comes first, ``feather_px`` (0 to 1023) says how wide the soft
    border of the feathered mask is.
    """

    kernel_size_px: int | None = None
    omit_mask_union: bool = False
    rule: DilationRule = DilationRule.PAPER
    kernel_shape: KernelShape = KernelShape.RECTANGLE
    iteration_count: int = 1
    fill_holes: bool = False
    feather_px: float = 0.0

    def __post_init__(self) -> None:
        size = self.kernel_size_px
        require_range("kernel_size_px", size, 1, MAX_DILATION_KERNEL_PX)
        if size is not None and size % 2 == 0 and self.rule is DilationRule.PAPER:
            raise ParameterError("kernel_size_px", size, "must be odd by the paper's rule")
        require_range("iteration_count", self.iteration_count, 1, 100)
        if (size or 1) * self.iteration_count > MAX_DILATION_REACH_PX:
            rule = f"must be at most {MAX_DILATION_REACH_PX // (size or 1)} with a kernel of {size} px"
            raise ParameterError("iteration_count", self.iteration_count, rule)
        require_range("feather_px", self.feather_px, 0, 1023)


@dataclass(frozen=True, kw_only=True)
class SuggestionWish:
    """What to suggest. Raises ParameterError outside the ranges.

    ``aspect_ratio`` is width by height of what needs a place (0.05 to 20), ``height_fraction`` (0.01 to 4) a height to
    keep, ``suggestion_count`` (1 to 20) how many suggestions to make at most.
    """

    aspect_ratio: float = 1.0
    height_fraction: float | None = None
    suggestion_count: int = 5

    def __post_init__(self) -> None:
        require_range("aspect_ratio", self.aspect_ratio, 0.05, 20)
        require_range("height_fraction", self.height_fraction, 0.01, 4)
        require_range("suggestion_count", self.suggestion_count, 1, 20)


def require_range(name: str, value: float | None, low: float, high: float) -> None:
    """Raise ParameterError for a number that is not finite or outside ``low`` to ``high``; None is in order."""
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise ParameterError(name, value, f"must be from {low:g} to {high:g}")
