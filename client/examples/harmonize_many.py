"""Many photos into one painting, all at once, with asyncio.

    python harmonize_many.py painting.jpg results/ boat.jpg dog.jpg balloon.png

The server queues the jobs; one that fails does not keep the others from finishing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from painterly_client import AsyncClient, HarmonizeParameters, PainterlyError, Preset, Result


async def harmonize_one(
    client: AsyncClient, photo: Path, painting: bytes, folder: Path, parameters: HarmonizeParameters
) -> Path:
    """Prepare and harmonize one photo. Returns the path of the result. Raises: PainterlyError."""
    prepared = await client.prepare(photo.read_bytes(), painting)
    output = folder / f"{photo.stem}.png"
    stream = client.harmonize(
        prepared.composite, painting, prepared.mask, dilated_mask=prepared.dilated_mask, parameters=parameters
    )
    async with stream:
        async for event in stream:
            if isinstance(event, Result):
                output.write_bytes(event.image)
    return output


async def harmonize_all(arguments: argparse.Namespace) -> int:
    """Run every photo at once. Returns the number of failures."""
    painting = arguments.painting.read_bytes()
    parameters = HarmonizeParameters(preset=arguments.preset)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    endpoints = {
        "preprocess_endpoint": arguments.preprocess_endpoint,
        "harmonize_endpoint": arguments.harmonize_endpoint,
    }
    async with AsyncClient(**endpoints) as client:
        jobs = [harmonize_one(client, photo, painting, arguments.folder, parameters) for photo in arguments.photos]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    failure_count = 0
    for photo, outcome in zip(arguments.photos, outcomes, strict=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, PainterlyError):
            raise outcome
        failure_count += isinstance(outcome, PainterlyError)
        sys.stdout.write(f"{photo}: {outcome}\n")
    return failure_count


def main() -> None:
    """Read the command line and exit with 1 if any photo failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("painting", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--preset", type=Preset, default=Preset.DRAFT, help="draft, standard or full")
    parser.add_argument("--preprocess-endpoint", default="127.0.0.1:50051", metavar="HOST:PORT")
    parser.add_argument("--harmonize-endpoint", default="127.0.0.1:50052", metavar="HOST:PORT")
    sys.exit(1 if asyncio.run(harmonize_all(parser.parse_args())) else 0)


if __name__ == "__main__":
    main()
