"""Every parameter of the imaging, validated where it is made. Defaults live here alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from painterly_preprocess.imaging.errors import ParameterError

MAX_DILATION_KERNEL_PX = 1023


class RemovalMethod(str, Enum):
    """How the foreground is found; ``AUTO`` leaves the choice to the caller of the imaging."""

    AUTO = "auto"
    ALPHA = "alpha"
    MASK = "mask"
    U2NET = "u2net"
    GRABCUT = "grabcut"
    REMOVE_BG = "remove_bg"
    CHROMA_KEY = "chroma_key"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where an element goes. Raises ParameterError outside the ranges.

    Fractions refer to the painting: the element's center from the left and from the top (-1 to 2), and the element's
    height before rotation (0.01 to 4). It is mirrored first, then turned counterclockwise (degrees, -360 to 360).
    """

    center_x_fraction: float = 0.5
    center_y_fraction: float = 0.5
    height_fraction: float = 0.5
    rotation_degrees: float = 0.0
    flip_horizontal: bool = False

    def __post_init__(self) -> None:
        require_range("center_x_fraction", self.center_x_fraction, -1, 2)
        require_range("center_y_fraction", self.center_y_fraction, -1, 2)
        require_range("height_fraction", self.height_fraction, 0.01, 4)
        require_range("rotation_degrees", self.rotation_degrees, -360, 360)


@dataclass(frozen=True, kw_only=True)
class MaskDilation:
    """How a mask is grown. Raises ParameterError outside the range.

    ``kernel_size_px`` is odd, 1 to 1023; None scales it with the mask.
    """

    kernel_size_px: int | None = None
    omit_mask_union: bool = False

    def __post_init__(self) -> None:
        size = self.kernel_size_px
        if size is None:
            return
        require_range("kernel_size_px", size, 1, MAX_DILATION_KERNEL_PX)
        if size % 2 == 0:
            raise ParameterError("kernel_size_px", size, "must be odd")


def require_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ParameterError for a number that is not finite or outside ``low`` to ``high``, both included."""
    if not (math.isfinite(value) and low <= value <= high):
        raise ParameterError(name, value, f"must be from {low:g} to {high:g}")
