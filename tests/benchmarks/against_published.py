"""Our results beside the published ones, by the numbers of the quality report, and side by side as pictures.

    python -m tests.benchmarks.against_published CASE... --preset standard --size 512 --output DIR

A CASE is a folder with composite, painting, mask, mask_dilated and published_post. Every result is kept in DIR as
CASE.png, and one that is there is not computed again. Writes figures.json and sheet_N.jpg (composite, ours, published).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from painterly.configuration import available_cores
from painterly_harmonize.algorithm.masks import resize, to_bytes
from painterly_harmonize.algorithm.params import HarmonizeParams, NetworkName
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.quality import evaluate
from painterly_harmonize.algorithm.quality_types import QualityMeasures
from painterly_harmonize.algorithm.stage import Inputs, Result
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network
from painterly_harmonize.benchmark.cases import case_of_folder, load_case
from painterly_harmonize.benchmark.measuring import weights_path
from painterly_harmonize.settings import set_up_torch
from tests.benchmarks.paper_case import changed, picture, preset_params

# Name, value, and which is better: lower, higher, or near to one.
NUMBERS: Mapping[str, tuple[Callable[[QualityMeasures], float], str]] = {
    "lab mean": (lambda m: m.painting.lab_mean_distance, "lower"),
    "lab dev": (lambda m: m.painting.lab_deviation_distance, "lower"),
    "wasserst": (lambda m: m.painting.sliced_wasserstein, "lower"),
    "gram": (lambda m: m.painting.gram_distance, "lower"),
    "patch": (lambda m: m.painting.nearest_patch, "lower"),
    "palette": (lambda m: m.painting.palette_distance, "lower"),
    "seam": (lambda m: m.seam_ratio, "lower"),
    "kept": (lambda m: m.structure_kept, "higher"),
    "chroma": (lambda m: m.painting.chroma_noise_ratio, "one"),
    "detail": (lambda m: m.painting.luma_detail_ratio, "one"),
}
_SHEET_ROWS, _SHEET_WIDTH_PX = 6, 420


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """One case: the numbers of the paste, ours and the published result, and the three pictures."""

    name: str
    measures: Mapping[str, QualityMeasures]
    pictures: tuple[Tensor, Tensor, Tensor]
    level: float


def published(folder: Path, size: tuple[int, int]) -> Tensor:
    """The published result at the size of ours, uint8 H×W×3."""
    found = picture(folder, "published_post")
    if found is None:
        raise SystemExit(f"{folder} has no published_post; put it there")
    pixels = torch.from_numpy(np.asarray(found.convert("RGB")).copy()).permute(2, 0, 1)[None].float() / 255
    return to_bytes(resize(pixels, size).clamp(0, 1))


def our_result(inputs: Inputs, params: HarmonizeParams, network: FeatureNetwork, path: Path) -> tuple[Tensor, Tensor]:
    """Our result, uint8 H×W×3, and what lent its style, 1×1×H×W of 0 and 1; computed unless ``path`` has them."""
    style_path = path.with_name(f"{path.stem}_style.png")
    if not (path.exists() and style_path.exists()):
        begin = time.perf_counter()
        for event in harmonize(inputs, params, network, lambda: False):
            if isinstance(event, Result):
                assert event.style_mask is not None
                Image.fromarray(event.image.numpy()).save(path)
                Image.fromarray(event.style_mask.numpy()).save(style_path)
                print(f"{path.stem}: {time.perf_counter() - begin:.0f} s", flush=True)
    style = torch.from_numpy(np.asarray(Image.open(style_path).convert("L")) >= 128)
    return torch.from_numpy(np.asarray(Image.open(path)).copy()), style[None, None].float()


def compare(folder: Path, size_px: int, level: float, output: Path, settings: argparse.Namespace) -> Compared:
    """Run and measure one case."""
    inputs = load_case(case_of_folder(folder), size_px, torch.device("cpu"))
    params = dataclasses.replace(changed(preset_params(settings.preset), settings.set), stylization_level=level)
    ours, style = our_result(inputs, params, settings.network, output / f"{folder.name}.png")
    theirs = published(folder, (ours.shape[0], ours.shape[1]))
    our_report, their_report = evaluate(ours, inputs, style_mask=style), evaluate(theirs, inputs, style_mask=style)
    return Compared(
        name=folder.name,
        measures={"paste": our_report.before, "ours": our_report.after, "published": their_report.after},
        pictures=(to_bytes(inputs.composite), ours, theirs),
        level=level,
    )


def table(cases: list[Compared]) -> str:
    """Every case's numbers, then the medians."""
    lines = ["case          " + "".join(f"{name:>10}" for name in NUMBERS) + "   changed outside"]
    for case in cases:
        for who, measures in case.measures.items():
            values = "".join(f"{value(measures):10.3f}" for value, _ in NUMBERS.values())
            lines.append(f"{case.name} {who:10} {values}   {measures.background_changed_pixel_count}")
    for who in ("paste", "ours", "published"):
        medians = [statistics.median(value(case.measures[who]) for case in cases) for value, _ in NUMBERS.values()]
        lines.append(f"** {who:10} " + "".join(f"{median:10.3f}" for median in medians))
    return "\n".join(lines)


