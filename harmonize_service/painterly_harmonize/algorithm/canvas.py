"""The painting at its own size: what the passes change is carried there, and nothing else is touched.

Only a rectangle around the object is ever computed; of the rest the bytes are kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from painterly_harmonize.algorithm import masks
from painterly_harmonize.algorithm.errors import StageFailed
from painterly_harmonize.algorithm.patch_index import PATCH_PX
from painterly_harmonize.algorithm.postprocess import guided_fit
from painterly_harmonize.algorithm.problem import Working
from painterly_harmonize.algorithm.region import region_around
from painterly_harmonize.algorithm.stage import Inputs

# Beyond the mask: what the last blend reaches, patches that cover it, the detail's kernel, and two guided windows.
MARGIN_PX = 6 + 2 * PATCH_PX
_BAND_PX = 256
_FIT_RADIUS_PX, _FIT_EPSILON = 2, 1e-3


class Canvas:
    """A job's pictures at the painting's own size, over the rectangle ``region`` that post-processing needs.

    ``composite`` and ``painting`` are 1×3×h×w in the network's dtype, the mask and the weights of the blends are
    1×1×h×w, all over ``region``; ``whole_painting`` is all of it, and so is ``style_mask``.
    """

    def __init__(self, inputs: Inputs, *, like: Tensor, wide_blend: bool, truncate: bool) -> None:
        """``like`` gives device and dtype; the two switches are those of ``ParityParams``."""
        self.whole_painting = inputs.painting.to(like)
        self.style_mask = None if inputs.style_mask is None else inputs.style_mask.to(like)
        self._bytes = masks.to_bytes(self.whole_painting)
        self.region = region_around(inputs.mask, MARGIN_PX, 1)
        self.painting = self.region.crop(self.whole_painting)
        self.composite = self.region.crop(inputs.composite).to(like)
        self.mask = self.region.crop(inputs.mask).to(like)
        self.pass_weight = masks.blend_weight(self.mask, wide=wide_blend)
        self.final_weight = masks.final_blend_weight(self.mask)
        self._truncate = truncate

    def carry_back(self, output: Tensor, working: Working) -> Tensor:
        """A pass's output at working size: its change to the composite, at the painting's size, added and blended."""
        change = output - working.composite
        return masks.blend(self.composite + self._enlarged(change, working), self.painting, self.pass_weight)

    def _enlarged(self, change: Tensor, working: Working) -> Tensor:
        """The change over ``region``.

        Where the painting is larger than the working pictures, the change follows the composite's own detail as it
        does around the pixel at working size, and what does not follow it is interpolated (joint upsampling): a detail
        that the passes took away at their size goes from the finer detail as well.
        """
        height, width = self._bytes.shape[:2]
        if (height, width) == tuple(change.shape[-2:]):
            return self.region.crop(change)
        if max(height, width) <= max(change.shape[-2:]):
            return masks.resize_part(change, (height, width), self.region)
        around = region_around(working.dilated_mask, 2 * _FIT_RADIUS_PX, 1)
        guide, values = around.crop(working.composite), around.crop(change)
        slope, _ = guided_fit(values, guide, _FIT_RADIUS_PX, _FIT_EPSILON)
        planes = change.new_zeros(1, 12, *change.shape[-2:])
        around.crop(planes)[:, :9] = slope.flatten(1, 2)
        around.crop(planes)[:, 9:] = values - torch.einsum("bichw,bihw->bchw", slope, guide)
        bands = []
        for first in range(self.region.top, self.region.bottom, _BAND_PX):
            band = self.region.rows(first, min(first + _BAND_PX, self.region.bottom))
            found = masks.resize_part(planes, (height, width), band)
            slope, rest = found[:, :9].view(1, 3, 3, *found.shape[-2:]), found[:, 9:]
            detail = band.within(self.region).crop(self.composite)
            bands.append(torch.einsum("bichw,bihw->bchw", slope, detail) + rest)
        return torch.cat(bands, dim=-2)

    def finished(self, picture: Tensor) -> Tensor:
        """The whole picture's bytes, uint8 H×W×3, with ``picture`` over ``region``."""
        image = self._bytes.clone()
        rows, columns = slice(self.region.top, self.region.bottom), slice(self.region.left, self.region.right)
        image[rows, columns] = masks.to_bytes(picture, truncate=self._truncate)
        return image

    def count_changes(self, image: Tensor, weight: Tensor) -> tuple[int, int]:
        """How many pixels of a finished picture differ from the painting, and how many its blend may change.

        ``weight`` is the blend's, over ``region``. Raises: StageFailed when any other pixel differs.
        """
        changed = (image != self._bytes).any(-1)
        inside = self.region.crop(changed)
        support = (weight[0, 0] > 0).cpu()
        if int(changed.sum()) != int((inside & support).sum()):
            raise StageFailed("result", "pixels outside the blend's support differ from the painting's")
        return int(changed.sum()), int(support.sum())
