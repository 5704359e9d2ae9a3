"""Draw the suggested places into paintings, side by side, to be looked at.

    python tests/benchmarks/suggestion_sheet.py examples/paintings/*.jpg -o docs/suggestions.jpg --aspect 0.5

The first place is red, the second yellow, the third green; the reason of each first one is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from painterly_preprocess.imaging.params import SuggestionWish
from painterly_preprocess.imaging.suggesting import suggest

COLORS = ("red", "gold", "lime", "deepskyblue", "magenta")
TILE_PX = (480, 360)


def tile(path: Path, wish: SuggestionWish) -> Image.Image:
    """A painting with its suggestions, fitted into a tile."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    suggestions = suggest(np.array(picture), wish)
    print(f"{path.stem}: {suggestions[0].reason}")
    scale = min(TILE_PX[0] / picture.width, TILE_PX[1] / picture.height)
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(small)
    for each, color in reversed(list(zip(suggestions, COLORS, strict=False))):
        box = each.box
        corners = [round(side * scale) for side in (box.left, box.top, box.right, box.bottom)]
        draw.rectangle(corners, outline=color, width=4 if color == COLORS[0] else 3)
    framed = Image.new("RGB", TILE_PX, "#202020")
    framed.paste(small, ((TILE_PX[0] - small.width) // 2, (TILE_PX[1] - small.height) // 2))
    return framed


def main() -> None:
    """Read the command line and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--aspect", type=float, default=0.5)
    parser.add_argument("--count", type=int, default=3)
    arguments = parser.parse_args()
    wish = SuggestionWish(aspect_ratio=arguments.aspect, suggestion_count=arguments.count)
    tiles = [tile(path, wish) for path in arguments.paintings]
    columns = min(len(tiles), 2)
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * TILE_PX[0], rows * TILE_PX[1]))
    for number, each in enumerate(tiles):
        sheet.paste(each, (number % columns * TILE_PX[0], number // columns * TILE_PX[1]))
    sheet.save(arguments.output, quality=88)


if __name__ == "__main__":
    main()
