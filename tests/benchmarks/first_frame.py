"""How soon a caller sees something: a job's first frames through the service, beside the algorithm called directly.

    python -m tests.benchmarks.first_frame CASE... --preset draft --size 512

A CASE is a folder with the pictures composite, painting and mask. The service runs as processes of its own with the
real weights, warm: the first job of each case is not counted. Each is cancelled after the frame of its first iteration.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from painterly.configuration import available_cores
from painterly.v1 import image_pb2
from painterly_client import Client, Frame, HarmonizeParameters, Preset, StreamOptions
from painterly_harmonize.algorithm.params import HarmonizeParams, NetworkName
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.stage import Inputs, Iterate
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network
from painterly_harmonize.benchmark.measuring import weights_path
from painterly_harmonize.settings import set_up_torch
from painterly_images import encode
from tests.benchmarks.paper_case import load_inputs, preset_params

# A job that was cancelled has ended.
_REST_S = 2.0


def png(picture: Tensor) -> bytes:
    """A 1×C×H×W picture in [0, 1] as a file."""
    pixels = (picture[0] * 255).round().to(torch.uint8).permute(1, 2, 0).squeeze(-1).numpy()
    return encode(pixels, image_pb2.IMAGE_FORMAT_PNG).data


def through_the_service(client: Client, files: dict[str, Any], preset: Preset) -> float:
    """Seconds from the call to the frame of the first iteration."""
    begin = time.perf_counter()
    every = StreamOptions(progress_interval_s=0.0, frame_interval_s=0.0)
    with client.harmonize(**files, parameters=HarmonizeParameters(preset=preset), stream=every) as events:
        for event in events:
            if isinstance(event, Frame) and event.iteration >= 1:
                return time.perf_counter() - begin
    raise AssertionError("the job ended without a frame")


def directly(inputs: Inputs, params: HarmonizeParams, network: FeatureNetwork, styles: StyleCache) -> float:
    """The same without a service, without encoding."""
    begin = time.perf_counter()
    for event in harmonize(inputs, params, network, lambda: False, styles):
        if isinstance(event, Iterate) and event.iteration >= 1:
            return time.perf_counter() - begin
    raise AssertionError("the run ended without an iteration")


@contextlib.contextmanager
def serving(threads: int) -> Iterator[str]:
    """The real service; its endpoint."""
    command = [sys.executable, "-m", "painterly_harmonize", "--port", "0", "--exit-with-stdin", "--device", "cpu"]
    command += ["--threads", str(threads), "--data-folder", "temporary"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin
        assert process.stdout
        yield f"127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        process.stdin.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=available_cores())
    options = parser.parse_args()
    set_up_torch(options.threads, "float32")
    network = load_network(NetworkName.VGG16, weights_path(NetworkName.VGG16), torch.device("cpu"))
    params = preset_params(options.preset)
    styles = StyleCache()
    print("case         service, s  directly, s")
    with serving(options.threads) as endpoint, Client(harmonize_endpoint=endpoint) as client:
        for case in options.cases:
            inputs = load_inputs(case, options.size)
            files = {name: png(getattr(inputs, name)) for name in ("composite", "painting", "mask")}
            ours, plain = [], []
            for _ in range(options.runs + 1):
                time.sleep(_REST_S)
                ours.append(through_the_service(client, files, Preset[options.preset.upper()]))
                time.sleep(_REST_S)
                plain.append(directly(inputs, params, network, styles))
            medians = (statistics.median(times[1:]) for times in (ours, plain))
            print(f"{case.name:12}" + "".join(f"{median:12.2f}" for median in medians), flush=True)


if __name__ == "__main__":
    main()
