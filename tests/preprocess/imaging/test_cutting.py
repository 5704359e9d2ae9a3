"""painterly_preprocess.imaging.cutting: what becomes of a matte."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from painterly_preprocess.imaging.cutout_params import Box, CutOutParams, ObjectSelection
from painterly_preprocess.imaging.cutting import cut_out, habits_of
from painterly_preprocess.imaging.errors import MaskEmpty
from painterly_preprocess.imaging.matting import own_alpha
from painterly_preprocess.imaging.params import RemovalMethod

REFINED = {RemovalMethod.U2NET, RemovalMethod.GRABCUT, RemovalMethod.CHROMA_KEY}


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    pixels = np.full((60, 90, 4), (20, 40, 220, 255), dtype=np.uint8)
    pixels[20:45, 30:70] = (230, 120, 30, 255)
    return pixels


@pytest.fixture
def alpha() -> NDArray[np.float32]:
    matte = np.zeros((60, 90), dtype=np.float32)
    matte[20:45, 30:70] = 1
    return matte


def test_which_methods_are_refined_by_default() -> None:
    assert {method for method in RemovalMethod if habits_of(method).refine_edges} == REFINED


@pytest.mark.parametrize("method", [method for method in RemovalMethod if method is not RemovalMethod.AUTO])
@pytest.mark.parametrize("wish", [None, True, False])
def test_the_flag_goes_before_the_habit(
    photo: NDArray[np.uint8], alpha: NDArray[np.float32], method: RemovalMethod, wish: bool | None
) -> None:
    made = cut_out(photo, alpha, method, CutOutParams(refine_edges=wish))
    assert made.edges_refined is (method in REFINED if wish is None else wish)
    assert (made.left_px, made.top_px) == (0, 0)
    np.testing.assert_array_equal(made.element[..., 3] >= 128, alpha > 0)
    np.testing.assert_array_equal(made.element[22:43, 32:68, :3], photo[22:43, 32:68, :3])


def test_cropping_says_where(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> None:
    made = cut_out(photo, alpha, RemovalMethod.MASK, CutOutParams(crop_to_content=True))
    assert (made.left_px, made.top_px) == (30, 20)
    assert made.element.shape == (25, 40, 4)
    np.testing.assert_array_equal(made.element, photo[20:45, 30:70])


def test_a_photos_own_colors_stay(photo: NDArray[np.uint8]) -> None:
    photo[..., 3] = 0
    photo[10:50, 10:50, 3] = 200
    made = cut_out(photo, own_alpha(photo), RemovalMethod.ALPHA, CutOutParams())
    np.testing.assert_array_equal(made.element, photo)


def test_transparent_parts_stay_transparent(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> None:
    photo[:, 50:, 3] = 0
    made = cut_out(photo, alpha * (photo[..., 3] > 0), RemovalMethod.U2NET, CutOutParams())
    assert not made.element[:, 50:, 3].any()
    assert made.element[30, 40, 3] == 255


def test_a_selection_that_leaves_nothing(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> None:
    box = Box(left_fraction=0, top_fraction=0, right_fraction=0.2, bottom_fraction=1)
    with pytest.raises(MaskEmpty) as caught:
        cut_out(photo, alpha, RemovalMethod.MASK, CutOutParams(selection=ObjectSelection(box=box)))
    assert caught.value.field == "selection.box"
