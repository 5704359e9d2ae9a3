"""Progress on standard error: bars at a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from painterly_client import Accepted, Progress, Queued, Result, Stage

_PLAIN_INTERVAL_S = 5.0

_SHORT_TERMS = {"total_variation": "tv"}


class Display:
    """Shows nothing; the base of the other two. A context manager around the whole stream."""

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""

    def queued(self, event: Queued) -> None:
        """The job waits."""

    def progress(self, event: Progress) -> None:
        """The job is so far."""


class PlainDisplay(Display):
    """A line at most every five seconds. ``clock`` gives seconds."""

    def __init__(self, write: Callable[[str], None] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write or (lambda line: click.echo(line, err=True))
        self._clock = clock
        self._next_line = clock()
        self._stage_start = (0.0, 0)
        self._stage = ""

    def queued(self, event: Queued) -> None:
        if self._is_due():
            self._write(queue_text(event))

    def progress(self, event: Progress) -> None:
        if stage_text(event.stage) != self._stage:
            self._stage = stage_text(event.stage)
            self._stage_start = (event.elapsed_s, event.iteration)
        if self._is_due():
            remaining = _remaining_text(event, *self._stage_start)
            parts = [f"{self._stage} {event.iteration}/{event.iteration_count}", remaining, losses_text(event.losses)]
            self._write("  ".join(part for part in parts if part))

    def _is_due(self) -> bool:
        now = self._clock()
        if now < self._next_line:
            return False
        self._next_line = now + _PLAIN_INTERVAL_S
        return True


class RichDisplay(Display):
    """A bar for each stage, with iterations, time left and losses."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[losses]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._queue: TaskID | None = None

    def __enter__(self) -> RichDisplay:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def queued(self, event: Queued) -> None:
        if self._queue is None:
            self._queue = self._bars.add_task("", total=None, losses="")
        self._bars.update(self._queue, description=queue_text(event))

    def progress(self, event: Progress) -> None:
        if self._queue is not None:
            self._bars.remove_task(self._queue)
            self._queue = None
        stage = stage_text(event.stage)
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(f"{stage:<15}", total=event.iteration_count, losses="")
        self._bars.update(
            self._tasks[stage],
            completed=event.iteration,
            total=event.iteration_count,
            losses=losses_text(event.losses),
        )


def make_display(*, quiet: bool) -> Display:
    """The display that suits standard error."""
    if quiet:
        return Display()
    return RichDisplay(Console(stderr=True)) if sys.stderr.isatty() else PlainDisplay()


def stage_text(stage: Stage) -> str:
    """A stage's name for people: ``pass 1``, ``pass 2``, ``postprocessing``."""
    return stage.value.replace("pass", "pass ")


def queue_text(event: Queued) -> str:
    """Where the job stands in the queue."""
    return "starts next" if event.position == 0 else f"waiting, {event.position} before this one"


def resumption_text(event: Accepted) -> str:
    """Where a job that was interrupted on the server goes on."""
    if event.resumed_from is None:
        place = "begins anew"
    else:
        place = f"goes on at {stage_text(event.resumed_from.stage)}, iteration {event.resumed_from.iteration}"
    why = f" ({event.restart_reason.value.replace('_', ' ')})" if event.restart_reason else ""
    return f"the job was interrupted on the server and {place}{why}"


def level_text(result: Result) -> str:
    """``4.2, estimated: pure colors; hard contours``, or the level alone where it was asked for; "" for none."""
    level = result.stylization_level
    if level is None:
        return ""
    return f"{level.value:.3g}" + (f", estimated: {'; '.join(level.reasons)}" if level.is_estimated else "")


def losses_text(losses: Mapping[str, float]) -> str:
    """``{"content": 1234.5}`` -> ``content 1.23e+03``."""
    return "  ".join(f"{_SHORT_TERMS.get(term, term)} {value:.3g}" for term, value in losses.items())


def _remaining_text(event: Progress, start_s: float, start_iteration: int) -> str:
    done = event.iteration - start_iteration
    if done <= 0:
        return ""
    remaining_s = (event.elapsed_s - start_s) / done * (event.iteration_count - event.iteration)
    return f"about {remaining_s:.0f} s left in this stage"
