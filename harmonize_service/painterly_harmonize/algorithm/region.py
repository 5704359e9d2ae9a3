"""The part of a picture that a pass has to compute. Source: section 7, shortcuts 4 and 5."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Region:
    """A rectangle of a picture, px: rows ``top`` to ``bottom`` and columns ``left`` to ``right``, ends excluded.

    Its origin is a multiple of the alignment it was made with, so that its cells at every tap of that stride or less
    are cells of the whole picture.
    """

    top: int
    left: int
    bottom: int
    right: int

    def crop(self, image: Tensor) -> Tensor:
        """The rectangle of ...×H×W."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def crop_tap(self, features: Tensor, stride: int) -> Tensor:
        """The rectangle's cells of ...×h×w at a tap of ``stride``."""
        bottom, right = -(-self.bottom // stride), -(-self.right // stride)
        return features[..., self.top // stride : bottom, self.left // stride : right]


def region_around(mask: Tensor, reach: int, alignment: int) -> Region:
    """The bounding box of a nonempty 1×1×H×W mask, grown by ``reach`` px, out to multiples of ``alignment``."""
    height, width = mask.shape[-2:]
    rows = torch.nonzero(mask[0, 0].amax(1))
    columns = torch.nonzero(mask[0, 0].amax(0))
    top, bottom = int(rows.min()) - reach, int(rows.max()) + 1 + reach
    left, right = int(columns.min()) - reach, int(columns.max()) + 1 + reach
    return Region(
        top=max(0, top // alignment * alignment),
        left=max(0, left // alignment * alignment),
        bottom=min(height, -(-bottom // alignment) * alignment),
        right=min(width, -(-right // alignment) * alignment),
    )


@dataclass(frozen=True, kw_only=True)
class MaskedPixels:
    """The pixels under a mask as one vector, and back.

    ``base`` is 1×3×h×w; ``index`` holds the flat positions of the mask's pixels in h·w.
    """

    base: Tensor
    index: Tensor

    @classmethod
    def under(cls, base: Tensor, mask: Tensor) -> MaskedPixels:
        """The pixels of ``base`` where the 1×1×h×w ``mask`` is not zero."""
        return cls(base=base, index=torch.nonzero(mask.flatten()).flatten())

    def gather(self, image: Tensor) -> Tensor:
        """The masked pixels of 1×3×h×w as a vector of 3·n values."""
        return image.flatten(2)[0, :, self.index].flatten()

    def scatter(self, vector: Tensor) -> Tensor:
        """``base`` with its masked pixels replaced by the vector's values."""
        image = self.base.clone()
        image.flatten(2)[0, :, self.index] = vector.view(3, -1)
        return image
