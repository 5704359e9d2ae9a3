"""From a photo and its coarse matte to the element: objects chosen, edges refined, colors unmixed, cropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from painterly_preprocess.imaging.cutout_params import CutOutParams
from painterly_preprocess.imaging.edges import Band, refine
from painterly_preprocess.imaging.foreground import estimate_foreground
from painterly_preprocess.imaging.masks import has_transparency
from painterly_preprocess.imaging.matting import over_white, own_alpha, require_foreground
from painterly_preprocess.imaging.params import RemovalMethod
from painterly_preprocess.imaging.selection import content_box, select_objects


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What a method's mattes need when the caller does not say."""

    refine_edges: bool
    band: Band
    island_fraction: float


@dataclass(frozen=True, kw_only=True)
class CutOut:
    """``element`` is RGBA uint8; its top left pixel is the photo's at ``left_px``, ``top_px``."""

    element: NDArray[np.uint8]
    left_px: int
    top_px: int
    edges_refined: bool


# Smaller pictures are nobody's input.
_LEAST_SIDE_PX = 16

_EXACT = Habits(refine_edges=False, band=Band(inner_share=0.015, outer_share=0.03), island_fraction=0.0)
_HABITS: Mapping[RemovalMethod, Habits] = {
    RemovalMethod.U2NET: Habits(refine_edges=True, band=Band(inner_share=0.02, outer_share=0.04), island_fraction=0.02),
    RemovalMethod.GRABCUT: Habits(
        refine_edges=True, band=Band(inner_share=0.02, outer_share=0.02), island_fraction=0.02
    ),
    # The distance from a backdrop finds every hair by itself, which solving from colors alone would smear.
    RemovalMethod.CHROMA_KEY: Habits(
        refine_edges=True, band=Band(inner_share=0.005, outer_share=0.01, trust=2.0), island_fraction=0.02
    ),
}


def habits_of(method: RemovalMethod) -> Habits:
    """What is done to a method's mattes by default; a given alpha or mask is taken as it is."""
    return _HABITS.get(method, _EXACT)


def cut_out(
    photo: NDArray[np.uint8], alpha: NDArray[np.float32], method: RemovalMethod, params: CutOutParams
) -> CutOut:
    """The element of an RGBA photo (H×W×4) from the coarse matte (H×W) that ``method`` found.

    Raises: MaskEmpty when the selection leaves nothing.
    """
    habits = habits_of(method)
    chosen = require_foreground(select_objects(alpha, params.selection, habits.island_fraction))
    refines = habits.refine_edges if params.refine_edges is None else params.refine_edges
    if refines:
        fine = refine(over_white(photo), chosen, habits.band)
        chosen = require_foreground(fine * own_alpha(photo) if has_transparency(photo) else fine)
    if method is RemovalMethod.ALPHA and not refines:
        # Under an alpha of its own a photo already has the foreground's colors.
        element = np.dstack([photo[..., :3], np.rint(chosen * 255).astype(np.uint8)])
    else:
        element = estimate_foreground(photo, chosen)
    if not params.crop_to_content:
        return CutOut(element=element, left_px=0, top_px=0, edges_refined=refines)
    rows, columns = content_box(chosen, _LEAST_SIDE_PX)
    return CutOut(element=element[rows, columns], left_px=columns.start, top_px=rows.start, edges_refined=refines)
