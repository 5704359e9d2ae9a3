"""Timings of a run, told from the events' arrival."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.params import HarmonizeParams, NetworkName, Preset
from painterly_harmonize.algorithm.problem import working_long_side
from painterly_harmonize.algorithm.stage import Event, Iterate, Result, Stage, StageResult, StylizationLevel
from painterly_harmonize.benchmark.cases import Case, load_case
from painterly_harmonize.benchmark.errors import BenchmarkError
from painterly_harmonize.benchmark.measuring import PeakMemory, Setting
from painterly_harmonize.benchmark.whole_run import (
    PassTimes,
    RunSpec,
    RunTimes,
    follow,
    preset_params,
    run_figures,
    whole_total,
)
from tests.harmonize.algorithm.toy import toy_network

SHOWING_S = 0.25
SETTING = Setting(case=Case(name="drawn"), size_px=96, device="cpu", threads=1, network=NetworkName.VGG16)
PICTURE = torch.zeros(8, 6, 3, dtype=torch.uint8)
PREVIEW = torch.zeros(1, 3, 16, 12)


class Script:
    """Events at given seconds of a clock of its own; a picture takes a quarter of a second."""

    def __init__(self, *events: tuple[float, Event]) -> None:
        self.seconds = 0.0
        self.pictures_shown = 0
        self._events = events

    def now(self) -> float:
        return self.seconds

    def picture(self) -> Tensor:
        self.seconds += SHOWING_S
        self.pictures_shown += 1
        return PREVIEW

    def play(self) -> Iterator[Event]:
        for after_s, event in self._events:
            self.seconds += after_s
            yield event

    def add(self, *events: tuple[float, Event]) -> Script:
        self._events += events
        return self

    def iterate(self, stage: Stage, iteration: int) -> Iterate:
        return Iterate(stage=stage, iteration=iteration, iteration_count=9, losses=dict, image=self.picture)


def result() -> Result:
    return Result(
        image=PICTURE,
        painting_noise=0.0,
        pass2_weights={},
        changed_pixel_count=0,
        blend_pixel_count=0,
        working_size=(4, 4),
        style_mask=None,
        iteration_counts={},
        params=HarmonizeParams(),
        level=StylizationLevel(value=5, is_estimated=False),
    )


def test_every_part_is_told_apart() -> None:
    script = Script()
    first, second, post = (script.iterate(stage, 0) for stage in Stage)
    script.add((0.5, first), (3.0, script.iterate(Stage.PASS1, 1)))
    script.add(*((seconds, script.iterate(Stage.PASS1, 2)) for seconds in (9.0, 9.0, 1.0, 1.0, 2.0)))
    script.add((0.5, StageResult(stage=Stage.PASS1, image=PICTURE)))
    script.add((0.0, second), (6.0, script.iterate(Stage.PASS2, 1)), (2.0, script.iterate(Stage.PASS2, 2)))
    script.add((0.5, StageResult(stage=Stage.PASS2, image=PICTURE)), (1.0, post), (4.0, result()))
    times = follow(script.play, script.now)
    # The median leaves two gaps out where there are more; matching is what precedes iteration 1 but one iteration.
    assert times.pass1 == PassTimes(matching_s=2.0, iteration_s=1.0, iteration_count=6)
    assert times.pass2 == PassTimes(matching_s=4.0, iteration_s=2.0, iteration_count=2)
    assert times.postprocessing_s == 5.0
    assert (times.first_picture_s, times.first_frame_s) == (0.75, 4.0)
    assert times.total_s == script.seconds == 40.0
    assert script.pictures_shown == 2
    assert times.working_px == (12, 16)


def test_a_pass_of_one_iteration_cannot_be_timed() -> None:
    script = Script()
    script.add((0.5, script.iterate(Stage.PASS1, 0)), (3.0, script.iterate(Stage.PASS1, 1)), (1.0, result()))
    with pytest.raises(BenchmarkError, match="pass1 ended after 1 iterations"):
        follow(script.play, script.now)


def test_a_run_cut_short_is_extrapolated() -> None:
    one = PassTimes(matching_s=1.0, iteration_s=0.5, iteration_count=10)
    two = PassTimes(matching_s=1.0, iteration_s=0.25, iteration_count=20)
    times = RunTimes(
        pass1=one,
        pass2=two,
        postprocessing_s=3,
        total_s=20,
        first_picture_s=0,
        first_frame_s=1,
        working_px=(96, 72),
    )
    cut = RunSpec(setting=SETTING, preset=Preset.DRAFT, iterations=20)
    # Draft: 40 and 50 iterations.
    assert whole_total(cut, times) == 20 + 30 * 0.5 + 30 * 0.25
    assert whole_total(RunSpec(setting=SETTING, preset=Preset.DRAFT), times) == 20


def test_a_real_run_is_measured() -> None:
    spec = RunSpec(setting=SETTING, preset=Preset.DRAFT, iterations=4)
    figures = run_figures(spec, toy_network(), PeakMemory(torch.device("cpu")))
    times = figures.times
    assert (figures.case, figures.preset, figures.device) == ("drawn", "draft", "cpu")
    assert figures.painting_px == (96, 72)
    # As the service works: the draft preset enlarges small objects.
    params = preset_params(spec)
    mask = load_case(SETTING.case, 96, torch.device("cpu")).mask
    assert max(times.working_px) == working_long_side(mask, params.working_long_side_px, params.object_size_px) > 96
    assert figures.mask_share == pytest.approx(0.1, abs=0.01)
    assert times.pass1.iteration_count == times.pass2.iteration_count == 4
    assert 0 < times.first_picture_s < times.first_frame_s < times.total_s < figures.preset_total_s
    assert times.pass1.iteration_s > 0
    assert times.pass2.iteration_s > 0
    assert 0 < times.postprocessing_s < times.total_s
    if figures.peak_memory_bytes is not None:
        assert 1e5 < figures.peak_memory_bytes < 1e9
