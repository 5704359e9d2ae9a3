"""Fine edges: from a coarse matte to one that follows hair and blur, by closed-form matting in a narrow band.

Source: Levin, Lischinski, Weiss, "A Closed-Form Solution to Natural Image Matting", PAMI 2008; enlarging: He, Sun,
"Fast Guided Filter", 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from painterly_preprocess.imaging import fast_matting
from painterly_preprocess.imaging.selection import content_box

Alpha = NDArray[np.float32]
Rgb = NDArray[np.uint8]

FOREGROUND, UNKNOWN, BACKGROUND = 255, 128, 0

# The work is done on the object and its surroundings, at no more than this long side and with no more unknown pixels:
# both bound time and memory whatever the photo's size is.
WORKING_LONG_SIDE_PX, MAX_UNKNOWN_PX = 1024, 150_000
_MARGIN_SHARE = 0.06
_OPAQUE, _TRANSPARENT = 0.95, 0.05
_NEARLY = 0.03
_HAIR_SHARE = 0.35
_LAPLACIAN_EPSILON = 1e-5
_STRIP_ROWS = 64
_MAX_ITERATIONS, _TOLERANCE = 100, 1e-4
_MAX_FACTOR_ENTRIES = 40_000_000
_GUIDE_RADIUS_PX, _GUIDE_EPSILON = 2, 1e-5
_ROWS_AT_A_TIME = 256


@dataclass(frozen=True, kw_only=True)
class Band:
    """How far from the coarse edge the true one may lie, as shares of the object's long side: inside and outside.

    ``trust`` is how much the coarse matte itself counts in the band against what the photo's colors say: its weight
    beside the equations of closed-form matting, whose own are of the order of 1; 0 is not at all.
    """

    inner_share: float
    outer_share: float
    trust: float = 0.0


def refine(rgb: Rgb, alpha: Alpha, band: Band) -> Alpha:
    """A finer matte (float32 H×W in [0, 1]) of a photo (RGB uint8 H×W×3) from a coarse one of the same shape.

    Far from the coarse edge it stays 0 and 1. Takes the same time for all photos above the working size, but for the
    last enlarging. A matte without a foreground and a background that are sure comes back as it was.
    """
    near = _surroundings(alpha)
    height, width = alpha[near].shape
    scale = min(1.0, WORKING_LONG_SIDE_PX / max(height, width))
    while True:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        coarse = np.asarray(cv2.resize(alpha[near], size, interpolation=cv2.INTER_AREA), dtype=np.float32)
        trimap = make_trimap(coarse, band)
        unknown = int((trimap == UNKNOWN).sum())
        if unknown <= MAX_UNKNOWN_PX:
            break
        scale *= 0.98 * (MAX_UNKNOWN_PX / unknown) ** 0.5
    if unknown == 0 or not (trimap == FOREGROUND).any() or not (trimap == BACKGROUND).any():
        return alpha
    small = np.asarray(cv2.resize(rgb[near], size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    fine = solve_matte(small, trimap, coarse, band.trust)
    refined = np.zeros_like(alpha)
    refined[near] = fine if size == (width, height) else enlarge(rgb[near], small, fine, trimap)
    return refined


def make_trimap(alpha: Alpha, band: Band) -> NDArray[np.uint8]:
    """Trimap (uint8 H×W) of a coarse matte: unknown are the soft pixels and the band on both sides of the edge."""
    solid = alpha >= 0.5
    if not solid.any():
        return np.full(alpha.shape, BACKGROUND, dtype=np.uint8)
    rows, columns = content_box(solid.astype(np.float32))
    long_side = max(rows.stop - rows.start, columns.stop - columns.start)
    inner, outer = (max(1.0, share * long_side) for share in (band.inner_share, band.outer_share))
    padded = np.pad(alpha >= _OPAQUE, 1, mode="edge").astype(np.uint8)
    depth = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5), dtype=np.float32)[1:-1, 1:-1]
    gap = cv2.distanceTransform((alpha <= _TRANSPARENT).astype(np.uint8), cv2.DIST_L2, 5)
    trimap = np.full(alpha.shape, UNKNOWN, dtype=np.uint8)
    # A thin part has no pixel as deep as the band is wide; its middle is sure all the same.
    trimap[depth > np.minimum(inner, _local_depth(depth, inner))] = FOREGROUND
    trimap[gap > outer] = BACKGROUND
    return trimap


def solve_matte(rgb: Rgb, trimap: NDArray[np.uint8], coarse: Alpha | None = None, trust: float = 0.0) -> Alpha:
    """Closed-form matte of a small picture, float32 H×W: 1 and 0 where the trimap is sure, solved where it is not.

    With ``trust`` what is solved is drawn towards ``coarse`` (H×W, as in :class:`Band`).
    The equations are set up for the unknown pixels alone, strip by strip.
    """
    unknown = trimap == UNKNOWN
    count = int(unknown.sum())
    index = np.full(unknown.size, -1, dtype=np.int64)
    index[unknown.ravel()] = np.arange(count)
    foreground = (trimap == FOREGROUND).ravel()
    image = rgb.astype(np.float64) / 255
    height, width = unknown.shape
    matrix, right = scipy.sparse.csr_matrix((count, count)), np.zeros(count)
    laplacian = fast_matting.part("laplacian.cf_laplacian").cf_laplacian
    for top in range(1, height - 1, _STRIP_ROWS):
        # Windows of 3×3 pixels with their centers in these rows.
        rows = slice(top - 1, min(top + _STRIP_ROWS, height - 1) + 1)
        here = np.flatnonzero(unknown[rows].ravel())
        if not here.size:
            continue
        offset = rows.start * width
        strip = laplacian(np.ascontiguousarray(image[rows]), _LAPLACIAN_EPSILON, 1, ~unknown[rows])[here].tocoo()
        row, column = index[here + offset][strip.row], strip.col + offset
        right -= np.bincount(row, strip.data * foreground[column], count)
        both = index[column] >= 0
        part = (strip.data[both], (row[both], index[column[both]]))
        matrix = matrix + scipy.sparse.coo_matrix(part, (count, count)).tocsr()
    # Pixels on the picture's very edge may be in no window.
    matrix = (matrix + scipy.sparse.identity(count, format="csr") * 1e-9).tocsr()
    if coarse is not None and trust > 0:
        matrix = (matrix + scipy.sparse.identity(count, format="csr") * trust).tocsr()
        right += trust * coarse[unknown]
    solved: Alpha = (trimap == FOREGROUND).astype(np.float32)
    solved[unknown] = _stretched(_conjugate_gradients(matrix, right))
    return solved


def _stretched(matte: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is nearly 0 or 1 becomes so: solid parts would let the painting through."""
    return np.asarray(np.clip((matte - _NEARLY) / (1 - 2 * _NEARLY), 0, 1))


