"""painterly_preprocess.imaging.suggesting and saliency: places in paintings of which the answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from painterly_preprocess.imaging.params import Anchor, Placement, SuggestionWish
from painterly_preprocess.imaging.placing import Box, painted_box
from painterly_preprocess.imaging.saliency import read_painting
from painterly_preprocess.imaging.suggesting import Suggestion, resolve_automatic, suggest

Pixels = NDArray[np.uint8]
PAINTINGS = Path(__file__).parents[3] / "examples" / "paintings"


def landscape(height: int = 300, width: int = 400, horizon: int = 120) -> Pixels:
    """A pale sky over dark, textured land."""
    rng = np.random.default_rng(0)
    painting = np.full((height, width, 3), (190, 210, 235), dtype=np.int64)
    painting[horizon:] = (90, 110, 60)
    painting[horizon:] += rng.integers(-18, 19, (height - horizon, width, 1))
    return painting.clip(0, 255).astype(np.uint8)


def with_figure(painting: Pixels, left: int, top: int) -> Pixels:
    """The painting with a motley figure of 60×100 pixels."""
    changed = painting.copy()
    figure = np.random.default_rng(1).integers(0, 2, (10, 6, 3)) * np.array([230, 90, 160])
    changed[top : top + 100, left : left + 60] = np.kron(figure, np.ones((10, 10, 1))).astype(np.uint8)
    return changed


def common(box: Box, other: Box) -> int:
    width = min(box.right, other.right) - max(box.left, other.left)
    return max(0, width) * max(0, min(box.bottom, other.bottom) - max(box.top, other.top))


def test_the_sky_ends_where_it_does() -> None:
    reading = read_painting(landscape())
    assert reading.horizon == pytest.approx(0.4, abs=0.03)
    assert reading.ground is not None
    assert reading.ground[:60].mean() < 0.01
    assert reading.ground[90:].mean() > 0.95


def test_a_picture_without_sky_does_not_tell() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    reading = read_painting(noise)
    assert (reading.ground, reading.horizon) == (None, None)
    assert "does not tell ground from sky" in suggest(noise, SuggestionWish())[0].reason


@pytest.mark.parametrize("left", [60, 280])
def test_the_best_place_is_on_ground_and_off_the_figure(left: int) -> None:
    painting = with_figure(landscape(), left, 150)
    figure = Box(left=left, top=150, right=left + 60, bottom=250)
    best = suggest(painting, SuggestionWish(aspect_ratio=0.6))[0]
    assert common(best.box, figure) == 0
    assert best.box.bottom > 140
    assert best.scores.support > 0.9
    assert "stands on ground" in best.reason


def test_attention_is_where_the_figure_is() -> None:
    painting = with_figure(landscape(), 60, 150)
    attention = read_painting(painting).attention
    assert attention.min() == 0
    assert attention.max() == 1
    assert attention[100:155, 42:74].mean() > 0.85
    assert attention[120:, 150:].mean() < 0.5


def test_suggestions_are_ranked_apart_inside_and_the_same_again() -> None:
    painting = with_figure(landscape(), 60, 150)
    wish = SuggestionWish(aspect_ratio=0.6, suggestion_count=6)
    found = suggest(painting, wish)
    assert found == suggest(painting, wish)
    assert 2 <= len(found) <= 6
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    for index, each in enumerate(found):
        check_inside(each, painting)
        assert pytest.approx((each.box.right - each.box.left) / (each.box.bottom - each.box.top), abs=0.03) == 0.6
        for other in found[:index]:
            areas = [(box.right - box.left) * (box.bottom - box.top) for box in (each.box, other.box)]
            assert common(each.box, other.box) <= 0.27 * min(areas)


def check_inside(suggestion: Suggestion, painting: Pixels) -> None:
    height, width = painting.shape[:2]
    box = suggestion.box
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height
    assert 0 < suggestion.score <= 1
    center = suggestion.placement.center_x_fraction, suggestion.placement.center_y_fraction
    assert center == pytest.approx(((box.left + box.right) / 2 / width, (box.top + box.bottom) / 2 / height), abs=0.01)
    assert suggestion.placement.height_fraction == pytest.approx((box.bottom - box.top) / height, abs=0.01)


@pytest.mark.parametrize("height", [0.05, 0.3, 1.5])
def test_a_height_to_keep_is_kept(height: float) -> None:
    found = suggest(landscape(), SuggestionWish(height_fraction=height))
    assert {each.placement.height_fraction for each in found} == {height}


@pytest.mark.parametrize("aspect", [0.05, 0.3, 3.0, 20.0])
def test_extreme_proportions_fit(aspect: float) -> None:
    for each in suggest(landscape(), SuggestionWish(aspect_ratio=aspect)):
        check_inside(each, landscape())


def test_occupied_boxes_are_left_alone() -> None:
    painting = landscape()
    first = suggest(painting, SuggestionWish())[0]
    second = suggest(painting, SuggestionWish(), occupied=[first.box])[0]
    assert common(first.box, second.box) == 0


def test_an_automatic_placement_is_the_best_suggestion() -> None:
    painting = with_figure(landscape(), 60, 150)
    best = suggest(painting, SuggestionWish(aspect_ratio=0.5))[0]
    resolved, reason = resolve_automatic(Placement(is_automatic=True, opacity=0.5, z_order=3), (80, 40), painting)
    assert resolved == replace(best.placement, opacity=0.5, z_order=3)
    assert reason == best.reason
    assert resolved.anchor is Anchor.CENTER


@pytest.mark.parametrize("size", [{"height_px": 90.0}, {"width_fraction": 0.2}])
def test_an_automatic_placement_keeps_a_given_size_and_turn(size: dict[str, float]) -> None:
    painting = landscape()
    wished = Placement(is_automatic=True, rotation_degrees=90, **size)  # type: ignore[arg-type]
    resolved, _ = resolve_automatic(wished, (40, 80), painting)
    assert (resolved.height_px, resolved.width_fraction) == (wished.height_px, wished.width_fraction)
    assert resolved.height_fraction is None
    box = painted_box((40, 80), (300, 400), resolved)
    # Turned it stands upright: twice as high as wide, wholly inside.
    assert (box.bottom - box.top) / (box.right - box.left) == pytest.approx(2, abs=0.1)
    assert min(box.left, box.top) > 0
    assert box.right < 400
    assert box.bottom < 300


@pytest.mark.parametrize("name", sorted(path.stem for path in PAINTINGS.glob("*.jpg")))
def test_real_paintings_get_explained_suggestions(name: str) -> None:
    with Image.open(PAINTINGS / f"{name}.jpg") as image:
        painting = np.array(image.convert("RGB"))
    found = suggest(painting, SuggestionWish(aspect_ratio=0.6))
    assert len(found) >= 3
    for each in found:
        check_inside(each, painting)
        assert f"free {each.scores.free:.2f}" in each.reason


@pytest.mark.parametrize("shape", [(16, 16), (16, 4000), (4000, 16)])
@pytest.mark.parametrize("plain", [False, True])
def test_extreme_paintings_have_places(shape: tuple[int, int], plain: bool) -> None:
    painting = np.full((*shape, 3), 128, dtype=np.uint8)
    if not plain:
        painting = np.random.default_rng(0).integers(0, 256, painting.shape, dtype=np.uint8)
    for aspect in (0.05, 1.0, 20.0):
        for each in suggest(painting, SuggestionWish(aspect_ratio=aspect)):
            assert 0 <= each.box.left < each.box.right <= shape[1]
            assert 0 <= each.box.top < each.box.bottom <= shape[0]
            assert np.isfinite(each.score)
