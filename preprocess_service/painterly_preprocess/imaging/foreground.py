"""Foreground colors under a soft alpha."""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging import fast_matting

# The colors that are estimated are smooth: a reduced copy gives them as well, in a fraction of the time and memory.
_WORKING_LONG_SIDE_PX = 1024
# Parts of it are compiled to run on several threads, which numba may begin from one thread at a time only.
_estimating = threading.Lock()


def estimate_foreground(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Element of an RGBA photo: its colors without the old background's share, and ``alpha`` as alpha.

    Opaque pixels keep their color; fully transparent ones get their surroundings' foreground color. The colors are
    estimated on a reduced copy, then given the detail that foreground and background leave unexplained in each pixel.
    Source: Germer, Uelwer, Conrad, Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020; the detail: Forte,
    "Approximate Fast Foreground Colour Estimation", ICIP 2021.
    """
    height, width = alpha.shape
    foreground, background = (
        cv2.resize(colors, (width, height), interpolation=cv2.INTER_LINEAR)
        for colors in _reduced_colors(np.ascontiguousarray(photo[..., :3]), alpha)
    )
    soft, opaque = (alpha > 0) & (alpha < 1), alpha >= 1
    parts = (photo[..., :3], foreground, background, alpha)
    detailed = _add_detail(*(part[soft].astype(np.float32) for part in parts))
    foreground[soft] = np.rint(detailed).astype(np.uint8)
    foreground[opaque] = photo[opaque][:, :3]
    return np.dstack([foreground, np.rint(alpha * 255).astype(np.uint8)])


def _reduced_colors(rgb: NDArray[np.uint8], alpha: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Foreground and background colors everywhere, at no more than the working size."""
    height, width = alpha.shape
    scale = min(1.0, _WORKING_LONG_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    share = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    estimate = fast_matting.part("foreground.estimate_foreground_ml").estimate_foreground_ml
    with _estimating:
        foreground, background = estimate(image, share, return_background=True)
    return np.rint(foreground * 255).astype(np.uint8), np.rint(background * 255).astype(np.uint8)


def _add_detail(
    image: NDArray[np.float32],
    foreground: NDArray[np.float32],
    background: NDArray[np.float32],
    alpha: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Foreground colors (…×3) plus what the two leave unexplained, by the foreground's share (…) in the pixel."""
    share = alpha[..., None]
    detailed = foreground + share * (image - share * foreground - (1 - share) * background)
    return np.asarray(np.clip(detailed, 0, 255), dtype=np.float32)
