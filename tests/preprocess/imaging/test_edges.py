"""painterly_preprocess.imaging.edges: mattes that are known because the pictures were mixed here."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from painterly_preprocess.imaging import edges
from painterly_preprocess.imaging.edges import BACKGROUND, FOREGROUND, UNKNOWN, Band

BAND = Band(inner_share=0.1, outer_share=0.1)


def mixed(alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Orange over blue, both plain: the matte is a linear function of the color, which closed-form matting recovers."""
    share = alpha[..., None]
    rgb: NDArray[np.uint8] = np.rint(share * np.array([230, 120, 30]) + (1 - share) * np.array([20, 40, 220])).astype(
        np.uint8
    )
    return rgb


def ramp(height: int, width: int, middle: float, breadth: float) -> NDArray[np.float32]:
    x = (np.arange(width) + 0.5) / width
    return np.tile(np.clip(0.5 - (x - middle) / breadth, 0, 1), (height, 1)).astype(np.float32)


def test_the_band_lies_on_both_sides_of_the_edge() -> None:
    alpha = np.zeros((60, 100), dtype=np.float32)
    alpha[:, :40] = 1
    trimap = edges.make_trimap(alpha, Band(inner_share=0.1, outer_share=0.05))
    # The object is 60 px long: 6 px inside and 3 px outside are unknown. The photo's border is no edge of the object.
    row = trimap[30]
    assert (row[:34] == FOREGROUND).all()
    assert (row[34:43] == UNKNOWN).all()
    assert (row[43:] == BACKGROUND).all()
    assert (trimap == row).all()


def test_thin_parts_keep_a_sure_middle() -> None:
    alpha = np.zeros((40, 200), dtype=np.float32)
    alpha[18:23, 10:190] = 1
    trimap = edges.make_trimap(alpha, Band(inner_share=0.02, outer_share=0.02))
    assert trimap[20, 100] == FOREGROUND
    assert trimap[18, 100] == UNKNOWN


def test_what_is_as_thin_as_a_hair_is_not_sure() -> None:
    alpha = np.zeros((100, 200), dtype=np.float32)
    alpha[20:80, 10:150] = 1
    alpha[50, 150:190] = 1
    trimap = edges.make_trimap(alpha, Band(inner_share=0.02, outer_share=0.02))
    assert (trimap[50, 155:190] == UNKNOWN).all()
    assert (trimap[26:74, 16:144] == FOREGROUND).all()


def test_soft_pixels_are_unknown() -> None:
    alpha = ramp(20, 100, 0.5, 0.4)
    trimap = edges.make_trimap(alpha, Band(inner_share=0.001, outer_share=0.001))
    assert (trimap[:, 35:65] == UNKNOWN).all()
    assert (trimap[:, :25] == FOREGROUND).all()


def test_linear_mixtures_are_recovered() -> None:
    truth = ramp(48, 64, 0.5, 0.2)
    trimap = np.where(truth == 1, FOREGROUND, np.where(truth == 0, BACKGROUND, UNKNOWN)).astype(np.uint8)
    solved = edges.solve_matte(mixed(truth), trimap)
    assert solved.dtype == np.float32
    # What is within 0.03 of 0 or 1 becomes so, and the rest is stretched.
    np.testing.assert_allclose(solved, np.clip((truth - 0.03) / 0.94, 0, 1), atol=0.02)


def test_strips_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    noise = (random.random((70, 50)) > 0.5).astype(np.float32)
    truth = np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), dtype=np.float32)
    trimap = np.where(truth > 0.55, FOREGROUND, np.where(truth < 0.45, BACKGROUND, UNKNOWN)).astype(np.uint8)
    rgb = mixed(truth)
    whole = edges.solve_matte(rgb, trimap)
    monkeypatch.setattr(edges, "_STRIP_ROWS", 7)
    np.testing.assert_allclose(edges.solve_matte(rgb, trimap), whole, atol=1e-3)


