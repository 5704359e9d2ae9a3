"""Contact sheets of real photos: each cut out and laid over a dark, a light and a busy painting, to be looked at.

    python -m tests.benchmarks.cutout_sheet PHOTO... --paintings DARK LIGHT BUSY -o sheet.jpg

A photo may be followed by a selection as for ``--object``: ``group.jpg@0.3,0.6`` or ``group.jpg@largest``. ``--zoom``
shows the edge at the element's top in its own pixels instead of the whole element.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from painterly.weights import WeightStore
from painterly_preprocess.imaging.compositing import PlacedElement, compose
from painterly_preprocess.imaging.cutout_params import Box, CutOutParams, ObjectSelection, Point
from painterly_preprocess.imaging.params import Placement, RemovalMethod
from painterly_preprocess.removal import BackgroundRemover, Removal
from painterly_preprocess.settings import RemoveBgSettings

Pixels = NDArray[np.uint8]
CELL = 360


def selection_of(text: str) -> ObjectSelection:
    """``largest``, two or four fractions, or nothing."""
    if not text or text == "largest":
        return ObjectSelection(largest=bool(text))
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) == 2:
        return ObjectSelection(point=Point(x_fraction=numbers[0], y_fraction=numbers[1]))
    left, top, right, bottom = numbers
    return ObjectSelection(box=Box(left_fraction=left, top_fraction=top, right_fraction=right, bottom_fraction=bottom))


def fitted(picture: Image.Image) -> Pixels:
    """A picture cut to the cell's shape, from its middle."""
    scale = CELL / min(picture.size)
    large = picture.resize((max(CELL, round(picture.width * scale)), max(CELL, round(picture.height * scale))))
    left, top = (large.width - CELL) // 2, (large.height - CELL) // 2
    return np.asarray(large.crop((left, top, left + CELL, top + CELL)).convert("RGB"))


def laid_over(element: Pixels, painting: Pixels) -> Pixels:
    """An element over a painting, as large as fits."""
    height, width = element.shape[:2]
    share = 0.92 * min(1.0, height / width)
    placed = PlacedElement(pixels=element, placement=Placement(height_fraction=share))
    return compose([placed], painting).pixels


def top_edge(element: Pixels) -> Pixels:
    """The part of an element around its topmost solid pixels, of at most a cell's half."""
    rows, columns = np.nonzero(element[..., 3] >= 128)
    top, middle = int(rows.min()), int(columns[rows < rows.min() + 8].mean())
    side = min(CELL // 2, *element.shape[:2])
    first = max(0, min(middle - side // 2, element.shape[1] - side))
    start = max(0, min(top - side // 8, element.shape[0] - side))
    return element[start : start + side, first : first + side]


def main() -> None:
    """Cut out, lay over, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--paintings", nargs="+", type=Path, required=True)
    parser.add_argument("--method", default="auto", choices=["auto", "u2net", "grabcut", "chroma_key"])
    parser.add_argument("--no-refine", action="store_true")
    parser.add_argument("--zoom", action="store_true")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    remover = BackgroundRemover(WeightStore(), 1, RemoveBgSettings())
    paintings = [fitted(Image.open(path)) for path in arguments.paintings]
    rows = []
    for given in arguments.photos:
        name, _, selection = given.partition("@")
        photo = Image.open(name)
        params = CutOutParams(
            refine_edges=False if arguments.no_refine else None,
            selection=selection_of(selection),
            crop_to_content=True,
        )
        wish = Removal(method=RemovalMethod(arguments.method), params=params)
        removed = remover.remove(np.asarray(photo.convert("RGBA")), wish)
        element = removed.cut_out.element
        print(name, removed.method.value, element.shape, flush=True)
        if arguments.zoom:
            part = Image.fromarray(top_edge(element)).resize((CELL, CELL), Image.Resampling.NEAREST)
            alpha = np.asarray(part)[..., 3:] / 255
            cells = [np.rint(alpha * np.asarray(part)[..., :3] + (1 - alpha) * each) for each in paintings]
        else:
            cells = [laid_over(element, each).astype(np.float64) for each in paintings]
        rows.append(np.hstack([fitted(photo), *(cell.astype(np.uint8) for cell in cells)]))
    Image.fromarray(np.vstack(rows)).save(arguments.output, quality=80)


if __name__ == "__main__":
    main()
