"""A report as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from painterly_harmonize.benchmark.iterations import IterationFigures
from painterly_harmonize.benchmark.passes import Part, PassesFigures, Side
from painterly_harmonize.benchmark.report import Report, Summary, pass1_roofline, pass2_roofline, ratio
from painterly_harmonize.benchmark.whole_run import RunFigures

# Where no terminal tells its width.
_WIDTH = 160


def show(report: Report, console: Console | None = None) -> None:
    """Print a report, by default to standard output."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDTH)
    if report.passes:
        console.print(iterations_table("One iteration", report.passes))
        console.print(matching_table(report))
    for summary in report.summaries():
        console.print(summary_text(summary), highlight=False)
    if report.runs:
        console.print(runs_table("Whole runs", report.runs))
    if report.areas:
        console.print(iterations_table("One iteration by size and element", report.areas))
    if report.grid:
        title = "Cost by size and element (cut short, the totals extrapolated to the preset's iterations)"
        console.print(runs_table(title, report.grid))


def iterations_table(title: str, passes: Sequence[PassesFigures]) -> Table:
    """One iteration of each pass: the product's time, the twin's, their ratio, and the share of the roofline."""
    one = ("twin", "ratio", "of best")
    table = _table(title, ("case", "px", "device", "pass 1", *one, "pass 2", *one, "best convolution"))
    for figures in passes:
        table.add_row(
            *(figures.case, str(figures.size_px), figures.device),
            *(*_iteration(figures.pass1), _percent(pass1_roofline(figures))),
            *(*_iteration(figures.pass2), _percent(pass2_roofline(figures))),
            f"{figures.convolution.flop_per_s / 1e9:.0f} GFLOP/s",
        )
    return table


def matching_table(report: Report) -> Table:
    """All nearest-neighbor fields of a run, and peak memory: of these, and of a few iterations of both passes."""
    columns = ("matching", "twin", "ratio", "same", "memory", "twin", "share", "passes' memory", "twin", "share")
    table = _table("Matching, and memory", ("case", "px", "device", *columns))
    for figures in report.passes:
        matching, memory = figures.matching, []
        for part in Part:
            product, twin = (report.peak_bytes(figures, part, side) for side in (Side.PRODUCT, Side.TWIN))
            memory += [_mebibytes(product), _mebibytes(twin), _percent(ratio(product, twin))]
        table.add_row(
            *(figures.case, str(figures.size_px), figures.device, _seconds(matching.product_s)),
            *(_seconds(matching.twin_s), _times(ratio(matching.twin_s, matching.product_s))),
            *(_percent(matching.agreement, 2), *memory),
        )
    return table


def runs_table(title: str, runs: Sequence[RunFigures]) -> Table:
    """Whole runs, one per row: parts, total, time to the pictures of iterations 0 and 1, and peak memory."""
    columns = (
        *("case", "painting", "works at", "element", "preset", "device", "matching", "pass 1", "pass 2"),
        *("post", "total", "picture 0", "frame 1", "memory"),
    )
    table = _table(title, columns)
    for run in runs:
        times = run.times
        table.add_row(
            *(run.case, *("x".join(map(str, size)) for size in (run.painting_px, times.working_px))),
            *(_percent(run.mask_share), run.preset, run.device),
            _seconds(times.pass1.matching_s + times.pass2.matching_s),
            *(f"{one.iteration_count} x {_seconds(one.iteration_s)}" for one in (times.pass1, times.pass2)),
            *(_seconds(times.postprocessing_s), _seconds(run.preset_total_s)),
            *(_seconds(times.first_picture_s), _seconds(times.first_frame_s), _mebibytes(run.peak_memory_bytes)),
        )
    return table


def summary_text(summary: Summary) -> str:
    """The medians in two lines, the roofline last."""
    lines = []
    if summary.pass1_speedup is not None:
        lines.append(
            f"pass 1 {_times(summary.pass1_speedup)}, pass 2 {_times(summary.pass2_speedup)}, "
            f"matching {_times(summary.matching_speedup)} as fast as the plain twin; "
            f"memory of matching {_percent(summary.matching_memory_share)}, "
            f"of the passes {_percent(summary.passes_memory_share)} of the twin's"
        )
    lines.append(
        f"roofline: an iteration reaches {_percent(summary.pass1_roofline)} (pass 1) and "
        f"{_percent(summary.pass2_roofline)} (pass 2) of the best convolution's FLOP/s"
    )
    where = f"{summary.size_px} px, {summary.device}, median of {summary.case_count}"
    return "\n".join(f"{where}: {line}" for line in lines)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _iteration(figures: IterationFigures) -> tuple[str, str, str]:
    return (
        _seconds(figures.product_s),
        _seconds(figures.twin_s),
        _times(ratio(figures.twin_s, figures.product_s)),
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}x"


def _percent(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value * 100:.{digits}f} %"


def _mebibytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 2**20:.0f} MiB"
