"""Small pictures, real services in processes of their own, and the command line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from painterly.weights import WeightsError, WeightStore

SIDE_PX = 96


def missing_weights(name: str) -> str:
    """Why the network's weights cannot be used; empty when they can."""
    try:
        WeightStore().path(name)
    except WeightsError as error:
        return str(error)
    return ""


def write_painting(path: Path) -> Path:
    """A painting of brush strokes: noise smeared along slanted lines, in three colors."""
    noise = np.random.default_rng(0).uniform(0, 1, (SIDE_PX, SIDE_PX))
    strokes = np.mean([np.roll(noise, (step, 2 * step), axis=(0, 1)) for step in range(6)], axis=0)
    colors = np.array([[40, 60, 120], [200, 170, 90], [120, 150, 110]])
    pixels = colors[np.digitize(strokes, [0.45, 0.55])] + 60 * (strokes[..., None] - 0.5)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


def write_photo(path: Path, *, alpha: bool = True) -> Path:
    """A photo of a striped disk; with ``alpha`` it is cut out already."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    inside = (x - SIDE_PX / 2) ** 2 + (y - SIDE_PX / 2) ** 2 < (SIDE_PX / 3) ** 2
    stripe = (x // 8) % 2 == 0
    colors = np.where(stripe[..., None], np.array([220, 40, 40]), np.array([240, 220, 210]))
    pixels = np.where(inside[..., None], colors, np.array([25, 30, 35])).astype(np.uint8)
    if alpha:
        pixels = np.dstack([pixels, np.where(inside, 255, 0).astype(np.uint8)])
    Image.fromarray(pixels).save(path)
    return path


def read_pixels(path: Path, mode: str = "RGB") -> NDArray[np.uint8]:
    """A picture's pixels."""
    with Image.open(path) as image:
        return np.array(image.convert(mode))


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without endpoints, on one thread."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_ENDPOINT")}
    return kept | {"PAINTERLY_HARMONIZE_THREADS": "1", "PAINTERLY_HARMONIZE_DEVICE": "cpu"} | changes


def start(*arguments: object, **changes: str) -> subprocess.Popen[str]:
    """Start ``painterly`` in a process group of its own; keywords are environment variables."""
    return subprocess.Popen(
        [sys.executable, "-m", "painterly_client.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**changes),
        start_new_session=True,
    )


def painterly(*arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run ``painterly`` to its end; keywords are environment variables."""
    process = start(*arguments, **changes)
    try:
        stdout, stderr = process.communicate(timeout=250)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@contextlib.contextmanager
def service(name: str, **changes: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A real service (``preprocess`` or ``harmonize``) through ``painterly serve``: its endpoint and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "painterly_client.cli", "serve", name, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(**changes),
    )
    assert process.stdout
    try:
        line = json.loads(process.stdout.readline())
        assert (line["event"], line["service"]) == ("listening", name)
        yield f"{line['host']}:{line['port']}", process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for a condition. Raises: AssertionError when it does not come true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def processes_with(mark: str) -> list[int]:
    """The ids of running processes in whose environment ``mark`` is a value."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"={mark}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found
