"""Logarithmic charts."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest

from painterly_client.cli.charts import log_chart, log_ticks, number_text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1, 1000, [1, 10, 100, 1000]),
        (3, 60, [5, 10, 20, 50]),
        (1.1, 1.9, [1.1, 1.9]),
        (1e-6, 1e10, [1e-6, 1e-3, 1, 1e3, 1e6, 1e9]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, expected: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.05, "0.05"),
        (1342.4, "1342"),
        (9999.7, "10000"),
        (54321.6, "54322"),
        (1.4e7, "1.4e7"),
        (2e-9, "2e-9"),
        (0, "0"),
    ],
)
def test_numbers_are_short(value: float, expected: str) -> None:
    assert number_text(value) == expected


def points_of(chart: str) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(chart)
    line = next(element for element in root.iter() if element.tag == "polyline")
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


@pytest.mark.parametrize(
    "values", [[3.0], [2.0, 2.0, 2.0], [1e-12, 1e12], [0.0, -1.0, math.nan, math.inf, 5.0], [1.0, 2.0, 3.0]]
)
def test_a_curve_stays_inside_the_picture(values: list[float]) -> None:
    points = points_of(log_chart(list(enumerate(values, start=1)), "a < b"))
    assert len(points) == sum(value > 0 and math.isfinite(value) for value in values)
    assert all(0 <= x <= 340 and 0 <= y <= 190 for x, y in points)


def test_a_long_curve_is_thinned_but_ends_where_it_ends() -> None:
    values = [(iteration, 10.0 ** (1 - iteration / 5000)) for iteration in range(10_001)]
    points = points_of(log_chart(values, "long"))
    assert 200 <= len(points) <= 402
    assert points[0][0] == 62
    assert points[-1][0] == 328


def test_no_positive_value_is_said() -> None:
    assert log_chart([(1, 0.0)], "a & b") == '<p class="empty">a &amp; b: no positive values</p>'
