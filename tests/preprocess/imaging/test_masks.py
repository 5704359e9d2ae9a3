"""painterly_preprocess.imaging.masks: the dilation's oracle and a brute-force twin."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from painterly_preprocess.imaging import masks
from painterly_preprocess.imaging.errors import MaskEmpty, MaskFull, ParameterError
from painterly_preprocess.imaging.params import DilationRule, KernelShape, MaskDilation

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


def test_a_usable_mask_has_an_inside_and_an_outside() -> None:
    mask = np.array([[False, True]])
    assert masks.require_usable(mask, "placement") is mask
    with pytest.raises(MaskEmpty):
        masks.require_usable(mask[:, :1], "placement")
    with pytest.raises(MaskFull):
        masks.require_usable(mask[:, 1:], "placement")


def classic(size: int, shape: KernelShape = KernelShape.RECTANGLE, count: int = 1) -> MaskDilation:
    return MaskDilation(kernel_size_px=size, rule=DilationRule.CLASSIC, kernel_shape=shape, iteration_count=count)


def kernel_of(size: int, shape: KernelShape) -> NDArray[np.bool_]:
    """The kernel by its formula: an ellipse's rows are as wide as the circle through its middle."""
    kernel = np.zeros((size, size), dtype=np.bool_)
    middle = size // 2
    if shape is KernelShape.RECTANGLE:
        kernel[:] = True
    elif shape is KernelShape.CROSS:
        kernel[middle] = kernel[:, middle] = True
    else:
        for row in range(size):
            dy = row - middle
            if abs(dy) <= middle:
                dx = round(np.sqrt(middle**2 - dy**2)) if middle else 0
                kernel[row, max(0, middle - dx) : middle + dx + 1] = True
    return kernel


