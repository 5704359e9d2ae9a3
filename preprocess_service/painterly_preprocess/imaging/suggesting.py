"""Places for an element in a painting, ranked and explained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.params import Anchor, Placement, SuggestionWish
from painterly_preprocess.imaging.placing import Box, scale_of
from painterly_preprocess.imaging.saliency import Reading, read_painting

# Size of a box: the square root of the part of the painting that it takes.
_SIZES = (0.16, 0.2, 0.25, 0.3, 0.36, 0.43)
_MAX_SIDE = 0.8
_STEPS = 48
_MARGIN = 0.03
_MAX_OVERLAP = 0.15
_STRONG_ATTENTION = 0.75
_WEIGHTS = (0.4, 0.2, 0.2, 0.2)
_SIZE_SPREAD = 0.4
_TYPICAL_SIZE = 0.29


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What is good about a place, each 0 to 1: ``free`` of what draws the eye, on ``support``, plausible ``scale``,
    ``balance`` of the composition."""

    free: float
    support: float
    scale: float
    balance: float


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A place with its whole score (0 to 1), the score's parts, a reason in words, and the element's box."""

    placement: Placement
    score: float
    scores: Scores
    reason: str
    box: Box


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """Boxes as fractions of the painting, and their scores: arrays of one length."""

    left: NDArray[np.float64]
    top: NDArray[np.float64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]
    scores: NDArray[np.float64]  # n×4: free, support, scale, balance

    @property
    def whole(self) -> NDArray[np.float64]:
        """Weighted geometric mean: one bad part is not made up for by the others."""
        logs = np.log(np.maximum(self.scores, 0.01))
        return np.asarray(np.exp(logs @ np.array(_WEIGHTS)), dtype=np.float64)


def suggest(painting: NDArray[np.uint8], wish: SuggestionWish, occupied: Sequence[Box] = ()) -> list[Suggestion]:
    """Rank places in an RGB painting, best first: at least one, and boxes that overlap little.

    ``occupied`` are boxes that other elements take already. The same arguments give the same answer.
    """
    height, width = painting.shape[:2]
    reading = read_painting(painting)
    attention = reading.attention.copy()
    for box in occupied:
        _mark(attention, box, (height, width))
    candidates = _score(_boxes(wish, width / height), attention, reading)
    chosen: list[int] = []
    for index in np.argsort(-candidates.whole, kind="stable"):
        if len(chosen) == wish.suggestion_count:
            break
        if all(_overlap(candidates, int(index), other) <= _MAX_OVERLAP for other in chosen):
            chosen.append(int(index))
    return [_suggestion(candidates, index, reading, (height, width)) for index in chosen]


def resolve_automatic(
    placement: Placement, element_size: tuple[int, int], painting: NDArray[np.uint8], occupied: Sequence[Box] = ()
) -> tuple[Placement, str]:
    """An automatic placement with the position, and the size unless it has one, that suits best; and why.

    ``element_size`` is height and width of what is visible of the element.
    """
    painting_size = painting.shape[0], painting.shape[1]
    aspect = element_size[1] / element_size[0]
    angle = math.radians(placement.rotation_degrees)
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    # Of the upright box around the turned element: height and width per height of the element.
    box_height, box_width = cosine + sine * aspect, cosine * aspect + sine
    has_size = any(
        size is not None
        for size in (placement.height_fraction, placement.width_fraction, placement.height_px, placement.width_px)
    )
    kept = None
    if has_size:
        kept = scale_of(placement, element_size, painting_size) * element_size[0] / painting_size[0] * box_height
    wish = SuggestionWish(
        aspect_ratio=min(max(box_width / box_height, 0.05), 20),
        height_fraction=None if kept is None else min(max(kept, 0.01), 4),
        suggestion_count=1,
    )
    best = suggest(painting, wish, occupied)[0]
    assert best.placement.height_fraction is not None
    found_height = max(0.01, best.placement.height_fraction / box_height)
    resolved = replace(
        placement,
        is_automatic=False,
        center_x_fraction=best.placement.center_x_fraction,
        center_y_fraction=best.placement.center_y_fraction,
        anchor=Anchor.CENTER,
        height_fraction=placement.height_fraction if has_size else found_height,
    )
    return resolved, best.reason


def _boxes(wish: SuggestionWish, painting_aspect: float) -> _Candidates:
    """Every candidate; ``aspect`` is of a box measured in fractions of the painting's sides."""
    aspect = wish.aspect_ratio / painting_aspect
    if wish.height_fraction is not None:
        heights = [wish.height_fraction]
    else:
        fitting = [max(0.01, min(size / math.sqrt(aspect), _MAX_SIDE, _MAX_SIDE / aspect)) for size in _SIZES]
        heights = list(dict.fromkeys(fitting))
    parts = []
    for height in heights:
        width = height * aspect
        lefts, tops = np.meshgrid(_starts(width), _starts(height))
        parts.append(np.stack([lefts.ravel(), tops.ravel(), *np.broadcast_arrays(width, height, lefts.ravel())[:2]]))
    left, top, width_all, height_all = np.concatenate(parts, axis=1)
    return _Candidates(left=left, top=top, width=width_all, height=height_all, scores=np.zeros((len(left), 4)))


def _starts(side: float) -> NDArray[np.float64]:
    room = 1 - side - 2 * _MARGIN
    return np.linspace(_MARGIN, _MARGIN + room, _STEPS) if room > 0 else np.array([(1 - side) / 2])