def enlarge(rgb: Rgb, small: Rgb, matte: Alpha, trimap: NDArray[np.uint8]) -> Alpha:
    """Enlarge a small picture's matte to the large picture, whose edges it follows (fast guided filter, in color)."""
    height, width = rgb.shape[:2]
    slope, intercept = _guided_coefficients(np.asarray(small / 255, dtype=np.float32), matte)
    coefficients = np.dstack([slope, intercept])
    large = cv2.resize(matte, (width, height), interpolation=cv2.INTER_LINEAR)
    # Only the band is enlarged with the filter, rows at a time.
    unknown = (trimap == UNKNOWN).astype(np.uint8)
    for top in range(0, height, _ROWS_AT_A_TIME):
        bottom = min(top + _ROWS_AT_A_TIME, height)
        band = _enlarged_rows(unknown, (top, bottom), (height, width), cv2.INTER_NEAREST) > 0
        if band.any():
            wide = _enlarged_rows(coefficients, (top, bottom), (height, width), cv2.INTER_LINEAR)
            guide = rgb[top:bottom].astype(np.float32) / 255
            guided = (wide[..., :3] * guide).sum(axis=2) + wide[..., 3]
            large[top:bottom][band] = guided[band]
    return np.asarray(np.clip(large, 0, 1), dtype=np.float32)


