"""Cut-outs whose alpha and colors are known, made from nothing: bodies with hair, fur, blur or hard edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_OVERSAMPLING = 3


@dataclass(frozen=True, kw_only=True)
class CutOut:
    """``colors`` RGB float32 H×W×3 in 0 to 255, defined everywhere; ``alpha`` float32 H×W in [0, 1]."""

    colors: NDArray[np.float32]
    alpha: NDArray[np.float32]


def make(kind: str, side: int, seed: int = 0) -> CutOut:
    """A square cut-out of ``side`` pixels; the same arguments give the same picture. ``kind`` is a key of KINDS."""
    random = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    large = side * _OVERSAMPLING
    alpha = np.clip(KINDS[kind](large, random), 0, 1).astype(np.float32)
    reduced = cv2.resize(alpha, (side, side), interpolation=cv2.INTER_AREA)
    return CutOut(colors=_texture(side, random), alpha=np.asarray(reduced, dtype=np.float32))


def over(cut_out: CutOut, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The cut-out over a photo (RGB uint8) of its size."""
    alpha = cut_out.alpha[..., None]
    return np.asarray(np.rint(alpha * cut_out.colors + (1 - alpha) * photo), dtype=np.uint8)


def _texture(side: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Two colors that vary slowly and finely, with light from above."""
    base, other = random.uniform(30, 225, (2, 3))
    share = sum(_noise(side, side // cells, random) / cells for cells in (2, 4, 16, 64)) / 1.2
    light = np.linspace(1.15, 0.75, side)[:, None, None]
    colors = (base + (other - base) * np.asarray(share)[..., None]) * light + random.normal(0, 4, (side, side, 3))
    return np.asarray(np.clip(colors, 0, 255), dtype=np.float32)


def _noise(side: int, cell: int, random: np.random.Generator) -> NDArray[np.float64]:
    cells = max(2, side // max(cell, 1) + 1)
    return np.asarray(cv2.resize(random.random((cells, cells)), (side, side), interpolation=cv2.INTER_CUBIC))


def _outline(side: int, random: np.random.Generator, roughness: float) -> NDArray[np.float64]:
    """Points of a closed, wavy curve around the middle, N×2 as x, y."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    radius = np.full_like(angles, 0.29 * side)
    for order in range(2, 7):
        radius *= 1 + roughness / order * np.cos(order * angles + random.uniform(0, 2 * np.pi))
    return np.stack([side / 2 + radius * np.cos(angles), side / 2 + radius * np.sin(angles)], axis=1)


def _body(side: int, points: NDArray[np.float64]) -> NDArray[np.float32]:
    drawn = np.zeros((side, side), dtype=np.uint8)
    cv2.fillPoly(drawn, [np.rint(points).astype(np.int32)], 255)
    return np.asarray(drawn / 255, dtype=np.float32)


def _strands(
    side: int, points: NDArray[np.float64], random: np.random.Generator, *, count: int, length: float, curl: float
) -> NDArray[np.float32]:
    """Hairs that grow outward from an outline and thin out to nothing, drawn one over another."""
    drawn = np.zeros((side, side), dtype=np.float32)
    middle, steps, width = points.mean(axis=0), 14, max(1, side // 500)
    strengths = 1 - (np.arange(steps) / steps) ** 2
    for _ in range(count):
        start = points[random.integers(len(points))]
        heading = np.arctan2(*(start - middle)[::-1]) + random.normal(0, 0.35)
        headings = heading + random.normal(0, curl) * np.arange(steps) / steps
        pace = side * length * random.uniform(0.4, 1) / steps
        moves = pace * np.stack([np.cos(headings), np.sin(headings)], axis=1)
        path = np.vstack([start - 0.02 * side * moves[0] / pace, moves]).cumsum(axis=0)
        low = np.maximum(np.floor(path.min(axis=0)).astype(int) - width - 2, 0)
        high = np.minimum(np.ceil(path.max(axis=0)).astype(int) + width + 2, side)
        one = np.zeros((high[1] - low[1], high[0] - low[0]), dtype=np.float32)
        ends = np.rint((path - low) * 8).astype(int)
        for begin, end, strength in zip(ends, ends[1:], random.uniform(0.5, 1) * strengths, strict=False):
            cv2.line(one, tuple(begin.tolist()), tuple(end.tolist()), float(strength), width, cv2.LINE_AA, 3)
        part = drawn[low[1] : high[1], low[0] : high[0]]
        part += one * (1 - part)
    return drawn


def _hair(side: int, random: np.random.Generator) -> NDArray[np.float32]:
    points = _outline(side, random, 0.12)
    strands = _strands(side, points, random, count=260, length=0.16, curl=1.2)
    return np.maximum(_body(side, points), strands)


def _fur(side: int, random: np.random.Generator) -> NDArray[np.float32]:
    points = _outline(side, random, 0.2)
    strands = _strands(side, points, random, count=900, length=0.05, curl=0.4)
    return np.maximum(_body(side, points), strands)


def _blur(side: int, random: np.random.Generator) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(_body(side, _outline(side, random, 0.3)), (0, 0), side * 0.012))


def _hard(side: int, random: np.random.Generator) -> NDArray[np.float32]:
    return _body(side, _outline(side, random, 0.45))


KINDS: Mapping[str, Callable[[int, np.random.Generator], NDArray[np.float32]]] = {
    "blur": _blur,
    "fur": _fur,
    "hair": _hair,
    "hard": _hard,
}
