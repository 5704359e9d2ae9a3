"""The stages of one run over its pictures, and what is handed from one to the next."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from painterly_harmonize.algorithm import masks, pass1, pass2, postprocess
from painterly_harmonize.algorithm.canvas import Canvas
from painterly_harmonize.algorithm.errors import StageFailed
from painterly_harmonize.algorithm.journal import Journal
from painterly_harmonize.algorithm.level_estimate import estimate_level
from painterly_harmonize.algorithm.matching import default_chunk_elements, upsample_positions
from painterly_harmonize.algorithm.memory import is_out_of_memory, release_memory
from painterly_harmonize.algorithm.params import HarmonizeParams
from painterly_harmonize.algorithm.photo_noise import without_noise
from painterly_harmonize.algorithm.problem import Working, raise_if, working_long_side, working_pictures
from painterly_harmonize.algorithm.recoloring import ColorMap
from painterly_harmonize.algorithm.region import region_around
from painterly_harmonize.algorithm.stage import (
    Event,
    Inputs,
    Iterate,
    Result,
    Stage,
    StageResult,
    StylizationLevel,
    with_style_region,
)
from painterly_harmonize.algorithm.structure import keep_structure
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.style_level import Pass2Weights, painting_noise, pass2_weights
from painterly_harmonize.algorithm.vgg import FeatureNetwork

logger = logging.getLogger(__name__)

_Event = TypeVar("_Event", bound=Event)
# A painting's noise is measured at its own size, at most the paper's, whatever size the passes have.
_NOISE_LONG_SIDE_PX = 700


class Stages:
    """One run: its pictures at both sizes, and the stages over them."""

    def __init__(
        self,
        inputs: Inputs,
        params: HarmonizeParams,
        network: FeatureNetwork,
        should_stop: Callable[[], bool],
        should_finish_stage: Callable[[], bool],
        styles: StyleCache | None,
        journal: Journal,
    ) -> None:
        self._journal, self._should_finish_stage = journal, should_finish_stage
        inputs = with_style_region(inputs, params.style_region)
        self._network, self._styles = network, styles or StyleCache()
        self._chunk_elements = default_chunk_elements(network.device)
        self._check = raise_if(should_stop)
        self._check()
        if not params.parity.keep_photo_noise:
            inputs = replace(inputs, composite=without_noise(inputs.composite, inputs.mask))
        long_side = working_long_side(inputs.mask, params.working_long_side_px, params.object_size_px)
        self._working: Working = working_pictures(inputs, long_side, params.parity, network)
        self.canvas = Canvas(
            inputs,
            like=self._working.painting,
            wide_blend=params.parity.wide_blend_kernel,
            truncate=params.parity.truncate_on_export,
        )
        self._level = _level(inputs.painting, params.stylization_level)
        self._params = replace(params, stylization_level=self._level.value)
        self._noise = painting_noise(self._style_source())
        self._pass2_weights: Pass2Weights | None = None
        self._live = region_around(self._working.dilated_mask, 1, 1)

    def _style_source(self) -> Tensor:
        """The painting for its noise: the rectangle around what lends its hand."""
        painting = _at_most(self.canvas.whole_painting, _NOISE_LONG_SIDE_PX)
        if self.canvas.style_mask is None:
            return painting
        cells = masks.style_cells(self.canvas.style_mask, (painting.shape[-2], painting.shape[-1]))
        return region_around(cells[None, None].to(painting), 1, 1).crop(painting)

    @property
    def working_size(self) -> tuple[int, int]:
        height, width = self._working.painting.shape[-2:]
        return height, width

    def pass1(self) -> Generator[Event, None, Tensor]:
        """Pass 1 at working size, and its picture as a StageResult; returns the output at working size."""
        steps = partial(pass1.run_pass1, self._working, self._params.pass1, self._network, self._check, self._styles)
        return (yield from self._pass(Stage.PASS1, steps))

    def _pass(
        self, stage: Stage, steps: Callable[..., Generator[Iterate, None, Tensor]]
    ) -> Generator[Event, None, Tensor]:
        """Run a pass, unless it has ended before, and show its picture; returns the output at working size."""
        known = self._journal.output(stage, like=self._live.crop(self._working.composite))
        if known is not None:
            output = self._working.composite.clone()
            self._live.crop(output).copy_(known)
            return output

        def make(chunk_elements: int) -> Generator[Iterate, None, Tensor]:
            control = self._journal.control(stage, self._should_finish_stage)
            return steps(chunk_elements=chunk_elements, control=control)

        output = yield from self._within_memory(make)
        yield StageResult(stage=stage, image=self.canvas.finished(self.carry_back(output)))
        # Beyond the live rectangle it is the composite.
        self._journal.finish(stage, self._live.crop(output))
        return output

    def blended(self, output: Tensor) -> Tensor:
        """The first pass's picture as the second reads it, at working size."""
        picture = self._working.blend(output)
        if self._params.parity.quantize_pass1_result:
            picture = (picture.clamp(0, 1) * 255).round() / 255
        return picture

    def pass2(self, pass1_result: Tensor) -> Generator[Event, None, Tensor]:
        """Pass 2 at working size, and its picture as a StageResult; returns the output at working size."""
        if not self._params.parity.keep_photo_colors:
            self._recolor(pass1_result)
        own = self._params.pass2
        plain = pass2_weights(
            self._level.value,
            self._noise,
            content=own.content_weight,
            histogram_by_noise=self._params.parity.histogram_by_noise,
        )
        self._pass2_weights = Pass2Weights(
            content=plain.content,
            style=plain.style * own.style_weight_scale,
            histogram=plain.histogram * own.histogram_weight_scale,
            total_variation=plain.total_variation * own.total_variation_weight_scale,
        )
        steps = partial(
            pass2.run_pass2,
            self._working,
            pass1_result,
            own,
            self._pass2_weights,
            self._network,
            self._check,
            self._styles,
            note_style=self._note_style,
        )
        return (yield from self._pass(Stage.PASS2, steps))

    def _recolor(self, pass1_result: Tensor) -> None:
        """Bring the composite's colors, as a whole, to where pass 1 has brought them, at both sizes."""
        working, canvas = self._working, self.canvas
        colors = ColorMap.between(working.composite, pass1_result, working.mask)
        self._working = replace(working, composite=colors.recolor(working.composite, working.mask))
        canvas.composite = colors.recolor(canvas.composite, canvas.mask)

    def _note_style(self, cells: Tensor) -> None:
        self._journal.style_cells = cells

    def _within_memory(self, make: Callable[..., Generator[_Event, None, Tensor]]) -> Generator[_Event, None, Tensor]:
        """Run a stage, and once more where memory did not suffice: with smaller chunks and nothing kept of paintings.

        ``make`` is given ``chunk_elements``, how many pairs to compare at a time. Raises: the second error as it is.
        """
        try:
            return (yield from self._checked(make(chunk_elements=self._chunk_elements)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("out of memory, the stage begins once more with less held at a time: %s", error)
        # Only here, with the error and its frames gone, nothing holds on to the stage's tensors.
        self._chunk_elements //= 2
        self._styles.clear()
        release_memory(self._network.device)
        return (yield from self._checked(make(chunk_elements=self._chunk_elements)))

    def _checked(self, steps: Generator[_Event, None, Tensor]) -> Generator[_Event, None, Tensor]:
        while True:
            self._check()
            try:
                event = next(steps)
            except StopIteration as end:
                output: Tensor = end.value
                release_memory(self._network.device)
                return output
            yield event
            self._journal.note(event)

    def carry_back(self, output: Tensor) -> Tensor:
        """A pass's picture at the painting's own size, over the canvas's region."""
        return self.canvas.carry_back(output, self._working)

    def postprocess(self, output: Tensor) -> Generator[Event, None, Tensor]:
        """Post-processing at the painting's own size; returns the finished picture over the canvas's region."""
        return (yield from self._within_memory(lambda **_: self._postprocessed(output)))

    def _postprocessed(self, output: Tensor) -> Generator[Event, None, Tensor]:
        params, canvas = self._params.postprocess, self.canvas
        working = self._working
        if not self._params.parity.repaint_structure:
            output = keep_structure(output, working.composite, working.painting, working.mask, working.style_mask)
        preview = working.blend(output)
        image = self.carry_back(output).clamp(0, 1)
        if not params.skip_chrominance_denoising:
            image = postprocess.denoise_chrominance(image, canvas.composite)
        if params.skip_patch_synthesis:
            yield _shown(preview, 0, 1)
            yield _shown(preview, 1, 1)
        else:
            support = (canvas.final_weight > 0).to(image.dtype)
            for step in postprocess.synthesize_patches(
                image,
                canvas.whole_painting,
                support,
                self._check,
                canvas.style_mask,
                self._detail_strength(),
                self._lightness_energy(),
            ):
                if isinstance(step, Tensor):
                    image = step
                else:
                    yield _shown(preview, step.finished, step.total)
        return masks.blend(image, canvas.painting, canvas.final_weight)

    def _detail_strength(self) -> float | None:
        """How strong the finest detail of what lends its hand is; None where it need not matter."""
        if self._params.parity.unlimited_detail:
            return None
        return postprocess.detail_strength(self.canvas.whole_painting, self._lending())

    def _lightness_energy(self) -> float | None:
        """How much the lightness of what lends its hand varies; None where it need not matter."""
        if self._params.parity.repaint_structure:
            return None
        return postprocess.lightness_energy(self.canvas.whole_painting, self._lending())

    def _lending(self) -> Tensor:
        """Where the painting lends its hand, 1×1×H×W of 0 and 1."""
        style = self.canvas.style_mask
        return torch.ones_like(self.canvas.whole_painting[:, :1]) if style is None else style

    def _style_mask(self, image: Tensor) -> Tensor | None:
        """Which pixels of the painting lent their style to the second pass, bool H×W on the CPU."""
        cells = self._journal.style_cells
        if cells is None:
            return None
        return upsample_positions(cells.cpu(), (image.shape[0], image.shape[1]))

    def result(self, picture: Tensor, weight: Tensor) -> Result:
        """The finished picture from its part over the canvas's region and the weight of its last blend.

        It is checked: it is finite, and the painting is untouched outside the blend. Raises: StageFailed.
        """
        if not bool(torch.isfinite(picture).all()):
            raise StageFailed("result", "the picture has values that are not finite")
        image = self.canvas.finished(picture)
        changed_count, blend_count = self.canvas.count_changes(image, weight)
        return Result(
            image=image,
            painting_noise=self._noise,
            pass2_weights={} if self._pass2_weights is None else self._pass2_weights.as_dict(),
            changed_pixel_count=changed_count,
            blend_pixel_count=blend_count,
            working_size=self.working_size,
            style_mask=self._style_mask(image),
            iteration_counts=dict(self._journal.iteration_counts),
            params=self._params,
            level=self._level,
        )


def _level(painting: Tensor, given: float | None) -> StylizationLevel:
    """The level that was given, or else the painting's own."""
    if given is not None:
        return StylizationLevel(value=given, is_estimated=False)
    estimate = estimate_level(painting)
    return StylizationLevel(value=estimate.level, is_estimated=True, reasons=estimate.reasons)


def _at_most(image: Tensor, long_side: int) -> Tensor:
    height, width = image.shape[-2:]
    return masks.resize(image, masks.reduced_size(height, width, long_side))


def _shown(preview: Tensor, finished: int, total: int) -> Iterate:
    """Progress of post-processing, with the picture as it was when it began."""
    return Iterate(
        stage=Stage.POSTPROCESSING,
        iteration=finished,
        iteration_count=total,
        losses=dict,
        image=partial(torch.Tensor.detach, preview),
    )
