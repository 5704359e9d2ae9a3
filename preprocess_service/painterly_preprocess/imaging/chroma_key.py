"""Background removal before a plain backdrop: what has its color is background."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.cutout_params import ChromaKey
from painterly_preprocess.imaging.errors import ParameterError
from painterly_preprocess.imaging.matting import Alpha, over_white, own_alpha, require_foreground

# The backdrop's color is found on a reduced copy, in the outermost share of it.
_WORKING_LONG_SIDE_PX, _BORDER_SHARE = 256, 0.04
# Light falls off smoothly: a second-order polynomial over the photo, fitted anew without what lies off it.
_FIT_COUNT, _LEAST_TOLERANCE, _LARGEST_TOLERANCE = 4, 6.0, 25.0
_LEAST_PLAIN_SHARE = 0.5
# Before a colorful backdrop shadows change its lightness more than its color, so lightness counts less.
_COLORFUL, _LIGHTNESS_WEIGHT = 30.0, 0.35


@dataclass(frozen=True)
class ChromaKeyMatting:
    """Distance in color from a plain backdrop, unevenly lit as it may be.

    Raises ParameterError (``chroma_key.color``) when no color was given and the photo's border is not plain.
    """

    key: ChromaKey = field(default_factory=ChromaKey)

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        lab = _lab(over_white(photo))
        if self.key.color is None:
            backdrop, spread = _backdrop(lab)
        else:
            backdrop, spread = np.broadcast_to(_lab(np.array([[self.key.color]], dtype=np.uint8)), lab.shape), 0.0
        tolerance = self.key.tolerance or float(np.clip(3 * spread, 2 * _LEAST_TOLERANCE, _LARGEST_TOLERANCE))
        distance = _distance(lab, backdrop)
        alpha = np.clip(distance / np.float32(tolerance) - 1, 0, 1).astype(np.float32)
        return require_foreground(alpha * own_alpha(photo))


def _lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), dtype=np.float32)


def _distance(lab: NDArray[np.float32], backdrop: NDArray[np.float32]) -> NDArray[np.float32]:
    colorful = float(np.median(np.hypot(backdrop[..., 1], backdrop[..., 2]))) > _COLORFUL
    difference = lab - backdrop
    if colorful:
        difference[..., 0] *= _LIGHTNESS_WEIGHT
    return np.asarray(np.sqrt((difference**2).sum(axis=-1)), dtype=np.float32)


def _backdrop(lab: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The backdrop's color at each pixel (Lab, H×W×3) and the border's median distance from it."""
    height, width = lab.shape[:2]
    scale = min(1.0, _WORKING_LONG_SIDE_PX / max(height, width))
    size = max(16, round(width * scale)), max(16, round(height * scale))
    small = cv2.resize(lab, size, interpolation=cv2.INTER_AREA)
    depth = max(2, round(_BORDER_SHARE * max(size)))
    border = np.ones(small.shape[:2], dtype=np.bool_)
    border[depth:-depth, depth:-depth] = False
    terms, colors = _terms(*small.shape[:2])[border], small[border]
    used = np.abs(colors - np.median(colors, axis=0)).sum(axis=1) <= 2 * _LARGEST_TOLERANCE
    for _ in range(_FIT_COUNT):
        if used.mean() < _LEAST_PLAIN_SHARE:
            text = "cannot be found: the photo's border is not plain; give the color, or choose another method"
            raise ParameterError("chroma_key.color", "none", text)
        coefficients = np.linalg.lstsq(terms[used], colors[used], rcond=None)[0]
        off = np.sqrt(((colors - terms @ coefficients) ** 2).sum(axis=1))
        used = off <= np.clip(4 * np.median(off), _LEAST_TOLERANCE, _LARGEST_TOLERANCE)
    return (_terms(height, width) @ coefficients).astype(np.float32), float(np.median(off[used]))


def _terms(height: int, width: int) -> NDArray[np.float32]:
    """1, x, y, x², xy and y² at each pixel, x and y from -1 to 1; float32 H×W×6."""
    x, y = np.meshgrid(
        np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32), indexing="xy"
    )
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
