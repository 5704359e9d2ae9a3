"""sRGB values and amounts of light. Source: IEC 61966-2-1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _decoded(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


_LIGHT_OF_VALUE = (255 * _decoded(np.arange(256) / 255)).astype(np.float32)


def to_light(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Amounts of light, 0 to 255, of sRGB values; any shape."""
    return np.asarray(_LIGHT_OF_VALUE[values], dtype=np.float32)


def from_light(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """sRGB values, 0 to 255 and not rounded, of amounts of light; what lies outside 0 to 255 is cut off."""
    share = np.clip(light / np.float32(255), 0, 1)
    encoded = np.where(share <= 0.0031308, share * 12.92, 1.055 * share ** (1 / 2.4) - 0.055)
    return np.asarray(255 * encoded, dtype=np.float32)
