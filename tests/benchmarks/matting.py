"""How good the mattes are, against cut-outs whose alpha is known: each method with and without finer edges.

    python -m tests.benchmarks.matting PHOTO... --side 512

Each cut-out (hair, fur, blur, hard edges) is laid over the top left quarter of each photo, enlarged and out of focus,
as what is behind a thing is; the whole photo would show its own subject beside the cut-out. Printed are means over
all pictures: the sum of absolute differences of alpha in thousands (SAD), the mean squared difference in thousandths
(MSE), the gradient error in thousands (Rhemann et al., CVPR 2009), and the mean difference in color, of 255, where
the element is laid over black and white. CHROMA_KEY is asked before plain backdrops, unevenly lit, for which there is
no photo.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from painterly.weights import WeightStore
from painterly_preprocess.imaging.cutout_params import CutOutParams
from painterly_preprocess.imaging.params import RemovalMethod
from painterly_preprocess.removal import BackgroundRemover, Removal
from painterly_preprocess.settings import RemoveBgSettings
from tests.benchmarks import cutouts

Pixels = NDArray[np.uint8]

_BACKDROPS = ((0, 177, 64), (30, 60, 200), (215, 215, 215))
_DEFOCUS_SHARE = 0.005
_GRADIENT_SIGMA = 1.4


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A photo (RGB uint8) of a known cut-out."""

    kind: str
    photo: Pixels
    truth: cutouts.CutOut


def errors(element: Pixels, truth: cutouts.CutOut) -> dict[str, float]:
    """What is wrong with an element (RGBA uint8), by measure."""
    alpha = np.asarray(element[..., 3] / 255, dtype=np.float32)
    difference = np.abs(alpha - truth.alpha)
    layers = [
        np.abs(alpha[..., None] * (element[..., :3] - paper) - truth.alpha[..., None] * (truth.colors - paper)).mean()
        for paper in (np.float32(0), np.float32(255))
    ]
    return {
        "SAD": float(difference.sum()) / 1e3,
        "MSE": float((difference**2).mean()) * 1e3,
        "gradient": float(((_gradient(alpha) - _gradient(truth.alpha)) ** 2).sum()) / 1e3,
        "color": float(np.mean(layers)),
    }


def _gradient(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(alpha, (0, 0), _GRADIENT_SIGMA)
    return np.asarray(np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)))


def over_photos(paths: list[Path], side: int) -> Iterator[Scene]:
    """Every kind of cut-out over every photo."""
    for number, path in enumerate(paths):
        photo = Image.open(path).convert("RGB")
        half = min(photo.size) // 2
        behind = np.asarray(photo.resize((side, side), Image.Resampling.BICUBIC, (0, 0, half, half)))
        behind = np.asarray(cv2.GaussianBlur(behind, (0, 0), _DEFOCUS_SHARE * side), dtype=np.uint8)
        for kind in cutouts.KINDS:
            truth = cutouts.make(kind, side, number)
            yield Scene(kind=kind, photo=cutouts.over(truth, behind), truth=truth)


def before_backdrops(side: int) -> Iterator[Scene]:
    """Every kind of cut-out before every backdrop, a quarter darker at the right, with a little noise."""
    for number, color in enumerate(_BACKDROPS):
        for kind in cutouts.KINDS:
            truth = cutouts.make(kind, side, number)
            light = np.linspace(1, 0.75, side)[None, :, None]
            noise = np.random.default_rng(number).normal(0, 2, (side, side, 3))
            behind = np.clip(light * np.array(color) + noise, 0, 255).astype(np.uint8)
            yield Scene(kind=kind, photo=cutouts.over(truth, behind), truth=truth)


def hand_mask(truth: cutouts.CutOut) -> Pixels:
    """What somebody paints by hand: a hard mask, its corners cut."""
    side = truth.alpha.shape[0]
    return ((cv2.GaussianBlur(truth.alpha, (0, 0), 0.01 * side) >= 0.5) * 255).astype(np.uint8)


def measure(
    remover: BackgroundRemover, scenes: list[Scene], method: RemovalMethod, refine: bool
) -> Mapping[str, list[dict[str, float]]]:
    """The errors in each scene, by kind of cut-out."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in cutouts.KINDS}
    for scene in scenes:
        photo = np.dstack([scene.photo, np.full(scene.photo.shape[:2], 255, dtype=np.uint8)])
        mask = hand_mask(scene.truth) if method is RemovalMethod.MASK else None
        begin = time.perf_counter()
        wish = Removal(method=method, mask=mask, params=CutOutParams(refine_edges=refine))
        element = remover.remove(photo, wish).cut_out.element
        duration = time.perf_counter() - begin
        found[scene.kind].append({**errors(element, scene.truth), "seconds": duration})
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--methods", nargs="+", default=["u2net", "grabcut", "mask", "chroma_key"])
    arguments = parser.parse_args()
    remover = BackgroundRemover(WeightStore(), 1, RemoveBgSettings())
    photos = list(over_photos(arguments.photos, arguments.side))
    cases = {
        RemovalMethod.U2NET: photos,
        RemovalMethod.GRABCUT: photos,
        RemovalMethod.MASK: photos,
        RemovalMethod.CHROMA_KEY: list(before_backdrops(arguments.side)),
    }
    # Compiled, loaded and cached before the clock runs.
    measure(remover, photos[:1], RemovalMethod.U2NET, True)
    print("| method | finer edges | SAD | MSE | gradient | color | hair SAD | fur SAD | blur SAD | hard SAD | s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for method, scenes in ((method, scenes) for method, scenes in cases.items() if method.value in arguments.methods):
        for refine in (False, True):
            found = measure(remover, scenes, method, refine)
            every = [each for kind in found.values() for each in kind]
            means = [statistics.mean(each[name] for each in every) for name in ("SAD", "MSE", "gradient", "color")]
            by_kind = [statistics.mean(each["SAD"] for each in found[kind]) for kind in ("hair", "fur", "blur", "hard")]
            seconds = statistics.median(each["seconds"] for each in every)
            numbers = " | ".join(f"{value:.2f}" for value in (*means, *by_kind, seconds))
            print(f"| {method.name} | {'on' if refine else 'off'} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