def verdicts(cases: list[Compared]) -> str:
    """What the medians say, and which cases are worse than the plain paste."""
    lines = []
    for name, (value, better) in NUMBERS.items():
        ours, theirs = (statistics.median(value(case.measures[who]) for case in cases) for who in ("ours", "published"))
        holds = {"lower": ours <= theirs, "higher": ours >= theirs, "one": 0.85 <= ours <= 1.2}[better]
        lines.append(f"{'holds ' if holds else 'FAILS '} {name}: {ours:.3f}, published {theirs:.3f} ({better})")
    for name, (value, better) in NUMBERS.items():
        nearer = sum(
            _distance(value(case.measures["ours"]), better) < _distance(value(case.measures["paste"]), better)
            for case in cases
        )
        lines.append(f"       {name}: nearer to the best than the paste in {nearer} of {len(cases)}")
    for name, of_style in (("sliced_wasserstein", "patches"), ("gram_distance", "texture")):
        worse = [
            case.name
            for case in cases
            if getattr(case.measures["ours"].style, name) > getattr(case.measures["paste"].style, name)
        ]
        verdict = "FAILS " if worse else "holds "
        lines.append(f"{verdict} {of_style} of what lent its style: worse than the paste in {len(worse)}: {worse}")
    exact = sum(case.measures["ours"].background_changed_pixel_count == 0 for case in cases)
    lines.append(f"{'holds ' if exact == len(cases) else 'FAILS '} background exact in {exact} of {len(cases)}")
    return "\n".join(lines)


def _distance(value: float, better: str) -> float:
    """How far a number is from its best: from one as a factor, else from 0, or from above."""
    if better == "one":
        return abs(math.log(value))
    return -value if better == "higher" else value


def sheets(cases: list[Compared], output: Path) -> None:
    """Contact sheets: composite, ours, published."""
    for number, start in enumerate(range(0, len(cases), _SHEET_ROWS), 1):
        rows = [[_scaled(pixels) for pixels in case.pictures] for case in cases[start : start + _SHEET_ROWS]]
        whole = Image.new("RGB", (3 * _SHEET_WIDTH_PX, sum(row[0].height for row in rows)), "white")
        top = 0
        for row in rows:
            for column, image in enumerate(row):
                whole.paste(image, (column * _SHEET_WIDTH_PX, top))
            top += row[0].height
        whole.save(output / f"sheet_{number}.jpg", quality=90)


def _scaled(pixels: Tensor) -> Image.Image:
    image = Image.fromarray(pixels.numpy())
    return image.resize((_SHEET_WIDTH_PX, round(image.height * _SHEET_WIDTH_PX / image.width)))


def main() -> None:
    """Run, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--size", type=int, default=512, help="long side of the pictures, px")
    parser.add_argument("--levels", type=Path, help="JSON with levels by case: {paper: {NN: {level: ...}}}")
    parser.add_argument("--level", type=float, default=5.0, help="where --levels has none")
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.NAME=VALUE")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    set_up_torch(options.threads, "float32")
    options.network = load_network(NetworkName.VGG16, weights_path(NetworkName.VGG16), torch.device("cpu"))
    levels = json.loads(options.levels.read_text())["paper"] if options.levels else {}
    cases = []
    for folder in options.cases:
        level = levels.get(folder.name, {"level": options.level})["level"]
        cases.append(compare(folder, options.size, level, options.output, options))
        figures = {
            case.name: {who: dataclasses.asdict(measures) for who, measures in case.measures.items()} for case in cases
        }
        (options.output / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(table(cases))
    print(verdicts(cases))
    sheets(cases, options.output)


if __name__ == "__main__":
    main()
