"""Elements over a painting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging import light, masks, tone
from painterly_preprocess.imaging.errors import AlphaMissing, MaskEmpty
from painterly_preprocess.imaging.params import Compositing, Placement
from painterly_preprocess.imaging.placing import Layer, outside, painted_box, place, visible_box

# So many rows of the painting are floating-point numbers at a time.
_STRIP_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class PlacedElement:
    """An RGBA element and its placement, which must not be automatic. ``path`` goes before the field in errors."""

    pixels: NDArray[np.uint8]
    placement: Placement
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Composite:
    """``pixels`` is RGB uint8 H×W×3, ``alpha`` what the elements cover, float32 H×W, ``mask`` bool H×W.

    The mask is where the elements' alpha, without their opacity, is at least one half.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    mask: NDArray[np.bool_]


def require_cut_out(element: NDArray[np.uint8], field: str = "element") -> None:
    """Raise AlphaMissing for an element without a transparent pixel, which was hardly meant to be pasted whole."""
    if not masks.has_transparency(element):
        raise AlphaMissing(field, "has no transparent pixel; remove its background first")


def require_visible(element: NDArray[np.uint8], field: str = "element") -> None:
    """Raise MaskEmpty for an element that is nowhere at least half opaque."""
    if not (element[..., 3] >= 128).any():
        raise MaskEmpty(field, "has no pixel that is at least half opaque")


def compose(
    elements: Sequence[PlacedElement], painting: NDArray[np.uint8], compositing: Compositing | None = None
) -> Composite:
    """Place elements over an RGB painting; where their alpha is 0 the painting's pixels stay as they are.

    A higher z-order lies over a lower one, among equals the later element over the earlier.

    Raises: MaskEmpty (an element that is too transparent, else its placement or, of several, ``elements``), MaskFull,
    ElementOutside.
    """
    compositing = compositing or Compositing()
    layers = [_layer(element, painting, compositing) for element in elements]
    order = sorted(range(len(elements)), key=lambda index: elements[index].placement.z_order)
    pixels, alpha = painting.copy(), np.zeros(painting.shape[:2], dtype=np.float32)
    mask = np.zeros(painting.shape[:2], dtype=np.bool_)
    reached: set[int] = set()
    for top, bottom in _strips(layers):
        strip = _Strip(painting, top, bottom, compositing)
        for index in order:
            if strip.add(layers[index], elements[index].placement.opacity):
                reached.add(index)
        changed = strip.alpha > 0
        pixels[top:bottom][changed] = strip.encoded(changed)
        alpha[top:bottom] = np.minimum(strip.alpha, 1)
        mask[top:bottom] = strip.coverage >= 0.5
    for index, element in enumerate(elements):
        if index not in reached:
            raise outside(f"{element.path}placement")
    field = f"{elements[0].path}placement" if len(elements) == 1 else "elements"
    mask = masks.require_usable(masks.fill_holes(mask) if compositing.fill_mask_holes else mask, field)
    return Composite(pixels=pixels, alpha=alpha, mask=mask)


class _Strip:
    """Some rows of the painting, the elements coming over them one after the other."""

    def __init__(self, painting: NDArray[np.uint8], top: int, bottom: int, compositing: Compositing) -> None:
        self._top, self._bottom = top, bottom
        self._is_linear = compositing.linear_light
        self._canvas = _amounts(painting[top:bottom], is_linear=self._is_linear)
        self.alpha = np.zeros(self._canvas.shape[:2], dtype=np.float32)
        self.coverage = np.zeros(self._canvas.shape[:2], dtype=np.float32)

    def add(self, layer: Layer, opacity: float) -> bool:
        """Put a layer over what is there; returns whether any of it is in these rows."""
        top, bottom = max(self._top, layer.reach.top), min(self._bottom, layer.reach.bottom)
        if bottom <= top:
            return False
        over = layer.rows(top, bottom)
        inside = np.s_[top - self._top : bottom - self._top, layer.reach.left : layer.reach.right]
        self.coverage[inside] = over[..., 3] + (1 - over[..., 3]) * self.coverage[inside]
        if opacity < 1:
            over = over * np.float32(opacity)
        rest = 1 - over[..., 3]
        self._canvas[inside] = over[..., :3] + rest[..., None] * self._canvas[inside]
        self.alpha[inside] = over[..., 3] + rest * self.alpha[inside]
        return bool((over[..., 3] > 0).any())

    def encoded(self, where: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The chosen pixels, n×3 RGB."""
        chosen = self._canvas[where]
        values = light.from_light(chosen) if self._is_linear else np.clip(chosen, 0, 255)
        return np.rint(values).astype(np.uint8)


def _strips(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    first, last = min(layer.reach.top for layer in layers), max(layer.reach.bottom for layer in layers)
    return [(top, min(top + _STRIP_ROWS, last)) for top in range(first, last, _STRIP_ROWS)]


def _layer(element: PlacedElement, painting: NDArray[np.uint8], compositing: Compositing) -> Layer:
    require_visible(element.pixels, f"{element.path}element")
    box = visible_box(element.pixels)
    cropped = element.pixels[box.top : box.bottom, box.left : box.right]
    size, painting_size = cropped.shape[:2], (painting.shape[0], painting.shape[1])
    field = f"{element.path}placement"
    if compositing.tone_match_strength > 0:
        target = painted_box((size[0], size[1]), painting_size, element.placement)
        if target.is_empty:
            raise outside(field)
        around = tone.surroundings(painting, target)
        cropped = tone.match_tone(cropped, around, compositing.tone_match_strength)
    return place(_premultiplied(cropped, is_linear=compositing.linear_light), painting_size, element.placement, field)


def _premultiplied(element: NDArray[np.uint8], *, is_linear: bool) -> NDArray[np.float32]:
    """Color, 0 to 255, times alpha; alpha 0 to 1."""
    alpha = element[..., 3:].astype(np.float32) / np.float32(255)
    return np.concatenate([_amounts(element[..., :3], is_linear=is_linear) * alpha, alpha], axis=2)


def _amounts(rgb: NDArray[np.uint8], *, is_linear: bool) -> NDArray[np.float32]:
    return light.to_light(rgb) if is_linear else rgb.astype(np.float32)
