"""painterly_preprocess.imaging.compositing: pixels worked out by hand, and a brute-force twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from painterly_preprocess.imaging.compositing import compose, require_cut_out
from painterly_preprocess.imaging.errors import AlphaMissing, ElementOutside, MaskEmpty, MaskFull
from painterly_preprocess.imaging.params import Placement

Pixels = NDArray[np.uint8]
GROUND = (10, 20, 30)


def ground(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), GROUND, dtype=np.uint8)


def noise(height: int, width: int, channels: int, seed: int = 3) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def opaque(height: int, width: int) -> Pixels:
    element = noise(height, width, 4)
    element[..., 3] = 255
    return element


def flat(height: int, width: int, color: tuple[int, int, int, int]) -> Pixels:
    return np.full((height, width, 4), color, dtype=np.uint8)


def test_whole_pixel_placement_copies_the_element() -> None:
    element, painting = opaque(4, 6), noise(12, 20, 3)
    composite = compose(
        element, painting, Placement(center_x_fraction=10 / 20, center_y_fraction=5 / 12, height_fraction=4 / 12)
    )
    expected = painting.copy()
    expected[3:7, 7:13] = element[..., :3]
    np.testing.assert_array_equal(composite.pixels, expected)
    inside = np.zeros((12, 20), dtype=np.bool_)
    inside[3:7, 7:13] = True
    np.testing.assert_array_equal(composite.mask, inside)
    np.testing.assert_array_equal(composite.alpha, inside.astype(np.float32))


def test_alpha_blends() -> None:
    element = flat(4, 4, (250, 100, 0, 153))
    composite = compose(element, ground(8, 8), Placement(height_fraction=0.5))
    # 153 / 255 is three fifths: 0.6 · 250 + 0.4 · 10 = 154, 0.6 · 100 + 0.4 · 20 = 68, 0.4 · 30 = 12.
    np.testing.assert_array_equal(composite.pixels[2:6, 2:6], np.full((4, 4, 3), (154, 68, 12)))
    np.testing.assert_array_equal(composite.pixels[0], np.full((8, 3), GROUND))
    np.testing.assert_allclose(composite.alpha[2:6, 2:6], 0.6, atol=1e-6)
    assert composite.mask.sum() == 16


def test_half_covered_pixels() -> None:
    element = flat(4, 4, (110, 120, 130, 255))
    placement = Placement(center_x_fraction=4.5 / 8, center_y_fraction=0.5, height_fraction=0.5)
    composite = compose(element, ground(8, 8), placement)
    # From column 2.5 to 6.5: halves of columns 2 and 6, all of 3 to 5.
    np.testing.assert_array_equal(composite.alpha[3], [0, 0, 0.5, 1, 1, 1, 0.5, 0])
    np.testing.assert_array_equal(composite.pixels[3, :, 0], [10, 10, 60, 110, 110, 110, 60, 10])
    np.testing.assert_array_equal(composite.mask[3], [False, False, True, True, True, True, True, False])
    assert not composite.alpha[[0, 1, 6, 7]].any()


@pytest.mark.parametrize("turns", [0, 1, 2, 3, -1])
@pytest.mark.parametrize("flip", [False, True])
def test_quarter_turns_and_flips_are_exact(turns: int, flip: bool) -> None:
    element, painting = opaque(4, 6), ground(16, 16)
    placement = Placement(height_fraction=4 / 16, rotation_degrees=90 * turns, flip_horizontal=flip)
    composite = compose(element, painting, placement)
    expected = np.rot90(element[:, ::-1] if flip else element, turns)[..., :3]
    height, width = expected.shape[:2]
    top, left = 8 - height // 2, 8 - width // 2
    np.testing.assert_array_equal(composite.pixels[top : top + height, left : left + width], expected)
    assert composite.mask.sum() == 24
    assert composite.alpha.sum() == 24


def test_shrinking_averages_over_areas() -> None:
    element = opaque(8, 8)
    composite = compose(element, ground(16, 16), Placement(height_fraction=2 / 16))
    means = element[..., :3].reshape(2, 4, 2, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(composite.pixels[7:9, 7:9], means, atol=0.51)
    assert composite.mask.sum() == 4


def test_color_of_transparent_pixels_does_not_bleed() -> None:
    element = flat(8, 8, (200, 0, 0, 255))
    element[:, 4:] = (0, 255, 0, 0)
    element[0, 7] = (0, 255, 0, 1)  # keeps the bounding box
    composite = compose(element, np.zeros((8, 8, 3), dtype=np.uint8), Placement(height_fraction=0.25))
    assert composite.pixels[..., 0].max() == 200
    assert composite.pixels[..., 1].max() <= 1


def test_enlarging_interpolates() -> None:
    element = flat(2, 2, (0, 0, 0, 255))
    element[:, 1, :3] = 200
    composite = compose(element, ground(16, 16), Placement(height_fraction=8 / 16))
    # Pixel centers 4.5 … 11.5 lie at -0.375, -0.125, … in units of the element's pixels from the first one's center.
    np.testing.assert_array_equal(composite.pixels[7, 6:10, 0], [25, 75, 125, 175])
    np.testing.assert_allclose(composite.alpha[7, 2:6], [0.125, 0.375, 0.625, 0.875])


def test_element_is_cropped_to_what_is_visible() -> None:
    element, painting = opaque(4, 6), noise(12, 20, 3)
    padded = np.zeros((30, 40, 4), dtype=np.uint8)
    padded[5:9, 20:26] = element
    placement = Placement(height_fraction=7 / 12, rotation_degrees=33)
    np.testing.assert_array_equal(
        compose(padded, painting, placement).pixels, compose(element, painting, placement).pixels
    )


def test_element_is_clipped_at_the_border() -> None:
    element, painting = opaque(4, 6), noise(12, 20, 3)
    placement = Placement(center_x_fraction=1 / 20, center_y_fraction=11 / 12, height_fraction=4 / 12)
    composite = compose(element, painting, placement)
    expected = painting.copy()
    expected[9:12, 0:4] = element[:3, 2:, :3]
    np.testing.assert_array_equal(composite.pixels, expected)


def test_inputs_stay_as_they_are() -> None:
    element, painting = opaque(4, 6), noise(12, 20, 3)
    element_before, painting_before = element.copy(), painting.copy()
    compose(element, painting, Placement(rotation_degrees=10))
    np.testing.assert_array_equal(element, element_before)
    np.testing.assert_array_equal(painting, painting_before)


@pytest.mark.parametrize("center", [(-1, 0.5), (2, 0.5), (0.5, -1), (0.5, 2), (2, 2)])
@pytest.mark.parametrize("rotation", [0, 45])
def test_element_outside_is_refused(center: tuple[float, float], rotation: float) -> None:
    placement = Placement(
        center_x_fraction=center[0], center_y_fraction=center[1], height_fraction=0.5, rotation_degrees=rotation
    )
    with pytest.raises(ElementOutside, match="wholly outside") as caught:
        compose(opaque(4, 4), ground(16, 16), placement)
    assert caught.value.field == "placement"


def test_corner_of_the_bounding_box_alone_is_outside() -> None:
    # Turned by 45 degrees the square's bounding box reaches into the painting, the square does not.
    placement = Placement(center_x_fraction=-0.3, center_y_fraction=-0.3, height_fraction=0.5, rotation_degrees=45)
    with pytest.raises(ElementOutside):
        compose(opaque(16, 16), ground(32, 32), placement)


def test_barely_touching_element_has_an_empty_mask() -> None:
    placement = Placement(center_x_fraction=-1.6 / 16, center_y_fraction=0.5, height_fraction=4 / 16)
    with pytest.raises(MaskEmpty) as caught:
        compose(opaque(4, 4), ground(16, 16), placement)
    assert caught.value.field == "placement"


def test_element_that_covers_everything_is_refused() -> None:
    with pytest.raises(MaskFull) as caught:
        compose(opaque(4, 4), ground(16, 16), Placement(height_fraction=3))
    assert caught.value.field == "placement"


@pytest.mark.parametrize("alpha", [0, 127])
def test_too_transparent_element_is_refused(alpha: int) -> None:
    with pytest.raises(MaskEmpty) as caught:
        compose(flat(4, 4, (1, 2, 3, alpha)), ground(16, 16), Placement())
    assert caught.value.field == "element"


def test_opaque_element_is_not_cut_out() -> None:
    with pytest.raises(AlphaMissing) as caught:
        require_cut_out(opaque(4, 4))
    assert caught.value.field == "element"
    require_cut_out(flat(4, 4, (1, 2, 3, 254)))


def brute_force(element: Pixels, painting: Pixels, placement: Placement) -> NDArray[np.float64]:
    """Alpha and composite, H×W×4, by sampling the premultiplied element at each pixel's center."""
    height, width = painting.shape[:2]
    scale = placement.height_fraction * height / element.shape[0]
    angle = math.radians(placement.rotation_degrees)
    premultiplied = np.pad(element.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    premultiplied[..., 3] /= 255
    premultiplied[..., :3] *= premultiplied[..., 3:]
    out = np.zeros((height, width, 4))
    for row in range(height):
        for column in range(width):
            dx = column + 0.5 - placement.center_x_fraction * width
            dy = row + 0.5 - placement.center_y_fraction * height
            right = (math.cos(angle) * dx - math.sin(angle) * dy) / scale
            down = (math.sin(angle) * dx + math.cos(angle) * dy) / scale
            x = (-right if placement.flip_horizontal else right) + element.shape[1] / 2 - 0.5 + 1
            y = down + element.shape[0] / 2 - 0.5 + 1
            left, top = math.floor(x), math.floor(y)
            if not (0 <= left < element.shape[1] + 1 and 0 <= top < element.shape[0] + 1):
                continue
            fx, fy = x - left, y - top
            square = premultiplied[top : top + 2, left : left + 2]
            weights = np.outer([1 - fy, fy], [1 - fx, fx])
            out[row, column] = np.einsum("ij,ijc->c", weights, square)
    out[..., :3] += (1 - out[..., 3:]) * painting
    return out


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    center_x=st.floats(0, 1),
    center_y=st.floats(0, 1),
    height=st.floats(0.35, 1.5),
    rotation=st.floats(-360, 360),
    flip=st.booleans(),
)
def test_composite_equals_brute_force(
    center_x: float, center_y: float, height: float, rotation: float, flip: bool
) -> None:
    element, painting = noise(5, 4, 4), noise(18, 22, 3)
    element[[0, 0, -1, -1], [0, -1, 0, -1], 3] = 255
    placement = Placement(
        center_x_fraction=center_x,
        center_y_fraction=center_y,
        height_fraction=height,
        rotation_degrees=rotation,
        flip_horizontal=flip,
    )
    try:
        composite = compose(element, painting, placement)
    except (MaskEmpty, MaskFull):
        return
    expected = brute_force(element, painting, placement)
    # The warp may round positions to 1/32 of a pixel.
    assert np.abs(composite.alpha - expected[..., 3]).max() < 0.07
    assert np.abs(composite.pixels - expected[..., :3]).max() < 16
    assert np.abs(composite.pixels - expected[..., :3]).mean() < 2
    np.testing.assert_array_equal(composite.pixels[composite.alpha == 0], painting[composite.alpha == 0])
    np.testing.assert_array_equal(composite.mask, composite.alpha >= 0.5)
