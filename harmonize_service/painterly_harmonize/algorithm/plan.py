"""What a job will take, told from sizes alone before anything is computed: rectangles, memory, operations.

The memory of a stage is what its steps are known to hold: pictures, feature maps along the network, gradients, the
optimizer's history. The few coefficients that stand for temporary tensors were measured on a CPU
(``tests/benchmarks/memory_plan.py`` holds prediction and reality against each other).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from painterly_harmonize.algorithm import masks, pass1, pass2, patch_search, postprocess
from painterly_harmonize.algorithm.canvas import MARGIN_PX
from painterly_harmonize.algorithm.matching import default_chunk_elements
from painterly_harmonize.algorithm.params import HarmonizeParams, Pass1Params, Pass2Params
from painterly_harmonize.algorithm.patch_index import PATCH_PX
from painterly_harmonize.algorithm.problem import working_long_side
from painterly_harmonize.algorithm.region import Region, bounding_box
from painterly_harmonize.algorithm.stage import MIN_LONG_SIDE_PX, Stage
from painterly_harmonize.algorithm.vgg import FeatureNetwork, stride

_FLOAT, _LONG = 4, 8
# The mask is looked at in this size: a dilated mask has the same shape at every size.
_SHAPE_LONG_SIDE_PX = 512
# A picture, its composite, mask and bytes while they are decoded and kept; for each pixel of the painting, bytes.
_PICTURE_BYTES = 40
# What follows was measured. Temporary tensors of an iteration, each of the size of relu1_1 over the live rectangle;
# in pass 2 those that sort its values under the mask and the painting's; copies for matching, for each pixel.
_LIVE_TEMPORARIES = {Stage.PASS1: 9.0, Stage.PASS2: 3.0}
_HISTOGRAM_TEMPORARIES, _TARGET_TEMPORARIES = 6.0, 8.0
_MATCHING_BYTES = {Stage.PASS1: 0, Stage.PASS2: 150}
# What an indexed patch takes beside its signature, and how long signatures are at most; what a search holds for each of
# the patches that it looks at together.
_CANDIDATE_BYTES, _SIGNATURE_LENGTH, _SEARCH_BYTES = 150, 3 * PATCH_PX**2, 512 * _FLOAT * 8
# What a patch costs to be indexed and to be matched, in what a convolution computes in that time. How much the tree
# saves depends on the pictures.
_CANDIDATE_FLOP, _ANCHOR_FLOP = 0.7e6, 14e6
# Libraries' own workspace, threads, and the pieces of memory between blocks.
_OVERHEAD_BYTES = 80 << 20


@dataclass(frozen=True, kw_only=True)
class ObjectShape:
    """An object in a painting of ``height`` and ``width`` px, as fractions of its sides and area.

    ``box`` (top, left, bottom, right) holds the dilated mask; ``dilated_share`` is its area.
    """

    height: int
    width: int
    box: tuple[float, float, float, float]
    dilated_share: float

    @classmethod
    def of(cls, mask: Tensor, dilated_mask: Tensor | None = None) -> ObjectShape:
        """From a nonempty tight mask, 1×1×H×W of 0 and 1, and its dilated mask where there is one."""
        height, width = mask.shape[-2:]
        size = masks.reduced_size(height, width, _SHAPE_LONG_SIDE_PX)
        small = (masks.resize(mask.float(), size) > 0).float()
        if dilated_mask is None:
            dilated = masks.dilate_mask(small)
        else:
            dilated = torch.maximum((masks.resize(dilated_mask.float(), size) >= 0.5).float(), small)
        found = bounding_box(dilated)
        return cls(
            height=height,
            width=width,
            box=(found.top / size[0], found.left / size[1], found.bottom / size[0], found.right / size[1]),
            dilated_share=float(dilated.mean()),
        )

    def region(self, size: tuple[int, int], *, reach: int = 1, alignment: int = 1) -> Region:
        """The box in a picture of ``size``, grown as :func:`region.region_around` does."""
        (height, width), (top, left, bottom, right) = size, self.box
        box = Region(
            top=math.floor(top * height),
            left=math.floor(left * width),
            bottom=math.ceil(bottom * height),
            right=math.ceil(right * width),
        )
        whole = Region(top=0, left=0, bottom=height, right=width)
        return box.grown(reach).cells(alignment).pixels(alignment).intersection(whole)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a stage computes: floating-point operations of convolutions and products, and bytes it moves besides."""

    flop: float
    moved_bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(flop=self.flop + other.flop, moved_bytes=self.moved_bytes + other.moved_bytes)

    def times(self, count: int) -> Work:
        """The same, ``count`` times over."""
        return Work(flop=self.flop * count, moved_bytes=self.moved_bytes * count)


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage: the rectangle whose pixels move (at working size, of the painting in post-processing), and its costs.

    ``setup`` comes before the first iteration.
    """

    stage: Stage
    region: Region
    peak_bytes: int
    setup: Work
    iteration: Work
    iteration_count: int

    @property
    def work(self) -> Work:
        """All of the stage's work."""
        return self.setup + self.iteration.times(self.iteration_count)


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """A job: the size at which its passes run, height and width in px, its stages, and pairs compared at a time."""

    working_size: tuple[int, int]
    stages: tuple[StagePlan, ...]
    chunk_elements: int

    @property
    def peak_bytes(self) -> int:
        """The most memory that it holds at a time."""
        return max(stage.peak_bytes for stage in self.stages)

    @property
    def work(self) -> Work:
        """All of the job's work."""
        return sum((stage.work for stage in self.stages), start=Work(flop=0, moved_bytes=0))


