"""What both passes' losses come to, by iteration, for several ways of optimizing them at the same size.

    python -m tests.benchmarks.convergence CASE... --size 512 --object 176 --way full --way standard
    python -m tests.benchmarks.convergence CASE... --way standard --way standard,pass2.learning_rate=0.1

A CASE is a folder with the pictures composite, painting and mask. A way is a preset, whose iterations and steps count
but not its size, with settings after it; ``precision=bfloat16`` is one too. The last column compares each way's end
with the end of the first way.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Mapping
from pathlib import Path

import torch

from painterly.configuration import available_cores
from painterly_harmonize.algorithm.params import HarmonizeParams, NetworkName
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.stage import Inputs, Iterate, Stage
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network
from painterly_harmonize.benchmark.cases import case_of_folder, load_case
from painterly_harmonize.benchmark.measuring import weights_path
from painterly_harmonize.settings import PRECISIONS, layer_dtype, set_up_torch
from tests.benchmarks.paper_case import changed, preset_params

MARKS = (25, 50, 100, 150, 200, 300, 400, 500, 700, 1000)
# The loss that pass 1 minimizes, and those between which pass 2 balances.
SHOWN = {Stage.PASS1: ("weighted",), Stage.PASS2: ("style", "content", "histogram")}

Losses = Mapping[str, float]
Curves = dict[Stage, dict[int, Losses]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """A way of optimizing, by its name on the command line."""

    name: str
    params: HarmonizeParams
    precision: str

    @classmethod
    def read(cls, name: str, object_px: int | None, size_px: int) -> Way:
        """Parse ``PRESET,group.name=value,...``."""
        preset, *settings = name.split(",")
        precisions = [s.partition("=")[2] for s in settings if s.startswith("precision=")]
        params = dataclasses.replace(
            preset_params(preset),
            working_long_side_px=max(size_px, 1536) if object_px else size_px,
            object_size_px=object_px,
        )
        params = changed(params, [s for s in settings if not s.startswith("precision=")])
        return cls(name=name, params=params, precision=precisions[-1] if precisions else PRECISIONS[0])


def curves(inputs: Inputs, params: HarmonizeParams, network: FeatureNetwork) -> Curves:
    """Both passes' losses at the marks and at the end."""
    found: Curves = {Stage.PASS1: {}, Stage.PASS2: {}}
    for event in harmonize(inputs, params, network, lambda: False):
        if not isinstance(event, Iterate) or event.iteration == 0:
            continue
        if event.stage is Stage.POSTPROCESSING:
            break
        if event.iteration in MARKS or event.iteration == event.iteration_count:
            losses = dict(event.losses())
            own = params.pass1
            losses["weighted"] = (
                own.style_weight * losses["style"]
                + own.content_weight * losses["content"]
                + own.total_variation_weight * losses["total_variation"]
            )
            found[event.stage][event.iteration] = losses
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path)
    parser.add_argument("--way", action="append", required=True, metavar="PRESET[,GROUP.NAME=VALUE]...")
    parser.add_argument("--size", type=int, default=512, help="long side of the painting, px")
    parser.add_argument("--object", type=int, help="size that the object is to have, px; else passes run at --size")
    parser.add_argument("--threads", type=int, default=available_cores())
    options = parser.parse_args()
    ways = [Way.read(name, options.object, options.size) for name in options.way]
    set_up_torch(options.threads, PRECISIONS[0])
    path, device = weights_path(NetworkName.VGG16), torch.device("cpu")
    networks = {
        way.precision: load_network(NetworkName.VGG16, path, device, layer_dtype(way.precision)) for way in ways
    }
    ends: dict[tuple[str, str, str], list[float]] = {}
    for folder in options.cases:
        first: Curves | None = None
        for way in ways:
            inputs = load_case(case_of_folder(folder), options.size, device)
            found = curves(inputs, way.params, networks[way.precision])
            first = first or found
            for stage, names in SHOWN.items():
                end, first_end = (list(each[stage].values())[-1] for each in (found, first))
                # A term whose weight is next to nothing is left out of the optimization.
                for name in (name for name in names if name in end):
                    beside = end[name] / max(first_end[name], 1e-30) - 1
                    ends.setdefault((way.name, stage.value, name), []).append(beside)
                    values = "  ".join(f"{iteration}: {one[name]:.4g}" for iteration, one in found[stage].items())
                    print(f"{folder.name:>4} {way.name} {stage.value} {name:9} {values}   {beside:+.1%}", flush=True)
    print(f"beside {ways[0].name}, median of {len(options.cases)} (lowest to highest):")
    for key, values_of_cases in ends.items():
        low, middle, high = min(values_of_cases), statistics.median(values_of_cases), max(values_of_cases)
        print(f"    {' '.join(key)}: {middle:+.1%} ({low:+.1%} to {high:+.1%})")


if __name__ == "__main__":
    main()
