"""Progress on standard error."""

from __future__ import annotations

import io

from rich.console import Console

from painterly_client import Progress, Queued, Stage
from painterly_client.cli.progress import PlainDisplay, RichDisplay


def progress(iteration: int, stage: Stage = Stage.PASS1, **losses: float) -> Progress:
    return Progress(stage=stage, iteration=iteration, iteration_count=10, losses=losses, elapsed_s=3.0 * iteration)


def test_plain_lines_come_every_five_seconds_at_most() -> None:
    now = [0.0]
    lines: list[tuple[float, str]] = []
    display = PlainDisplay(lambda line: lines.append((now[0], line)), lambda: now[0])
    for tick in range(100):
        now[0] = tick * 0.25
        display.progress(progress(tick // 10, content=12345.678, total_variation=0.25))
    assert [time for time, _ in lines] == [0, 5, 10, 15, 20]
    assert lines[2][1] == "pass 1 4/10  about 18 s left in this stage  content 1.23e+04  tv 0.25"


def test_plain_time_left_counts_from_the_stage_start() -> None:
    now = [0.0]
    lines: list[str] = []
    display = PlainDisplay(lines.append, lambda: now[0])
    display.queued(Queued(position=2))
    display.progress(progress(10))
    late = {"iteration_count": 10, "losses": {}}
    display.progress(Progress(stage=Stage.PASS2, iteration=0, elapsed_s=100, **late))  # type: ignore[arg-type]
    now[0] = 6
    display.progress(Progress(stage=Stage.PASS2, iteration=5, elapsed_s=110, **late))  # type: ignore[arg-type]
    assert lines == ["waiting, 2 before this one", "pass 2 5/10  about 10 s left in this stage"]


def test_bars_show_stages_iterations_and_losses() -> None:
    text = io.StringIO()
    with RichDisplay(Console(file=text, force_terminal=True, width=140)) as display:
        display.queued(Queued(position=3))
        display.progress(progress(4, style=0.5))
        display.progress(progress(10, Stage.PASS2))
    last = text.getvalue()
    for part in ("pass 1", "4/10", "style 0.5", "pass 2", "10/10"):
        assert part in last
    # The queue's line is gone by the time the passes run.
    assert "before this one" not in last.rpartition("pass 1")[2]
