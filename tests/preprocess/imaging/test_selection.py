"""painterly_preprocess.imaging.selection, on mattes drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from painterly_preprocess.imaging.cutout_params import Box, ObjectSelection, Point
from painterly_preprocess.imaging.errors import MaskEmpty
from painterly_preprocess.imaging.selection import content_box, select_objects

Alpha = NDArray[np.float32]


@pytest.fixture
def matte() -> Alpha:
    """A large object on the left with a soft edge, a smaller one on the right, an island, and a faint speck."""
    alpha = np.zeros((40, 100), dtype=np.float32)
    alpha[8:32, 8:42] = 0.3
    alpha[10:30, 10:40] = 1
    alpha[10:20, 60:80] = 1
    alpha[35:37, 90:92] = 0.9
    alpha[2, 50] = 0.4
    return alpha


def kept(matte: Alpha, selection: ObjectSelection, island_fraction: float = 0.0) -> Alpha:
    selected = select_objects(matte, selection, island_fraction)
    assert selected.dtype == np.float32
    assert (selected[selected > 0] == matte[selected > 0]).all()
    return selected


def test_all_are_kept_by_default(matte: Alpha) -> None:
    np.testing.assert_array_equal(kept(matte, ObjectSelection()), matte)


def test_islands_and_specks_are_dropped(matte: Alpha) -> None:
    selected = kept(matte, ObjectSelection(), 0.02)
    expected = matte.copy()
    expected[35:37, 90:92] = expected[2, 50] = 0
    np.testing.assert_array_equal(selected, expected)
    # The island has 4 of the largest object's 600 pixels: 0.0067 of them.
    assert kept(matte, ObjectSelection(island_fraction=0.006), 0.02)[35, 90] == np.float32(0.9)
    assert kept(matte, ObjectSelection(island_fraction=0.4))[15, 70] == 0


def test_the_largest_with_its_soft_edge(matte: Alpha) -> None:
    expected = np.zeros_like(matte)
    expected[8:32, 8:42] = matte[8:32, 8:42]
    np.testing.assert_array_equal(kept(matte, ObjectSelection(largest=True)), expected)


@pytest.mark.parametrize(("x", "y", "column"), [(0.7, 0.35, 70), (0.2, 0.5, 20), (0.09, 0.5, 20), (0.91, 0.9, 90)])
def test_the_one_at_a_point(matte: Alpha, x: float, y: float, column: int) -> None:
    selected = kept(matte, ObjectSelection(point=Point(x_fraction=x, y_fraction=y)))
    columns = {20: (8, 42), 70: (60, 80), 90: (90, 92)}[column]
    assert (np.flatnonzero(selected.any(axis=0))[[0, -1]] == (columns[0], columns[1] - 1)).all()


def test_those_in_a_box(matte: Alpha) -> None:
    def box(left: float, right: float) -> ObjectSelection:
        return ObjectSelection(box=Box(left_fraction=left, top_fraction=0, right_fraction=right, bottom_fraction=1))

    assert not kept(matte, box(0.5, 0.85))[:, :50].any()
    # Columns 70 to 99 hold exactly half of the second object.
    assert kept(matte, box(0.7, 1))[15, 60] == 1
    with pytest.raises(MaskEmpty) as caught:
        select_objects(matte, box(0.71, 0.85), 0)
    assert caught.value.field == "selection.box"


def test_nothing_at_the_point(matte: Alpha) -> None:
    with pytest.raises(MaskEmpty, match="50,30 px") as caught:
        select_objects(matte, ObjectSelection(point=Point(x_fraction=0.5, y_fraction=0.75)), 0)
    assert caught.value.field == "selection.point"


def test_objects_joined_by_a_faint_bridge_are_parted() -> None:
    alpha = np.zeros((20, 61), dtype=np.float32)
    alpha[5:15, 5:20] = alpha[5:15, 41:56] = 1
    alpha[9:11, 20:41] = 0.3
    selected = select_objects(alpha, ObjectSelection(point=Point(x_fraction=0.1, y_fraction=0.5)), 0)
    # The bridge's middle is column 30; each half goes with the nearer object.
    assert (selected[9, 5:30] == alpha[9, 5:30]).all()
    assert not selected[:, 31:].any()


def test_the_content_is_what_eight_bits_show() -> None:
    alpha = np.zeros((10, 20), dtype=np.float32)
    alpha[3:5, 6:9] = 1
    alpha[9, 19] = 0.001
    assert content_box(alpha) == (slice(3, 5), slice(6, 9))
    assert content_box(alpha, 4) == (slice(2, 6), slice(6, 10))
    assert content_box(alpha, 8) == (slice(0, 8), slice(4, 12))
    assert content_box(alpha, 16) == (slice(0, 10), slice(0, 16))
    corner = np.zeros((10, 20), dtype=np.float32)
    corner[9, 19] = 1
    assert content_box(corner, 4) == (slice(6, 10), slice(16, 20))
