"""The command line: options to a plan, figures to tables and a file, errors to exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
import torch

from painterly.configuration import available_cores
from painterly_harmonize.algorithm.params import NetworkName, Preset
from painterly_harmonize.algorithm.stage import MIN_LONG_SIDE_PX
from painterly_harmonize.benchmark import tables
from painterly_harmonize.benchmark.cases import case_of_folder, default_cases
from painterly_harmonize.benchmark.errors import BAD_INPUT, INTERRUPTED, BenchmarkError
from painterly_harmonize.benchmark.measuring import find_device
from painterly_harmonize.benchmark.plan import Plan, run_plan
from painterly_harmonize.benchmark.report import Report
from painterly_harmonize.settings import PRECISIONS

PROGRAM = "painterly bench"

_MAX_SIZE_PX = 8192
_NO_PRESET = "none"


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _read_sizes(_ctx: click.Context, _param: click.Parameter, value: str) -> list[int]:
    sizes = []
    for item in _items(value):
        if not item.isdecimal() or not MIN_LONG_SIDE_PX <= int(item) <= _MAX_SIZE_PX:
            raise click.BadParameter(f"{item!r} must be a whole number from {MIN_LONG_SIDE_PX} to {_MAX_SIZE_PX}")
        sizes.append(int(item))
    return sizes


def _read_presets(_ctx: click.Context, _param: click.Parameter, value: str) -> list[Preset]:
    names = [preset.value for preset in Preset]
    if value.strip() == _NO_PRESET:
        return []
    for item in _items(value):
        if item not in names:
            raise click.BadParameter(f"{item!r} must be one of {', '.join([*names, _NO_PRESET])}")
    return [Preset(item) for item in _items(value)]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("folders", nargs=-1, metavar="[CASE]...", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.option("--size", "sizes_px", default="512", callback=_read_sizes, metavar="PX[,PX...]", show_default=True)
@click.option(
    "--preset", "presets", default="draft", callback=_read_presets, metavar="NAME[,NAME...]", show_default=True
)
@click.option("--device", "devices", default="", metavar="NAME[,NAME...]", help="[default: cpu, and cuda where it is]")
@click.option(
    "--threads", type=click.IntRange(1, 1024), default=available_cores, metavar="N", help="[default: the cores]"
)
@click.option("--network", type=click.Choice([name.value for name in NetworkName]), default="vgg16", show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True)
@click.option("--cuda-graphs", is_flag=True)
@click.option("--iterations", type=click.IntRange(1, 1000), default=8, metavar="N", show_default=True)
@click.option("--baseline", is_flag=True)
@click.option("--grid", is_flag=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
def benchmark(
    folders: Sequence[Path],
    sizes_px: list[int],
    presets: list[Preset],
    devices: str,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Measure the harmonize service's computation on this machine; ``painterly bench --help`` tells the options."""
    options["network"] = NetworkName(options["network"])
    plan = Plan(
        cases=[case_of_folder(folder) for folder in folders] or default_cases(),
        sizes_px=sizes_px,
        presets=presets,
        devices=_devices(devices),
        **options,
    )

    def keep(report: Report) -> None:
        if json_file is not None:
            report.save(json_file)

    tables.show(run_plan(plan, _say, keep))


def _devices(value: str) -> list[str]:
    names = _items(value) or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return [str(find_device(name)) for name in names]


def _say(text: str) -> None:
    click.echo(text, err=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    sys.exit(_exit_code(lambda: benchmark.main(arguments, prog_name=PROGRAM, standalone_mode=False)))


def _exit_code(work: Callable[[], object]) -> int:
    try:
        work()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        _say("painterly: interrupted")
        return INTERRUPTED
    except BenchmarkError as error:
        _say(f"painterly: {error}")
        return error.exit_code
    return 0
