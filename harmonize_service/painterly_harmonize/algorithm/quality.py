"""How good a result is, in numbers, beside the plain paste: seeded, without weights, bounded in time and memory.

All but the background's bytes is measured on pictures reduced to a long side of 512 px: sizes of brushwork are then
comparable between paintings, it is about the scale at which the passes work, and a report takes about a second on one
core. Patches are sampled, at most 4096 of the painting and 2048 of the object per octave; the sampled places are the
same before and after. Every call draws the same numbers, whatever else uses random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm import masks
from painterly_harmonize.algorithm import quality_metrics as metrics
from painterly_harmonize.algorithm.color import rgb_to_lab
from painterly_harmonize.algorithm.errors import MaskEmpty, SizeMismatch
from painterly_harmonize.algorithm.quality_types import QualityMeasures, QualityReport, StyleMeasures
from painterly_harmonize.algorithm.quality_warnings import find_warnings
from painterly_harmonize.algorithm.region import region_around
from painterly_harmonize.algorithm.stage import Inputs

LONG_SIDE_PX = 512
_OCTAVE_COUNT = 3
_OBJECT_PATCHES, _REFERENCE_PATCHES = 2048, 4096
_SEED = 20180704
# Around the dilated mask: what lies further out is painting and nothing else.
_BACKGROUND_MARGIN_PX = 8
# Enough for the kernel of the local mean.
_CROP_MARGIN_PX = 8
_BLEND_REACH_PX = 6
# Of the canvas: with less than this outside the object, the painting as it was there is the reference.
_SMALLEST_BACKGROUND = 0.01


def evaluate(
    result: Tensor, inputs: Inputs, *, style_mask: Tensor | None = None, long_side_px: int = LONG_SIDE_PX
) -> QualityReport:
    """Measure a finished picture, uint8 H×W×3 of the painting's size, and the composite beside it.

    ``style_mask``, float32 1×1×H×W of 0 and 1, is the part of the painting that lent its style. Computes on the CPU.

    Raises: SizeMismatch, MaskEmpty.
    """
    _check(result, inputs, style_mask)
    height, width = inputs.painting.shape[-2:]
    size = masks.reduced_size(height, width, long_side_px)
    mask = _reduced_mask(inputs.mask, size)
    painting = _octaves(_reduced(inputs.painting, size))
    background = _background(inputs, mask, size)
    rotation, filters = _directions()
    references = [_Reference(painting, background, rotation, filters)]
    if style_mask is not None:
        references.append(_Reference(painting, _reduced_mask(style_mask, size), rotation, filters))
    scene = _Scene(
        inputs=inputs,
        pixels=masks.to_bytes(inputs.painting),
        painting=painting[0],
        mask=mask,
        references=references,
    )
    composite = _octaves(_reduced(inputs.composite, size))
    before = scene.measure(composite, composite, masks.to_bytes(inputs.composite))
    after = scene.measure(_octaves(_reduced(_to_tensor(result), size)), composite, result.cpu())
    object_area = float(inputs.mask.mean(dtype=torch.float64))
    return QualityReport(
        before=before,
        after=after,
        object_area=object_area,
        evaluated_size=size,
        warnings=find_warnings(before, after, object_area),
    )


class _Reference:
    """What is known of the part of the painting that an object is compared with."""

    def __init__(self, octaves: list[Tensor], mask: Tensor, rotation: Tensor, filters: Tensor) -> None:
        self.rotation, self.filters = rotation, filters
        self.mean, self.deviation = metrics.mean_and_deviation(octaves[0], mask)
        self.luma_detail, self.chroma_noise = metrics.detail_deviations(octaves[0], mask)
        self.patches, self.quantiles, self.grams = [], [], []
        for lab, inside in zip(octaves, _mask_octaves(mask), strict=True):
            positions = metrics.sample_positions(inside, _REFERENCE_PATCHES, _generator())
            self.patches.append(metrics.patches(lab, positions))
            self.quantiles.append(metrics.quantiles(self.patches[-1], rotation))
            self.grams.append(metrics.gram_matrix(lab, inside, self.mean, filters))
        self.colors = _colors(octaves[-1], positions)


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """What before and after share.

    ``pixels`` are the painting's bytes, uint8 H×W×3; at evaluation size ``painting`` is CIELAB 1×3×h×w, ``mask`` bool
    1×1×h×w.
    """

    inputs: Inputs
    pixels: Tensor
    painting: Tensor
    mask: Tensor
    references: list[_Reference]

    def measure(self, octaves: list[Tensor], composite: list[Tensor], pixels: Tensor) -> QualityMeasures:
        """Measure one picture: its octaves, the composite's, and its bytes, uint8 H×W×3."""
        region = region_around(self.mask, _CROP_MARGIN_PX, 1)
        mask, lab = region.crop(self.mask), region.crop(octaves[0])
        count, largest = _background_change(pixels, self.pixels, self.inputs)
        styles = [self._style(octaves, reference) for reference in self.references]
        band = metrics.edge_band(self.mask)
        return QualityMeasures(
            background_changed_pixel_count=count,
            background_largest_change=largest,
            painting=styles[0],
            style_region=styles[1] if len(styles) > 1 else None,
            seam_ratio=metrics.seam_ratio(
                metrics.mean_gradient(octaves[0], band), metrics.mean_gradient(self.painting, band)
            ),
            structure_kept=metrics.structure_kept(lab, region.crop(composite[0]), mask),
        )

    def _style(self, octaves: list[Tensor], reference: _Reference) -> StyleMeasures:
        mean, deviation = metrics.mean_and_deviation(octaves[0], self.mask)
        region = region_around(self.mask, _CROP_MARGIN_PX, 1)
        luma, chroma = metrics.detail_deviations(region.crop(octaves[0]), region.crop(self.mask))
        wasserstein, gram, nearest = 0.0, 0.0, 0.0
        for octave, (lab, inside) in enumerate(zip(octaves, _mask_octaves(self.mask), strict=True)):
            positions = metrics.sample_positions(inside, _OBJECT_PATCHES, _generator())
            patches = metrics.patches(lab, positions)
            quantiles = metrics.quantiles(patches, reference.rotation)
            wasserstein += metrics.sliced_wasserstein(quantiles, reference.quantiles[octave])
            around = region_around(inside, _CROP_MARGIN_PX, 1)
            found = metrics.gram_matrix(around.crop(lab), around.crop(inside), reference.mean, reference.filters)
            gram += metrics.relative_distance(found, reference.grams[octave])
            nearest += metrics.nearest_distance(patches, reference.patches[octave])
        return StyleMeasures(
            lab_mean_distance=metrics.distance(mean, reference.mean),
            lab_deviation_distance=metrics.distance(deviation, reference.deviation),
            sliced_wasserstein=wasserstein / _OCTAVE_COUNT,
            gram_distance=gram / _OCTAVE_COUNT,
            nearest_patch=nearest / _OCTAVE_COUNT,
            palette_distance=metrics.nearest_distance(_colors(octaves[-1], positions), reference.colors),
            chroma_noise_ratio=metrics.detail_ratio(chroma, reference.chroma_noise),
            luma_detail_ratio=metrics.detail_ratio(luma, reference.luma_detail),
        )


