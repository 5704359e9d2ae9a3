"""From a photo to the finished picture, with progress and with the frames on the way.

    python stream_frames.py photo.jpg painting.jpg frames/ --center 0.3 0.6 --height 0.4

Every frame goes into the folder as it arrives, the result last. Ctrl-C stops the server's work, too. Errors are told
by their kind: what is wrong with the request, and whether trying again makes sense.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from painterly_client import (
    Accepted,
    Client,
    Event,
    Frame,
    HarmonizeParameters,
    Heartbeat,
    InvalidRequest,
    PainterlyError,
    Placement,
    Preset,
    Progress,
    Queued,
    Result,
    ServerBusy,
    StreamOptions,
)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("painting", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--center", type=float, nargs=2, default=(0.5, 0.5), metavar=("X", "Y"), help="fractions")
    parser.add_argument("--height", type=float, default=0.5, help="as a fraction of the painting's height")
    parser.add_argument("--preset", type=Preset, default=Preset.DRAFT, help="draft, standard or full")
    parser.add_argument("--frame-interval", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--preprocess-endpoint", default="127.0.0.1:50051", metavar="HOST:PORT")
    parser.add_argument("--harmonize-endpoint", default="127.0.0.1:50052", metavar="HOST:PORT")
    return parser.parse_args()


def keep(event: Event, folder: Path) -> str:
    """Write an event's picture, if it has one. Returns one line about the event."""
    if isinstance(event, Accepted):
        return f"job {event.job_id}"
    if isinstance(event, Heartbeat):
        return "still there"
    if isinstance(event, Queued):
        return f"{event.position} jobs before this one"
    if isinstance(event, Progress):
        losses = ", ".join(f"{name} {value:.4g}" for name, value in event.losses.items())
        return f"{event.elapsed_s:6.1f} s  {event.stage.value} {event.iteration}/{event.iteration_count}  {losses}"
    if isinstance(event, Frame):
        path = folder / f"{event.stage.value}-{event.iteration:05d}.{event.format.value}"
    else:
        path = folder / f"result.{event.format.value}"
    path.write_bytes(event.image)
    return f"wrote {path}"


def run(client: Client, arguments: argparse.Namespace) -> None:
    """Prepare, then harmonize event by event."""
    painting = arguments.painting.read_bytes()
    x, y = arguments.center
    placement = Placement(center_x_fraction=x, center_y_fraction=y, height_fraction=arguments.height)
    prepared = client.prepare(arguments.photo.read_bytes(), painting, placement=placement)
    sys.stdout.write(f"background removed by {prepared.method_used.value}: {prepared.method_reason}\n")
    stream = client.harmonize(
        prepared.composite,
        painting,
        prepared.mask,
        dilated_mask=prepared.dilated_mask,
        parameters=HarmonizeParameters(preset=arguments.preset),
        stream=StreamOptions(frame_interval_s=arguments.frame_interval),
    )
    with stream:  # leaving it, also by Ctrl-C, cancels the call
        for event in stream:
            sys.stdout.write(keep(event, arguments.folder) + "\n")
            if isinstance(event, Result):
                sys.stdout.write(f"{event.changed_pixel_count} pixels changed, on {event.device}\n")


def main() -> None:
    """Run, and turn errors into one line and an exit code."""
    arguments = parse_arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    endpoints = {
        "preprocess_endpoint": arguments.preprocess_endpoint,
        "harmonize_endpoint": arguments.harmonize_endpoint,
    }
    try:
        with Client(**endpoints) as client:
            run(client, arguments)
    except InvalidRequest as error:
        sys.exit(f"please change {error.field}: {error}")
    except ServerBusy as error:
        sys.exit(f"{error}; " + (f"try again in {error.retry_after_s} s" if error.retry_after_s else "ask for less"))
    except PainterlyError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
