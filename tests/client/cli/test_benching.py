"""``painterly bench``: its options are the benchmark's own, and reach it."""

from __future__ import annotations

from pathlib import Path

import click

from painterly_client.cli.benching import bench
from painterly_harmonize.benchmark.command import benchmark
from tests.client.cli.kit import start


def flags(command: click.Command) -> set[str]:
    options = (param for param in command.params if isinstance(param, click.Option))
    return {flag for option in options for flag in option.opts}


def test_every_option_of_the_benchmark_is_offered() -> None:
    assert flags(bench) == flags(benchmark)


def test_options_and_cases_reach_the_benchmark_and_its_exit_code_comes_back() -> None:
    case = Path("case")
    case.mkdir()
    process = start("bench", case, "--size", "64,96", "--baseline", "--json", "figures.json", "--device", "cpu")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stderr == (
        "painterly: the case case has no painting.png, composite.png, mask.png (or another format); put it there\n"
    )
