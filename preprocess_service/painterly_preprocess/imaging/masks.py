"""Masks: made of gray pictures and alpha, grown, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.errors import MaskEmpty, MaskFull
from painterly_preprocess.imaging.params import (
    MAX_DILATION_KERNEL_PX,
    MAX_DILATION_REACH_PX,
    DilationRule,
    KernelShape,
    MaskDilation,
)

_KERNEL_PX, _KERNEL_LONG_SIDE_PX = 35, 700
_DILATION_THRESHOLD = 0.1
_KERNEL_SHAPES: Mapping[KernelShape, int] = {
    KernelShape.RECTANGLE: cv2.MORPH_RECT,
    KernelShape.ELLIPSE: cv2.MORPH_ELLIPSE,
    KernelShape.CROSS: cv2.MORPH_CROSS,
}
# From here on a convolution by Fourier transforms is quicker than looking under every pixel of a kernel.
_LARGE_KERNEL_PX = 64


def has_transparency(picture: NDArray[np.uint8]) -> bool:
    """Whether any pixel of an RGBA picture is not fully opaque."""
    return bool((picture[..., 3] < 255).any())


def binarize_gray(gray: NDArray[np.uint8], field: str) -> NDArray[np.bool_]:
    """Mask of the pixels that are at least half bright, from H×W. Raises MaskEmpty when there are none."""
    mask: NDArray[np.bool_] = gray >= 128
    if not mask.any():
        raise MaskEmpty(field, "has nothing inside: no pixel is at least half bright; mark the object with white")
    return mask


def require_usable(mask: NDArray[np.bool_], field: str) -> NDArray[np.bool_]:
    """The mask of what was placed, if it has an inside and an outside. Raises MaskEmpty, MaskFull."""
    if not mask.any():
        raise MaskEmpty(field, "leaves no pixel of the painting at least half covered; move or enlarge the element")
    if mask.all():
        raise MaskFull(field, "covers the whole painting; make the element smaller or move it")
    return mask


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add what the mask encloses: pixels from which no way over sides of pixels outside leads to the border."""
    around = np.pad(mask, 1).astype(np.uint8)
    cv2.floodFill(around, None, (0, 0), 2, flags=4)
    filled: NDArray[np.bool_] = around[1:-1, 1:-1] != 2
    return filled


def dilation_kernel_size(long_side: int) -> int:
    """The default width of the dilation's Gaussian, px: 35 at a long side of 700, scaled and rounded to odd."""
    return 2 * round((_KERNEL_PX * long_side / _KERNEL_LONG_SIDE_PX - 1) / 2) + 1


def resolve_dilation(dilation: MaskDilation, mask: NDArray[np.bool_]) -> MaskDilation:
    """The same dilation with the kernel's size set to the one that this mask gets."""
    size = dilation.kernel_size_px
    if size is None:
        largest = min(MAX_DILATION_KERNEL_PX, MAX_DILATION_REACH_PX // dilation.iteration_count)
        size = min(dilation_kernel_size(max(mask.shape)), largest - (largest + 1) % 2)
    return replace(dilation, kernel_size_px=size)


def dilate(mask: NDArray[np.bool_], dilation: MaskDilation) -> NDArray[np.bool_]:
    """Grow a mask, after filling its holes when that is wished; outside the picture there is nothing.

    Paper's rule: keep what exceeds 0.1 after a zero-padded Gaussian, and the mask itself unless that is omitted. With
    the kernel of 35 px a straight edge grows by exactly 12 px. Classic rule: under the kernel's shape, several times;
    an odd kernel grows the mask by half its size, an even one by half its size to the right and down and by one pixel
    less to the left and up.
    Source: docs/algorithm.md section 5 for the paper's rule.
    """
    size = resolve_dilation(dilation, mask).kernel_size_px
    assert size is not None
    if dilation.fill_holes:
        mask = fill_holes(mask)
    grown = np.zeros_like(mask)
    near = _neighborhood(mask, size * dilation.iteration_count)
    grown[near] = _dilate_within(mask[near], size, dilation)
    return grown


def _neighborhood(mask: NDArray[np.bool_], reach_px: int) -> tuple[slice, slice]:
    """The box of what is inside, grown by more than a dilation can reach: nothing changes beyond it."""
    sides = []
    for axis in (1, 0):
        inside = np.flatnonzero(mask.any(axis=axis))
        first, last = (int(inside[0]), int(inside[-1])) if len(inside) else (0, -1)
        sides.append(slice(max(0, first - reach_px), last + 1 + reach_px))
    return sides[0], sides[1]


def _dilate_within(mask: NDArray[np.bool_], size: int, dilation: MaskDilation) -> NDArray[np.bool_]:
    if dilation.rule is DilationRule.CLASSIC:
        return _dilate_classic(mask, size, dilation.kernel_shape, dilation.iteration_count)
    blurred = cv2.GaussianBlur(
        mask.astype(np.float32), (size, size), sigmaX=size / 3, sigmaY=size / 3, borderType=cv2.BORDER_CONSTANT
    )
    grown: NDArray[np.bool_] = blurred > _DILATION_THRESHOLD
    return grown if dilation.omit_mask_union else grown | mask


def _dilate_classic(mask: NDArray[np.bool_], size: int, shape: KernelShape, iteration_count: int) -> NDArray[np.bool_]:
    kernel = np.asarray(cv2.getStructuringElement(_KERNEL_SHAPES[shape], (size, size)), dtype=np.uint8)
    grown = mask.astype(np.uint8)
    if shape is KernelShape.RECTANGLE:
        # OpenCV makes one large rectangle of all iterations.
        return cv2.dilate(grown, kernel, iterations=iteration_count).astype(np.bool_)
    for _ in range(iteration_count):
        before = grown
        grown = _under_kernel(grown, kernel)
        if (grown == before).all():
            break
    return grown.astype(np.bool_)


def _under_kernel(mask: NDArray[np.uint8], kernel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if len(kernel) < _LARGE_KERNEL_PX:
        return np.asarray(cv2.dilate(mask, kernel), dtype=np.uint8)
    # As many pixels of the mask as lie under the kernel: a whole number, so one half is far from any rounding.
    count = cv2.filter2D(mask, cv2.CV_32F, kernel.astype(np.float32), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(count > 0.5, dtype=np.uint8)


def feather(mask: NDArray[np.bool_], width_px: float) -> NDArray[np.uint8]:
    """Gray picture of a mask with a soft border: 255 inside, falling evenly to 0 at ``width_px`` + 1 px outside."""
    if not mask.any():
        return to_gray(mask)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    gray = np.rint(255 * np.clip(1 - distance / np.float32(width_px + 1), 0, 1))
    return np.asarray(gray, dtype=np.uint8)


def to_gray(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw a mask: 255 inside, 0 outside."""
    return mask.astype(np.uint8) * np.uint8(255)
