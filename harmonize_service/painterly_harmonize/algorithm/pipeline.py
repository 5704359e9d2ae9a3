"""The whole method: composite in, harmonized painting out, one generator over stages and iterates."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial

import torch
from torch import Tensor

from painterly_harmonize.algorithm import masks, pass1, pass2, postprocess
from painterly_harmonize.algorithm.errors import AlgorithmError, StageFailed
from painterly_harmonize.algorithm.params import HarmonizeParams, PostprocessParams
from painterly_harmonize.algorithm.problem import Working, raise_if, working_long_side, working_pictures
from painterly_harmonize.algorithm.stage import Event, Inputs, Iterate, Result, Stage, StageResult
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.style_level import Pass2Weights, painting_noise, pass2_weights
from painterly_harmonize.algorithm.vgg import FeatureNetwork

Run = Iterator[Event]
# A painting's noise is measured at its own size, at most the paper's, whatever size the passes have.
_NOISE_LONG_SIDE_PX = 700
StopQuestion = Callable[[], bool]


def harmonize(
    inputs: Inputs,
    params: HarmonizeParams,
    network: FeatureNetwork,
    should_stop: StopQuestion,
    styles: StyleCache | None = None,
) -> Run:
    """Both passes and the post-processing.

    Yields an Iterate with iteration 0 as a stage begins, one after every step, a StageResult as each pass ends, and
    one Result last. An Iterate's callables are valid until the next event. ``should_stop`` is asked at least once per
    iteration. What is learned of the painting goes into ``styles``, and is taken from there.

    Raises: AlgorithmError, StageFailed, Stopped.
    """
    job = _Job(inputs, params, network, should_stop, styles)
    first = yield from job.pass1()
    second = yield from job.pass2(job.blended(first))
    final = yield from job.postprocess(second)
    yield job.result(final, masks.final_blend_weight(job.mask))


def run_pass1(
    inputs: Inputs,
    params: HarmonizeParams,
    network: FeatureNetwork,
    should_stop: StopQuestion,
    styles: StyleCache | None = None,
) -> Run:
    """Pass 1 alone; events and errors as in :func:`harmonize`."""
    job = _Job(inputs, params, network, should_stop, styles)
    first = yield from job.pass1()
    yield job.result(job.carry_back(first), job.pass_blend_weight())


def run_pass2(
    inputs: Inputs,
    params: HarmonizeParams,
    network: FeatureNetwork,
    should_stop: StopQuestion,
    styles: StyleCache | None = None,
) -> Run:
    """Pass 2 alone, from ``inputs.pass1_result``; events and errors as in :func:`harmonize`."""
    if inputs.pass1_result is None:
        raise AlgorithmError("pass1_result", "is needed to run the second pass")
    job = _Job(inputs, params, network, should_stop, styles)
    first = masks.resize(job.on_device(inputs.pass1_result), job.working_size)
    second = yield from job.pass2(first)
    yield job.result(job.carry_back(second), job.pass_blend_weight())


class _Job:
    """One run: its pictures at both sizes, and the stages over them."""

    def __init__(
        self,
        inputs: Inputs,
        params: HarmonizeParams,
        network: FeatureNetwork,
        should_stop: StopQuestion,
        styles: StyleCache | None,
    ) -> None:
        torch.manual_seed(params.seed)
        self._params, self._network, self._styles = params, network, styles or StyleCache()
        self._check = raise_if(should_stop)
        self._check()
        long_side = working_long_side(inputs.mask, params.working_long_side_px, params.object_size_px)
        self._working: Working = working_pictures(inputs, long_side, params.parity, network)
        self._composite = self.on_device(inputs.composite)
        self._painting = self.on_device(inputs.painting)
        self.mask = self.on_device(inputs.mask)
        self._noise = painting_noise(_at_most(self._painting, _NOISE_LONG_SIDE_PX))
        self._pass2_weights: Pass2Weights | None = None

    def on_device(self, image: Tensor) -> Tensor:
        return image.to(device=self._network.device, dtype=self._network.dtype)

    @property
    def working_size(self) -> tuple[int, int]:
        height, width = self._working.painting.shape[-2:]
        return height, width

    def pass1(self) -> Generator[Event, None, Tensor]:
        """Pass 1 at working size, and its picture as a StageResult; returns the output at working size."""
        steps = pass1.run_pass1(self._working, self._params.pass1, self._network, self._check, self._styles)
        output = yield from self._checked(steps)
        yield StageResult(stage=Stage.PASS1, image=self._bytes(self.carry_back(output)))
        return output

    def blended(self, output: Tensor) -> Tensor:
        """The first pass's picture as the second reads it, at working size."""
        picture = self._working.blend(output)
        if self._params.parity.quantize_pass1_result:
            picture = (picture.clamp(0, 1) * 255).round() / 255
        return picture

    def pass2(self, pass1_result: Tensor) -> Generator[Event, None, Tensor]:
        """Pass 2 at working size, and its picture as a StageResult; returns the output at working size."""
        own = self._params.pass2
        plain = pass2_weights(self._params.stylization_level, self._noise, content=own.content_weight)
        self._pass2_weights = Pass2Weights(
            content=plain.content,
            style=plain.style * own.style_weight_scale,
            histogram=plain.histogram * own.histogram_weight_scale,
            total_variation=plain.total_variation * own.total_variation_weight_scale,
        )
        steps = pass2.run_pass2(
            self._working, pass1_result, own, self._pass2_weights, self._network, self._check, self._styles
        )
        output = yield from self._checked(steps)
        yield StageResult(stage=Stage.PASS2, image=self._bytes(self.carry_back(output)))
        return output

    def _checked(self, steps: Generator[Iterate, None, Tensor]) -> Generator[Event, None, Tensor]:
        while True:
            self._check()
            try:
                yield next(steps)
            except StopIteration as end:
                output: Tensor = end.value
                return output

    def pass_blend_weight(self) -> Tensor:
        return masks.blend_weight(self.mask, wide=self._params.parity.wide_blend_kernel)

    def carry_back(self, output: Tensor) -> Tensor:
        """A pass's picture at the painting's own size: its change to the composite resized, added, blended."""
        if output.shape != self._composite.shape:
            size = (self._composite.shape[-2], self._composite.shape[-1])
            output = self._composite + masks.resize(output - self._working.composite, size)
        return masks.blend(output, self._painting, self.pass_blend_weight())

    def postprocess(self, output: Tensor) -> Generator[Event, None, Tensor]:
        """Post-processing at the painting's own size; returns the finished picture."""
        params: PostprocessParams = self._params.postprocess
        image = self.carry_back(output).clamp(0, 1)
        shown = _Shown(image)
        weight = masks.final_blend_weight(self.mask)
        region = postprocess.support_region(weight)
        cropped = region.crop(image)
        if not params.skip_chrominance_denoising:
            cropped = postprocess.denoise_chrominance(cropped, region.crop(self._composite))
        if params.skip_patch_synthesis:
            yield shown.progress(0, 1)
            yield shown.progress(1, 1)
        else:
            support = (region.crop(weight) > 0).to(cropped.dtype)
            for step in postprocess.synthesize_patches(cropped, self._painting, support, self._check):
                if isinstance(step, Tensor):
                    cropped = step
                else:
                    yield shown.progress(step.finished, step.total)
        image = image.clone()
        region.crop(image).copy_(cropped)
        return masks.blend(image, self._painting, weight)

    def _bytes(self, picture: Tensor) -> Tensor:
        return masks.to_bytes(picture, truncate=self._params.parity.truncate_on_export)

    def result(self, picture: Tensor, weight: Tensor) -> Result:
        """The finished picture, after the check that it is finite and that the painting is untouched outside the blend.

        Raises: StageFailed.
        """
        if not bool(torch.isfinite(picture).all()):
            raise StageFailed("result", "the picture has values that are not finite")
        image, painting = self._bytes(picture), masks.to_bytes(self._painting)
        support = (weight[0, 0] > 0).cpu()
        changed = (image != painting).any(-1)
        if bool((changed & ~support).any()):
            raise StageFailed("result", "pixels outside the blend's support differ from the painting's")
        return Result(
            image=image,
            painting_noise=self._noise,
            pass2_weights={} if self._pass2_weights is None else self._pass2_weights.as_dict(),
            changed_pixel_count=int(changed.sum()),
            blend_pixel_count=int(support.sum()),
            working_size=self.working_size,
        )


def _at_most(image: Tensor, long_side: int) -> Tensor:
    height, width = image.shape[-2:]
    return masks.resize(image, masks.reduced_size(height, width, long_side))


class _Shown:
    """Progress of post-processing, with the picture as it was when it began."""

    def __init__(self, image: Tensor) -> None:
        self._image = image

    def progress(self, finished: int, total: int) -> Iterate:
        return Iterate(
            stage=Stage.POSTPROCESSING,
            iteration=finished,
            iteration_count=total,
            losses=dict,
            image=partial(torch.Tensor.detach, self._image),
        )
