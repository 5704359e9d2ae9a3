"""Masks: made of gray pictures and alpha, grown, drawn."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.errors import MaskEmpty, MaskFull
from painterly_preprocess.imaging.params import MAX_DILATION_KERNEL_PX, MaskDilation

_KERNEL_PX, _KERNEL_LONG_SIDE_PX = 35, 700
_DILATION_THRESHOLD = 0.1


def has_transparency(picture: NDArray[np.uint8]) -> bool:
    """Whether any pixel of an RGBA picture is not fully opaque."""
    return bool((picture[..., 3] < 255).any())


def binarize_gray(gray: NDArray[np.uint8], field: str) -> NDArray[np.bool_]:
    """Mask of the pixels that are at least half bright, from H×W. Raises MaskEmpty when there are none."""
    mask: NDArray[np.bool_] = gray >= 128
    if not mask.any():
        raise MaskEmpty(field, "has nothing inside: no pixel is at least half bright; mark the object with white")
    return mask


def binarize_alpha(alpha: NDArray[np.float32], field: str) -> NDArray[np.bool_]:
    """Tight mask of the pixels whose alpha is at least one half. Raises MaskEmpty, MaskFull."""
    mask: NDArray[np.bool_] = alpha >= 0.5
    if not mask.any():
        raise MaskEmpty(field, "leaves no pixel of the painting at least half covered; move or enlarge the element")
    if mask.all():
        raise MaskFull(field, "covers the whole painting; make the element smaller or move it")
    return mask


def dilation_kernel_size(long_side: int) -> int:
    """The default width of the dilation's Gaussian, px: 35 at a long side of 700, scaled and rounded to odd."""
    return 2 * round((_KERNEL_PX * long_side / _KERNEL_LONG_SIDE_PX - 1) / 2) + 1


def resolve_dilation(dilation: MaskDilation, mask: NDArray[np.bool_]) -> MaskDilation:
    """The same dilation with the kernel's size set to the one that this mask gets."""
    size = dilation.kernel_size_px
    if size is None:
        size = min(dilation_kernel_size(max(mask.shape)), MAX_DILATION_KERNEL_PX)
    return MaskDilation(kernel_size_px=size, omit_mask_union=dilation.omit_mask_union)


def dilate(mask: NDArray[np.bool_], dilation: MaskDilation) -> NDArray[np.bool_]:
    """Grow a mask: keep what exceeds 0.1 after a zero-padded Gaussian, and the mask itself unless that is omitted.

    With the kernel of 35 px a straight edge grows by exactly 12 px.
    Source: docs/algorithm.md section 5.
    """
    size = resolve_dilation(dilation, mask).kernel_size_px
    assert size is not None
    blurred = cv2.GaussianBlur(
        mask.astype(np.float32), (size, size), sigmaX=size / 3, sigmaY=size / 3, borderType=cv2.BORDER_CONSTANT
    )
    grown: NDArray[np.bool_] = blurred > _DILATION_THRESHOLD
    return grown if dilation.omit_mask_union else grown | mask


def to_gray(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw a mask: 255 inside, 0 outside."""
    return mask.astype(np.uint8) * np.uint8(255)
