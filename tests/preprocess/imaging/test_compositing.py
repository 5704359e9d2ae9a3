"""painterly_preprocess.imaging.compositing: pixels worked out by hand, and a brute-force twin."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from painterly_preprocess.imaging import compositing
from painterly_preprocess.imaging.compositing import Composite, PlacedElement, require_cut_out
from painterly_preprocess.imaging.errors import AlphaMissing, ElementOutside, MaskEmpty, MaskFull
from painterly_preprocess.imaging.params import Anchor, Compositing, Placement

Pixels = NDArray[np.uint8]
GROUND = (10, 20, 30)


def compose(element: Pixels, painting: Pixels, placement: Placement, **how: Any) -> Composite:
    return compositing.compose([PlacedElement(pixels=element, placement=placement)], painting, Compositing(**how))


def at(left: float, top: float, element: Pixels, painting: Pixels, **more: Any) -> Placement:
    """The placement that puts an element's upper left corner at a pixel's, at its own size."""
    height, width = painting.shape[:2]
    return Placement(
        center_x_fraction=left / width,
        center_y_fraction=top / height,
        anchor=Anchor.TOP_LEFT,
        height_px=element.shape[0],
        **more,
    )


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
    assert np.abs(composite.alpha - expected[..., 3]).max() < 1e-4
    assert np.abs(composite.pixels - expected[..., :3]).max() < 0.51
    np.testing.assert_array_equal(composite.pixels[composite.alpha == 0], painting[composite.alpha == 0])
    np.testing.assert_array_equal(composite.mask, composite.alpha >= 0.5)


# Anchors, sizes, flips


@pytest.mark.parametrize(
    ("anchor", "top", "left"),
    [
        (Anchor.TOP_LEFT, 8, 10),
        (Anchor.TOP, 8, 7),
        (Anchor.TOP_RIGHT, 8, 4),
        (Anchor.LEFT, 6, 10),
        (Anchor.CENTER, 6, 7),
        (Anchor.RIGHT, 6, 4),
        (Anchor.BOTTOM_LEFT, 4, 10),
        (Anchor.BOTTOM, 4, 7),
        (Anchor.BOTTOM_RIGHT, 4, 4),
    ],
)
def test_the_anchor_goes_to_the_position(anchor: Anchor, top: int, left: int) -> None:
    element, painting = opaque(4, 6), noise(16, 20, 3)
    placement = Placement(center_x_fraction=10 / 20, center_y_fraction=8 / 16, height_px=4, anchor=anchor)
    expected = painting.copy()
    expected[top : top + 4, left : left + 6] = element[..., :3]
    np.testing.assert_array_equal(compose(element, painting, placement).pixels, expected)


def test_an_element_turns_about_its_anchor() -> None:
    element, painting = opaque(4, 6), noise(20, 20, 3)
    placement = Placement(height_px=4, rotation_degrees=90, anchor=Anchor.BOTTOM_LEFT)
    # The lower left corner stays at (10, 10); what went to the right from it goes up, what went up goes to the left.
    expected = painting.copy()
    expected[4:10, 6:10] = np.rot90(element)[..., :3]
    np.testing.assert_array_equal(compose(element, painting, placement).pixels, expected)


@pytest.mark.parametrize(
    "size", [{"height_fraction": 4 / 12}, {"height_px": 4}, {"width_fraction": 0.3}, {"width_px": 6}]
)
def test_every_size_says_the_same(size: dict[str, float]) -> None:
    element, painting = opaque(4, 6), noise(12, 20, 3)
    expected = painting.copy()
    expected[4:8, 7:13] = element[..., :3]
    np.testing.assert_array_equal(compose(element, painting, Placement(**size)).pixels, expected)  # type: ignore[arg-type]


def test_flipped_top_to_bottom_and_then_turned() -> None:
    element, painting = opaque(4, 6), ground(16, 16)
    composite = compose(element, painting, Placement(height_px=4, flip_vertical=True, rotation_degrees=90))
    np.testing.assert_array_equal(composite.pixels[5:11, 6:10], np.rot90(element[::-1])[..., :3])


# Several elements


def test_a_translucent_element_over_another_by_hand() -> None:
    painting = ground(8, 8)
    below, above = flat(4, 4, (110, 120, 130, 255)), flat(2, 4, (200, 0, 50, 255))
    composite = compositing.compose(
        [
            PlacedElement(pixels=below, placement=at(2, 2, below, painting)),
            PlacedElement(pixels=above, placement=at(2, 3, above, painting, opacity=0.4)),
        ],
        painting,
    )
    # 0.4 · 200 + 0.6 · 110 = 146, 0.6 · 120 = 72, 0.4 · 50 + 0.6 · 130 = 98.
    np.testing.assert_array_equal(composite.pixels[3:5, 2:6], np.full((2, 4, 3), (146, 72, 98)))
    np.testing.assert_array_equal(composite.pixels[2, 2:6], np.full((4, 3), (110, 120, 130)))
    np.testing.assert_array_equal(composite.pixels[1], np.full((8, 3), GROUND))
    assert composite.mask.sum() == 16
    np.testing.assert_allclose(composite.alpha.sum(), 16)


@pytest.mark.parametrize("linear_light", [False, True])
def test_two_elements_at_once_are_as_one_after_the_other(linear_light: bool) -> None:
    """(C over B) over A is C over (B over A), but for the rounding of the picture between."""
    painting = noise(24, 24, 3)
    placements = [Placement(height_px=11.3, rotation_degrees=20), Placement(height_px=9.7, center_x_fraction=0.6)]
    elements = [
        PlacedElement(pixels=noise(12, 12, 4, seed), placement=placement)
        for seed, placement in enumerate(placements, start=5)
    ]
    how = Compositing(linear_light=linear_light)
    at_once = compositing.compose(elements, painting, how)
    first = compositing.compose(elements[:1], painting, how)
    second = compositing.compose(elements[1:], first.pixels, how)
    assert np.abs(at_once.pixels.astype(int) - second.pixels).max() <= 1
    alphas = first.alpha.astype(np.float64), second.alpha.astype(np.float64)
    np.testing.assert_allclose(at_once.alpha, alphas[1] + (1 - alphas[1]) * alphas[0], atol=1e-6)


def test_z_order_comes_before_the_order_of_the_request() -> None:
    painting = ground(8, 8)
    red, green, blue = (flat(4, 4, (*color, 255)) for color in ((200, 0, 0), (0, 200, 0), (0, 0, 200)))
    elements = [
        PlacedElement(pixels=pixels, placement=at(2, 2, pixels, painting, z_order=order))
        for pixels, order in ((red, 1), (green, 1), (blue, -1))
    ]
    np.testing.assert_array_equal(compositing.compose(elements, painting).pixels[3, 3], (0, 200, 0))
    np.testing.assert_array_equal(compositing.compose(elements[::2], painting).pixels[3, 3], (200, 0, 0))


def test_opacity_thins_the_element_and_leaves_the_mask() -> None:
    element, painting = flat(4, 4, (250, 100, 0, 255)), ground(8, 8)
    composite = compose(element, painting, Placement(height_px=4, opacity=0.25))
    # A quarter of (250, 100, 0) and three quarters of (10, 20, 30).
    np.testing.assert_array_equal(composite.pixels[3, 3], (70, 40, 22))
    np.testing.assert_allclose(composite.alpha[2:6, 2:6], 0.25)
    assert composite.mask.sum() == 16


def test_the_element_outside_is_named() -> None:
    painting, element = ground(16, 16), opaque(4, 4)
    elements = [
        PlacedElement(pixels=element, placement=Placement(height_px=4), path="elements[0]."),
        PlacedElement(pixels=element, placement=Placement(height_px=4, center_x_fraction=2), path="elements[1]."),
    ]
    with pytest.raises(ElementOutside) as caught:
        compositing.compose(elements, painting)
    assert caught.value.field == "elements[1].placement"


# Edges and light


def test_no_dark_fringe_on_white_over_black_and_none_on_white_over_white() -> None:
    y, x = np.mgrid[:31, :31]
    distance = np.hypot(x - 15, y - 15)
    disk = np.zeros((31, 31, 4), dtype=np.uint8)
    disk[..., 3] = np.rint(np.clip(14 - distance, 0, 1) * 255).astype(np.uint8)
    disk[disk[..., 3] > 0, :3] = 255  # where it is transparent it is black
    for rotation, height in ((17.0, 23.7), (0.0, 55.5), (45.0, 9.3)):
        placement = Placement(height_px=height, rotation_degrees=rotation, center_x_fraction=0.503)
        over_white = compose(disk, np.full((64, 64, 3), 255, np.uint8), placement)
        assert over_white.pixels.min() == 255
        over_black = compose(disk, np.zeros((64, 64, 3), np.uint8), placement)
        # White times alpha, nothing darker: the color under the soft edge is white as well.
        expected = np.rint(over_black.alpha * 255)
        assert np.abs(over_black.pixels.astype(int) - expected[..., None]).max() <= 1


def test_half_covered_in_linear_light_by_hand() -> None:
    element, painting = flat(4, 4, (255, 255, 255, 255)), np.zeros((8, 8, 3), dtype=np.uint8)
    placement = Placement(center_x_fraction=4.5 / 8, height_fraction=0.5)
    composite = compose(element, painting, placement, linear_light=True)
    # Half the light of white: 255 · (1.055 · 0.5^(1/2.4) - 0.055) = 187.516.
    np.testing.assert_array_equal(composite.pixels[3, :, 0], [0, 0, 188, 255, 255, 255, 188, 0])
    np.testing.assert_array_equal(composite.alpha[3], [0, 0, 0.5, 1, 1, 1, 0.5, 0])


def test_linear_light_of_two_grays_by_hand() -> None:
    element, painting = flat(4, 4, (200, 200, 200, 51)), np.full((8, 8, 3), 50, dtype=np.uint8)
    element[1, 1, 3] = 255
    composite = compose(element, painting, Placement(height_px=4), linear_light=True)
    # ((200/255 + 0.055) / 1.055)^2.4 = 0.57758, of 50: 0.03190; a fifth and four fifths: 0.14103; encoded: 105.05.
    assert composite.pixels[2, 2, 0] == 105
    np.testing.assert_array_equal(composite.pixels[3, 3], (200, 200, 200))


@pytest.mark.parametrize("linear_light", [False, True])
def test_the_painting_is_kept_byte_for_byte_where_nothing_covers_it(linear_light: bool) -> None:
    painting = noise(600, 40, 3)  # taller than a strip of rows
    placement = Placement(height_px=500, rotation_degrees=3, opacity=0.5)
    element = noise(50, 5, 4)
    element[25, 2, 3] = 255
    composite = compose(element, painting, placement, linear_light=linear_light)
    untouched = composite.alpha == 0
    assert 0.1 < untouched.mean() < 0.95
    np.testing.assert_array_equal(composite.pixels[untouched], painting[untouched])
    assert not composite.mask[untouched].any()


def test_strips_leave_no_seams() -> None:
    element = np.full((600, 20, 4), (90, 60, 30, 255), dtype=np.uint8)
    composite = compose(element, ground(700, 40), Placement(height_px=600.5, rotation_degrees=1))
    middle = composite.pixels[60:640, 20]
    np.testing.assert_array_equal(middle, np.full((580, 3), (90, 60, 30)))


def test_fine_detail_is_averaged_not_sampled() -> None:
    """A checkerboard of single pixels, made eight times smaller and turned, is even gray and no moiré."""
    checks = np.zeros((256, 256, 4), dtype=np.uint8)
    checks[..., 3] = 255
    checks[::2, ::2, :3] = 255
    checks[1::2, 1::2, :3] = 255
    composite = compose(checks, ground(64, 64), Placement(height_px=32, rotation_degrees=11))
    inside = composite.pixels[24:40, 24:40].astype(int)
    assert np.abs(inside - 127.5).max() < 1


# Tone and holes


def test_a_matched_element_has_the_mean_of_its_surroundings() -> None:
    rng = np.random.default_rng(0)
    element = np.dstack([rng.integers(150, 220, (20, 20, 3)), np.full((20, 20), 255)]).astype(np.uint8)
    painting = rng.integers(40, 110, (60, 60, 3)).astype(np.uint8)
    plain = compose(element, painting, Placement(height_px=20))
    matched = compose(element, painting, Placement(height_px=20), tone_match_strength=1)
    means = [lab(picture.pixels[20:40, 20:40]).mean(axis=(0, 1)) for picture in (plain, matched)]
    around = lab(painting[10:50, 10:50])
    np.testing.assert_allclose(means[1], around.mean(axis=(0, 1)), atol=0.5)
    assert abs(means[0][0] - around[..., 0].mean()) > 30
    deviations = lab(matched.pixels[20:40, 20:40]).std(axis=(0, 1)), around.std(axis=(0, 1))
    np.testing.assert_allclose(deviations[0], deviations[1], rtol=0.05)
    half = compose(element, painting, Placement(height_px=20), tone_match_strength=0.5)
    between = lab(half.pixels[20:40, 20:40]).mean(axis=(0, 1))
    np.testing.assert_allclose(between, (means[0] + means[1]) / 2, atol=0.5)


def lab(rgb: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), dtype=np.float32)


def test_holes_of_the_mask_are_filled_when_asked() -> None:
    ring = opaque(6, 6)
    ring[2:4, 2:4, 3] = 0
    painting = ground(10, 10)
    assert compose(ring, painting, Placement(height_px=6)).mask.sum() == 32
    filled = compose(ring, painting, Placement(height_px=6), fill_mask_holes=True)
    assert filled.mask.sum() == 36
    np.testing.assert_array_equal(filled.pixels[4:6, 4:6], painting[4:6, 4:6])
