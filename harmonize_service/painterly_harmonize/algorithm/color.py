"""sRGB to CIELAB and back. Source: section 4, step 1 (D65 white)."""

from __future__ import annotations

import torch
from torch import Tensor

_RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.950456, 1.0, 1.088754)
_DELTA = 6 / 29


def _matrix(image: Tensor) -> Tensor:
    return torch.tensor(_RGB_TO_XYZ, device=image.device, dtype=torch.float64)


def _white(image: Tensor) -> Tensor:
    return torch.tensor(_WHITE, device=image.device, dtype=image.dtype).view(1, 3, 1, 1)


def _mix(matrix: Tensor, image: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", matrix.to(image.dtype), image)


def rgb_to_lab(image: Tensor) -> Tensor:
    """sRGB 1×3×H×W in [0, 1] to CIELAB: L* in 0 to 100, a* and b* about -110 to 110."""
    linear = torch.where(image > 0.04045, ((image.clamp(min=0) + 0.055) / 1.055) ** 2.4, image / 12.92)
    xyz = _mix(_matrix(image), linear) / _white(image)
    f = torch.where(xyz > _DELTA**3, xyz.clamp(min=1e-12) ** (1 / 3), xyz / (3 * _DELTA**2) + 4 / 29)
    fx, fy, fz = f.unbind(1)
    return torch.stack((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)), dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """CIELAB 1×3×H×W to sRGB, not clipped: colors outside sRGB leave [0, 1]."""
    lightness, a, b = lab.unbind(1)
    fy = (lightness + 16) / 116
    f = torch.stack((fy + a / 500, fy, fy - b / 200), dim=1)
    xyz = torch.where(f > _DELTA, f**3, 3 * _DELTA**2 * (f - 4 / 29)) * _white(lab)
    linear = _mix(torch.linalg.inv(_matrix(lab)), xyz)
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=1e-12) ** (1 / 2.4) - 0.055, 12.92 * linear)
