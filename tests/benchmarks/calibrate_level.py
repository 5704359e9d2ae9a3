"""Fit the model of the stylization level to paintings of known level, and say how well it would do on others.

    python -m tests.benchmarks.calibrate_level levels.json --paper CASES --genre PAINTINGS --write MODEL.json --sheet OUT.png

``levels.json`` has the groups ``paper`` (pictures at CASES/NAME/painting.jpg) and ``genre`` (PAINTINGS/NAME.jpg), each
from a name to ``{"level": ...}``. Three leave-one-out figures are printed, each more severe than the one before: with
the model's own measurements and penalty; with the penalty chosen anew for each painting that is left out; with the
measurements chosen anew as well, from all that are taken.
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

PENALTIES = (1.0, 3.0, 10.0, 30.0)
PENALTY = 10.0
MOST_MEASUREMENTS = 4


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


def coefficients(x: Array, y: Array, penalty: float) -> tuple[Array, Array, Array]:
    """Means, deviations and ridge weights of the columns of ``x``."""
    mean, deviation = x.mean(0), x.std(0)
    z = (x - mean) / deviation
    weights = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    return mean, deviation, weights


def predict(x: Array, y: Array, new: Array, penalty: float) -> Array:
    """Levels of ``new`` by a model of ``x`` and ``y``, 1 to 10."""
    mean, deviation, weights = coefficients(x, y, penalty)
    return np.asarray(np.clip(((new - mean) / deviation).clip(-2.5, 2.5) @ weights + y.mean(), 1, 10))


def leave_one_out(x: Array, y: Array, fit: Fitted) -> Array:
    """What ``fit`` says of each row when it knows all others."""
    return np.array(
        [fit(np.delete(x, row, 0), np.delete(y, row), x[row : row + 1])[0] for row in range(len(y))], dtype=np.float64
    )


def error_of(x: Array, y: Array, penalty: float) -> float:
    """Mean squared error, leaving one out."""
    estimates = leave_one_out(x, y, lambda a, b, new: predict(a, b, new, penalty))
    return float(np.square(estimates - y).mean())


def best_penalty(x: Array, y: Array) -> float:
    """The penalty with the least error."""
    return min(PENALTIES, key=lambda penalty: error_of(x, y, penalty))


def best_columns(x: Array, y: Array, penalty: float) -> list[int]:
    """Columns chosen one after the other, each the one that lowers the error most, while any does."""
    chosen: list[int] = []
    least = float(np.var(y))
    while len(chosen) < MOST_MEASUREMENTS:
        errors = {c: error_of(x[:, [*chosen, c]], y, penalty) for c in range(x.shape[1]) if c not in chosen}
        column = min(errors, key=lambda c: errors[c])
        if errors[column] >= least:
            break
        chosen, least = [*chosen, column], errors[column]
    return chosen


def with_best_penalty(x: Array, y: Array, new: Array) -> Array:
    """Fit with the penalty chosen from the data at hand."""
    return predict(x, y, new, best_penalty(x, y))


def with_best_columns(x: Array, y: Array, new: Array) -> Array:
    """Fit with the measurements and then the penalty chosen from the data at hand."""
    columns = best_columns(x, y, PENALTY)
    return with_best_penalty(x[:, columns], y, new[:, columns])


def ranks(values: Array) -> Array:
    """Ranks from 1; what is equal shares its mean rank."""
    return np.array([((values < v).sum() + 1 + (values <= v).sum()) / 2 for v in values], dtype=np.float64)


def figures(estimates: Array, levels: Array) -> str:
    """Rank correlation and mean absolute error."""
    spearman = np.corrcoef(ranks(estimates), ranks(levels))[0, 1]
    return f"Spearman {spearman:.3f}, mean absolute error {np.abs(estimates - levels).mean():.2f}"


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
    measured = [asdict(measure(read_picture(path))) for path in known]
    y = np.array(list(known.values()), dtype=np.float64)
    every = list(measured[0])
    all_x = np.array([[features[name] for name in every] for features in measured], dtype=np.float64)
    names = list(WORDS)
    x = all_x[:, [every.index(name) for name in names]]

    plain = leave_one_out(x, y, lambda a, b, new: predict(a, b, new, PENALTY))
    print(f"guessing the median: mean absolute error {np.abs(y - statistics.median(y)).mean():.2f}")
    print(f"plain: {figures(plain, y)}")
    print(f"penalty chosen in each fold: {figures(leave_one_out(x, y, with_best_penalty), y)}")
    print(f"measurements and penalty chosen in each fold: {figures(leave_one_out(all_x, y, with_best_columns), y)}")
    fitted = predict(x, y, x, PENALTY)
    print(f"not left out: {figures(fitted, y)}\n\n| painting | given | left out | fitted |\n|---|---|---|---|")
    for row in np.argsort(y, kind="stable"):
        print(f"| {title(list(known)[row])} | {y[row]:.2f} | {plain[row]:.2f} | {fitted[row]:.2f} |")

    mean, deviation, weights = coefficients(x, y, PENALTY)
    terms = {
        name: {"mean": round(m, 5), "deviation": round(d, 5), "weight": round(w, 5)}
        for name, m, d, w in zip(names, mean.tolist(), deviation.tolist(), weights.tolist(), strict=True)
    }
    print(json.dumps(terms, indent=1))
    if options.write:
        text = json.dumps({"average": round(float(y.mean()), 5), "terms": terms}, indent=2)
        options.write.write_text(text + "\n", "utf-8")
    if options.sheet:
        make_sheet(list(known), y, plain, options.sheet)


if __name__ == "__main__":
    main()
