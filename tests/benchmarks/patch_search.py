"""Time post-processing, and hold its patch search against comparing every pair.

    python -m tests.benchmarks.patch_search FOLDER... --size 512 --synthetic 1024x1024:0.1 --threads 2 --runs 3

A folder is a prepared case (composite, painting, mask); what is post-processed is its ``published_pass2``, or else the
composite. ``--synthetic HEIGHTxWIDTH:SHARE`` makes waves with grain and a round object of that share of the picture.

Columns: anchors and candidates, as thinned by the budgets; seconds of chrominance denoising, and of patch synthesis
(median of the runs); seconds of comparing every pair, measured on some anchors and scaled to all; the mean squared
distance of the matches over that of every pair's best, on those anchors; and by how much the process's peak of memory
rises above what it held (Linux).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from painterly_harmonize.algorithm import masks, postprocess
from painterly_harmonize.algorithm.patch_index import PATCH_PX, patches_at
from painterly_harmonize.algorithm.patch_search import nearest_patches
from painterly_harmonize.algorithm.region import region_around
from painterly_harmonize.benchmark.measuring import PeakMemory
from tests.benchmarks.paper_case import load_inputs, picture

BRUTE_ANCHORS, BRUTE_CHUNK = 1024, 16384
Pictures = tuple[Tensor, Tensor, Tensor, Tensor]


def case_pictures(folder: Path, limit_px: int | None) -> Pictures:
    """Pass 2's result, composite, painting and mask of a prepared case."""
    inputs = load_inputs(folder, limit_px)
    image = picture(folder, "published_pass2")
    if image is None:
        return inputs.composite, inputs.composite, inputs.painting, inputs.mask
    size = (inputs.composite.shape[-1], inputs.composite.shape[-2])
    array = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX), dtype=np.float32) / 255
    return torch.from_numpy(array.transpose(2, 0, 1)[None].copy()), inputs.composite, inputs.painting, inputs.mask


def synthetic_pictures(text: str) -> Pictures:
    """The same for ``HEIGHTxWIDTH:SHARE``."""
    size, _, share = text.partition(":")
    height, width = (int(part) for part in size.split("x"))
    generator = torch.Generator().manual_seed(0)
    y, x = torch.arange(height)[:, None] / 37, torch.arange(width)[None] / 53

    def textured(phase: float) -> Tensor:
        waves = torch.stack([torch.sin(x + phase + n) * torch.cos(y * (1 + 0.3 * n) + phase) for n in range(3)])[None]
        return (0.5 + 0.35 * waves + 0.05 * torch.randn(waves.shape, generator=generator)).clamp(0, 1)

    rows, columns = torch.arange(height)[:, None] - height / 2, torch.arange(width)[None] - width / 2
    mask = (rows**2 + columns**2 < float(share) * height * width / torch.pi).float()[None, None]
    image = textured(1.0)
    return image, image, textured(0.0), mask


def peak_rise_mib(work: Callable[[], None]) -> float:
    """By how much the process's peak of resident memory rises above what it holds, while ``work`` runs."""
    memory = PeakMemory(torch.device("cpu"))
    work()
    peak = memory.beyond()
    return float("nan") if peak is None else peak / 2**20


def every_pair(queries: Tensor, painting: Tensor, corners: Tensor) -> Tensor:
    """The least squared distance of each query to the patches at all corners, in chunks."""
    nearest = torch.full((len(queries),), torch.inf)
    for chunk in torch.split(corners, BRUTE_CHUNK):
        candidates = patches_at(painting, chunk)
        scores = torch.addmm(candidates.square().sum(1) / 2, queries, candidates.T, beta=-1)
        best = patches_at(painting, chunk[scores.argmax(1)])
        nearest = torch.minimum(nearest, (queries - best).square().sum(1))
    return nearest


def drained(steps: Iterator[object]) -> None:
    """Run a generator to its end."""
    for _ in steps:
        pass


def timed(work: Callable[[], None]) -> float:
    """How long it takes, s."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure(name: str, pictures: Pictures, runs: int) -> None:
    """Print one row of the table."""
    image, composite, painting, mask = pictures
    weight = masks.final_blend_weight(mask)
    region = region_around(weight, 2 * PATCH_PX, 1)
    support = (region.crop(weight) > 0).float()
    cropped, guide = region.crop(image), region.crop(composite)
    denoised = postprocess.denoise_chrominance(cropped, guide)

    def denoise() -> None:
        postprocess.denoise_chrominance(cropped, guide)

    def synthesize() -> None:
        drained(postprocess.synthesize_patches(denoised, painting, support))

    def both() -> None:
        denoise()
        synthesize()

    rise = peak_rise_mib(both)
    denoising, times = timed(denoise), [timed(synthesize) for _ in range(runs)]

    anchors = postprocess.patch_anchors(support)
    height, width = painting.shape[-2:]
    count = (height - PATCH_PX + 1) * (width - PATCH_PX + 1)
    anchor_stride, stride = postprocess.search_strides(len(anchors), count)
    columns = support.shape[-1]
    anchors = anchors[(anchors // columns % anchor_stride == 0) & (anchors % columns % anchor_stride == 0)]
    grid = torch.arange(height * width).view(height, width)[: 1 - PATCH_PX : stride, : 1 - PATCH_PX : stride]
    sample = anchors[:: -(-len(anchors) // BRUTE_ANCHORS)]
    queries = patches_at(denoised, sample)
    begin = time.perf_counter()
    best = every_pair(queries, painting, grid.flatten())
    brute = (time.perf_counter() - begin) * len(anchors) / len(sample)
    search = nearest_patches(denoised, sample, painting, stride)
    while True:
        try:
            next(search)
        except StopIteration as end:
            found = (queries - patches_at(painting, end.value)).square().sum(1)
            break
    print(
        f"{name:24} {len(anchors):8} {grid.numel():9} {denoising:8.2f} {statistics.median(times):9.2f} "
        f"{brute:9.1f} {float(found.sum() / best.sum()):8.5f} {rise:8.0f}",
        flush=True,
    )


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--size", type=int, action="append", help="long side, px; again for more; default: as they are")
    parser.add_argument("--synthetic", action="append", default=[], metavar="HEIGHTxWIDTH:SHARE")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, median of {options.runs}")
    print(
        f"{'case':24} {'anchors':>8} {'patches':>9} {'denoise':>8} {'synthesis':>9} {'all pairs':>9} "
        f"{'energy':>8} {'MiB':>8}"
    )
    for folder in options.folders:
        for size in options.size or [None]:
            measure(f"{folder.name} {size or ''}", case_pictures(folder, size), options.runs)
    for text in options.synthetic:
        measure(text, synthetic_pictures(text), options.runs)


if __name__ == "__main__":
    main()
