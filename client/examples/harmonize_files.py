"""The simplest use: harmonize a composite that is already there, and keep the result.

    python harmonize_files.py composite.png painting.jpg mask.png result.png --harmonize-endpoint 127.0.0.1:50052

The composite is the painting with the element pasted over it, the mask is bright where the element is; all three
pictures have the same size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from painterly_client import Client, HarmonizeParameters, Preset, Result


def main() -> None:
    """Read three pictures, write one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("composite", type=Path)
    parser.add_argument("painting", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--harmonize-endpoint", default="127.0.0.1:50052", metavar="HOST:PORT")
    parser.add_argument("--preset", type=Preset, default=Preset.DRAFT, help="draft, standard or full")
    arguments = parser.parse_args()

    with Client(harmonize_endpoint=arguments.harmonize_endpoint) as client:
        events = client.harmonize(
            arguments.composite.read_bytes(),
            arguments.painting.read_bytes(),
            arguments.mask.read_bytes(),
            parameters=HarmonizeParameters(preset=arguments.preset),
        )
        for event in events:
            if isinstance(event, Result):
                arguments.output.write_bytes(event.image)


if __name__ == "__main__":
    main()
