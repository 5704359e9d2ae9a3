"""The object's colors as a whole, moved to where the first pass has brought them. Source: section 10."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from painterly_harmonize.algorithm.color import lab_to_rgb, rgb_to_lab
from painterly_harmonize.algorithm.parallel import Workers
from painterly_harmonize.algorithm.region import Band, bands

# Spread of colors, L*², below which a channel is too flat to tell a gain.
_FLAT_VARIANCE = 1.0
_LEAST_GAIN, _LARGEST_GAIN = 0.6, 1.6


@dataclass(frozen=True, kw_only=True)
class ColorMap:
    """What becomes of a color: in each channel of CIELAB ``(x - center) · gain + target``. 1×3×1×1 each."""

    center: Tensor
    gain: Tensor
    target: Tensor

    @classmethod
    def between(cls, before: Tensor, after: Tensor, mask: Tensor) -> ColorMap:
        """The map that gives one picture's colors the means and standard deviations of another's, over a mask.

        RGB 1×3×H×W in [0, 1] and 1×1×H×W. A gain is 0.6 to 1.6, and nearer to 1 the flatter the channel is.
        """
        weight = mask.double() / mask.sum(dtype=torch.float64)

        def mean(x: Tensor) -> Tensor:
            return (x * weight).sum((-2, -1), keepdim=True)

        first, second = (rgb_to_lab(picture.clamp(0, 1)).double() for picture in (before, after))
        center, target = mean(first), mean(second)
        spread = mean((first - center).square())
        wanted = mean((second - target).square())
        gain = ((wanted + _FLAT_VARIANCE) / (spread + _FLAT_VARIANCE)).sqrt().clamp(_LEAST_GAIN, _LARGEST_GAIN)
        return cls(center=center.to(before), gain=gain.to(before), target=target.to(before))

    def recolor(self, image: Tensor, mask: Tensor) -> Tensor:
        """The picture with its colors mapped where the mask is above 0.5, clipped to [0, 1]."""

        def recolor_band(band: Band) -> Tensor:
            rows = band.rows(image)
            mapped = (rgb_to_lab(rows.clamp(0, 1)) - self.center) * self.gain + self.target
            return torch.where(band.rows(mask) > 0.5, lab_to_rgb(mapped).clamp(0, 1), rows)

        with Workers(image.device, lambda: None) as workers:
            return torch.cat([*workers.map(recolor_band, bands(image.shape[-2], 0))], dim=-2)
