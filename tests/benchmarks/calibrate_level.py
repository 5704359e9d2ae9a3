"""Fit the model of the stylization level to paintings of known level, and say how well it would do on others.

    python -m tests.benchmarks.calibrate_level levels.json --paper CASES --genre PAINTINGS --write MODEL --sheet PNG

``levels.json`` has the groups ``paper`` (pictures at CASES/NAME/painting.jpg) and ``genre`` (PAINTINGS/NAME.jpg), each
from a name to ``{"level": ...}``. Every measurement has the same weight; its sign, its mean and deviation, and the
slope and offset of their sum are all that is fitted, anew for each painting that is left out. Other ways to weigh are
printed beside it, and what comes of choosing the way anew for each painting that is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from painterly_harmonize.algorithm.level_estimate import WORDS
from painterly_harmonize.algorithm.level_features import measure

Array = NDArray[np.float64]
Fitted = Callable[[Array, Array, Array], Array]

FARTHEST = 2.5
WAYS = ("equal", "1", "10", "30")


def read_picture(path: Path) -> torch.Tensor:
    """A picture as RGB float32 1×3×H×W in [0, 1]."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def known_levels(labels: Path, paper: Path, genre: Path) -> dict[Path, float]:
    """The paintings' files and their levels."""
    groups = json.loads(labels.read_text("utf-8"))
    files = {paper / name / "painting.jpg": entry["level"] for name, entry in groups["paper"].items()}
    return files | {genre / f"{name}.jpg": float(entry["level"]) for name, entry in groups["genre"].items()}


def title(path: Path) -> str:
    """What a painting is called: its file's name, or its folder's."""
    return path.parent.name if path.stem == "painting" else path.stem


def coefficients(x: Array, y: Array, way: str) -> tuple[Array, Array, Array]:
    """Means, deviations and weights of the columns of ``x``.

    ``way`` is "equal", where each column's correlation gives the sign and all share one slope, or a ridge penalty.
    """
    mean, deviation = x.mean(0), x.std(0)
    z, centered = ((x - mean) / deviation).clip(-FARTHEST, FARTHEST), y - y.mean()
    if way == "equal":
        signs = np.sign(z.T @ centered)
        total = z @ signs
        return mean, deviation, signs * (total @ centered) / (total @ total)
    return mean, deviation, np.linalg.solve(z.T @ z + float(way) * np.eye(z.shape[1]), z.T @ centered)


def predict(x: Array, y: Array, new: Array, way: str) -> Array:
    """Levels of ``new`` by a model of ``x`` and ``y``, 1 to 10, in tenths."""
    mean, deviation, weights = coefficients(x, y, way)
    levels = ((new - mean) / deviation).clip(-FARTHEST, FARTHEST) @ weights + y.mean()
    return np.asarray(levels.clip(1, 10).round(1))


def leave_one_out(x: Array, y: Array, fit: Fitted) -> Array:
    """What ``fit`` says of each row when it knows all others."""
    return np.array(
        [fit(np.delete(x, row, 0), np.delete(y, row), x[row : row + 1])[0] for row in range(len(y))], dtype=np.float64
    )


def in_way(way: str) -> Fitted:
    """Fit in one way."""
    return lambda x, y, new: predict(x, y, new, way)


def in_best_way(x: Array, y: Array, new: Array) -> Array:
    """Fit in the way that errs least on the data at hand, leaving one out of it in turn."""
    return predict(x, y, new, min(WAYS, key=lambda way: np.abs(leave_one_out(x, y, in_way(way)) - y).mean()))


def ranks(values: Array) -> Array:
    """Ranks from 1; what is equal shares its mean rank."""
    return np.array([((values < v).sum() + 1 + (values <= v).sum()) / 2 for v in values], dtype=np.float64)


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's coefficient."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def figures(estimates: Array, levels: Array) -> str:
    """Rank correlation and mean absolute error."""
    error = np.abs(estimates - levels).mean()
    return f"Spearman {rank_correlation(estimates, levels):.3f}, mean absolute error {error:.2f}"


def make_sheet(paths: Sequence[Path], levels: Array, estimates: Array, target: Path) -> None:
    """All paintings in the order of their estimates, with both levels."""
    side, columns = 230, 6
    rows = -(-len(paths) // columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + 16)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, row in enumerate(np.argsort(estimates)):
        x, y = place % columns * side, place // columns * (side + 16)
        with Image.open(paths[row]) as image:
            picture = image.convert("RGB")
        picture.thumbnail((side - 6, side - 6))
        sheet.paste(picture, (x, y + 14))
        draw.text((x, y), f"{estimates[row]:.1f} (given {levels[row]:.1f}) {title(paths[row])[:18]}", fill="black")
    sheet.save(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--paper", type=Path, required=True)
    parser.add_argument("--genre", type=Path, required=True)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()

    known = known_levels(options.labels, options.paper, options.genre)
    names = list(WORDS)
    measured = [asdict(measure(read_picture(path))) for path in known]
    x = np.array([[features[name] for name in names] for features in measured], dtype=np.float64)
    y = np.array(list(known.values()), dtype=np.float64)

    print(f"guessing the median: mean absolute error {np.abs(y - statistics.median(y)).mean():.2f}")
    for way in WAYS:
        label = "equal weights" if way == "equal" else f"ridge, penalty {way}"
        print(f"left out, {label}: {figures(leave_one_out(x, y, in_way(way)), y)}")
    print(f"left out, way chosen in each fold: {figures(leave_one_out(x, y, in_best_way), y)}")
    plain, fitted = leave_one_out(x, y, in_way("equal")), predict(x, y, x, "equal")
    print(f"not left out, equal weights: {figures(fitted, y)}\n")
    print("| painting | given | left out | fitted |\n|---|---|---|---|")
    for row in np.argsort(y, kind="stable"):
        print(f"| {title(list(known)[row])} | {y[row]:.1f} | {plain[row]:.1f} | {fitted[row]:.1f} |")

    mean, deviation, weights = coefficients(x, y, "equal")
    terms = {
        name: {"mean": round(m, 4), "deviation": round(d, 4), "weight": round(w, 4)}
        for name, m, d, w in zip(names, mean.tolist(), deviation.tolist(), weights.tolist(), strict=True)
    }
    print()
    for column, name in enumerate(names):
        print(f"{name}: rank correlation {rank_correlation(x[:, column], y):+.2f}, {terms[name]}")
    if options.write:
        text = json.dumps({"average": round(float(y.mean()), 4), "terms": terms}, indent=2)
        options.write.write_text(text + "\n", "utf-8")
    if options.sheet:
        make_sheet(list(known), y, plain, options.sheet)


if __name__ == "__main__":
    main()
