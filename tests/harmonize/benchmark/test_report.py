"""Medians, the JSON file and the tables, from figures that are given."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from painterly_harmonize.benchmark import tables
from painterly_harmonize.benchmark.errors import BAD_INPUT, BenchmarkError
from painterly_harmonize.benchmark.fields import MatchingFigures
from painterly_harmonize.benchmark.iterations import IterationFigures
from painterly_harmonize.benchmark.passes import Part, PassesFigures, Side
from painterly_harmonize.benchmark.report import MemoryFigures, Report, Summary
from painterly_harmonize.benchmark.roofline import Convolution
from painterly_harmonize.benchmark.whole_run import PassTimes, RunFigures, RunTimes

CONVOLUTION = Convolution(channels=64, side=512, channels_last=True, flop_per_s=200e9)


def passes(case: str, speedup: float, *, size_px: int = 512, twin: bool = True) -> PassesFigures:
    """Iterations of 0.5 and 0.25 s at 80 and 40 % of the roofline; the twin's takes ``speedup`` times that."""
    return PassesFigures(
        case=case,
        size_px=size_px,
        device="cpu",
        pass1=IterationFigures(product_s=0.5, product_flop=int(80e9), twin_s=0.5 * speedup if twin else None),
        pass2=IterationFigures(product_s=0.25, product_flop=int(20e9), twin_s=0.5 * speedup if twin else None),
        matching=MatchingFigures(
            product_s=2.0, twin_s=20 * speedup if twin else None, agreement=0.9998 if twin else None
        ),
        convolution=CONVOLUTION,
    )


def memory(case: str, part: Part, side: Side, mebibytes: int | None) -> MemoryFigures:
    peak = None if mebibytes is None else mebibytes * 2**20
    return MemoryFigures(case=case, size_px=512, device="cpu", part=part, side=side, peak_bytes=peak)


@pytest.fixture
def report() -> Report:
    """Three cases with their twins, and one at another size without."""
    found = Report(environment={"threads": 2})
    found.passes = [*(passes(case, speedup) for case, speedup in (("a", 3), ("b", 9), ("c", 4)))]
    found.passes.append(passes("a", 1, size_px=256, twin=False))
    for case, product in (("a", 10), ("b", 20), ("c", 40)):
        found.memory.append(memory(case, Part.MATCHING, Side.PRODUCT, product))
        found.memory.append(memory(case, Part.MATCHING, Side.TWIN, 200))
        found.memory.append(memory(case, Part.PASSES, Side.PRODUCT, 300))
    times = RunTimes(
        pass1=PassTimes(matching_s=3.0, iteration_s=0.5, iteration_count=60),
        pass2=PassTimes(matching_s=1.0, iteration_s=0.25, iteration_count=120),
        postprocessing_s=7.0,
        total_s=71.0,
        first_picture_s=0.125,
        first_frame_s=4.0,
        working_px=(448, 350),
    )
    found.runs.append(
        RunFigures(
            case="a",
            size_px=512,
            painting_px=(512, 400),
            mask_share=0.2,
            preset="draft",
            device="cpu",
            times=times,
            preset_total_s=71.0,
            peak_memory_bytes=500 * 2**20,
        )
    )
    return found


def test_the_summary_holds_the_medians_of_each_size(report: Report) -> None:
    assert report.summaries() == [
        Summary(
            size_px=512,
            device="cpu",
            case_count=3,
            pass1_roofline=0.8,
            pass2_roofline=0.4,
            pass1_speedup=4.0,
            pass2_speedup=8.0,
            matching_speedup=40.0,
            matching_memory_share=0.1,
            passes_memory_share=None,
        ),
        Summary(
            size_px=256,
            device="cpu",
            case_count=1,
            pass1_roofline=0.8,
            pass2_roofline=0.4,
            pass1_speedup=None,
            pass2_speedup=None,
            matching_speedup=None,
            matching_memory_share=None,
            passes_memory_share=None,
        ),
    ]


def test_the_file_holds_everything(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    report.save(path)
    content = json.loads(path.read_text())
    assert list(content) == ["environment", "passes", "memory", "runs", "areas", "grid", "summary"]
    assert content["environment"] == {"threads": 2}
    assert content["passes"][1]["pass1"] == {
        "product_s": 0.5,
        "product_flop": 80_000_000_000,
        "twin_s": 4.5,
        "twin_flop": None,
    }
    assert content["memory"][0]["part"] == "matching"
    assert content["runs"][0]["times"]["first_frame_s"] == 4.0
    assert content["summary"][0]["matching_speedup"] == 40.0


def test_a_file_that_cannot_be_written_is_wrong_usage(report: Report, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"--json .*figures\.json cannot be written") as caught:
        report.save(tmp_path / "missing" / "figures.json")
    assert caught.value.exit_code == BAD_INPUT


def test_the_tables_show_the_figures(report: Report) -> None:
    report.grid, report.areas = report.runs, report.passes[:1]
    stream = io.StringIO()
    tables.show(report, Console(file=stream, width=160))
    rows = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert rows.count("a 512 cpu 500 ms 1.5 s 3.0x 80 % 250 ms 1.5 s 6.0x 40 % 200 GFLOP/s") == 2
    assert "a 512 cpu 2.0 s 60.0 s 30.0x 99.98 % 10 MiB 200 MiB 5 % 300 MiB - -" in rows
    assert "a 256 cpu 500 ms - - 80 % 250 ms - - 40 % 200 GFLOP/s" in rows
    run = "a 512x400 448x350 20 % draft cpu 4.0 s 60 x 500 ms 120 x 250 ms 7.0 s 71.0 s 125 ms 4.0 s 500 MiB"
    assert rows.count(run) == 2
    text = stream.getvalue()
    assert "512 px, cpu, median of 3: pass 1 4.0x, pass 2 8.0x, matching 40.0x as fast as the plain twin" in text
    assert "256 px, cpu, median of 1: roofline: an iteration reaches 80 % (pass 1) and 40 % (pass 2)" in text
    assert "256 px, cpu, median of 1: pass 1" not in text
