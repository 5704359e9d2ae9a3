"""Choosing among the objects of a matte."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.cutout_params import Box, ObjectSelection, Point
from painterly_preprocess.imaging.errors import MaskEmpty

Alpha = NDArray[np.float32]

# What is less opaque than this is too faint to tie two objects together, or to be one.
_VISIBLE, _SOLID = 0.02, 0.5


def select_objects(alpha: Alpha, selection: ObjectSelection, island_fraction: float) -> Alpha:
    """Keep the wanted objects of a matte (float32 H×W), with their soft edges; all else becomes 0.

    An object is a connected part that is at least half opaque; what is fainter goes with the nearest object, and what
    touches none is dropped, unless ``island_fraction`` (used where the selection has none) is 0 and all are wanted.

    Raises: MaskEmpty when nothing is wanted of what there is; ``field`` is "selection.point" or "selection.box".
    """
    islands = island_fraction if selection.island_fraction is None else selection.island_fraction
    wants_all = not (selection.largest or selection.point or selection.box)
    if wants_all and islands == 0:
        return alpha
    count, found, stats, _ = cv2.connectedComponentsWithStats((alpha >= _SOLID).astype(np.uint8), connectivity=8)
    labels = np.asarray(found, dtype=np.int32)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    kept = np.arange(count) > 0
    if selection.largest:
        kept = np.equal(np.arange(count), areas.argmax())
    elif selection.point is not None:
        kept = np.equal(np.arange(count), _label_at(labels, alpha, selection.point))
    elif selection.box is not None:
        kept = _inside(labels, areas, selection.box)
    kept[0] = False
    kept &= areas >= islands * areas[kept].max(initial=0)
    return _keep(alpha, labels, kept)


def content_box(alpha: Alpha, least_px: int = 1) -> tuple[slice, slice]:
    """Rows and columns of the bounding box of what is not fully transparent once alpha has 8 bits.

    It is widened to ``least_px`` on each side where the picture has as many.
    """
    visible = alpha * 255 >= 0.5
    rows, columns = (_span(np.asarray(visible.any(axis=axis)), least_px) for axis in (1, 0))
    return rows, columns


def _span(line: NDArray[np.bool_], least_px: int) -> slice:
    places = np.flatnonzero(line)
    first, stop = int(places[0]), int(places[-1]) + 1
    missing = max(min(least_px, line.size) - (stop - first), 0)
    first = min(max(first - missing // 2, 0), line.size - (stop - first) - missing)
    return slice(first, max(stop, first + min(least_px, line.size)))


def _label_at(labels: NDArray[np.int32], alpha: Alpha, point: Point) -> int:
    height, width = labels.shape
    x, y = min(int(point.x_fraction * width), width - 1), min(int(point.y_fraction * height), height - 1)
    label = int(labels[y, x])
    if label == 0 and alpha[y, x] > _VISIBLE:
        label = int(_nearest(labels)[y, x])
    if label == 0:
        text = f"lies on no object (at {x},{y} px the photo is background); give a point on the object, or a box"
        raise MaskEmpty("selection.point", text)
    return label


def _inside(labels: NDArray[np.int32], areas: NDArray[np.int64], box: Box) -> NDArray[np.bool_]:
    counts = np.bincount(labels[box.pixels(*labels.shape)].ravel(), minlength=len(areas))
    kept: NDArray[np.bool_] = (2 * counts >= areas) & (areas > 0)
    if not kept.any():
        raise MaskEmpty("selection.box", "holds no object by at least half; widen it, or give a point on the object")
    return kept


def _keep(alpha: Alpha, labels: NDArray[np.int32], kept: NDArray[np.bool_]) -> Alpha:
    if not kept.any():
        return np.zeros_like(alpha)
    _, parts = cv2.connectedComponents((alpha > _VISIBLE).astype(np.uint8), connectivity=8)
    part_kept = np.zeros(int(parts.max()) + 1, dtype=np.bool_)
    part_kept[parts[kept[labels]]] = True
    part_kept[0] = False
    stays = part_kept[parts]
    if not kept[1:].all():
        stays &= kept[_nearest(labels)]
    return np.where(stays, alpha, np.float32(0))


def _nearest(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """For each pixel the label of the nearest object."""
    # The transform numbers the objects anew; one look at each object's pixels tells which is which.
    background = (labels == 0).astype(np.uint8)
    _, regions = cv2.distanceTransformWithLabels(background, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    names = np.zeros(int(regions.max()) + 1, dtype=np.int32)
    solid = labels > 0
    names[regions[solid]] = labels[solid]
    return names[regions]
