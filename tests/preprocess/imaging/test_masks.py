"""painterly_preprocess.imaging.masks: the dilation's oracle and a brute-force twin."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from painterly_preprocess.imaging import masks
from painterly_preprocess.imaging.errors import MaskEmpty, MaskFull
from painterly_preprocess.imaging.params import MaskDilation

OMIT_UNION = MaskDilation(kernel_size_px=35, omit_mask_union=True)


def square(side: int, canvas: int = 101) -> NDArray[np.bool_]:
    mask = np.zeros((canvas, canvas), dtype=np.bool_)
    start = (canvas - side) // 2
    mask[start : start + side, start : start + side] = True
    return mask


def brute_force_blur(mask: NDArray[np.bool_], size: int) -> NDArray[np.float64]:
    """Two-dimensional sum over the window, zero outside."""
    radius, sigma = size // 2, size / 3
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    kernel = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    padded = np.pad(mask.astype(np.float64), radius)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return np.asarray(np.einsum("hwij,ij->hw", windows, kernel / kernel.sum()), dtype=np.float64)


def test_straight_edge_grows_by_12_px() -> None:
    mask = np.zeros((121, 121), dtype=np.bool_)
    mask[:, :50] = True
    grown = masks.dilate(mask, MaskDilation(kernel_size_px=35))
    # Away from the zero-padded borders above and below.
    assert grown[60].sum() == 62
    assert grown[60, :62].all()


def test_small_squares() -> None:
    assert not masks.dilate(square(8), OMIT_UNION).any()
    assert masks.dilate(square(9), OMIT_UNION).any()
    with_union = MaskDilation(kernel_size_px=35)
    np.testing.assert_array_equal(masks.dilate(square(8), with_union), square(8))
    np.testing.assert_array_equal(masks.dilate(square(9), with_union), masks.dilate(square(9), OMIT_UNION) | square(9))


@pytest.mark.parametrize("size", [1, 3, 9, 15])
@pytest.mark.parametrize("omit_mask_union", [False, True])
def test_dilation_equals_brute_force(size: int, omit_mask_union: bool) -> None:
    mask = np.random.default_rng(size).random((33, 47)) < 0.08
    blurred = brute_force_blur(mask, size)
    assert np.abs(blurred - 0.1).min() > 1e-6
    expected = blurred > 0.1 if omit_mask_union else (blurred > 0.1) | mask
    dilation = MaskDilation(kernel_size_px=size, omit_mask_union=omit_mask_union)
    np.testing.assert_array_equal(masks.dilate(mask, dilation), expected)


@pytest.mark.parametrize(
    ("long_side", "size"),
    [(700, 35), (16, 1), (60, 3), (100, 5), (350, 17), (600, 29), (720, 37), (1400, 69), (16_384, 819)],
)
def test_default_kernel_size(long_side: int, size: int) -> None:
    assert masks.dilation_kernel_size(long_side) == size
    resolved = masks.resolve_dilation(MaskDilation(), np.ones((16, long_side), dtype=np.bool_))
    assert resolved == MaskDilation(kernel_size_px=size)


def test_given_kernel_size_stays() -> None:
    resolved = masks.resolve_dilation(MaskDilation(kernel_size_px=7, omit_mask_union=True), square(9))
    assert resolved == MaskDilation(kernel_size_px=7, omit_mask_union=True)


def test_gray_is_cut_at_one_half() -> None:
    gray = np.array([[0, 127, 128, 255]], dtype=np.uint8)
    np.testing.assert_array_equal(masks.binarize_gray(gray, "mask"), [[False, False, True, True]])
    with pytest.raises(MaskEmpty, match=r"^mask has nothing inside") as caught:
        masks.binarize_gray(gray[:, :2], "mask")
    assert caught.value.field == "mask"


def test_alpha_is_cut_at_one_half() -> None:
    alpha = np.array([[0.0, 0.499, 0.5, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(masks.binarize_alpha(alpha, "placement"), [[False, False, True, True]])
    with pytest.raises(MaskEmpty):
        masks.binarize_alpha(alpha[:, :2], "placement")
    with pytest.raises(MaskFull):
        masks.binarize_alpha(alpha[:, 2:], "placement")


def test_drawn_masks_are_black_and_white() -> None:
    drawn = masks.to_gray(np.array([[True, False]]))
    np.testing.assert_array_equal(drawn, [[255, 0]])
    assert drawn.dtype == np.uint8


def test_transparency_is_any_pixel_that_is_not_opaque() -> None:
    picture = np.full((4, 4, 4), 255, dtype=np.uint8)
    assert not masks.has_transparency(picture)
    picture[3, 3, 3] = 254
    assert masks.has_transparency(picture)