def _enlarged_rows(
    small: NDArray[Any], rows: tuple[int, int], size: tuple[int, int], interpolation: int
) -> NDArray[Any]:
    """Some rows of a picture enlarged to ``size`` (height, width), the rest of which is never made."""
    height, width = size
    step = small.shape[0] / height
    y = np.clip((np.arange(*rows, dtype=np.float32) + 0.5) * step - 0.5, 0, small.shape[0] - 1)
    x = np.clip((np.arange(width, dtype=np.float32) + 0.5) * small.shape[1] / width - 0.5, 0, small.shape[1] - 1)
    columns, lines = np.meshgrid(x, y)
    return np.asarray(cv2.remap(small, columns, lines, interpolation))


def _surroundings(alpha: Alpha) -> tuple[slice, slice]:
    if not (alpha * 255 >= 0.5).any():
        return slice(0, alpha.shape[0]), slice(0, alpha.shape[1])
    rows, columns = content_box(alpha)
    margin = max(8, round(_MARGIN_SHARE * max(rows.stop - rows.start, columns.stop - columns.start)))
    return slice(max(rows.start - margin, 0), rows.stop + margin), slice(
        max(columns.start - margin, 0), columns.stop + margin
    )


def _local_depth(depth: NDArray[np.float32], inner: float) -> NDArray[np.float32]:
    """0.6 of how deep the object is at most, near each pixel; of what is as thin as a hair no middle is sure."""
    size = 2 * round(inner) + 1
    deepest = cv2.dilate(depth, np.ones((size, size), np.uint8))
    return np.asarray(np.maximum(0.6 * deepest, _HAIR_SHARE * inner), dtype=np.float32)


def _conjugate_gradients(matrix: scipy.sparse.csr_matrix, right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve a symmetric positive definite system by preconditioned conjugate gradients, to a bounded effort."""
    # The shift keeps the incomplete factors from breaking down, which would cost another attempt.
    precondition = fast_matting.part("preconditioner.ichol").ichol(
        matrix.tocsc(), discard_threshold=1e-3, shifts=[1e-2, 1e-1, 1.0], max_nnz=_MAX_FACTOR_ENTRIES
    )
    solution = np.zeros_like(right)
    residual = right.copy()
    bound = _TOLERANCE * float(np.linalg.norm(right))
    shaped = precondition(residual)
    direction, product = shaped, float(residual @ shaped)
    for _ in range(_MAX_ITERATIONS):
        if np.linalg.norm(residual) <= bound:
            break
        image = matrix @ direction
        step = product / float(direction @ image)
        solution += step * direction
        residual -= step * image
        shaped = precondition(residual)
        previous, product = product, float(residual @ shaped)
        direction = shaped + (product / previous) * direction
    return solution


def _guided_coefficients(guide: NDArray[np.float32], matte: Alpha) -> tuple[NDArray[np.float32], Alpha]:
    """Slope (H×W×3) and intercept (H×W) with which the matte is locally a linear function of the guide's colors."""
    size = (2 * _GUIDE_RADIUS_PX + 1,) * 2
    mean, mean_matte = cv2.blur(guide, size), cv2.blur(matte, size)
    covariance = cv2.blur(guide * matte[..., None], size) - mean * mean_matte[..., None]
    spread = np.empty((*matte.shape, 3, 3), dtype=np.float32)
    for i in range(3):
        for j in range(i, 3):
            entry = cv2.blur(guide[..., i] * guide[..., j], size) - mean[..., i] * mean[..., j]
            spread[..., i, j] = spread[..., j, i] = entry
    spread[..., range(3), range(3)] += _GUIDE_EPSILON
    solved = np.linalg.solve(spread.astype(np.float64), covariance[..., None].astype(np.float64))
    slope = solved[..., 0].astype(np.float32)
    intercept = mean_matte - (slope * mean).sum(axis=2)
    return np.asarray(cv2.blur(slope, size), np.float32), np.asarray(cv2.blur(intercept, size), np.float32)
