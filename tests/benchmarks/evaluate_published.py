"""Measure published results beside the plain paste, and print a table with medians.

    python -m tests.benchmarks.evaluate_published FOLDER... --size 512

A FOLDER has the pictures composite, painting, mask, mask_dilated and published_post, of any format and all of one size.
They are brought to a long side of ``--size`` and measured as ``painterly evaluate`` does. ``--result NAME`` measures
another picture of the folders, ``--json FILE`` also writes all figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path

import torch
from torch import Tensor

from painterly.v1 import image_pb2
from painterly_harmonize.algorithm.masks import resize, to_bytes
from painterly_harmonize.algorithm.quality import evaluate
from painterly_harmonize.algorithm.quality_types import QualityMeasures, QualityReport, StyleMeasures
from painterly_harmonize.algorithm.stage import Inputs
from painterly_harmonize.images import to_tensor
from painterly_images import DecodeMode, decode

COLUMNS = {
    "bytes": "background_changed_pixel_count",
    "mean": "lab_mean_distance",
    "spread": "lab_deviation_distance",
    "sliced": "sliced_wasserstein",
    "gram": "gram_distance",
    "nearest": "nearest_patch",
    "palette": "palette_distance",
    "noise": "chroma_noise_ratio",
    "detail": "luma_detail_ratio",
    "seam": "seam_ratio",
    "kept": "structure_kept",
}


def picture(folder: Path, name: str, mode: DecodeMode, long_side: int) -> Tensor:
    """The folder's picture ``name``, 1×C×h×w in whole 8-bit levels, at a long side of ``long_side`` px."""
    paths = sorted(folder.glob(f"{name}.*"))
    if not paths:
        raise SystemExit(f"{folder} has no picture {name}")
    pixels = decode(image_pb2.Image(data=paths[0].read_bytes()), str(paths[0]), mode)
    image = to_tensor(pixels if pixels.ndim == 3 else pixels[:, :, None], torch.device("cpu"))
    height, width = image.shape[-2:]
    longest = max(height, width)
    size = round(height * long_side / longest), round(width * long_side / longest)
    return (resize(image, size).clamp(0, 1) * 255).round() / 255


def report_of(folder: Path, name: str, long_side: int) -> QualityReport:
    """Measure the folder's picture ``name``."""
    mask, dilated = ((picture(folder, each, "L", long_side) >= 0.5).float() for each in ("mask", "mask_dilated"))
    inputs = Inputs(
        composite=picture(folder, "composite", "RGB", long_side),
        painting=picture(folder, "painting", "RGB", long_side),
        mask=mask,
        dilated_mask=torch.maximum(mask, dilated),
    )
    return evaluate(to_bytes(picture(folder, name, "RGB", long_side)), inputs, long_side_px=long_side)


def figures(measures: QualityMeasures) -> dict[str, float]:
    """One number per column."""
    style: StyleMeasures = measures.style
    return {
        name: float(getattr(measures if hasattr(measures, field) else style, field)) for name, field in COLUMNS.items()
    }


def line(name: str, values: dict[str, float]) -> str:
    """One row of the table."""
    cells = (f"{value:8.0f}" if column == "bytes" else f"{value:8.2f}" for column, value in values.items())
    return f"{name:16}" + "".join(cells)


def main() -> None:
    """Parse the command line, measure every folder, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=512, help="long side, px")
    parser.add_argument("--result", default="published_post", help="name of the picture to measure")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    reports = {folder.name: report_of(folder, options.result, options.size) for folder in options.folders}
    print(f"{'':16}" + "".join(f"{name:>8}" for name in COLUMNS))
    rows: dict[str, list[dict[str, float]]] = {"before": [], "after": []}
    for name, report in reports.items():
        for when, measures in (("before", report.before), ("after", report.after)):
            rows[when].append(figures(measures))
            print(line(f"{name} {when}", rows[when][-1]))
        if report.warnings:
            print("    " + ", ".join(warning.code.value for warning in report.warnings))
    for when, values in rows.items():
        print(line(f"median {when}", {name: statistics.median(row[name] for row in values) for name in COLUMNS}))
    better = {
        name: sum(after[name] < before[name] for before, after in zip(rows["before"], rows["after"], strict=True))
        for name in COLUMNS
    }
    print("cases with a smaller number than the paste: " + ", ".join(f"{name} {n}" for name, n in better.items()))
    if options.json:
        options.json.write_text(json.dumps({name: dataclasses.asdict(each) for name, each in reports.items()}))


if __name__ == "__main__":
    main()
