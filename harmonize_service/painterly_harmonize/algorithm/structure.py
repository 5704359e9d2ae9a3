"""The object's own structure where it is stronger than the painting's strokes, these everywhere else.

The passes keep the style of a region and not the place of its strokes: contours and patterns of the object dissolve in
them. What stands out of it more than strokes stand out of the painting is taken back from the composite here, in the
colors that the passes gave it. Source: section 10.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from painterly_harmonize.algorithm.color import rgb_to_lab
from painterly_harmonize.algorithm.masks import gaussian_blur
from painterly_harmonize.algorithm.recoloring import ColorMap
from painterly_harmonize.algorithm.region import region_around

# As shares of the picture's long side: 2 and 16 px at 512 px.
_DETAIL_SHARE, _COLOR_SHARE = 2 / 512, 16 / 512
# The object's structure counts for as much as strokes of ten times its energy, three times its contrast.
BRUSHWORK_WEIGHT = 0.1


def local_mean(image: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """The Gaussian mean of 1×C×H×W over the pixels of a 1×1×H×W mask alone."""
    size = 2 * math.ceil(3 * sigma) + 1
    weight = gaussian_blur(mask, size, sigma)
    return gaussian_blur(image * mask, size, sigma) / weight.clamp(min=1e-6)


def local_energy(image: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """How much an RGB picture varies around each pixel, 1×1×H×W: mean squared color difference to the local mean."""
    lab = rgb_to_lab(image.clamp(0, 1))
    squares = (lab - local_mean(lab, mask, sigma)).square().sum(1, keepdim=True)
    return local_mean(squares, mask, sigma)


def keep_structure(
    output: Tensor, composite: Tensor, painting: Tensor, mask: Tensor, style_mask: Tensor | None = None
) -> Tensor:
    """A pass's output with the composite's structure where that is strong; RGB 1×3×H×W, masks 1×1×H×W of 0 and 1.

    The composite is first brought to the output's colors: as a whole (:class:`ColorMap`), then by their local
    means. Its share at a pixel is ``a / (a + e/10)``, a being its energy there, e the mean energy of the painting or
    of its part under ``style_mask``. Only what is under ``mask`` changes.
    """
    long_side = max(output.shape[-2:])
    detail, color = _DETAIL_SHARE * long_side, _COLOR_SHARE * long_side
    source = torch.ones_like(mask) if style_mask is None else style_mask
    brushwork = (local_energy(painting, source, detail) * source).sum() / source.sum()
    region = region_around(mask, 0, 1)
    inside, made = region.crop(mask), region.crop(output)
    own = ColorMap.between(region.crop(composite), made, inside).recolor(region.crop(composite), inside)
    energy = local_energy(own, inside, detail)
    share = inside * energy / (energy + BRUSHWORK_WEIGHT * brushwork).clamp(min=1e-6)
    own = own + local_mean(made - own, inside, color)
    result = output.clone()
    region.crop(result).copy_(made + share * (own - made))
    return result
