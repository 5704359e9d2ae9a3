"""Both services as processes of their own on free ports, without weights; the harmonize service has a toy network."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from painterly.v1 import harmonize_service_pb2 as harmonize
from painterly.v1 import harmonize_service_pb2_grpc as harmonize_grpc

ROOT = Path(__file__).parents[2]
_PROGRAMS = {
    "preprocess": ("-m", "painterly_preprocess", "--port", "0", "--threads", "2", "--exit-with-stdin"),
    "harmonize": (
        "-m",
        "tests.harmonize.jobs.toy_process",
        *("port=0", "device=cpu", "threads=1", "orphan_s=1", "exit_with_stdin=true"),
    ),
}
_START_TIMEOUT_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running service: its address, its process and the file of its log."""

    name: str
    port: int
    process: subprocess.Popen[str]
    log: Path

    @property
    def target(self) -> str:
        """The address for a channel."""
        return f"127.0.0.1:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None


@contextlib.contextmanager
def serving(name: str, folder: Path, *arguments: str, **changes: str) -> Iterator[Service]:
    """Run ``preprocess`` or ``harmonize``; its log and an empty weight store lie in ``folder``.

    ``arguments`` go to the program, ``changes`` into its environment.
    """
    log = folder / f"{name}.log"
    program = [*_PROGRAMS[name], *arguments]
    if name == "harmonize":
        program.append(f"data_folder={folder / 'data'}")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PAINTERLY_")}
    environment |= {"PAINTERLY_WEIGHTS_DIR": str(folder / "weights"), "PYTHONFAULTHANDLER": "1"}
    # All that it writes stays in the folder, where it can be counted.
    for variable in ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        environment[variable] = str(folder)
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            [sys.executable, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            cwd=ROOT,
            env=environment | changes,
        )
    assert process.stdin
    assert process.stdout
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{name} did not start: {log.read_text()[-2000:]}")
        service = Service(name=name, port=json.loads(line)["port"], process=process, log=log)
        if name == "harmonize":
            _wait_for_worker(service)
        yield service
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _wait_for_worker(service: Service) -> None:
    end_s = time.monotonic() + _START_TIMEOUT_S
    with grpc.insecure_channel(service.target) as channel:
        stub = harmonize_grpc.HarmonizeServiceStub(channel)
        while not any(
            each.is_alive for each in stub.GetServerInfo(harmonize.GetServerInfoRequest(), timeout=60).devices
        ):
            if time.monotonic() > end_s:
                raise RuntimeError(f"the worker did not start: {service.log.read_text()[-2000:]}")
            time.sleep(0.05)
