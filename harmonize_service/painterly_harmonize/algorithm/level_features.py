"""What of a painting's palette, strokes and edges tells how far it is from realism. Source: docs/level.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from painterly_harmonize.algorithm.color import rgb_to_lab
from painterly_harmonize.algorithm.masks import area_resize, gaussian_blur
from painterly_harmonize.algorithm.quality_metrics import gradients

# Paintings are measured at this square root of their area, px, so that a file's resolution says little.
CANONICAL_SIDE_PX = 320
_STRUCTURE_SIGMA_PX = 3.0
# Below these (steps of CIELAB, and their squares) there is no structure to speak of, only rounding.
_LEAST_DETAIL, _LEAST_ENERGY = 0.1, 0.25


@dataclass(frozen=True, kw_only=True)
class LevelFeatures:
    """Measurements of one painting, lengths in px at the canonical size, colors in CIELAB divided by 100.

    ``shadow_lightness``: the lightness that a tenth of the painting stays below. ``chroma``: mean chroma.
    ``shadow_chroma``: mean chroma of the darker third. ``color_detail``: log10 of the median contrast of color at
    strokes of some 5 to 10 px. ``color_over_light``: the same over that of lightness. ``texture_over_form``: log10 of
    fine over coarse contrast of lightness. ``anisotropy``: how far each neighborhood's gradients share a direction, 0
    to 1. ``contour_hardness``: log10 of the strongest edges' gradient over the same after a blur.
    """

    shadow_lightness: float
    chroma: float
    shadow_chroma: float
    color_detail: float
    color_over_light: float
    texture_over_form: float
    anisotropy: float
    contour_hardness: float


def measure(painting: Tensor) -> LevelFeatures:
    """Measure a painting, RGB float32 1×3×H×W in [0, 1]; computed on the CPU."""
    lab = rgb_to_lab(canonical(painting))
    chroma = lab[:, 1:].norm(dim=1).flatten()
    lightness = lab[:, 0].flatten()
    blurred = {sigma: _blur(lab, sigma) for sigma in (1, 2, 4, 8)}
    fine, middle, coarse = (blurred[sigma] - blurred[2 * sigma] for sigma in (1, 2, 4))
    color_detail = _log(middle[:, 1:].norm(dim=1).median())
    light_detail = _log(middle[:, 0].abs().median())
    return LevelFeatures(
        shadow_lightness=float(lightness.quantile(0.1)) / 100,
        chroma=float(chroma.mean()) / 100,
        shadow_chroma=float(chroma[lightness <= lightness.quantile(1 / 3)].mean()) / 100,
        color_detail=color_detail,
        color_over_light=color_detail - light_detail,
        texture_over_form=_log(_rms(fine[:, 0])) - _log(_rms(coarse[:, 0])),
        anisotropy=_anisotropy(blurred[1][:, :1]),
        contour_hardness=_log(_strong_gradient(blurred[1][:, :1])) - _log(_strong_gradient(blurred[4][:, :1])),
    )


def canonical(painting: Tensor) -> Tensor:
    """The painting at an area of at most 320² px, by box averaging, on the CPU; never enlarged."""
    height, width = painting.shape[-2:]
    scale = min(1.0, CANONICAL_SIDE_PX / math.sqrt(height * width))
    return area_resize(painting, (max(1, round(height * scale)), max(1, round(width * scale)))).cpu()


def _blur(image: Tensor, sigma: int) -> Tensor:
    return gaussian_blur(image, 6 * sigma + 1, sigma, normalized=True)


def _strong_gradient(light: Tensor) -> Tensor:
    dx, dy = gradients(light)
    return torch.hypot(dx, dy).flatten().quantile(0.99)


def _anisotropy(light: Tensor) -> float:
    """Mean coherence of the structure tensor; places without structure count as 0."""
    dx, dy = gradients(light)
    products = torch.cat((dx * dx, dy * dy, dx * dy), dim=1)
    size = 2 * math.ceil(3 * _STRUCTURE_SIGMA_PX) + 1
    xx, yy, xy = gaussian_blur(products, size, _STRUCTURE_SIGMA_PX, normalized=True).unbind(1)
    return float((torch.hypot(xx - yy, 2 * xy) / (xx + yy + _LEAST_ENERGY)).mean())


def _rms(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


def _log(value: Tensor) -> float:
    return math.log10(float(value) + _LEAST_DETAIL)