def _check(result: Tensor, inputs: Inputs, style_mask: Tensor | None) -> None:
    height, width = inputs.painting.shape[-2:]
    sizes = {"result": result.shape[:2]}
    if style_mask is not None:
        sizes["style_mask"] = style_mask.shape[-2:]
    for name, size in sizes.items():
        if tuple(size) != (height, width):
            raise SizeMismatch(name, f"{size[1]}x{size[0]}", f"{width}x{height}")
    if style_mask is not None and not bool(style_mask.any()):
        raise MaskEmpty("style_mask", "nothing is inside the mask; mark the region with white, or leave it out")


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED)


def _directions() -> tuple[Tensor, Tensor]:
    generator = _generator()
    rotation = metrics.random_rotation(3 * metrics.PATCH_PX**2, generator)
    return rotation, metrics.random_filters(generator)


def _to_tensor(pixels: Tensor) -> Tensor:
    return pixels.cpu().permute(2, 0, 1)[None].float() / 255


def _reduced(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture at evaluation size as CIELAB; channel by channel, for a large one takes much memory."""
    planes = [_reduced_plane(plane, size) for plane in image.detach()[0]]
    return rgb_to_lab(torch.stack(planes)[None].clamp(0, 1))


def _reduced_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return _at_least_half(_reduced_plane(mask.detach()[0, 0], size)[None, None])


def _reduced_plane(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """H×W by box averaging; a large one first by a whole factor, which takes far less time."""
    plane = plane.cpu().float()
    factor = min(plane.shape[-2] // size[0], plane.shape[-1] // size[1]) // 2
    if factor > 1:
        plane = functional.avg_pool2d(plane[None], factor, ceil_mode=True, count_include_pad=False)[0]
    return masks.area_resize(plane, size)


def _at_least_half(coverage: Tensor) -> Tensor:
    """Bool: covered at least half; where that leaves nothing, what is covered at all."""
    half = coverage >= 0.5
    return half if bool(half.any()) else coverage > 0


def _octaves(lab: Tensor) -> list[Tensor]:
    """The picture, and twice at half the size."""
    octaves = [lab]
    while len(octaves) < _OCTAVE_COUNT:
        octaves.append(_halved(octaves[-1]))
    return octaves


def _halved(image: Tensor) -> Tensor:
    return functional.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)


def _mask_octaves(mask: Tensor) -> list[Tensor]:
    return [_at_least_half(coverage) for coverage in _octaves(mask.float())]


def _background(inputs: Inputs, mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Outside the dilated mask, grown by 8 px; everything where that leaves hardly anything."""
    if inputs.dilated_mask is None:
        dilated = masks.dilate_mask(mask.float()) > 0.5
    else:
        dilated = _reduced_mask(inputs.dilated_mask, size) | mask
    background = ~metrics.grow(dilated, _BACKGROUND_MARGIN_PX)
    enough = float(background.double().mean()) >= _SMALLEST_BACKGROUND
    return background if enough else torch.ones_like(background)


def _colors(lab: Tensor, positions: Tensor) -> Tensor:
    return lab.flatten(2)[0, :, positions].T


def _background_change(pixels: Tensor, painting: Tensor, inputs: Inputs) -> tuple[int, int]:
    """How many pixels differ from the painting where nothing may, and by how many 8-bit levels at most."""
    changed = (pixels != painting).any(-1)
    allowed = region_around(inputs.mask, _BLEND_REACH_PX, 1)
    grown = metrics.grow(allowed.crop(inputs.mask).cpu() > 0.5, _BLEND_REACH_PX)[0, 0]
    allowed.crop(changed)[grown] = False
    if inputs.dilated_mask is not None:
        changed[inputs.dilated_mask[0, 0].cpu() > 0.5] = False
    if not bool(changed.any()):
        return 0, 0
    return int(changed.sum()), int((pixels[changed].short() - painting[changed].short()).abs().max())
