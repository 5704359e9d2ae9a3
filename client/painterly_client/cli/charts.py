"""Line charts with a logarithmic axis, as SVG text: no library, no script, no font of our own."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

_WIDTH, _HEIGHT = 340, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 12, 26
_MAX_POINTS = 400


def log_chart(points: Sequence[tuple[int, float]], label: str) -> str:
    """An SVG of values over iterations; values that are not positive and finite have no place on the axis.

    ``points`` are (iteration, value), in order. ``label`` names the chart for those who cannot see it.
    """
    shown = [(x, y) for x, y in points if y > 0 and math.isfinite(y)]
    if not shown:
        return f'<p class="empty">{html.escape(label)}: no positive values</p>'
    shown = _thinned(shown)
    x_low, x_high = shown[0][0], max(shown[-1][0], shown[0][0] + 1)
    low, high = _widened(min(y for _, y in shown), max(y for _, y in shown))
    to_x = _scale(x_low, x_high, _LEFT, _WIDTH - _RIGHT)
    to_y = _scale(math.log10(low), math.log10(high), _HEIGHT - _BOTTOM, _TOP)
    line = " ".join(f"{to_x(x):.1f},{to_y(math.log10(y)):.1f}" for x, y in shown)
    end_x, end_y = line.rsplit(" ", 1)[-1].split(",")
    return "".join(
        [
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(label)}">',
            *(_y_tick(value, to_y(math.log10(value))) for value in log_ticks(low, high)),
            *(_x_tick(x, to_x(x), anchor) for x, anchor in ((x_low, "start"), (x_high, "end"))),
            f'<polyline class="curve" points="{line}"/><circle class="end" cx="{end_x}" cy="{end_y}" r="3"/>',
            "</svg>",
        ]
    )


def log_ticks(low: float, high: float) -> list[float]:
    """Round values within [low, high] for a logarithmic axis, at most about six; the ends where none is round."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [10.0**exponent for exponent in range(first, last + 1)]
    fine = [factor * decade for decade in decades for factor in (1, 2, 5)]
    inside = [value for value in fine if low <= value <= high]
    if len(inside) > 6:
        inside = [value for value in decades if low <= value <= high]
        inside = inside[:: math.ceil(len(inside) / 6)]
    return inside if len(inside) >= 2 else [low, high]


def number_text(value: float) -> str:
    """At most four digits: ``0.05``, ``1342``, ``1.4e7``."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}" if abs(value) < 9999.5 else f"{value:.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    stride = math.ceil(len(points) / _MAX_POINTS)
    return [*points[:-1:stride], points[-1]]


def _widened(low: float, high: float) -> tuple[float, float]:
    # A flat curve still needs an axis.
    return (low, high) if high / low > 1.05 else (low / 1.05, high * 1.05)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _y_tick(value: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number_text(value)}</text>'
    )


def _x_tick(iteration: int, x: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{iteration}</text>'
