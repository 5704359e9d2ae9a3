"""Background removal: photo to alpha matte. A further method is one more class of the shape of :class:`Matting`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from painterly_preprocess.imaging.errors import AlphaMissing, MaskEmpty
from painterly_preprocess.imaging.masks import has_transparency

Alpha = NDArray[np.float32]

# Statistics of the network's training pictures, RGB.
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
_NETWORK_SIDE_PX = 320
# The network's output is a probability; where nothing stands out it stays below 0.05 everywhere.
_LEAST_PEAK = 0.5
# A network's matte is never quite 0 or 1. What is nearly so becomes so, or faint specks would widen the element's
# bounding box and solid parts would let the painting through.
_BLACK_POINT, _WHITE_POINT = 0.05, 0.95
# The second look takes in this share of the object's long side around it, and is not worth it above half the photo.
_SURROUNDINGS_SHARE, _SECOND_LOOK_SHARE = 0.15, 0.5


class Matting(Protocol):
    """A way to find the foreground."""

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        """Alpha float32 H×W in [0, 1] of an RGBA photo. Raises MaskEmpty where there is no foreground."""
        ...


class Session(Protocol):
    """What is needed of an ``onnxruntime.InferenceSession``."""

    def get_inputs(self) -> Sequence[Any]: ...

    def run(self, output_names: Sequence[str] | None, input_feed: dict[str, Any]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class AlphaMatting:
    """The photo's own alpha channel. Raises AlphaMissing for an opaque photo."""

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        if not has_transparency(photo):
            raise AlphaMissing("photo", "has no transparent pixel; choose another background removal method")
        return _require_foreground(photo[..., 3].astype(np.float32) / np.float32(255))


@dataclass(frozen=True)
class U2NetMatting:
    """The most salient object, by the network U²-Net (Qin et al., 2020), whose ``session`` is handed in.

    The network sees 320×320 pixels. Where the object takes up little of the photo it looks a second time, at the
    object and its surroundings alone: thin things come out solid that were half transparent at first.
    """

    session: Session

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        rgb = _over_white(photo)
        alpha = self._look(rgb)
        near = _surroundings(alpha >= 0.5)
        if alpha[near].size < _SECOND_LOOK_SHARE * alpha.size:
            closer = self._look(np.ascontiguousarray(rgb[near]))
            alpha = np.zeros_like(alpha)
            alpha[near] = closer
        return _require_foreground(alpha * _own_alpha(photo))

    def _look(self, rgb: NDArray[np.uint8]) -> Alpha:
        height, width = rgb.shape[:2]
        small = Image.fromarray(rgb).resize((_NETWORK_SIDE_PX, _NETWORK_SIDE_PX), Image.Resampling.LANCZOS)
        pixels = np.asarray(small, dtype=np.float32)
        # The largest value, not 255, becomes 1, as in the network's training.
        pixels = (pixels / max(pixels.max(), 1e-6) - _MEAN) / _DEVIATION
        feed = {self.session.get_inputs()[0].name: pixels.transpose(2, 0, 1)[None]}
        saliency = np.asarray(self.session.run(None, feed)[0], dtype=np.float32)[0, 0]
        if saliency.max() < _LEAST_PEAK:
            raise _no_foreground()
        matte = (saliency - saliency.min()) / (saliency.max() - saliency.min())
        large = np.asarray(Image.fromarray(matte).resize((width, height), Image.Resampling.LANCZOS))
        return _require_foreground(_stretch(large))


@dataclass(frozen=True)
class GrabCutMatting:
    """GrabCut (Rother et al., 2004) from a centered rectangle; needs no weights.

    The photo is reduced to ``working_long_side_px`` for the cut. ``inset_fraction`` of each side lies outside the
    rectangle and counts as background.
    """

    inset_fraction: float = 0.04
    iteration_count: int = 5
    working_long_side_px: int = 640

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        height, width = photo.shape[:2]
        scale = min(1.0, self.working_long_side_px / max(height, width))
        # GrabCut needs some pixels on each side of the rectangle, however narrow the photo is.
        size = (max(round(width * scale), 16), max(round(height * scale), 16))
        small = cv2.resize(_over_white(photo), size, interpolation=cv2.INTER_AREA)
        inside = self._cut(np.ascontiguousarray(small[..., ::-1]))
        soft = cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0)
        large = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
        return _require_foreground(np.clip(large, 0, 1) * _own_alpha(photo))

    def _cut(self, bgr: NDArray[np.uint8]) -> NDArray[np.bool_]:
        height, width = bgr.shape[:2]
        left, top = max(1, round(width * self.inset_fraction)), max(1, round(height * self.inset_fraction))
        labels = np.zeros((height, width), dtype=np.uint8)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        # The color models start from random clusters; the state is the thread's own.
        cv2.setRNGSeed(0)
        rectangle = (left, top, width - 2 * left, height - 2 * top)
        cv2.grabCut(bgr, labels, rectangle, *models, self.iteration_count, cv2.GC_INIT_WITH_RECT)
        inside: NDArray[np.bool_] = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        return inside


def _over_white(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB of an RGBA picture over white: what is under transparent pixels may be anything."""
    if not has_transparency(photo):
        return np.ascontiguousarray(photo[..., :3])
    alpha = photo[..., 3:].astype(np.float32) / 255
    return np.rint(photo[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _own_alpha(photo: NDArray[np.uint8]) -> Alpha:
    return photo[..., 3].astype(np.float32) / np.float32(255)


def _surroundings(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of a mask's bounding box with a margin."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    margin = round(_SURROUNDINGS_SHARE * max(bottom - top, right - left))
    return slice(max(top - margin, 0), bottom + margin), slice(max(left - margin, 0), right + margin)


def _stretch(matte: Alpha) -> Alpha:
    stretched: Alpha = np.clip((matte - _BLACK_POINT) / (_WHITE_POINT - _BLACK_POINT), 0, 1).astype(np.float32)
    return stretched


def _require_foreground(alpha: Alpha) -> Alpha:
    if alpha.max() < 0.5:
        raise _no_foreground()
    return alpha


def _no_foreground() -> MaskEmpty:
    return MaskEmpty("photo", "shows no foreground that could be found; choose another method or cut it out by hand")