def brute_force_maximum(mask: NDArray[np.bool_], kernel: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Each pixel is inside if any is under the kernel, whose pixel number size // 2 lies on it."""
    size = len(kernel)
    for _ in range(count):
        before, after = size // 2, size - 1 - size // 2
        padded = np.pad(mask, ((before, after), (before, after)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
        mask = np.asarray((windows & kernel).any(axis=(2, 3)), dtype=np.bool_)
    return mask


@pytest.mark.parametrize("shape", KernelShape)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 10, 67, 70])
@pytest.mark.parametrize("count", [1, 3])
def test_classic_dilation_equals_brute_force(shape: KernelShape, size: int, count: int) -> None:
    mask = np.random.default_rng(size).random((33, 47)) < 0.004
    mask[5, 7] = True
    expected = brute_force_maximum(mask, kernel_of(size, shape), count)
    np.testing.assert_array_equal(masks.dilate(mask, classic(size, shape, count)), expected)


def test_a_classic_kernel_of_even_size_reaches_further_to_the_right_and_down() -> None:
    mask = np.zeros((20, 20), dtype=np.bool_)
    mask[10, 10] = True
    rows, columns = np.nonzero(masks.dilate(mask, classic(4)))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (9, 12, 9, 12)


def test_a_classic_kernel_grows_a_half_plane_by_half_its_size_each_time() -> None:
    mask = np.zeros((40, 100), dtype=np.bool_)
    mask[:, :20] = True
    for shape in KernelShape:
        grown = masks.dilate(mask, classic(9, shape, 3))
        assert grown.sum(axis=1).tolist() == [20 + 3 * 4] * 40


@pytest.mark.parametrize("shape", KernelShape)
def test_a_kernel_larger_than_the_picture(shape: KernelShape) -> None:
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[3, 4] = True
    grown = masks.dilate(mask, classic(301, shape))
    assert grown.sum() == (20 + 30 - 1 if shape is KernelShape.CROSS else 600)


@pytest.mark.parametrize("rule", DilationRule)
def test_a_kernel_of_one_pixel_changes_nothing(rule: DilationRule) -> None:
    mask = np.random.default_rng(1).random((20, 30)) < 0.3
    np.testing.assert_array_equal(masks.dilate(mask, MaskDilation(kernel_size_px=1, rule=rule)), mask)


def test_the_papers_kernel_may_be_larger_than_the_picture() -> None:
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[:, :10] = True
    blurred = brute_force_blur(mask, 61)
    expected = (blurred > 0.1) | mask
    np.testing.assert_array_equal(masks.dilate(mask, MaskDilation(kernel_size_px=61)), expected)


def test_a_half_plane_grows_by_exactly_12_px_at_700_px() -> None:
    mask = np.zeros((500, 700), dtype=np.bool_)
    mask[:, :300] = True
    grown = masks.dilate(mask, MaskDilation())
    assert set(grown[40:460].sum(axis=1)) == {312}


def test_iterations_bound_the_default_kernel() -> None:
    dilation = MaskDilation(rule=DilationRule.CLASSIC, iteration_count=100)
    assert masks.resolve_dilation(dilation, np.ones((16, 16_384), dtype=np.bool_)).kernel_size_px == 9
    with pytest.raises(ParameterError, match="must be at most 10 with a kernel of 101 px") as caught:
        classic(101, count=11)
    assert (caught.value.field, caught.value.value) == ("iteration_count", 11)


def test_holes_are_what_no_way_leads_out_of() -> None:
    drawn = """
        .......
        .#####.
        .#...#.
        .#.#.#.
        .#####.
        .......
        ##.....
        .#.....
        """
    mask = np.array([[mark == "#" for mark in line.strip()] for line in drawn.split()])
    filled = masks.fill_holes(mask)
    assert filled[1:5, 1:6].all()
    # The lower left corner is closed in by the border of the picture and by nothing else.
    assert filled.sum() == 20 + 3
    np.testing.assert_array_equal(masks.dilate(mask, MaskDilation(kernel_size_px=1, fill_holes=True)), filled)


def test_a_corner_is_no_way_out() -> None:
    mask = np.array([[mark == "#" for mark in line] for line in (".#.", "#.#", ".#.")])
    assert masks.fill_holes(mask).sum() == 5


@pytest.mark.parametrize("width", [1.0, 3.0, 7.5])
def test_feather_equals_brute_force(width: float) -> None:
    mask = np.random.default_rng(3).random((17, 23)) < 0.02
    inside = np.argwhere(mask)
    rows, columns = np.mgrid[:17, :23]
    distance = np.min([np.hypot(rows - y, columns - x) for y, x in inside], axis=0)
    expected = np.rint(255 * np.clip(1 - distance / (width + 1), 0, 1))
    assert np.abs(masks.feather(mask, width).astype(int) - expected).max() <= 1
    assert (masks.feather(mask, width)[mask] == 255).all()


def test_feather_of_an_edge_by_hand() -> None:
    mask = np.zeros((3, 8), dtype=np.bool_)
    mask[:, :2] = True
    assert masks.feather(mask, 4)[1].tolist() == [255, 255, 204, 153, 102, 51, 0, 0]


def test_drawn_masks_are_black_and_white() -> None:
    drawn = masks.to_gray(np.array([[True, False]]))
    np.testing.assert_array_equal(drawn, [[255, 0]])
    assert drawn.dtype == np.uint8


def test_transparency_is_any_pixel_that_is_not_opaque() -> None:
    picture = np.full((4, 4, 4), 255, dtype=np.uint8)
    assert not masks.has_transparency(picture)
    picture[3, 3, 3] = 254
    assert masks.has_transparency(picture)


@pytest.mark.parametrize("rule", DilationRule)
def test_far_away_nothing_is_computed_and_nothing_differs(rule: DilationRule) -> None:
    """A small mask in a large picture grows as it does in a small one."""
    small, large = np.zeros((61, 71), dtype=np.bool_), np.zeros((400, 500), dtype=np.bool_)
    small[30, 30:36] = small[31, 33] = True
    large[200:261, 300:371] = small
    dilation = MaskDilation(kernel_size_px=5, rule=rule, iteration_count=3)
    expected = np.zeros_like(large)
    expected[200:261, 300:371] = masks.dilate(small, dilation)
    np.testing.assert_array_equal(masks.dilate(large, dilation), expected)


def test_an_empty_mask_stays_empty() -> None:
    assert not masks.dilate(np.zeros((20, 30), dtype=np.bool_), MaskDilation(kernel_size_px=5)).any()
