"""Whether harmonizing finds back what a painting had: pairs with a known answer.

    python -m tests.benchmarks.pseudo_pairs PAINTING... --pairs 2 --size 384 --preset draft --output DIR

From each painting a blob is taken and pushed towards a photo: strokes smoothed away, colors shifted, noise added.
It is pasted back where it was, the painting lends its hand from everywhere but there, and the result is compared with
the painting inside the blob: PSNR and SSIM, beside those of the untouched composite. Everything follows from the
painting's name and the pair's number.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from painterly.configuration import available_cores
from painterly_harmonize.algorithm import masks
from painterly_harmonize.algorithm.params import HarmonizeParams, NetworkName
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.stage import Inputs, Result
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network
from painterly_harmonize.benchmark.measuring import weights_path
from painterly_harmonize.settings import set_up_torch
from tests.benchmarks.paper_case import changed, preset_params

# So far around the blob the painting lends nothing, as a share of the long side: features there have seen the answer.
_BLANK_SHARE = 0.03
_BLOB_AREA = (0.05, 0.15)
# Of a phone's sensor in a room, 8-bit levels.
NOISE = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A painting, uint8 H×W×3, the composite with a part of it like a photo, and that part's mask, bool H×W."""

    name: str
    painting: NDArray[np.uint8]
    composite: NDArray[np.uint8]
    mask: NDArray[np.bool_]

    def inputs(self) -> Inputs:
        """The pair as a job's pictures."""
        mask = torch.from_numpy(self.mask)[None, None].float()
        reach = round(_BLANK_SHARE * max(self.mask.shape))
        near = torch.nn.functional.max_pool2d(mask, 2 * reach + 1, stride=1, padding=reach)
        return Inputs(
            composite=_tensor(self.composite), painting=_tensor(self.painting), mask=mask, style_mask=1 - near
        )


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def make_pair(path: Path, number: int, size_px: int, noise: float = NOISE) -> Pair:
    """The pair ``number`` of a painting at a long side of ``size_px``, with sensor noise of ``noise`` 8-bit levels."""
    random = np.random.default_rng([zlib.crc32(path.stem.encode()), number])
    with Image.open(path) as image:
        width, height = masks.working_size(image.height, image.width, size_px)[::-1]
        painting = np.array(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
    mask = blob(height, width, random)
    photo = like_a_photo(painting, random, noise)
    composite = np.where(mask[..., None], photo, painting)
    return Pair(name=f"{path.stem}-{number}", painting=painting, composite=composite, mask=mask)


def blob(height: int, width: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """A star-shaped blob that lies inside the picture, over 5 to 15 % of it."""
    radius = math.sqrt(random.uniform(*_BLOB_AREA) * height * width / math.pi)
    radius = min(radius, 0.36 * min(height, width))
    center = [random.uniform(1.35 * radius, side - 1.35 * radius) for side in (height, width)]
    y, x = np.mgrid[:height, :width]
    angle = np.arctan2(y - center[0], x - center[1])
    edge = sum(random.uniform(-0.12, 0.12) * np.sin(k * angle + random.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
    inside: NDArray[np.bool_] = np.hypot(y - center[0], x - center[1]) < radius * (1 + edge)
    return inside


def like_a_photo(painting: NDArray[np.uint8], random: np.random.Generator, noise: float) -> NDArray[np.uint8]:
    """Smooth the strokes away and keep the edges, change light and color, add a sensor's noise."""
    smooth = painting
    for _ in range(3):
        smooth = cv2.bilateralFilter(smooth, 9, 40, 5)  # type: ignore[assignment]
    lab = cv2.cvtColor(smooth.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    mean = lab.mean((0, 1))
    shift = random.choice([-1.0, 1.0], 3) * random.uniform((6, 5, 5), (14, 14, 14))
    lab = (lab - mean) * random.uniform((0.85, 0.7, 0.7), (1.2, 1.3, 1.3)) + mean + shift
    photo = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB) * 255 + random.normal(0, noise, painting.shape)
    return photo.clip(0, 255).round().astype(np.uint8)  # type: ignore[no-any-return]


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Peak signal-to-noise ratio inside the mask, dB."""
    error = (one.astype(np.float64) - other)[mask]
    return float(10 * np.log10(255**2 / max(float((error**2).mean()), 1e-12)))


def ssim(one: NDArray[np.uint8], other: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Structural similarity of the luminances, Gaussian windows of standard deviation 1.5 px, mean inside the mask."""
    a, b = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).astype(np.float64) for each in (one, other))

    def mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return cv2.GaussianBlur(x, (11, 11), 1.5)  # type: ignore[return-value]

    ma, mb = mean(a), mean(b)
    va, vb, covariance = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    index = (2 * ma * mb + c1) * (2 * covariance + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return float(index[mask].mean())


def harmonized(pair: Pair, params: HarmonizeParams, network: FeatureNetwork) -> NDArray[np.uint8]:
    """The finished picture, uint8 H×W×3."""
    for event in harmonize(pair.inputs(), params, network, lambda: False):
        if isinstance(event, Result):
            return event.image.numpy()
    raise AssertionError("a run ends with its result")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", nargs="+", type=Path)
    parser.add_argument("--pairs", type=int, default=2, help="of each painting")
    parser.add_argument("--size", type=int, default=384, help="long side of the paintings, px")
    parser.add_argument("--noise", type=float, default=NOISE, help="of the sensor, 8-bit levels")
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.NAME=VALUE")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--output", type=Path, help="write painting, composite and result side by side there")
    options = parser.parse_args()
    set_up_torch(options.threads, "float32")
    network = load_network(NetworkName.VGG16, weights_path(NetworkName.VGG16), torch.device("cpu"))
    params = changed(preset_params(options.preset), options.set)
    gains: dict[str, list[float]] = {"psnr": [], "ssim": []}
    print("pair                                      PSNR: paste  result   gain   SSIM: paste  result    gain")
    for path in options.paintings:
        for number in range(options.pairs):
            pair = make_pair(path, number, options.size, options.noise)
            result = harmonized(pair, params, network)
            before, after = (
                (psnr(each, pair.painting, pair.mask), ssim(each, pair.painting, pair.mask))
                for each in (pair.composite, result)
            )
            gains["psnr"].append(after[0] - before[0])
            gains["ssim"].append(after[1] - before[1])
            print(
                f"{pair.name:40} {before[0]:12.2f} {after[0]:7.2f} {gains['psnr'][-1]:+6.2f} "
                f"{before[1]:13.4f} {after[1]:7.4f} {gains['ssim'][-1]:+7.4f}",
                flush=True,
            )
            if options.output:
                options.output.mkdir(parents=True, exist_ok=True)
                row = np.concatenate((pair.painting, pair.composite, result), axis=1)
                Image.fromarray(row).save(options.output / f"{pair.name}.png")
    both = [p > 0 and s > 0 for p, s in zip(gains["psnr"], gains["ssim"], strict=True)]
    print(
        f"of {len(both)} pairs better: PSNR {_share(gains['psnr'])}, SSIM {_share(gains['ssim'])}, "
        f"both {sum(both) / len(both):.0%}; medians {statistics.median(gains['psnr']):+.2f} dB, "
        f"{statistics.median(gains['ssim']):+.4f}"
    )


def _share(gains: list[float]) -> str:
    return f"{sum(gain > 0 for gain in gains) / len(gains):.0%}"


if __name__ == "__main__":
    main()
