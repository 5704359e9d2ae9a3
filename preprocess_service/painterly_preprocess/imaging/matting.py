"""Background removal: photo to alpha matte. A further method is one more class of the shape of :class:`Matting`.

Here are the methods that need no searching; the others have modules of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.errors import AlphaMissing, MaskEmpty
from painterly_preprocess.imaging.masks import has_transparency

Alpha = NDArray[np.float32]


class Matting(Protocol):
    """A way to find the foreground."""

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        """Alpha float32 H×W in [0, 1] of an RGBA photo. Raises MaskEmpty where there is no foreground."""
        ...


@dataclass(frozen=True)
class AlphaMatting:
    """The photo's own alpha channel. Raises AlphaMissing for an opaque photo."""

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        if not has_transparency(photo):
            raise AlphaMissing("photo", "has no transparent pixel; choose another background removal method")
        return require_foreground(photo[..., 3].astype(np.float32) / np.float32(255))


@dataclass(frozen=True)
class MaskMatting:
    """The caller's own mask, gray uint8 of the photo's size: 255 is foreground, 0 background, between them soft."""

    mask: NDArray[np.uint8]

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        alpha = self.mask.astype(np.float32) / np.float32(255)
        if alpha.max() < 0.5:
            raise MaskEmpty("mask", "has nothing inside: no pixel is at least half bright; mark the object with white")
        return require_foreground(alpha * own_alpha(photo))


def over_white(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB of an RGBA picture over white: what is under transparent pixels may be anything."""
    if not has_transparency(photo):
        return np.ascontiguousarray(photo[..., :3])
    alpha = photo[..., 3:].astype(np.float32) / 255
    return np.rint(photo[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def own_alpha(photo: NDArray[np.uint8]) -> Alpha:
    """The alpha channel of an RGBA picture, in [0, 1]."""
    return photo[..., 3].astype(np.float32) / np.float32(255)


def require_foreground(alpha: Alpha) -> Alpha:
    """The matte itself. Raises MaskEmpty when no pixel is at least half opaque."""
    if alpha.max() < 0.5:
        raise no_foreground()
    return alpha


def no_foreground() -> MaskEmpty:
    """The error for a photo in which nothing was found."""
    return MaskEmpty(
        "photo", "shows no foreground that could be found; choose another method or send a mask of your own"
    )
