"""The part of a picture that a pass has to compute. Source: section 7, shortcuts 4 and 5."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BAND_PX = 64


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

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    def grown(self, margin: int) -> Region:
        """This rectangle with ``margin`` more on each side, beyond the picture too."""
        return Region(
            top=self.top - margin, left=self.left - margin, bottom=self.bottom + margin, right=self.right + margin
        )

    def intersection(self, other: Region) -> Region:
        """What both rectangles share."""
        return Region(
            top=max(self.top, other.top),
            left=max(self.left, other.left),
            bottom=min(self.bottom, other.bottom),
            right=min(self.right, other.right),
        )

    def union(self, other: Region) -> Region:
        """The smallest rectangle that holds both."""
        return Region(
            top=min(self.top, other.top),
            left=min(self.left, other.left),
            bottom=max(self.bottom, other.bottom),
            right=max(self.right, other.right),
        )

    def within(self, outer: Region) -> Region:
        """This rectangle in the coordinates of ``outer``."""
        return Region(
            top=self.top - outer.top,
            left=self.left - outer.left,
            bottom=self.bottom - outer.top,
            right=self.right - outer.left,
        )

    def rows(self, top: int, bottom: int) -> Region:
        """The part of this rectangle between two rows."""
        return Region(top=top, left=self.left, bottom=bottom, right=self.right)

    def cells(self, stride: int) -> Region:
        """The cells of ``stride`` pixels that this rectangle touches."""
        return Region(
            top=self.top // stride,
            left=self.left // stride,
            bottom=-(-self.bottom // stride),
            right=-(-self.right // stride),
        )

    def pixels(self, stride: int) -> Region:
        """The pixels of a rectangle of cells, beyond the picture too."""
        return Region(
            top=self.top * stride, left=self.left * stride, bottom=self.bottom * stride, right=self.right * stride
        )

    def crop(self, image: Tensor) -> Tensor:
        """The rectangle of ...×H×W."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def crop_tap(self, features: Tensor, stride: int) -> Tensor:
        """The rectangle's cells of ...×h×w at a tap of ``stride``."""
        return self.cells(stride).crop(features)


def bounding_box(mask: Tensor) -> Region:
    """The smallest rectangle that holds all of a nonempty 1×1×H×W mask."""
    rows = torch.nonzero(mask[0, 0].amax(1))
    columns = torch.nonzero(mask[0, 0].amax(0))
    return Region(
        top=int(rows.min()), left=int(columns.min()), bottom=int(rows.max()) + 1, right=int(columns.max()) + 1
    )


def region_around(mask: Tensor, reach: int, alignment: int) -> Region:
    """The bounding box of a nonempty 1×1×H×W mask, grown by ``reach`` px, out to multiples of ``alignment``."""
    height, width = mask.shape[-2:]
    whole = Region(top=0, left=0, bottom=height, right=width)
    return bounding_box(mask).grown(reach).cells(alignment).pixels(alignment).intersection(whole)


@dataclass(frozen=True, kw_only=True)
class Band:
    """The rows ``top`` to ``bottom`` of a picture, and ``first`` to ``last``, which a filter reads for them."""

    top: int
    bottom: int
    first: int
    last: int

    def rows(self, image: Tensor) -> Tensor:
        """The band of ...×H×W."""
        return image[..., self.top : self.bottom, :]

    def around(self, image: Tensor) -> Tensor:
        """The band of ...×H×W with what is read around it."""
        return image[..., self.first : self.last, :]

    def kept(self, filtered: Tensor) -> Tensor:
        """The band of what was made from :meth:`around`."""
        return filtered[..., self.top - self.first : self.bottom - self.first, :]


def bands(height: int, reach: int) -> list[Band]:
    """A picture of ``height`` rows in bands of 64, for filters that read ``reach`` rows around each."""
    return [
        Band(
            top=top,
            bottom=min(top + BAND_PX, height),
            first=max(0, top - reach),
            last=min(height, top + BAND_PX + reach),
        )
        for top in range(0, height, BAND_PX)
    ]


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
