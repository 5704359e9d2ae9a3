"""Where an element goes, and its pixels there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.errors import ElementOutside
from painterly_preprocess.imaging.params import Anchor, Placement

_ANCHORS: Mapping[Anchor, tuple[float, float]] = {
    Anchor.TOP_LEFT: (0, 0),
    Anchor.TOP: (0.5, 0),
    Anchor.TOP_RIGHT: (1, 0),
    Anchor.LEFT: (0, 0.5),
    Anchor.CENTER: (0.5, 0.5),
    Anchor.RIGHT: (1, 0.5),
    Anchor.BOTTOM_LEFT: (0, 1),
    Anchor.BOTTOM: (0.5, 1),
    Anchor.BOTTOM_RIGHT: (1, 1),
}


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle of whole pixels; ``right`` and ``bottom`` are the first pixels outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_empty(self) -> bool:
        """Whether there is no pixel in it."""
        return self.right <= self.left or self.bottom <= self.top


@dataclass(frozen=True, kw_only=True)
class Layer:
    """An element, h×w×4 float32 premultiplied, and the 2×3 ``matrix`` from its pixels to the painting's.

    Both count pixels by their centers. ``reach`` holds every pixel of the painting that it may touch.
    """

    element: NDArray[np.float32]
    matrix: NDArray[np.float64]
    reach: Box

    def rows(self, top: int, bottom: int) -> NDArray[np.float32]:
        """The pixels of the painting's rows ``top`` to ``bottom``, from the reach's left to its right."""
        matrix = self.matrix.copy()
        matrix[:, 2] -= self.reach.left, top
        size = self.reach.right - self.reach.left, bottom - top
        return np.asarray(cv2.warpAffine(self.element, matrix, size, flags=cv2.INTER_LINEAR), dtype=np.float32)


def visible_box(element: NDArray[np.uint8]) -> Box:
    """The box of what is not fully transparent in an RGBA element, which has such pixels."""
    rows, columns = (np.flatnonzero(element[..., 3].any(axis=axis)) for axis in (1, 0))
    return Box(left=int(columns[0]), top=int(rows[0]), right=int(columns[-1]) + 1, bottom=int(rows[-1]) + 1)


def scale_of(placement: Placement, element_size: tuple[int, int], painting_size: tuple[int, int]) -> float:
    """Pixels of the painting per pixel of the element. Sizes are height and width; one size must be set."""
    if placement.height_px is not None:
        return placement.height_px / element_size[0]
    if placement.width_px is not None:
        return placement.width_px / element_size[1]
    if placement.width_fraction is not None:
        return placement.width_fraction * painting_size[1] / element_size[1]
    assert placement.height_fraction is not None
    return placement.height_fraction * painting_size[0] / element_size[0]


def painted_box(element_size: tuple[int, int], painting_size: tuple[int, int], placement: Placement) -> Box:
    """The upright box around a placed element (height, width), clipped to the painting."""
    scale = scale_of(placement, element_size, painting_size)
    return _reach(_geometry(element_size, painting_size, placement, scale), painting_size, margin=0)


def place(
    element: NDArray[np.float32], painting_size: tuple[int, int], placement: Placement, field: str = "placement"
) -> Layer:
    """Settle a premultiplied element's way onto a painting (height, width). Raises ElementOutside for ``field``."""
    size = element.shape[0], element.shape[1]
    scale = scale_of(placement, size, painting_size)
    geometry = _geometry(size, painting_size, placement, scale)
    # Interpolation fades the element out over half of one of its own pixels beyond its border.
    reach = _reach(geometry, painting_size, math.ceil(max(scale, 1) / 2))
    if reach.is_empty:
        raise outside(field)
    if scale < 1:
        # A warp samples single points; averaging over areas first keeps fine detail from turning into noise.
        reduced_size = max(1, round(geometry.width)), max(1, round(geometry.height))
        element = np.asarray(cv2.resize(element, reduced_size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    stretch = np.diag([geometry.width / element.shape[1], geometry.height / element.shape[0]])
    signs = [-1.0 if flipped else 1.0 for flipped in (placement.flip_horizontal, placement.flip_vertical)]
    linear = geometry.turn @ np.diag(signs) @ stretch
    middle = np.array([element.shape[1] - 1, element.shape[0] - 1]) / 2
    matrix = np.column_stack([linear, geometry.center - 0.5 - linear @ middle])
    return Layer(element=element, matrix=matrix, reach=reach)


def outside(field: str) -> ElementOutside:
    """The error for an element of which nothing is inside the painting."""
    return ElementOutside(field, "puts the element wholly outside the painting; move its center inside")


@dataclass(frozen=True, kw_only=True)
class _Geometry:
    """A placed element in pixels of the painting: size before it is turned, 2×2 turn, center from the top left."""

    width: float
    height: float
    turn: NDArray[np.float64]
    center: NDArray[np.float64]


def _geometry(
    element_size: tuple[int, int], painting_size: tuple[int, int], placement: Placement, scale: float
) -> _Geometry:
    assert placement.center_x_fraction is not None
    assert placement.center_y_fraction is not None
    assert placement.anchor is not None
    height, width = element_size[0] * scale, element_size[1] * scale
    turn = _rotation(placement.rotation_degrees)
    position = np.array(
        [placement.center_x_fraction * painting_size[1], placement.center_y_fraction * painting_size[0]]
    )
    across, down = _ANCHORS[placement.anchor]
    to_center = np.array([(0.5 - across) * width, (0.5 - down) * height])
    return _Geometry(width=width, height=height, turn=turn, center=position + turn @ to_center)


def _rotation(degrees: float) -> NDArray[np.float64]:
    """Counterclockwise as seen; y points down."""
    # Exact at multiples of 90 degrees, where cos(pi / 2) would leave 6e-17.
    cosine, sine = (round(f(math.radians(degrees)), 15) for f in (math.cos, math.sin))
    return np.array([[cosine, sine], [-sine, cosine]])


def _reach(geometry: _Geometry, painting_size: tuple[int, int], margin: int) -> Box:
    half = np.abs(geometry.turn) @ np.array([geometry.width, geometry.height]) / 2
    low = np.floor(geometry.center - half).astype(int) - margin
    high = np.ceil(geometry.center + half).astype(int) + margin
    left, top = (int(value) for value in np.maximum(low, 0))
    right, bottom = (int(value) for value in np.minimum(high, painting_size[::-1]))
    return Box(left=left, top=top, right=right, bottom=bottom)
