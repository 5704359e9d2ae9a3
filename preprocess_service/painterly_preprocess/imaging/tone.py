"""Bringing an element's tone near its surroundings'."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.placing import Box

_MAX_GAIN = 2.0
_SAMPLED_LONG_SIDE_PX = 1024


def surroundings(painting: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Pixels n×3 of an RGB painting in a box grown by half its size on each side, thinned out where they are many."""
    grow_x, grow_y = (box.right - box.left + 1) // 2, (box.bottom - box.top + 1) // 2
    top, left = max(0, box.top - grow_y), max(0, box.left - grow_x)
    near = painting[top : box.bottom + grow_y, left : box.right + grow_x]
    step = max(1, max(near.shape[:2]) // _SAMPLED_LONG_SIDE_PX)
    return near[::step, ::step].reshape(-1, 3)


def match_tone(element: NDArray[np.uint8], around: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """Move the colors of an RGBA element towards the tone of pixels n×3; ``strength`` 1 goes all the way.

    In CIE Lab, channel by channel: the mean, by alpha, becomes that of ``around``, and so does the standard deviation,
    which at most doubles or halves so that flat surroundings do not erase a thing's own shading.
    Source: Reinhard et al., "Color Transfer between Images", 2001.
    """
    lab = _to_lab(element[..., :3])
    weights = element[..., 3]
    step = max(1, max(element.shape[:2]) // _SAMPLED_LONG_SIDE_PX)
    if not weights[::step, ::step].any():
        step = 1
    mean, deviation = _moments(lab[::step, ::step], weights[::step, ::step])
    wanted = _to_lab(around[None])
    wanted_mean, wanted_deviation = _moments(wanted, np.ones(wanted.shape[:2], dtype=np.uint8))
    gain = np.where(deviation > 1e-6, wanted_deviation / np.maximum(deviation, 1e-6), 1)
    gain = 1 + strength * (np.clip(gain, 1 / _MAX_GAIN, _MAX_GAIN) - 1)
    moved_mean = mean + strength * (wanted_mean - mean)
    lab -= mean.astype(np.float32)
    lab *= gain.astype(np.float32)
    lab += moved_mean.astype(np.float32)
    rgb = np.rint(np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1) * 255).astype(np.uint8)
    return np.dstack([rgb, element[..., 3]])


def _to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    scaled = rgb.astype(np.float32) / np.float32(255)
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2Lab), dtype=np.float32)


def _moments(lab: NDArray[np.float32], weights: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean and standard deviation of each channel."""
    share = weights / weights.sum()
    mean = np.einsum("hw,hwc->c", share, lab)
    return mean, np.sqrt(np.einsum("hw,hwc->c", share, (lab - mean) ** 2))
