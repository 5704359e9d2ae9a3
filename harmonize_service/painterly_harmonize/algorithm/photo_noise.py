"""The noise of the photo's sensor, measured and taken away before the passes, which would paint it as brushwork."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm.postprocess import GUIDED_RADIUS_PX, guided_filter
from painterly_harmonize.algorithm.region import bands, region_around

# Below it nothing is done, 8-bit levels: what JPEG leaves of a photo in daylight is far less.
LEAST_NOISE = 2.0 / 255
_FEWEST_PIXELS = 64
# Edges beside which the operator still sees the painting.
_MARGIN_PX = 2
# The median absolute value of a standard normal variable.
_NORMAL_MEDIAN = 0.6745


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


def without_noise(composite: Tensor, mask: Tensor) -> Tensor:
    """The composite with the sensor's noise taken off under the mask, or the composite itself where there is little.

    RGB 1×3×H×W in [0, 1] and 1×1×H×W. A guided filter with the picture as its own guide, ε the square of twice the
    noise: what stands out by less is smoothed, edges stay.
    """
    region = region_around(mask, 3 * GUIDED_RADIUS_PX, 1)
    picture, inside = region.crop(composite), region.crop(mask)
    noise = sensor_noise(picture, inside)
    if noise < LEAST_NOISE:
        return composite
    filtered = torch.cat(
        [
            band.kept(guided_filter(band.around(picture), band.around(picture), GUIDED_RADIUS_PX, (2 * noise) ** 2))
            for band in bands(picture.shape[-2], 2 * GUIDED_RADIUS_PX)
        ],
        dim=-2,
    )
    result = composite.clone()
    region.crop(result)[:] = torch.where(inside > 0, filtered.clamp(0, 1), picture)
    return result
