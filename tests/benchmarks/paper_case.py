"""Run a prepared case (a folder with composite, painting and mask) and print what each pass did to its losses.

    python -m tests.benchmarks.paper_case FOLDER... --size 256 --pass1 150 --pass2 200 --level 1 --output DIR

Writes, per case, ``pass1.png``, ``pass2.png``, ``result.png`` and ``sheet.png``: the composite, our passes, and beside
them the published pictures where the folder has them. ``--set pass2.content_weight=3`` changes any parameter.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from painterly.v1 import harmonize_service_pb2 as pb
from painterly_harmonize.algorithm.params import HarmonizeParams, Pass1Params, Pass2Params
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.stage import Inputs, Iterate, Result, Stage, StageResult
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network
from painterly_harmonize.benchmark.cases import case_of_folder, load_case
from painterly_harmonize.benchmark.errors import BenchmarkError
from painterly_harmonize.benchmark.measuring import weights_path
from painterly_harmonize.conversion import params_from_proto
from painterly_harmonize.settings import resolve_device

PUBLISHED = ("published_pass1", "published_pass2", "published_post")


def picture(folder: Path, name: str) -> Image.Image | None:
    """The folder's picture ``name``, whatever its suffix; None when it has none."""
    paths = sorted(folder.glob(f"{name}.*"))
    return Image.open(paths[0]) if paths else None


def load_inputs(folder: Path, limit_px: int | None = None) -> Inputs:
    """The case's pictures, at a long side of ``limit_px`` where that is given; the loose mask is left out."""
    try:
        case = case_of_folder(folder)
        assert case.painting is not None
        with Image.open(case.painting) as painting:
            return load_case(case, limit_px or max(painting.size), torch.device("cpu"))
    except BenchmarkError as error:
        raise SystemExit(str(error)) from error


def changed(params: HarmonizeParams, settings: list[str]) -> HarmonizeParams:
    """``params`` with ``group.name=value`` settings applied."""
    for setting in settings:
        path, _, text = setting.partition("=")
        group, _, name = path.rpartition(".")
        owner: Any = getattr(params, group) if group else params
        value = type(getattr(owner, name))(float(text)) if not isinstance(getattr(owner, name), str) else text
        owner = dataclasses.replace(owner, **{name: value})
        params = dataclasses.replace(params, **{group: owner}) if group else owner
    return params


def preset_params(name: str) -> HarmonizeParams:
    """What the service makes of a request for a preset."""
    return params_from_proto(pb.HarmonizeParameters(preset=pb.Preset.Value(f"PRESET_{name.upper()}")))


def run(folder: Path, limit_px: int | None, params: HarmonizeParams, network: FeatureNetwork, output: Path) -> None:
    """Run one case, print its loss figures and write its pictures into ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    inputs = load_inputs(folder, limit_px)
    first: dict[Stage, dict[str, float]] = {}
    last: dict[Stage, dict[str, float]] = {}
    begin = time.perf_counter()
    for event in harmonize(inputs, params, network, lambda: False):
        if isinstance(event, Iterate):
            if event.iteration == 1 and event.stage is not Stage.POSTPROCESSING:
                first[event.stage] = dict(event.losses())
            if event.iteration == event.iteration_count and event.stage is not Stage.POSTPROCESSING:
                last[event.stage] = dict(event.losses())
        elif isinstance(event, StageResult):
            Image.fromarray(event.image.numpy()).save(output / f"{event.stage.value}.png")
            print(f"{folder.name} {event.stage.value}: {time.perf_counter() - begin:.1f} s")
            for name, value in last[event.stage].items():
                print(f"    {name:16} {first[event.stage][name]:12.4g} -> {value:12.4g}")
        elif isinstance(event, Result):
            Image.fromarray(event.image.numpy()).save(output / "result.png")
            print(f"{folder.name} done: {time.perf_counter() - begin:.1f} s, weights {dict(event.pass2_weights)}")
    sheet(folder, output)


def sheet(folder: Path, output: Path) -> None:
    """Composite and our pictures in one row, the published ones below."""
    ours = [
        picture(folder, "composite"),
        *(Image.open(output / f"{name}.png") for name in ("pass1", "pass2", "result")),
    ]
    rows = [ours, [picture(folder, "painting"), *(picture(folder, name) for name in PUBLISHED)]]
    width, height = Image.open(output / "result.png").size
    whole = Image.new("RGB", (4 * width, 2 * height))
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            if image is not None:
                whole.paste(image.convert("RGB").resize((width, height)), (column * width, row * height))
    whole.save(output / "sheet.png")


def main() -> None:
    """Parse the command line and run every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--input", type=int, help="reduce the case's pictures to this long side first, px")
    parser.add_argument("--size", type=int, default=256, help="bound of the working size, px of the long side")
    parser.add_argument("--object", type=int, help="size that the object is to have, px")
    parser.add_argument("--pass1", type=int, default=150, help="iterations")
    parser.add_argument("--pass2", type=int, default=200, help="iterations")
    parser.add_argument("--level", type=float, default=5.0, help="stylization level, 1 to 10")
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.NAME=VALUE")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    params = HarmonizeParams(
        stylization_level=options.level,
        working_long_side_px=options.size,
        object_size_px=options.object,
        pass1=Pass1Params(iteration_count=options.pass1),
        pass2=Pass2Params(iteration_count=options.pass2),
    )
    params = changed(params, options.set)
    network = load_network(params.network, weights_path(params.network), resolve_device("auto"))
    for folder in options.folders:
        run(folder, options.input, params, network, options.output / folder.name)


if __name__ == "__main__":
    main()
