"""painterly_preprocess.imaging.chroma_key, on backdrops whose color is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from painterly_preprocess.imaging.chroma_key import ChromaKeyMatting
from painterly_preprocess.imaging.cutout_params import ChromaKey
from painterly_preprocess.imaging.errors import MaskEmpty, ParameterError

GREEN = (0, 177, 64)


def before(backdrop: NDArray[np.generic], noise: int = 6) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """RGBA photo of a red and white thing before a backdrop, and where the thing is."""
    photo = np.dstack([np.broadcast_to(backdrop, (90, 120, 3)), np.full((90, 120), 255)]).astype(np.int64)
    truth = np.zeros((90, 120), dtype=np.bool_)
    truth[20:70, 30:90] = True
    photo[truth, :3] = (180, 30, 40)
    photo[40:50, 50:60, :3] = 230
    photo[..., :3] += np.random.default_rng(2).integers(-noise, noise + 1, (90, 120, 3))
    return np.clip(photo, 0, 255).astype(np.uint8), truth


def uneven(color: tuple[int, int, int]) -> NDArray[np.float64]:
    """A backdrop that is a third darker at the right."""
    return np.asarray(np.linspace(1, 0.67, 120)[None, :, None] * np.array(color))


@pytest.mark.parametrize("color", [None, GREEN])
def test_a_plain_backdrop_is_taken_away(color: tuple[int, int, int] | None) -> None:
    photo, truth = before(np.array(GREEN))
    alpha = ChromaKeyMatting(ChromaKey(color=color)).estimate_alpha(photo)
    assert alpha.dtype == np.float32
    np.testing.assert_array_equal(alpha >= 0.5, truth)
    assert (alpha[truth] == 1).all()
    assert (alpha[~truth] == 0).mean() > 0.99


@pytest.mark.parametrize("color", [GREEN, (200, 200, 205)])
def test_light_may_fall_unevenly(color: tuple[int, int, int]) -> None:
    photo, truth = before(uneven(color), noise=3)
    truth[40:50, 50:60] = color == GREEN  # before gray the white spot is not told from the backdrop in every light
    found = ChromaKeyMatting().estimate_alpha(photo) >= 0.5
    inside = np.ones_like(truth)
    inside[40:50, 50:60] = color == GREEN
    np.testing.assert_array_equal(found[inside], truth[inside])


def test_tolerance_decides_how_near_is_near() -> None:
    photo = before(np.array(GREEN), noise=0)[0]
    photo[25:30, 35:40, :3] = (20, 160, 70)  # about 8 from the backdrop
    strict, lax = (ChromaKeyMatting(ChromaKey(tolerance=t)).estimate_alpha(photo)[27, 37] for t in (3, 20))
    assert (strict, lax) == (1, 0)


def test_a_border_that_is_not_plain() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (80, 80, 4), dtype=np.uint8)
    noise[..., 3] = 255
    with pytest.raises(ParameterError, match="border is not plain") as caught:
        ChromaKeyMatting().estimate_alpha(noise)
    assert caught.value.field == "chroma_key.color"


def test_nothing_before_the_backdrop() -> None:
    photo = np.full((40, 40, 4), 255, dtype=np.uint8)
    photo[..., :3] = GREEN
    with pytest.raises(MaskEmpty) as caught:
        ChromaKeyMatting().estimate_alpha(photo)
    assert caught.value.field == "photo"
