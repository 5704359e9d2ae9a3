"""The noise of the photo's sensor, measured and taken away before the passes, which would paint it as brushwork."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm.region import bands, region_around

# Below it nothing is done, 8-bit levels: what JPEG leaves of a photo in daylight is far less.
LEAST_NOISE = 2.0 / 255
_FEWEST_PIXELS = 64
# Edges beside which the operator still sees the painting.
_MARGIN_PX = 2
# The median absolute value of a standard normal variable.
_NORMAL_MEDIAN = 0.6745
_BLOCK_PX = 8
# Coefficients below it are noise, in its standard deviations. Customary are 2.7 to 3, which also take faint strokes.
_THRESHOLD = 2.2
# Light, red against blue, green against both; to be brought to unit length.
_OPPONENT_COLORS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))


def sensor_noise(image: Tensor, mask: Tensor) -> float:
    """The standard deviation of what differs between the color channels from pixel to pixel under a mask.

    ``image`` is RGB 1×3×H×W in [0, 1], ``mask`` 1×1×H×W of 0 and 1; the result is in units of the image. The operator
    of Immerkær (1996) on the differences of red and of blue to green, and the median of its absolute values: texture
    and edges, which the channels share, cancel. 0 where fewer than 64 pixels lie inside the mask's edge.
    """
    inside = -functional.max_pool2d(-mask, 2 * _MARGIN_PX + 1, stride=1, padding=_MARGIN_PX)
    if int(inside.sum()) < _FEWEST_PIXELS:
        return 0.0
    kernel = image.new_tensor([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    differences = (image[:, (0, 2)] - image[:, 1:2]) / math.sqrt(2)
    found = functional.conv2d(differences, kernel.expand(2, 1, 3, 3), padding=1, groups=2)[0]
    medians = found.abs()[:, inside[0, 0] > 0].median(dim=1).values
    return float(medians.mean()) / _NORMAL_MEDIAN


def cosine_blocks(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The orthonormal two-dimensional cosine basis of 8×8 blocks as filters, 64×1×8×8; the first is the mean's."""
    order = torch.arange(_BLOCK_PX, dtype=torch.float64)
    basis = torch.cos(math.pi * (order + 0.5) * order[:, None] / _BLOCK_PX) * math.sqrt(2 / _BLOCK_PX)
    basis[0] /= math.sqrt(2)
    products = torch.einsum("ui,vj->uvij", basis, basis)
    return products.reshape(-1, 1, _BLOCK_PX, _BLOCK_PX).to(device=device, dtype=dtype)


def threshold_blocks(picture: Tensor, threshold: float) -> Tensor:
    """A picture rebuilt from all its overlapping 8×8 blocks without their cosine coefficients below ``threshold``.

    1×C×H×W; each channel by itself, each block's mean is kept. A block counts by one over the number of coefficients
    that it keeps, so that smooth ones prevail. Source: Yu and Sapiro, "DCT image denoising", IPOL 2011; the weights
    are those of BM3D (Dabov et al. 2007).
    """
    basis = cosine_blocks(picture.device, picture.dtype)
    ones = torch.ones_like(basis[:1])
    margin = _BLOCK_PX - 1
    planes = functional.pad(picture, (margin,) * 4, mode="replicate").transpose(0, 1)
    # In bands of rows: there are 64 coefficients for each pixel.
    found = []
    for band in bands(picture.shape[-2], 0):
        around = planes[..., band.top : band.bottom + 2 * margin, :]
        coefficients = functional.conv2d(around, basis)
        kept = coefficients.abs() > threshold
        kept[:, 0] = True
        weight = 1 / kept.sum(1, keepdim=True).to(picture.dtype)
        total = functional.conv_transpose2d(coefficients * kept * weight, basis)
        found.append((total / functional.conv_transpose2d(weight, ones))[..., margin:-margin, margin:-margin])
    return torch.cat(found, dim=-2).transpose(0, 1)


def without_noise(composite: Tensor, mask: Tensor) -> Tensor:
    """The composite with the sensor's noise taken off under the mask, or the composite itself where there is little.

    RGB 1×3×H×W in [0, 1] and 1×1×H×W. Blocks are thresholded (:func:`threshold_blocks`) in orthonormal opponent
    colors, where texture, which the channels share, and noise, which they do not, lie apart.
    """
    region = region_around(mask, _BLOCK_PX, 1)
    picture, inside = region.crop(composite), region.crop(mask)
    noise = sensor_noise(picture, inside)
    if noise < LEAST_NOISE:
        return composite
    opponent = torch.tensor(_OPPONENT_COLORS, device=picture.device, dtype=torch.float64)
    opponent = (opponent / opponent.norm(dim=1, keepdim=True)).to(picture.dtype)
    planes = threshold_blocks(torch.einsum("ij,bjhw->bihw", opponent, picture), _THRESHOLD * noise)
    filtered = torch.einsum("ji,bjhw->bihw", opponent, planes)
    result = composite.clone()
    region.crop(result)[:] = torch.where(inside > 0, filtered.clamp(0, 1), picture)
    return result
