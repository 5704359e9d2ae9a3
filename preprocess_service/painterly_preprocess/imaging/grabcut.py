"""Background removal by GrabCut (Rother et al., 2004), with hints where the caller has some."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.cutout_params import Box
from painterly_preprocess.imaging.errors import MaskEmpty
from painterly_preprocess.imaging.matting import Alpha, over_white, own_alpha, require_foreground

# Of a pixel of the reduced photo at least this share must lie under a stroke.
_STROKE_SHARE = 0.2


@dataclass(frozen=True)
class GrabCutMatting:
    """GrabCut from a rectangle, by default a centered one; needs no weights.

    All outside the rectangle ``box`` is background. ``foreground`` and ``background`` (bool H×W of the photo's size)
    are strokes on what surely is one or the other; they hold outside the rectangle too. The photo is reduced to
    ``working_long_side_px`` for the cut. Without a box ``inset_fraction`` of each side lies outside the rectangle.
    """

    box: Box | None = None
    foreground: NDArray[np.bool_] | None = None
    background: NDArray[np.bool_] | None = None
    inset_fraction: float = 0.04
    iteration_count: int = 5
    working_long_side_px: int = 640

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        """Raises MaskEmpty where there is no foreground, also when the strokes leave no room for one."""
        height, width = photo.shape[:2]
        scale = min(1.0, self.working_long_side_px / max(height, width))
        # GrabCut needs some pixels on each side of the rectangle, however narrow the photo is.
        size = (max(round(width * scale), 16), max(round(height * scale), 16))
        small = cv2.resize(over_white(photo), size, interpolation=cv2.INTER_AREA)
        inside = self._cut(np.ascontiguousarray(small[..., ::-1]))
        soft = cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0)
        large = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
        return require_foreground(np.clip(large, 0, 1) * own_alpha(photo))

    def _cut(self, bgr: NDArray[np.uint8]) -> NDArray[np.bool_]:
        height, width = bgr.shape[:2]
        labels = np.full((height, width), cv2.GC_BGD, dtype=np.uint8)
        labels[self._rectangle(height, width)] = cv2.GC_PR_FGD
        foreground, background = (_reduced(strokes, (width, height)) for strokes in (self.foreground, self.background))
        if (foreground & background).any():
            raise MaskEmpty("grab_cut.background_strokes", "overlap the foreground strokes; draw them apart")
        labels[foreground], labels[background] = cv2.GC_FGD, cv2.GC_BGD
        known = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        if not known.any() or known.all():
            raise MaskEmpty("grab_cut", "leaves no foreground or no background; move the rectangle or the strokes")
        models = np.zeros((1, 65)), np.zeros((1, 65))
        # The color models start from random clusters; the state is the thread's own.
        cv2.setRNGSeed(0)
        if foreground.any() or background.any():
            self._start_from_strokes(labels, foreground, background)
        cv2.grabCut(bgr, labels, (0, 0, 0, 0), *models, self.iteration_count, cv2.GC_INIT_WITH_MASK)
        inside: NDArray[np.bool_] = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        return inside

    def _rectangle(self, height: int, width: int) -> tuple[slice, slice]:
        if self.box is not None:
            return self.box.pixels(height, width)
        left, top = max(1, round(width * self.inset_fraction)), max(1, round(height * self.inset_fraction))
        return slice(top, height - top), slice(left, width - left)

    @staticmethod
    def _start_from_strokes(
        labels: NDArray[np.uint8], foreground: NDArray[np.bool_], background: NDArray[np.bool_]
    ) -> None:
        """Where both kinds of strokes are given, what is unknown begins on the side of the nearer one."""
        if not (foreground.any() and background.any()):
            return
        to_foreground, to_background = (
            cv2.distanceTransform((~strokes).astype(np.uint8), cv2.DIST_L2, 5) for strokes in (foreground, background)
        )
        nearer = (labels == cv2.GC_PR_FGD) & (to_background < to_foreground)
        labels[nearer] = cv2.GC_PR_BGD


def _reduced(strokes: NDArray[np.bool_] | None, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Strokes at the working size (width, height); none at all where there are none."""
    if strokes is None:
        return np.zeros(size[::-1], dtype=np.bool_)
    share = cv2.resize(strokes.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(share >= _STROKE_SHARE)
