"""What the second object into the same painting saves: time until the first iteration, with and without the cache.

    python -m tests.benchmarks.second_object CASE... --size 512

A CASE is a folder with the pictures composite, painting and mask. The second object is the first one mirrored.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from painterly.configuration import available_cores
from painterly_harmonize.algorithm.params import (
    HarmonizeParams,
    NetworkName,
    Pass1Params,
    Pass2Params,
    PostprocessParams,
)
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.stage import Inputs
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network
from painterly_harmonize.benchmark.cases import case_of_folder, load_case
from painterly_harmonize.benchmark.measuring import weights_path
from painterly_harmonize.settings import set_up_torch

PARAMS = HarmonizeParams(
    pass1=Pass1Params(iteration_count=1),
    pass2=Pass2Params(iteration_count=1),
    postprocess=PostprocessParams(skip_patch_synthesis=True),
)


def mirrored(inputs: Inputs) -> Inputs:
    """The object at the mirrored place, mirrored, in the painting as it is."""
    mask = inputs.mask.flip(-1)
    composite = torch.where(mask > 0, inputs.composite.flip(-1), inputs.painting)
    return replace(inputs, mask=mask, composite=composite)


def seconds(inputs: Inputs, params: HarmonizeParams, network: FeatureNetwork, styles: StyleCache) -> float:
    """How long both passes take to be set up and run for one iteration each."""
    begin = time.perf_counter()
    for _ in harmonize(inputs, params, network, lambda: False, styles):
        pass
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    set_up_torch(available_cores(), "float32")
    network = load_network(NetworkName.VGG16, weights_path(NetworkName.VGG16), torch.device("cpu"))
    print("case  without  with the cache  saved  taps taken from the cache")
    for folder in arguments.cases:
        inputs = load_case(case_of_folder(folder), arguments.size, network.device)
        without, cached = [], []
        for _ in range(3):
            styles = StyleCache()
            seconds(inputs, PARAMS, network, styles)
            hits = styles.hit_count
            cached.append(seconds(mirrored(inputs), PARAMS, network, styles))
            taken = styles.hit_count - hits
            without.append(seconds(mirrored(inputs), PARAMS, network, StyleCache()))
        one, other = statistics.median(without), statistics.median(cached)
        print(f"{folder.name:>4} {one:>7.2f}s {other:>14.2f}s {1 - other / one:>6.0%} {taken:>4} of 7", flush=True)


if __name__ == "__main__":
    main()
