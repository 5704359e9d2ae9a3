"""Placing an element over a painting."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.errors import AlphaMissing, ElementOutside, MaskEmpty
from painterly_preprocess.imaging.masks import binarize_alpha, has_transparency
from painterly_preprocess.imaging.params import Placement


@dataclass(frozen=True, kw_only=True)
class Composite:
    """``pixels`` is RGB uint8 H×W×3, ``alpha`` the placed element's, float32 H×W, ``mask`` bool H×W: alpha >= 1/2."""

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    mask: NDArray[np.bool_]


def require_cut_out(element: NDArray[np.uint8]) -> None:
    """Raise AlphaMissing for an element without a transparent pixel, which was hardly meant to be pasted whole."""
    if not has_transparency(element):
        raise AlphaMissing("element", "has no transparent pixel; remove its background first")


def compose(element: NDArray[np.uint8], painting: NDArray[np.uint8], placement: Placement) -> Composite:
    """Place an RGBA element over an RGB painting; where its alpha is 0 the painting's pixels stay as they are.

    Raises: MaskEmpty (field ``element`` when the element itself is too transparent, else ``placement``), MaskFull,
    ElementOutside.
    """
    if not (element[..., 3] >= 128).any():
        raise MaskEmpty("element", "has no pixel that is at least half opaque")
    layer, (top, left) = _place(_premultiplied_crop(element), painting.shape[:2], placement)
    inside = np.s_[top : top + layer.shape[0], left : left + layer.shape[1]]
    pixels, alpha = painting.copy(), np.zeros(painting.shape[:2], dtype=np.float32)
    blended = layer[..., :3] + (1 - layer[..., 3:]) * painting[inside]
    pixels[inside] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    alpha[inside] = layer[..., 3]
    if not alpha.any():
        raise _outside()
    return Composite(pixels=pixels, alpha=alpha, mask=binarize_alpha(alpha, "placement"))


def _premultiplied_crop(element: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Crop to the bounding box of what is not fully transparent; color 0 to 255 times alpha, alpha 0 to 1."""
    rows, columns = (np.flatnonzero(element[..., 3].any(axis=axis)) for axis in (1, 0))
    cropped = element[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    cropped[..., 3] /= 255
    cropped[..., :3] *= cropped[..., 3:]
    return cropped


def _place(
    element: NDArray[np.float32], painting_size: tuple[int, int], placement: Placement
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Warp a premultiplied element onto the part of the painting that it reaches; returns it and its top left pixel."""
    height, width = painting_size
    scale = placement.height_fraction * height / element.shape[0]
    full_size = element.shape[1] * scale, element.shape[0] * scale
    center = placement.center_x_fraction * width, placement.center_y_fraction * height
    turn = _rotation(placement.rotation_degrees)
    # Interpolation fades the element out over half of one of its own pixels beyond its border.
    margin = math.ceil(max(scale, 1) / 2)
    left, top, right, bottom = _reach(turn, full_size, center, (width, height), margin)
    if right <= left or bottom <= top:
        raise _outside()
    if scale < 1:
        # A warp samples single points; averaging over areas first keeps fine detail from turning into noise.
        reduced_size = max(1, round(full_size[0])), max(1, round(full_size[1]))
        element = np.asarray(cv2.resize(element, reduced_size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    stretch = np.diag([full_size[0] / element.shape[1], full_size[1] / element.shape[0]])
    mirror = np.diag([-1.0 if placement.flip_horizontal else 1.0, 1.0])
    matrix = _pixel_matrix(turn @ mirror @ stretch, element.shape, (center[0] - left, center[1] - top))
    layer = cv2.warpAffine(element, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    return np.asarray(layer, dtype=np.float32), (top, left)


def _rotation(degrees: float) -> NDArray[np.float64]:
    """Counterclockwise as seen; y points down."""
    # Exact at multiples of 90 degrees, where cos(pi / 2) would leave 6e-17.
    cosine, sine = (round(f(math.radians(degrees)), 15) for f in (math.cos, math.sin))
    return np.array([[cosine, sine], [-sine, cosine]])


def _reach(
    turn: NDArray[np.float64],
    size: tuple[float, float],
    center: tuple[float, float],
    painting_size: tuple[int, int],
    margin: int,
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the pixels that an element and a margin around it may touch, clipped."""
    half = np.abs(turn) @ np.array(size) / 2
    low = np.floor(np.array(center) - half).astype(int) - margin
    high = np.ceil(np.array(center) + half).astype(int) + margin
    left, top = (int(value) for value in np.maximum(low, 0))
    right, bottom = (int(value) for value in np.minimum(high, painting_size))
    return left, top, right, bottom


def _pixel_matrix(
    linear: NDArray[np.float64], shape: tuple[int, ...], center: tuple[float, float]
) -> NDArray[np.float64]:
    """2×3 matrix from the element's to the layer's pixel indices, which name the pixels' centers."""
    middle = np.array([shape[1] - 1, shape[0] - 1]) / 2
    return np.column_stack([linear, np.array(center) - 0.5 - linear @ middle])


def _outside() -> ElementOutside:
    return ElementOutside("placement", "puts the element wholly outside the painting; move its center inside")