def test_the_equations_are_those_of_the_whole_picture() -> None:
    # A twin without strips or reduction: minimize aᵀLa with a fixed where the trimap is sure, by a dense solver.
    from painterly_preprocess.imaging import fast_matting

    truth = ramp(12, 14, 0.5, 0.5)
    rgb = mixed(truth)
    rgb = rgb + np.random.default_rng(0).integers(0, 9, rgb.shape, dtype=np.uint8)
    trimap = np.full(truth.shape, UNKNOWN, dtype=np.uint8)
    trimap[:, :3], trimap[:, -3:] = FOREGROUND, BACKGROUND
    laplacian = fast_matting.part("laplacian.cf_laplacian").cf_laplacian(rgb / 255, 1e-5).toarray()
    unknown, sure = (trimap == UNKNOWN).ravel(), (trimap == FOREGROUND).ravel().astype(float)
    expected = sure.copy()
    expected[unknown] = np.linalg.solve(laplacian[np.ix_(unknown, unknown)], -laplacian[unknown] @ sure)
    np.testing.assert_allclose(
        edges.solve_matte(rgb, trimap).ravel(), np.clip((expected - 0.03) / 0.94, 0, 1), atol=2e-3
    )


@pytest.mark.parametrize(("height", "width"), [(120, 160), (900, 1600)])
def test_a_coarse_matte_becomes_fine(height: int, width: int) -> None:
    truth = ramp(height, width, 0.5, 0.02)
    coarse = (np.roll(ramp(height, width, 0.5, 0.004), round(0.01 * width), axis=1) >= 0.5).astype(np.float32)
    coarse[:, : width // 4] = 1
    refined = edges.refine(mixed(truth), coarse, Band(inner_share=0.04, outer_share=0.04))
    assert refined.shape == truth.shape
    assert refined.dtype == np.float32
    assert np.abs(coarse - truth).mean() > 0.008
    assert np.abs(refined - truth).mean() < 0.001


def test_the_number_of_unknowns_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    solve = edges.solve_matte

    def noting(
        rgb: NDArray[np.uint8], trimap: NDArray[np.uint8], coarse: NDArray[np.float32], trust: float
    ) -> NDArray[np.float32]:
        sizes.append((max(trimap.shape), int((trimap == UNKNOWN).sum())))
        return solve(rgb, trimap, coarse, trust)

    monkeypatch.setattr(edges, "solve_matte", noting)
    monkeypatch.setattr(edges, "MAX_UNKNOWN_PX", 2000)
    truth = ramp(300, 400, 0.5, 0.02)
    refined = edges.refine(mixed(truth), (truth >= 0.5).astype(np.float32), Band(inner_share=0.05, outer_share=0.05))
    assert sizes[0][1] <= 2000
    assert np.abs(refined - truth).mean() < 0.005


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_matte_without_an_edge_stays(value: float) -> None:
    alpha = np.full((40, 50), value, dtype=np.float32)
    np.testing.assert_array_equal(edges.refine(mixed(alpha), alpha, BAND), alpha)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 600), (600, 16)])
def test_extreme_shapes(height: int, width: int) -> None:
    truth = ramp(height, width, 0.5, 0.1)
    refined = edges.refine(mixed(truth), (truth >= 0.5).astype(np.float32), BAND)
    assert refined.shape == truth.shape
    assert np.abs(refined - truth).mean() < 0.1


def test_what_is_trusted_stays_near_the_coarse_matte() -> None:
    truth = ramp(48, 64, 0.5, 0.2)
    trimap = np.where(truth == 1, FOREGROUND, np.where(truth == 0, BACKGROUND, UNKNOWN)).astype(np.uint8)
    unknown = trimap == UNKNOWN
    rgb, coarse = mixed(truth), np.where(unknown, 0.7 * truth, truth).astype(np.float32)
    free = edges.solve_matte(rgb, trimap)
    np.testing.assert_array_equal(edges.solve_matte(rgb, trimap, coarse), free)
    np.testing.assert_array_equal(edges.solve_matte(rgb, trimap, coarse, 0.0), free)
    # So much trust leaves nothing to the photo's colors.
    bound = edges.solve_matte(rgb, trimap, coarse, 1e6)
    expected = np.clip((coarse - 0.03) / 0.94, 0, 1)
    np.testing.assert_allclose(bound[unknown], expected[unknown], atol=1e-3)
    between = edges.solve_matte(rgb, trimap, coarse, 1.0)
    distances = [float(np.abs(each - bound)[unknown].mean()) for each in (free, between)]
    assert 0 < distances[1] < distances[0]