def _score(boxes: _Candidates, attention: NDArray[np.float32], reading: Reading) -> _Candidates:
    mean = _means(attention, boxes.left, boxes.top, boxes.width, boxes.height)
    strong = (attention > _STRONG_ATTENTION).astype(np.float32)
    covered = _means(strong, boxes.left, boxes.top, boxes.width, boxes.height)
    free = (1 - mean) * (1 - covered)
    bottom = boxes.top + boxes.height
    if reading.ground is None:
        support = np.full(len(free), 0.5)
    else:
        # What carries a thing is under the middle of its lower border.
        foot = 0.12 * boxes.height
        support = _means(reading.ground, boxes.left + 0.2 * boxes.width, bottom - foot, 0.6 * boxes.width, 1.5 * foot)
    expected = np.full(len(free), _TYPICAL_SIZE)
    if reading.horizon is not None:
        expected = np.clip(0.14 + 0.42 * (bottom - reading.horizon), 0.12, 0.42)
    size = np.sqrt(boxes.width * boxes.height)
    scale = np.exp(-(np.log(size / expected) ** 2) / (2 * _SIZE_SPREAD**2))
    middle = boxes.left + boxes.width / 2
    from_third = np.minimum(np.abs(middle - 1 / 3), np.abs(middle - 2 / 3))
    # A foot that is high up looks lost, whatever else the painting shows, and below the middle it has its ground.
    low = np.clip((bottom - 0.35) / 0.4, 0.05, 1)
    balance = (1 - np.minimum(1, 2 * from_third)) * low
    return replace(boxes, scores=np.stack([free, support, scale, balance], axis=1))


def _means(
    values: NDArray[np.float32],
    left: NDArray[np.float64],
    top: NDArray[np.float64],
    width: NDArray[np.float64],
    height: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Means of h×w values over boxes given as fractions, clipped to the picture."""
    rows, columns = values.shape
    total = cv2.integral(values, sdepth=cv2.CV_64F)
    x0 = np.clip(np.floor(left * columns), 0, columns - 1).astype(int)
    y0 = np.clip(np.floor(top * rows), 0, rows - 1).astype(int)
    x1 = np.clip(np.ceil((left + width) * columns).astype(int), x0 + 1, columns)
    y1 = np.clip(np.ceil((top + height) * rows).astype(int), y0 + 1, rows)
    whole = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
    return np.asarray(whole / ((x1 - x0) * (y1 - y0)), dtype=np.float64)


def _mark(attention: NDArray[np.float32], box: Box, painting_size: tuple[int, int]) -> None:
    down, across = attention.shape[0] / painting_size[0], attention.shape[1] / painting_size[1]
    rows = slice(math.floor(box.top * down), math.ceil(box.bottom * down))
    attention[rows, math.floor(box.left * across) : math.ceil(box.right * across)] = 1


def _overlap(boxes: _Candidates, one: int, other: int) -> float:
    """Common area by that of the smaller box."""
    sides = []
    for start, length in ((boxes.left, boxes.width), (boxes.top, boxes.height)):
        low, high = max(start[one], start[other]), min(start[one] + length[one], start[other] + length[other])
        sides.append(max(0.0, float(high - low)))
    areas = [float(boxes.width[index] * boxes.height[index]) for index in (one, other)]
    return sides[0] * sides[1] / min(areas)


def _suggestion(boxes: _Candidates, index: int, reading: Reading, painting_size: tuple[int, int]) -> Suggestion:
    rows, columns = painting_size
    left, top, width, height = (float(values[index]) for values in (boxes.left, boxes.top, boxes.width, boxes.height))
    scores = Scores(**dict(zip(("free", "support", "scale", "balance"), map(float, boxes.scores[index]), strict=True)))
    placement = Placement(
        center_x_fraction=round(left + width / 2, 4),
        center_y_fraction=round(top + height / 2, 4),
        height_fraction=min(max(round(height, 4), 0.01), 4),
    )
    box = Box(
        left=max(0, math.floor(left * columns)),
        top=max(0, math.floor(top * rows)),
        right=min(columns, math.ceil((left + width) * columns)),
        bottom=min(rows, math.ceil((top + height) * rows)),
    )
    return Suggestion(
        placement=placement,
        score=float(boxes.whole[index]),
        scores=scores,
        reason=_reason(scores, reading, left + width / 2, top + height, height),
        box=box,
    )


def _reason(scores: Scores, reading: Reading, middle: float, bottom: float, height: float) -> str:
    where = "left" if middle < 0.42 else "right" if middle > 0.58 else "middle"
    calm = "calm" if scores.free >= 0.6 else "fairly calm" if scores.free >= 0.35 else "the calmest that is left"
    if reading.ground is None or reading.horizon is None:
        ground = "the painting does not tell ground from sky"
    elif scores.support >= 0.7:
        ground = f"it stands on ground, below the sky that ends at {reading.horizon:.0%} of the height"
    else:
        ground = "its foot is not on ground"
    fit = "suits" if scores.scale >= 0.75 else "is large or small for"
    size = f"{height:.0%} of the painting's height {fit} a foot at {bottom:.0%}"
    return (
        f"On the {where}, where the painting is {calm} (free {scores.free:.2f}); {ground} "
        f"(support {scores.support:.2f}); {size} (scale {scores.scale:.2f}); balance {scores.balance:.2f}."
    )
