"""painterly_preprocess.imaging.tone: means and deviations that are known."""

from __future__ import annotations

import numpy as np

from painterly_preprocess.imaging.placing import Box
from painterly_preprocess.imaging.tone import match_tone, surroundings


def test_a_plain_element_takes_the_mean_color() -> None:
    element = np.full((8, 8, 4), (200, 30, 30, 255), dtype=np.uint8)
    around = np.full((50, 3), (90, 110, 130), dtype=np.uint8)
    matched = match_tone(element, around, 1)
    np.testing.assert_array_equal(matched[..., 3], element[..., 3])
    assert np.abs(matched[..., :3].astype(int) - (90, 110, 130)).max() <= 1


def test_strength_zero_changes_nothing() -> None:
    element = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    around = np.full((50, 3), (90, 110, 130), dtype=np.uint8)
    assert np.abs(match_tone(element, around, 0).astype(int) - element).max() <= 1


def test_the_deviation_at_most_halves() -> None:
    gray = np.tile(np.array([90, 150], dtype=np.uint8), (8, 4))
    element = np.dstack([gray, gray, gray, np.full_like(gray, 255)])
    matched = match_tone(element, np.full((50, 3), 120, dtype=np.uint8), 1)
    # CIE L of grays 90, 150 and 120: 38.24, 62.08 and 50.43; half a deviation to either side: 44.47 and 56.39.
    np.testing.assert_array_equal(np.unique(matched[..., 0]), [105, 135])


def test_transparent_pixels_have_no_say() -> None:
    element = np.full((8, 8, 4), (200, 30, 30, 255), dtype=np.uint8)
    element[:, 4:] = (0, 255, 0, 0)
    around = np.full((50, 3), (90, 110, 130), dtype=np.uint8)
    assert np.abs(match_tone(element, around, 1)[:, :4, :3].astype(int) - (90, 110, 130)).max() <= 1


def test_a_single_visible_pixel_of_a_large_element_counts() -> None:
    element = np.zeros((16, 4100, 4), dtype=np.uint8)
    element[1, 1] = (200, 30, 30, 255)
    matched = match_tone(element, np.full((50, 3), (90, 110, 130), dtype=np.uint8), 1)
    assert np.abs(matched[1, 1, :3].astype(int) - (90, 110, 130)).max() <= 1


def test_surroundings_are_half_a_box_wide_and_end_with_the_painting() -> None:
    painting = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    around = surroundings(painting, Box(left=10, top=8, right=16, bottom=12))
    np.testing.assert_array_equal(around, painting[6:14, 7:19].reshape(-1, 3))
    at_the_corner = surroundings(painting, Box(left=0, top=0, right=30, bottom=20))
    assert len(at_the_corner) == 600
