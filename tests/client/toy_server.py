"""The real harmonize service with its real worker process, over a toy network: to be killed and started again."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from painterly_client import HarmonizeParameters, Pass1Parameters, Pass2Parameters, PostprocessParameters
from painterly_client.cli.parameters import to_json
from tests.client.kit import free_port

ROOT = Path(__file__).parents[2]
ITERATIONS = 40
PARAMETERS = HarmonizeParameters(
    working_long_side_px=2048,
    pass1=Pass1Parameters(iteration_count=ITERATIONS),
    pass2=Pass2Parameters(iteration_count=ITERATIONS),
    postprocess=PostprocessParameters(skip_patch_synthesis=True),
)
SETTINGS = {
    "device": "cpu",
    "threads": "1",
    "lease_s": "2",
    "orphan_s": "60",
    "checkpoint_s": "0.05",
    "heartbeat_s": "0.3",
    "drain_s": "1",
}


class ToyServer:
    """A server on a port and a data folder that stay the same when it is started again."""

    def __init__(self, folder: Path, *, pace_s: float, **settings: str) -> None:
        self._folder, self._pace_s, self._settings = folder, pace_s, {**SETTINGS, **settings}
        self.port = free_port()
        self.endpoint = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ToyServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    def start(self) -> None:
        """Start it and wait until it listens."""
        settings = self._settings | {"port": str(self.port), "data_folder": str(self._folder / "data")}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.harmonize.jobs.toy_process", *(f"{n}={v}" for n, v in settings.items())],
                cwd=ROOT,
                env={**os.environ, "TOY_PACE_S": str(self._pace_s)},
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout
        assert json.loads(self._process.stdout.readline())["event"] == "listening"

    def end(self, number: signal.Signals) -> None:
        """Send it a signal and wait for its end."""
        process, self._process = self._process, None
        if process:
            process.send_signal(number)
            process.wait(40)
            if process.stdout:
                process.stdout.close()


def pictures() -> dict[str, bytes]:
    """Noise as painting, a flat block pasted over it; as keywords of the client's calls."""
    painting = np.random.default_rng(1).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    mask = np.zeros((64, 80), dtype=np.uint8)
    mask[20:40, 24:48] = 255
    composite = np.where(mask[..., None] > 0, np.array([200, 120, 40], dtype=np.uint8), painting)
    return {"composite": _png(composite), "painting": _png(painting), "mask": _png(mask)}


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def arguments(folder: Path, server: ToyServer, *more: object) -> list[object]:
    """The scene as files, and the command line that harmonizes it."""
    folder.mkdir(exist_ok=True)
    for name, data in pictures().items():
        (folder / f"{name}.png").write_bytes(data)
    (folder / "parameters.json").write_text(json.dumps(to_json(PARAMETERS)))
    files = [folder / "painting.png", "--composite", folder / "composite.png", "--mask", folder / "mask.png"]
    options = ["--parameters", folder / "parameters.json", "--frame-interval", "0", "-o", folder / "out.png"]
    return ["harmonize", *files, *options, "--harmonize-endpoint", server.endpoint, *more]