STAGES = (Stage.PASS1, Stage.PASS2, Stage.POSTPROCESSING)


def plan_job(
    mask: Tensor,
    dilated_mask: Tensor | None,
    params: HarmonizeParams,
    network: FeatureNetwork,
    device: torch.device,
    *,
    stages: Iterable[Stage] = STAGES,
) -> JobPlan:
    """Plan a job on a device from its masks, 1×1×H×W of 0 and 1; sizes are those that the pipeline chooses.

    Of ``network`` the shapes alone are looked at.
    """
    long_side = working_long_side(mask, params.working_long_side_px, params.object_size_px)
    return plan_at(ObjectShape.of(mask, dilated_mask), long_side, params, network, device, stages=stages)


def plan_at(
    shape: ObjectShape,
    long_side: int,
    params: HarmonizeParams,
    network: FeatureNetwork,
    device: torch.device,
    *,
    stages: Iterable[Stage] = STAGES,
) -> JobPlan:
    """The same for passes of a given long side, px."""
    chunk = default_chunk_elements(device)
    model = _Model(shape, masks.working_size(shape.height, shape.width, long_side), params, network, chunk)
    makers = {Stage.PASS1: model.pass1, Stage.PASS2: model.pass2, Stage.POSTPROCESSING: model.postprocessing}
    return JobPlan(working_size=model.size, stages=tuple(makers[stage]() for stage in stages), chunk_elements=chunk)


