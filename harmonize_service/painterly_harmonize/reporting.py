"""What a job's reader is shown, and when: the algorithm's events become items of a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from painterly_harmonize.algorithm.stage import Event, Iterate, Result, Stage, StageResult
from painterly_harmonize.conversion import StreamOptions
from painterly_harmonize.images import preview


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a stage is; ``elapsed_s`` counts from when the job left the queue."""

    stage: Stage
    iteration: int
    iteration_count: int
    losses: Mapping[str, float]
    elapsed_s: float

    @property
    def droppable(self) -> bool:
        """A stage's begin and end always arrive."""
        return 0 < self.iteration < self.iteration_count


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A picture, uint8 H×W×3: a preview, or a stage's whole result, which always arrives."""

    stage: Stage
    iteration: int
    pixels: NDArray[np.uint8]
    is_stage_result: bool

    @property
    def droppable(self) -> bool:
        """A preview gives way to a newer one."""
        return not self.is_stage_result


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The end of a job. ``stage_times_s`` holds wall-clock seconds in order of the stages."""

    result: Result
    stage_times_s: Mapping[Stage, float]
    droppable = False


Item = Progress | Frame | Finished


class Reporter:
    """Decides which of a run's events are shown, and when.

    Progress is shown for the begin and the end of a stage, and between them at most every ``progress_interval_s``;
    frames from a stage's first iteration on at most every ``frame_interval_s``. A stage's last picture is its
    result, so its last iteration has no frame.
    """

    def __init__(
        self,
        options: StreamOptions,
        now: Callable[[], float] = time.monotonic,
        times_before_s: Mapping[Stage, float] | None = None,
    ) -> None:
        """``times_before_s`` are the seconds that stages have taken before an interruption."""
        self._options = options
        self._now = now
        before = dict(times_before_s or {})
        self._stage_began_s = now()
        self._began_s = self._stage_began_s - sum(before.values())
        self._stage: Stage | None = None
        self._iteration = 0
        self._last_progress_s = self._last_frame_s = float("-inf")
        self._stage_times_s = before

    def times_s(self) -> dict[Stage, float]:
        """The seconds that each stage has taken until now."""
        return {**self._stage_times_s, **self._running_s()}

    def _running_s(self) -> dict[Stage, float]:
        if self._stage is None:
            return {}
        return {self._stage: self._stage_times_s.get(self._stage, 0.0) + self._now() - self._stage_began_s}

    def items(self, event: Event) -> Iterator[Item]:
        """What to show for one event."""
        if isinstance(event, Iterate):
            if event.stage is not self._stage:
                self._begin(event.stage)
            self._iteration = event.iteration
            yield from self._progress(event)
            yield from self._frame(event)
        elif isinstance(event, StageResult):
            self._end()
            pixels = event.image.numpy()
            yield Frame(stage=event.stage, iteration=self._iteration, pixels=pixels, is_stage_result=True)
        else:
            self._end()
            yield Finished(result=event, stage_times_s=self._stage_times_s)

    def _begin(self, stage: Stage) -> None:
        self._end()
        self._stage, self._stage_began_s = stage, self._now()
        self._last_progress_s = self._last_frame_s = float("-inf")

    def _end(self) -> None:
        if self._stage is not None:
            self._stage_times_s.update(self._running_s())
            self._stage = None

    def _progress(self, event: Iterate) -> Iterator[Progress]:
        now = self._now()
        if (
            0 < event.iteration < event.iteration_count
            and now - self._last_progress_s < self._options.progress_interval_s
        ):
            return
        self._last_progress_s = now
        yield Progress(
            stage=event.stage,
            iteration=event.iteration,
            iteration_count=event.iteration_count,
            losses=event.losses(),
            elapsed_s=now - self._began_s,
        )

    def _frame(self, event: Iterate) -> Iterator[Frame]:
        now = self._now()
        inner = 0 < event.iteration < event.iteration_count
        if self._options.omit_frames or not inner or now - self._last_frame_s < self._options.frame_interval_s:
            return
        self._last_frame_s = now
        pixels = preview(event.image(), self._options.frame_long_side_px)
        yield Frame(stage=event.stage, iteration=event.iteration, pixels=pixels, is_stage_result=False)
