"""What draws the eye in a painting, and where its sky is, as far as colors and edges tell."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

WORKING_LONG_SIDE_PX = 256
_SPECTRAL_SIDE_PX = 64
# Center-surround contrast at three sizes: standard deviations of center and surround as parts of the long side.
_SCALES = ((0.01, 0.04), (0.02, 0.08), (0.04, 0.16))
_JOIN = 0.04
_CENTRAL_SPREAD = 1.2
_FLOOD_TOLERANCE = 3
# Prints have frames, and dark bands along their upper border: the sky is entered below them.
_ENTRY_HEIGHTS = (0.04, 0.09, 0.14)
# A sky reaches this far down, and about equally far everywhere; otherwise it is a plain backdrop.
_MIN_HORIZON, _MAX_HORIZON, _MAX_HORIZON_SPREAD = 0.16, 0.75, 0.25


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A painting at working size. ``attention`` ranks its pixels from 0 (calm) to 1 (draws the eye), float32 h×w.

    ``ground`` is 1 where something could stand and 0 in the sky, float32 h×w; None where the painting does not tell.
    ``horizon`` is the height at which the sky ends, from the top, as a fraction.
    """

    attention: NDArray[np.float32]
    ground: NDArray[np.float32] | None
    horizon: float | None


def read_painting(painting: NDArray[np.uint8]) -> Reading:
    """Look at an RGB painting."""
    height, width = painting.shape[:2]
    scale = WORKING_LONG_SIDE_PX / max(height, width)
    size = max(8, round(width * scale)), max(8, round(height * scale))
    small = cv2.resize(painting, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    scaled = np.asarray(small, dtype=np.float32) / np.float32(255)
    lab = np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2Lab), dtype=np.float32)
    ground, horizon = _ground(np.asarray(small, dtype=np.uint8), lab)
    return Reading(attention=_attention(lab), ground=ground, horizon=horizon)


def _attention(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    long_side = max(lab.shape[:2])
    contrast = np.zeros(lab.shape[:2], dtype=np.float32)
    for center, surround in _SCALES:
        difference = _blurred(lab, center * long_side) - _blurred(lab, surround * long_side)
        contrast += np.sqrt((difference**2).sum(axis=2))
    rarity = np.sqrt(((_blurred(lab, 0.02 * long_side) - np.median(lab, axis=(0, 1))) ** 2).sum(axis=2))
    detail = _blurred(_gradient(lab[..., 0]), 0.02 * long_side)
    parts = (contrast, rarity, detail, _spectral_residual(lab[..., 0]))
    whole = _blurred(sum(part / (part.mean() + np.float32(1e-6)) for part in parts), 0.015 * long_side)
    ranks = _ranks(whole)
    # A sail or a sleeve is calm itself and yet belongs to what its outline makes of it.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(_JOIN * long_side) + 1,) * 2)
    joined = cv2.morphologyEx(ranks, cv2.MORPH_CLOSE, kernel)
    return _ranks((ranks + np.asarray(joined, dtype=np.float32)) * _central(ranks.shape))


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    ranks = np.empty(values.size, dtype=np.float32)
    ranks[np.argsort(values, axis=None, kind="stable")] = np.linspace(0, 1, values.size, dtype=np.float32)
    return ranks.reshape(values.shape)


def _central(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Painters put what matters near the middle: 1 there, less towards the corners."""
    down, across = (np.linspace(-1, 1, length, dtype=np.float32) for length in shape)
    squares = down[:, None] ** 2 + across**2
    return np.asarray(np.exp(-squares / np.float32(2 * _CENTRAL_SPREAD**2)), dtype=np.float32)


def _spectral_residual(lightness: NDArray[np.float32]) -> NDArray[np.float32]:
    """What of the spectrum is unlike its surroundings. Source: Hou and Zhang, "Saliency Detection", CVPR 2007."""
    small = cv2.resize(lightness, (_SPECTRAL_SIDE_PX, _SPECTRAL_SIDE_PX), interpolation=cv2.INTER_AREA)
    spectrum = np.fft.fft2(small)
    log_amplitude = np.log(np.abs(spectrum) + 1e-6)
    residual = log_amplitude - cv2.blur(log_amplitude, (3, 3))
    saliency = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    smooth = _blurred(saliency.astype(np.float32), 2.5)
    return np.asarray(cv2.resize(smooth, lightness.shape[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _ground(small: NDArray[np.uint8], lab: NDArray[np.float32]) -> tuple[NDArray[np.float32] | None, float | None]:
    """The sky is reached from above without crossing an edge, about as deep everywhere and no darker than the rest."""
    height, width = small.shape[:2]
    smooth = cv2.medianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2Lab), 7)
    marks = np.zeros((height + 2, width + 2), dtype=np.uint8)
    tolerance = (_FLOOD_TOLERANCE,) * 3
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    for row in (int(entry * height) for entry in _ENTRY_HEIGHTS):
        for column in range(width // 20, width - width // 20, 4):
            if not marks[row + 1, column + 1]:
                cv2.floodFill(smooth, marks, (column, row), 0, tolerance, tolerance, flags)
    marks[: int(_ENTRY_HEIGHTS[-1] * height) + 1] = 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    sky = cv2.morphologyEx(marks[1:-1, 1:-1], cv2.MORPH_CLOSE, kernel).astype(np.bool_)
    # Only what hangs together with the upper border from above: the sky has nothing of itself below the land.
    sky &= np.cumsum(~sky, axis=0) <= 0.05 * height
    depths = sky.sum(axis=0) / height
    horizon = float(np.median(depths))
    spread = float(np.subtract(*np.quantile(depths, (0.75, 0.25))))
    if not _MIN_HORIZON <= horizon <= _MAX_HORIZON or spread > _MAX_HORIZON_SPREAD:
        return None, None
    if np.median(lab[..., 0][sky]) < np.median(lab[..., 0][~sky]):
        return None, None
    below = np.arange(height)[:, None] >= horizon * height
    return (below & ~sky).astype(np.float32), horizon


def _gradient(channel: NDArray[np.float32]) -> NDArray[np.float32]:
    across, down = cv2.Sobel(channel, cv2.CV_32F, 1, 0), cv2.Sobel(channel, cv2.CV_32F, 0, 1)
    return np.asarray(np.hypot(across, down), dtype=np.float32)


def _blurred(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), dtype=np.float32)
