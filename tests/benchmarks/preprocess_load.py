"""What the preprocess service takes: pictures per second and core, peak memory, many calls at once and in a row.

    python -m tests.benchmarks.preprocess_load PHOTO PAINTING --cores 1 2

Servers run as processes of their own, held to the given numbers of cores. Sizes are made by enlarging the photo.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from painterly_client import BackgroundRemoval, BackgroundRemovalMethod, ChromaKey, Client, Placement, RgbColor

_TICKS = os.sysconf("SC_CLK_TCK")
_MIXED_CALLS, _REPORT_EVERY = 200, 40


@dataclass(frozen=True)
class Running:
    """A server's process and where it listens."""

    pid: int
    endpoint: str

    def memory_mib(self, name: str) -> float:
        """A value of the process's status, such as VmHWM, the peak, or VmRSS."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024

    def cpu_s(self) -> float:
        """Seconds on cores so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@contextlib.contextmanager
def serving(core_count: int) -> Iterator[Running]:
    """A service on so many cores."""
    command = [sys.executable, "-m", "painterly_preprocess", "--port", "0", "--exit-with-stdin"]
    cores = sorted(os.sched_getaffinity(0))[:core_count]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        announced = json.loads(process.stdout.readline())
        try:
            yield Running(process.pid, f"{announced['host']}:{announced['port']}")
        finally:
            process.stdin.close()
            process.wait(30)


def enlarged(path: Path, megapixels: float) -> bytes:
    """A JPEG of a photo at about so many pixels."""
    photo = Image.open(path).convert("RGB")
    scale = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
    buffer = io.BytesIO()
    photo.resize((round(photo.width * scale), round(photo.height * scale))).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def throughput(
    running: Running, call: Callable[[Client], object], at_once: int, count: int
) -> tuple[float, float, float]:
    """Calls per second, seconds on cores and seconds in all, with so many callers at once."""
    with ThreadPoolExecutor(at_once) as pool, Client(preprocess_endpoint=running.endpoint) as client:
        call(client)
        begin, before = time.perf_counter(), running.cpu_s()
        list(pool.map(lambda _: call(client), range(count)))
        wall = time.perf_counter() - begin
        return count / wall, running.cpu_s() - before, wall


def mixed_calls(photo: bytes, painting: bytes, mask: bytes) -> list[Callable[[Client], object]]:
    """One call of each sort."""
    half = Placement(height_fraction=0.4)
    backdrop = ChromaKey(color=RgbColor(red=20, green=30, blue=60))
    return [
        lambda client: client.remove_background(photo, method=BackgroundRemovalMethod.U2NET),
        lambda client: client.remove_background(photo, method=BackgroundRemovalMethod.GRABCUT),
        lambda client: client.remove_background(photo, removal=BackgroundRemoval(mask=mask, refine_edges=True)),
        lambda client: client.remove_background(photo, removal=BackgroundRemoval(chroma_key=backdrop)),
        lambda client: client.prepare(photo, painting, placement=half),
        lambda client: client.dilate_mask(mask),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("painting", type=Path)
    parser.add_argument("--cores", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--megapixels", nargs="+", type=float, default=[1, 4, 12])
    parser.add_argument("--mixed", type=int, default=_MIXED_CALLS)
    arguments = parser.parse_args()
    print("| method | megapixels | cores | at once | pictures/s | per s of a core | cores busy | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for method in (BackgroundRemovalMethod.U2NET, BackgroundRemovalMethod.GRABCUT):
        for megapixels in arguments.megapixels:
            photo = enlarged(arguments.photo, megapixels)
            for cores in arguments.cores:
                with serving(cores) as running:

                    def remove(
                        client: Client, photo: bytes = photo, method: BackgroundRemovalMethod = method
                    ) -> object:
                        return client.remove_background(photo, method=method)

                    at_once = 2 * cores
                    count = max(arguments.calls, at_once)
                    rate, cpu, wall = throughput(running, remove, at_once, count)
                    peak = running.memory_mib("VmHWM")
                row = f"{megapixels:g} | {cores} | {at_once} | {rate:.2f} | {count / cpu:.2f} | {cpu / wall:.2f}"
                print(f"| {method.name} | {row} | {peak:.0f} |", flush=True)
    photo, painting = enlarged(arguments.photo, 0.3), arguments.painting.read_bytes()
    buffer = io.BytesIO()
    ImageOps.invert(Image.open(io.BytesIO(photo)).convert("L")).point(lambda v: 255 * (v > 127)).save(buffer, "PNG")
    calls = mixed_calls(photo, painting, buffer.getvalue())
    print("\nmixed calls done -> memory in MiB")
    with (
        serving(max(arguments.cores)) as running,
        Client(preprocess_endpoint=running.endpoint) as client,
        ThreadPoolExecutor(2 * max(arguments.cores)) as pool,
    ):
        for done in range(0, arguments.mixed, _REPORT_EVERY):
            list(pool.map(lambda number: calls[number % len(calls)](client), range(done, done + _REPORT_EVERY)))
            print(f"{done + _REPORT_EVERY} -> {running.memory_mib('VmRSS'):.0f}", flush=True)
    print(f"this client's own peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
