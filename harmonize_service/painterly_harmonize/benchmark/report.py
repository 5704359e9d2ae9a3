"""What a benchmark has measured: one JSON object, and the medians over its cases."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from painterly_harmonize.benchmark.errors import BAD_INPUT, BenchmarkError
from painterly_harmonize.benchmark.passes import Part, PassesFigures, Side
from painterly_harmonize.benchmark.whole_run import RunFigures


@dataclass(frozen=True, kw_only=True)
class MemoryFigures:
    """Peak memory in bytes of a part by either side; None where it cannot be measured."""

    case: str
    size_px: int
    device: str
    part: Part
    side: Side
    peak_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Medians over the cases of one size and device.

    ``..._speedup`` is the twin's time over the product's; ``..._memory_share`` the product's memory over the twin's;
    ``..._roofline`` the product's FLOP/s in an iteration over those of the best convolution. None: not measured.
    """

    size_px: int
    device: str
    case_count: int
    pass1_roofline: float
    pass2_roofline: float
    pass1_speedup: float | None
    pass2_speedup: float | None
    matching_speedup: float | None
    matching_memory_share: float | None
    passes_memory_share: float | None


@dataclass
class Report:
    """Everything measured so far. ``areas`` holds passes over elements of growing area, ``grid`` runs cut short."""

    environment: Mapping[str, object]
    passes: list[PassesFigures] = field(default_factory=list)
    memory: list[MemoryFigures] = field(default_factory=list)
    runs: list[RunFigures] = field(default_factory=list)
    areas: list[PassesFigures] = field(default_factory=list)
    grid: list[RunFigures] = field(default_factory=list)

    def summaries(self) -> list[Summary]:
        """One for each size and device, in the order of measuring."""
        keys = dict.fromkeys((figures.size_px, figures.device) for figures in self.passes)
        return [self._summary(size_px, device) for size_px, device in keys]

    def _summary(self, size_px: int, device: str) -> Summary:
        of_these = [figures for figures in self.passes if (figures.size_px, figures.device) == (size_px, device)]

        def median(value: Callable[[PassesFigures], float | None]) -> float | None:
            return _median(map(value, of_these))

        return Summary(
            size_px=size_px,
            device=device,
            case_count=len(of_these),
            pass1_roofline=statistics.median(pass1_roofline(figures) for figures in of_these),
            pass2_roofline=statistics.median(pass2_roofline(figures) for figures in of_these),
            pass1_speedup=median(lambda figures: ratio(figures.pass1.twin_s, figures.pass1.product_s)),
            pass2_speedup=median(lambda figures: ratio(figures.pass2.twin_s, figures.pass2.product_s)),
            matching_speedup=median(lambda figures: ratio(figures.matching.twin_s, figures.matching.product_s)),
            matching_memory_share=median(lambda figures: self.memory_share(figures, Part.MATCHING)),
            passes_memory_share=median(lambda figures: self.memory_share(figures, Part.PASSES)),
        )

    def memory_share(self, figures: PassesFigures, part: Part) -> float | None:
        """The product's peak memory over the twin's, for the same case, size and device."""
        return ratio(self.peak_bytes(figures, part, Side.PRODUCT), self.peak_bytes(figures, part, Side.TWIN))

    def peak_bytes(self, figures: PassesFigures, part: Part, side: Side) -> int | None:
        """Peak memory for the same case, size and device; None when it was not measured."""
        wanted = (figures.case, figures.size_px, figures.device, part, side)
        for memory in self.memory:
            if (memory.case, memory.size_px, memory.device, memory.part, memory.side) == wanted:
                return memory.peak_bytes
        return None

    def save(self, path: Path) -> None:
        """Write all of it as JSON. Raises: BenchmarkError."""
        content = {**asdict(self), "summary": [asdict(summary) for summary in self.summaries()]}
        try:
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise BenchmarkError(f"--json {path} cannot be written: {error.strerror}", BAD_INPUT) from error


def pass1_roofline(figures: PassesFigures) -> float:
    """Pass 1's FLOP/s over the best convolution's."""
    return figures.pass1.product_flop / figures.pass1.product_s / figures.convolution.flop_per_s


def pass2_roofline(figures: PassesFigures) -> float:
    """Pass 2's FLOP/s over the best convolution's."""
    return figures.pass2.product_flop / figures.pass2.product_s / figures.convolution.flop_per_s


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """None when either is missing, or nothing was measured to divide by."""
    return numerator / denominator if numerator is not None and denominator else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
