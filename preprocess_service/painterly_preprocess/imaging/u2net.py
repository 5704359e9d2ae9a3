"""Background removal by the salient object network U²-Net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from painterly_preprocess.imaging.cutout_params import Box
from painterly_preprocess.imaging.matting import Alpha, no_foreground, over_white, own_alpha, require_foreground

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


class Session(Protocol):
    """What is needed of an ``onnxruntime.InferenceSession``."""

    def get_inputs(self) -> Sequence[Any]: ...

    def run(self, output_names: Sequence[str] | None, input_feed: dict[str, Any]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class U2NetMatting:
    """The most salient object, by the network U²-Net (Qin et al., 2020), whose ``session`` is handed in.

    The network sees 320×320 pixels. Where the object takes up little of the photo it looks a second time, at the
    object and its surroundings alone: thin things come out solid that were half transparent at first. With a ``box``
    it looks at that part of the photo and its surroundings from the start.
    """

    session: Session
    box: Box | None = None

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        rgb = over_white(photo)
        first = np.s_[:, :] if self.box is None else _with_margin(*self.box.pixels(*rgb.shape[:2]))
        alpha = self._look_at(rgb, first)
        near = _surroundings(alpha >= 0.5)
        if alpha[near].size < _SECOND_LOOK_SHARE * alpha[first].size:
            alpha = self._look_at(rgb, near)
        return require_foreground(alpha * own_alpha(photo))

    def _look_at(self, rgb: NDArray[np.uint8], part: tuple[slice, slice]) -> Alpha:
        """Alpha of the whole photo, found in a part of it and 0 elsewhere."""
        alpha = np.zeros(rgb.shape[:2], dtype=np.float32)
        alpha[part] = self._look(np.ascontiguousarray(rgb[part]))
        return alpha

    def _look(self, rgb: NDArray[np.uint8]) -> Alpha:
        height, width = rgb.shape[:2]
        small = Image.fromarray(rgb).resize((_NETWORK_SIDE_PX, _NETWORK_SIDE_PX), Image.Resampling.LANCZOS)
        pixels = np.asarray(small, dtype=np.float32)
        # The largest value, not 255, becomes 1, as in the network's training.
        pixels = (pixels / max(pixels.max(), 1e-6) - _MEAN) / _DEVIATION
        feed = {self.session.get_inputs()[0].name: pixels.transpose(2, 0, 1)[None]}
        saliency = np.asarray(self.session.run(None, feed)[0], dtype=np.float32)[0, 0]
        if saliency.max() < _LEAST_PEAK:
            raise no_foreground()
        matte = (saliency - saliency.min()) / (saliency.max() - saliency.min())
        large = np.asarray(Image.fromarray(matte).resize((width, height), Image.Resampling.LANCZOS))
        return require_foreground(_stretch(large))


def _surroundings(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of a mask's bounding box with a margin."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return _with_margin(slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))


def _with_margin(rows: slice, columns: slice) -> tuple[slice, slice]:
    margin = round(_SURROUNDINGS_SHARE * max(rows.stop - rows.start, columns.stop - columns.start))
    wider = (slice(max(each.start - margin, 0), each.stop + margin) for each in (rows, columns))
    return next(wider), next(wider)


def _stretch(matte: Alpha) -> Alpha:
    stretched: Alpha = np.clip((matte - _BLACK_POINT) / (_WHITE_POINT - _BLACK_POINT), 0, 1).astype(np.float32)
    return stretched
