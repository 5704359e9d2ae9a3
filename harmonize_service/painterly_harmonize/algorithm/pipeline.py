"""The whole method: composite in, harmonized painting out, one generator over stages and iterates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch

from painterly_harmonize.algorithm import masks
from painterly_harmonize.algorithm.checkpoint import Identity
from painterly_harmonize.algorithm.checkpoint import why_not as difference_from
from painterly_harmonize.algorithm.errors import AlgorithmError
from painterly_harmonize.algorithm.journal import Journal, OnCheckpoint
from painterly_harmonize.algorithm.params import HarmonizeParams
from painterly_harmonize.algorithm.stage import Event, Inputs, Stage
from painterly_harmonize.algorithm.stages import Stages
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.vgg import FeatureNetwork

Run = Iterator[Event]
StopQuestion = Callable[[], bool]


def harmonize(
    inputs: Inputs,
    params: HarmonizeParams,
    network: FeatureNetwork,
    should_stop: StopQuestion,
    styles: StyleCache | None = None,
    *,
    checkpoint: bytes | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    should_finish_stage: StopQuestion = lambda: False,
) -> Run:
    """Both passes and the post-processing.

    Yields an Iterate with iteration 0 as a stage begins, one after every step, a StageResult as each pass ends, and
    one Result last. An Iterate's callables are valid until the next event. ``should_stop`` is asked at least once per
    iteration. What is learned of the painting goes into ``styles``, and is taken from there.

    ``on_checkpoint`` is called after each iteration of a pass, when its event was handed out, and once more after the
    pass's StageResult, with what makes a checkpoint of the run as it then is; it costs nothing where that is not
    called. With such a ``checkpoint`` the run goes on after the last event before it: with the same bytes on the same
    CPU and as many threads, and else with what rounding makes of it. Post-processing has none and begins anew. Where it
    is refused the caller begins without; :func:`why_not` tells why. ``should_finish_stage`` is asked once after each
    iteration of a pass; where it says so the pass ends with what it has and the run goes on to the next stage.

    Raises: AlgorithmError, StageFailed, Stopped, CheckpointInvalid, CheckpointMismatch.
    """
    journal = _begin(inputs, params, network, tuple(Stage), checkpoint, on_checkpoint)
    del checkpoint
    job = Stages(inputs, params, network, should_stop, should_finish_stage, styles, journal)
    first = yield from job.pass1()
    second = yield from job.pass2(job.blended(first))
    final = yield from job.postprocess(second)
    yield job.result(final, job.canvas.final_weight)


def run_pass1(
    inputs: Inputs,
    params: HarmonizeParams,
    network: FeatureNetwork,
    should_stop: StopQuestion,
    styles: StyleCache | None = None,
    *,
    checkpoint: bytes | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    should_finish_stage: StopQuestion = lambda: False,
) -> Run:
    """Pass 1 alone; events and errors as in :func:`harmonize`."""
    journal = _begin(inputs, params, network, (Stage.PASS1,), checkpoint, on_checkpoint)
    del checkpoint
    job = Stages(inputs, params, network, should_stop, should_finish_stage, styles, journal)
    first = yield from job.pass1()
    yield job.result(job.carry_back(first), job.canvas.pass_weight)


def run_pass2(
    inputs: Inputs,
    params: HarmonizeParams,
    network: FeatureNetwork,
    should_stop: StopQuestion,
    styles: StyleCache | None = None,
    *,
    checkpoint: bytes | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    should_finish_stage: StopQuestion = lambda: False,
) -> Run:
    """Pass 2 alone, from ``inputs.pass1_result``; events and errors as in :func:`harmonize`."""
    if inputs.pass1_result is None:
        raise AlgorithmError("pass1_result", "is needed to run the second pass")
    journal = _begin(inputs, params, network, (Stage.PASS2,), checkpoint, on_checkpoint)
    del checkpoint
    job = Stages(inputs, params, network, should_stop, should_finish_stage, styles, journal)
    first = masks.resize(inputs.pass1_result.to(job.canvas.painting), job.working_size)
    second = yield from job.pass2(first)
    yield job.result(job.carry_back(second), job.canvas.pass_weight)


def why_not(
    checkpoint: bytes,
    inputs: Inputs,
    params: HarmonizeParams,
    network: FeatureNetwork,
    stages: Iterable[Stage] = tuple(Stage),
) -> str | None:
    """Why a run over ``stages`` cannot go on from a checkpoint, in words; None where it can.

    Device and number of threads may be others: then the numbers differ by rounding from there on.
    """
    return difference_from(checkpoint, Identity.of(inputs, params, network, stages))


def _begin(
    inputs: Inputs,
    params: HarmonizeParams,
    network: FeatureNetwork,
    stages: tuple[Stage, ...],
    checkpoint: bytes | None,
    on_checkpoint: OnCheckpoint | None,
) -> Journal:
    """Seed the random generators, or set them as they were. Raises: CheckpointInvalid, CheckpointMismatch."""
    torch.manual_seed(params.seed)
    return Journal(partial(Identity.of, inputs, params, network, stages), network.device, checkpoint, on_checkpoint)
