"""What to measure, and measuring it one process after the other."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from painterly.weights import WeightStore
from painterly_harmonize.algorithm.params import NetworkName, Preset
from painterly_harmonize.benchmark.cases import Case
from painterly_harmonize.benchmark.measuring import Setting, find_device, weights_path
from painterly_harmonize.benchmark.passes import (
    MemorySpec,
    Part,
    PassesSpec,
    Side,
    measure_memory,
    measure_passes,
)
from painterly_harmonize.benchmark.processes import in_fresh_process
from painterly_harmonize.benchmark.report import MemoryFigures, Report
from painterly_harmonize.benchmark.whole_run import RunSpec, measure_run
from painterly_harmonize.settings import describe_device

GRID_AREAS = (0.05, 0.1, 0.2, 0.4)
GRID_SIZES_PX = (512, 1024, 2048, 4096)
_GRID_PRESET = Preset.DRAFT


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure: every case at every size on every device, and whole runs by every preset.

    ``iterations`` of each pass are timed. ``baseline`` adds the plain twin and memory. ``grid`` varies the first case's
    element from 5 to 40 % of the painting: passes at every size, and runs by the draft preset in paintings of 512 to
    4096 px, cut short.
    """

    cases: Sequence[Case]
    sizes_px: Sequence[int]
    presets: Sequence[Preset]
    devices: Sequence[str]
    threads: int
    network: NetworkName
    precision: str
    cuda_graphs: bool
    iterations: int
    baseline: bool
    grid: bool


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One process: what it measures, in words, and how its figures get into the report."""

    title: str
    measure: Callable[[Any], Any]
    spec: PassesSpec | MemorySpec | RunSpec
    keep: Callable[[Report, Any], None]


def measurements(plan: Plan) -> Iterator[Measurement]:
    """All of a plan's, in order."""
    for device in plan.devices:
        for size_px in plan.sizes_px:
            for case in plan.cases:
                yield from _of_case(plan, _setting(plan, case, size_px, device))
        if plan.grid:
            elements = [plan.cases[0].with_area(area) for area in GRID_AREAS]
            for size_px in plan.sizes_px:
                for case in elements:
                    yield _grid_passes(plan, _setting(plan, case, size_px, device))
            for size_px in GRID_SIZES_PX:
                for case in elements:
                    yield _grid_run(plan, _setting(plan, case, size_px, device))


def _setting(plan: Plan, case: Case, size_px: int, device: str) -> Setting:
    return Setting(
        case=case,
        size_px=size_px,
        device=device,
        threads=plan.threads,
        network=plan.network,
        precision=plan.precision,
        cuda_graphs=plan.cuda_graphs,
    )


def _of_case(plan: Plan, setting: Setting) -> Iterator[Measurement]:
    what = f"{setting.case.name}, {setting.size_px} px, {setting.device}"
    twin = " and the plain twin" if plan.baseline else ""
    yield Measurement(
        title=f"{what}: iterations and matching{twin}",
        measure=measure_passes,
        spec=PassesSpec(setting=setting, iterations=plan.iterations, baseline=plan.baseline),
        keep=lambda report, figures: report.passes.append(figures),
    )
    if plan.baseline:
        yield from (_memory(what, setting, part, side) for part in Part for side in Side)
    for preset in plan.presets:
        yield Measurement(
            title=f"{what}: a whole run, {preset.value}",
            measure=measure_run,
            spec=RunSpec(setting=setting, preset=preset),
            keep=lambda report, figures: report.runs.append(figures),
        )


def _memory(what: str, setting: Setting, part: Part, side: Side) -> Measurement:
    def keep(report: Report, peak_bytes: int | None) -> None:
        case, size_px, device = setting.case.name, setting.size_px, setting.device
        report.memory.append(
            MemoryFigures(case=case, size_px=size_px, device=device, part=part, side=side, peak_bytes=peak_bytes)
        )

    return Measurement(
        title=f"{what}: memory of {part.value}, {side.value}",
        measure=measure_memory,
        spec=MemorySpec(setting=setting, part=part, side=side),
        keep=keep,
    )


def _grid_passes(plan: Plan, setting: Setting) -> Measurement:
    return Measurement(
        title=f"grid: passes at {setting.size_px} px, element {setting.case.area:.0%}, {setting.device}",
        measure=measure_passes,
        spec=PassesSpec(setting=setting, iterations=plan.iterations, baseline=False),
        keep=lambda report, figures: report.areas.append(figures),
    )


def _grid_run(plan: Plan, setting: Setting) -> Measurement:
    return Measurement(
        title=f"grid: {setting.size_px} px, element {setting.case.area:.0%}, {setting.device}",
        measure=measure_run,
        spec=RunSpec(setting=setting, preset=_GRID_PRESET, iterations=plan.iterations),
        keep=lambda report, figures: report.grid.append(figures),
    )


def run_plan(plan: Plan, say: Callable[[str], None], kept: Callable[[Report], None]) -> Report:
    """Measure everything; ``say`` is told what is next, ``kept`` sees the report before and after every measurement.

    Raises: BenchmarkError.
    """
    report = Report(environment=environment(plan))
    kept(report)
    work = list(measurements(plan))
    for number, measurement in enumerate(work, 1):
        say(f"[{number}/{len(work)}] {measurement.title}")
        measurement.keep(report, in_fresh_process(measurement.measure, measurement.spec))
        kept(report)
    return report


def environment(plan: Plan) -> dict[str, object]:
    """Where and with what the figures are measured. Raises: BenchmarkError without weights or device."""
    weights_path(plan.network)
    return {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": plan.threads,
        "devices": [describe_device(find_device(device)) for device in plan.devices],
        "network": plan.network.value,
        "precision": plan.precision,
        "cuda_graphs": plan.cuda_graphs,
        "weights_checksum": WeightStore().checksum(plan.network.value),
    }
