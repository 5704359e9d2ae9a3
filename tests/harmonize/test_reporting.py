"""What of a run is shown, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from painterly_harmonize.algorithm.params import HarmonizeParams
from painterly_harmonize.algorithm.stage import Event, Iterate, Result, Stage, StageResult, StylizationLevel
from painterly_harmonize.conversion import StreamOptions
from painterly_harmonize.reporting import Finished, Frame, Item, Progress, Reporter

EVERYTHING = StreamOptions(progress_interval_s=0, frame_interval_s=0)
BYTES = torch.zeros(4, 5, 3, dtype=torch.uint8)
RESULT = Result(
    image=BYTES,
    painting_noise=0.5,
    pass2_weights={},
    changed_pixel_count=1,
    blend_pixel_count=2,
    working_size=(20, 30),
    style_mask=None,
    iteration_counts={},
    params=HarmonizeParams(),
    level=StylizationLevel(value=5, is_estimated=False),
)


def iterate(stage: Stage, iteration: int, count: int) -> Iterate:
    """A step whose picture shows its number."""
    return Iterate(
        stage=stage,
        iteration=iteration,
        iteration_count=count,
        losses=lambda: {"content": float(iteration)} if iteration else {},
        image=lambda: torch.full((1, 3, 4, 5), iteration / 255),
    )


def run(count: int = 2) -> Iterator[Event]:
    """The events of a run of two passes and post-processing."""
    for stage in Stage:
        yield from (iterate(stage, number, count) for number in range(count + 1))
        if stage is not Stage.POSTPROCESSING:
            yield StageResult(stage=stage, image=BYTES)
    yield RESULT


def summary(item: Item) -> tuple[Any, ...]:
    if isinstance(item, Progress):
        return ("progress", item.stage.value, item.iteration)
    if isinstance(item, Frame):
        return ("frame", item.stage.value, item.iteration, item.is_stage_result)
    return ("finished",)


class Clock:
    """A clock that the test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_everything_is_reported_without_intervals() -> None:
    reporter = Reporter(EVERYTHING)
    assert [summary(item) for event in run() for item in reporter.items(event)] == [
        ("progress", "pass1", 0),
        ("progress", "pass1", 1),
        ("frame", "pass1", 1, False),
        ("progress", "pass1", 2),
        ("frame", "pass1", 2, True),
        ("progress", "pass2", 0),
        ("progress", "pass2", 1),
        ("frame", "pass2", 1, False),
        ("progress", "pass2", 2),
        ("frame", "pass2", 2, True),
        ("progress", "postprocessing", 0),
        ("progress", "postprocessing", 1),
        ("frame", "postprocessing", 1, False),
        ("progress", "postprocessing", 2),
        ("finished",),
    ]


def test_intervals_hold_within_a_stage_and_its_ends_are_always_reported() -> None:
    clock = Clock()
    reporter = Reporter(StreamOptions(progress_interval_s=2, frame_interval_s=5), clock)
    seen = []
    for number in range(13):
        seen += [summary(item) for item in reporter.items(iterate(Stage.PASS1, number, 12))]
        clock.now_s += 1
    assert [item[2] for item in seen if item[0] == "progress"] == [0, 2, 4, 6, 8, 10, 12]
    assert [item[2] for item in seen if item[0] == "frame"] == [1, 6, 11]


def test_times_and_losses_are_reported() -> None:
    clock = Clock()
    reporter = Reporter(EVERYTHING, clock)
    reported: list[Item] = []
    for event in run(1):
        clock.now_s += 1.5
        reported += reporter.items(event)
    progress = [item for item in reported if isinstance(item, Progress)]
    assert [item.elapsed_s for item in progress] == [1.5, 3.0, 6.0, 7.5, 10.5, 12.0]
    assert [dict(item.losses) for item in progress[:2]] == [{}, {"content": 1.0}]
    finished = reported[-1]
    assert isinstance(finished, Finished)
    assert finished.result is RESULT
    assert finished.stage_times_s == {Stage.PASS1: 3.0, Stage.PASS2: 3.0, Stage.POSTPROCESSING: 3.0}


def test_omitted_frames_are_not_computed_but_stage_results_come() -> None:
    def never() -> torch.Tensor:
        raise AssertionError("an omitted frame was computed")

    reporter = Reporter(StreamOptions(omit_frames=True, frame_interval_s=0))
    step = Iterate(stage=Stage.PASS1, iteration=1, iteration_count=3, losses=dict, image=never)
    assert [summary(item) for item in reporter.items(step)] == [("progress", "pass1", 1)]
    (frame,) = reporter.items(StageResult(stage=Stage.PASS1, image=BYTES))
    assert summary(frame) == ("frame", "pass1", 1, True)


def test_what_is_not_due_is_not_computed() -> None:
    """Losses and pictures wait for the device: asking for them every iteration would hold it up."""
    asked: list[str] = []

    def losses() -> dict[str, float]:
        asked.append("losses")
        return {}

    def image() -> torch.Tensor:
        asked.append("image")
        return torch.zeros(1, 3, 4, 5)

    reporter = Reporter(StreamOptions(progress_interval_s=60, frame_interval_s=60))
    for number in range(100):
        step = Iterate(stage=Stage.PASS1, iteration=number, iteration_count=100, losses=losses, image=image)
        list(reporter.items(step))
    assert asked == ["losses", "image"]


def test_times_before_an_interruption_count() -> None:
    clock = Clock()
    reporter = Reporter(EVERYTHING, clock, {Stage.PASS1: 5.0, Stage.PASS2: 1.0})
    list(reporter.items(iterate(Stage.PASS2, 3, 4)))
    clock.now_s += 2
    assert reporter.times_s() == {Stage.PASS1: 5.0, Stage.PASS2: 3.0}
    (progress,) = reporter.items(iterate(Stage.PASS2, 4, 4))
    assert isinstance(progress, Progress)
    assert progress.elapsed_s == 8.0
    (finished,) = reporter.items(RESULT)
    assert isinstance(finished, Finished)
    assert finished.stage_times_s == {Stage.PASS1: 5.0, Stage.PASS2: 3.0}
