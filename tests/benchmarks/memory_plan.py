"""Predicted against real memory of varied requests: what a plan promises, and what each of its stages then takes.

    python -m tests.benchmarks.memory_plan
    python -m tests.benchmarks.memory_plan --only 3 --stages

Each request runs in a process of its own; real memory is beyond libraries and weights. It needs Linux.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, replace

from painterly_harmonize.algorithm.params import HarmonizeParams, NetworkName, Pass1Params, Pass2Params
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.plan import plan_job
from painterly_harmonize.algorithm.stage import Iterate, Result, StageResult
from painterly_harmonize.benchmark.cases import default_cases, load_case
from painterly_harmonize.benchmark.measuring import PeakMemory, Setting, prepare, stored_network
from painterly_harmonize.benchmark.processes import in_fresh_process


@dataclass(frozen=True, kw_only=True)
class Request:
    """A painting's long side, its element's share, and the parameters that decide about memory."""

    size_px: int
    area: float
    working_px: int
    object_px: int | None
    iterations: int
    level: float = 5.0

    def params(self) -> HarmonizeParams:
        """The service's parameters."""
        return HarmonizeParams(
            working_long_side_px=self.working_px,
            object_size_px=self.object_px,
            stylization_level=self.level,
            pass1=Pass1Params(iteration_count=self.iterations),
            pass2=Pass2Params(iteration_count=self.iterations),
        )


REQUESTS = (
    Request(size_px=384, area=0.1, working_px=384, object_px=None, iterations=20),
    Request(size_px=512, area=0.05, working_px=1024, object_px=176, iterations=40),
    Request(size_px=512, area=0.4, working_px=512, object_px=None, iterations=10),
    Request(size_px=700, area=0.1, working_px=700, object_px=None, iterations=30),
    Request(size_px=700, area=0.3, working_px=700, object_px=None, iterations=100),
    Request(size_px=900, area=0.02, working_px=1024, object_px=256, iterations=15),
    Request(size_px=1024, area=0.2, working_px=1024, object_px=176, iterations=60),
    Request(size_px=1024, area=0.03, working_px=1024, object_px=None, iterations=10),
    Request(size_px=2048, area=0.1, working_px=1536, object_px=256, iterations=12),
    Request(size_px=600, area=0.6, working_px=600, object_px=None, iterations=10, level=1.0),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Peaks in bytes: of all, and per stage, predicted and real."""

    predicted: list[int]
    real: list[int]


def measure(request: Request) -> Found:
    """Plan a request and run it."""
    case = default_cases()[0].with_area(request.area)
    setting = Setting(case=case, size_px=request.size_px, device="cpu", threads=2, network=NetworkName.VGG16)
    network = stored_network(setting, prepare(setting))
    memory = PeakMemory(network.device)
    inputs = load_case(case, request.size_px, network.device)
    plan = plan_job(inputs.mask, None, request.params(), network, network.device)
    real = []
    for event in harmonize(inputs, request.params(), network, lambda: False):
        if isinstance(event, (StageResult, Result)):
            real.append(memory.beyond() or 0)
            memory.forget_peak()
        elif isinstance(event, Iterate) and event.iteration % 10 == 0:
            # As the service does for its readers.
            event.image()
    return Found(predicted=[stage.peak_bytes for stage in plan.stages], real=real)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, help="the number of one request, from 1")
    parser.add_argument("--stages", action="store_true", help="also each stage")
    arguments = parser.parse_args()
    errors = []
    print("painting  element works at iterations  predicted       real  ratio")
    for number, request in enumerate(REQUESTS, 1):
        if arguments.only not in (None, number):
            continue
        found = in_fresh_process(measure, replace(request))
        predicted, real = max(found.predicted), max(found.real)
        errors.append(abs(predicted / real - 1))
        works_at = request.object_px or request.working_px
        print(
            f"{request.size_px:>8} {request.area:>8.0%} {works_at:>8} {request.iterations:>10}"
            f" {predicted / 2**20:>6.0f} MiB {real / 2**20:>6.0f} MiB {predicted / real:>6.2f}",
            flush=True,
        )
        if arguments.stages:
            for name, ours, theirs in zip(("pass 1", "pass 2", "post"), found.predicted, found.real, strict=True):
                print(f"    {name:>8} {ours / 2**20:>6.0f} {theirs / 2**20:>6.0f} {ours / theirs:>6.2f}", flush=True)
    print(f"off by {statistics.median(errors):.0%} (median), {max(errors):.0%} at most")


if __name__ == "__main__":
    main()