def largest_long_side(
    shape: ObjectShape,
    params: HarmonizeParams,
    network: FeatureNetwork,
    device: torch.device,
    budget_bytes: int,
    *,
    limit: int,
    stages: Iterable[Stage] = STAGES,
) -> int | None:
    """The largest long side from 64 px to ``limit`` whose plan needs no more than the budget; None when none does."""
    stages = tuple(stages)

    def fits(long_side: int) -> bool:
        return plan_at(shape, long_side, params, network, device, stages=stages).peak_bytes <= budget_bytes

    low, high = MIN_LONG_SIDE_PX, limit
    if not fits(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


@dataclass(frozen=True)
class _Walk:
    """Features of ``pixels`` px computed layer by layer: bytes at the worst moment, bytes of the taps, operations."""

    peak: float
    taps: float
    flop: float


class _Model:
    """The costs of one job at one size."""

    def __init__(
        self,
        shape: ObjectShape,
        size: tuple[int, int],
        params: HarmonizeParams,
        network: FeatureNetwork,
        chunk_elements: int,
    ) -> None:
        self.size, self._shape, self._params, self._network, self._chunk = size, shape, params, network, chunk_elements
        self._pixels = size[0] * size[1]
        painting = shape.height * shape.width
        self._fixed = _OVERHEAD_BYTES + _PICTURE_BYTES * painting + 8 * _FLOAT * self._pixels
        self._live = shape.region(size)
        self._moving = shape.dilated_share * self._pixels

    def pass1(self) -> StagePlan:
        return self._pass(Stage.PASS1, pass1.STYLE_TAPS, pass1.REACH_PX, pass1.ALIGNMENT_PX, self._params.pass1)

    def pass2(self) -> StagePlan:
        return self._pass(Stage.PASS2, pass2.STYLE_TAPS, pass2.REACH_PX, pass2.ALIGNMENT_PX, self._params.pass2)

    def _pass(
        self, stage: Stage, taps: tuple[str, ...], reach: int, alignment: int, params: Pass1Params | Pass2Params
    ) -> StagePlan:
        live = _area(self._live)
        region = _area(self._shape.region(self.size, reach=reach, alignment=alignment))
        style, around, moving = (self._walk(pixels, taps) for pixels in (self._pixels, region, live))
        cells = self._buffers(taps)
        matching_taps = pass1.STYLE_TAPS if stage is Stage.PASS1 else (pass2.REFERENCE_TAP,)
        matching = sum((self._matching(tap) for tap in matching_taps), start=Work(flop=0, moved_bytes=0))
        # relu1_1 over the live rectangle, and over what is under the mask.
        first = _FLOAT * self._channels("relu1_1")
        widest, sorted_values = first * live, first * self._moving
        history = min(params.history_size, params.iteration_count)
        correction_bytes = _FLOAT * 2 * (history + 1) * 3 * self._moving
        temporary, targets = _LIVE_TEMPORARIES[stage] * widest, float(_MATCHING_BYTES[stage] * self._pixels)
        if stage is Stage.PASS2:
            temporary += _HISTOGRAM_TEMPORARIES * sorted_values
            targets += _TARGET_TEMPORARIES * sorted_values
        peak = self._fixed + max(
            style.peak,
            style.taps + around.peak + cells + targets,
            # Between two iterations there may be a copy of the history, for a checkpoint.
            style.taps + cells + moving.taps + correction_bytes + max(temporary, correction_bytes),
        )
        grams = sum(2 * 2 * self._channels(tap) ** 2 * live / stride(tap) ** 2 for tap in taps)
        return StagePlan(
            stage=stage,
            region=self._live,
            peak_bytes=round(peak),
            setup=Work(flop=style.flop + around.flop, moved_bytes=0) + matching,
            iteration=Work(
                flop=2 * moving.flop + grams,
                moved_bytes=2 * correction_bytes + 3 * temporary,
            ),
            iteration_count=params.iteration_count,
        )

    def postprocessing(self) -> StagePlan:
        size = (self._shape.height, self._shape.width)
        region = self._shape.region(size, reach=MARGIN_PX)
        candidates = (size[0] - PATCH_PX + 1) * (size[1] - PATCH_PX + 1)
        anchors = self._shape.dilated_share * size[0] * size[1]
        anchor_step, step = postprocess.search_strides(round(anchors), candidates)
        anchors, searched = anchors / anchor_step**2, candidates / step**2
        index = searched * (_CANDIDATE_BYTES + _FLOAT * _SIGNATURE_LENGTH)
        # Only where the painting is larger; counted always, so that no smaller size ever needs more.
        enlarged = 12 * _FLOAT * self._pixels
        # Features of the painting stay, for the next job.
        known = self._walk(self._pixels, (*pass2.STYLE_TAPS, *pass1.STYLE_TAPS[-1:])).taps
        together = (
            torch.get_num_threads() * _SEARCH_BYTES * patch_search.part_size(round(anchors), torch.get_num_threads())
        )
        return StagePlan(
            stage=Stage.POSTPROCESSING,
            region=region,
            peak_bytes=round(self._fixed + known + enlarged + index + together + 10 * 3 * _FLOAT * _area(region)),
            setup=Work(flop=searched * _CANDIDATE_FLOP, moved_bytes=0),
            iteration=Work(flop=anchors * _ANCHOR_FLOP, moved_bytes=0),
            iteration_count=0 if self._params.postprocess.skip_patch_synthesis else 1,
        )

    def _channels(self, tap: str) -> int:
        return int(dict(self._network.layers)[tap.replace("relu", "conv")].out_channels)  # type: ignore[arg-type]

    def _walk(self, pixels: float, taps: tuple[str, ...]) -> _Walk:
        """The network over ``pixels`` px up to the last of ``taps``, as ``FeatureNetwork.features`` does it."""
        held, kept, peak, flop = 3.0 * pixels * _FLOAT, 0.0, 0.0, 0.0
        tapped = False
        for name, layer in self._network.layers:
            if isinstance(layer, nn.Conv2d):
                made = _FLOAT * layer.out_channels * pixels
                flop += 2 * 9 * layer.in_channels * layer.out_channels * pixels
            elif isinstance(layer, nn.MaxPool2d):
                channels = held / (_FLOAT * pixels)
                pixels /= 4
                made = (_FLOAT + _LONG) * channels * pixels
            else:
                # In place.
                if name in taps:
                    kept, tapped = kept + held, True
                    if name == taps[-1]:
                        break
                continue
            # A tap is counted among what is kept already.
            peak = max(peak, kept + (0 if tapped else held) + made)
            held, tapped = made if isinstance(layer, nn.Conv2d) else made * _FLOAT / (_FLOAT + _LONG), False
        return _Walk(peak=max(peak, kept), taps=kept, flop=flop)

    def _buffers(self, taps: tuple[str, ...]) -> float:
        """What the layers of :class:`PartialFeatures` read, and the last tap, bytes."""
        pixels, channels, total = float(_area(self._live)), 3, 0.0
        for name, layer in self._network.layers:
            if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
                total += _FLOAT * channels * pixels
            if isinstance(layer, nn.Conv2d):
                channels = layer.out_channels
            elif isinstance(layer, nn.MaxPool2d):
                pixels /= 4
                total += _LONG * channels * pixels
            if name == taps[-1]:
                break
        return total + _FLOAT * channels * pixels

    def _matching(self, tap: str) -> Work:
        cells, live = self._pixels / stride(tap) ** 2, _area(self._live) / stride(tap) ** 2
        pairs = cells * live
        return Work(flop=2 * pairs * self._channels(tap), moved_bytes=9 * 3 * _FLOAT * pairs)


def _area(region: Region) -> int:
    return region.height * region.width
