"""The command: it serves as a process of its own, stops when told, and says what is wrong in one line each."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click.testing
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from painterly.errors import read_details
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import harmonize_service_pb2_grpc as pb_grpc
from painterly_harmonize.__main__ import main
from painterly_harmonize.server import SERVICE_NAME, CannotListen, serve
from painterly_harmonize.settings import Settings
from tests.client.kit import until
from tests.contract.test_metrics import OF_CALLS, labels_of, scraped, value
from tests.harmonize.test_metrics import OF_JOBS
from tests.harmonize.toy import request

START_TIMEOUT_S = 60


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real command on a free port, with an empty weight store."""
    command = [sys.executable, "-m", "painterly_harmonize", "--port", "0", "--device", "cpu", "--exit-with-stdin"]
    command += ["--metrics", "127.0.0.1:0"]
    environment = {
        **os.environ,
        "PAINTERLY_WEIGHTS_DIR": str(tmp_path / "weights"),
        "PAINTERLY_HARMONIZE_DATA_FOLDER": str(tmp_path / "data"),
        "PAINTERLY_HARMONIZE_THREADS": "1",
    }
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as started:
        yield started
        started.kill()


def status(health: health_pb2_grpc.HealthStub, name: str) -> str:
    """What the health service says under a name."""
    answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def listening(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """The line that a server writes once it listens."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], START_TIMEOUT_S)[0], "the server does not start"
    line: dict[str, object] = json.loads(process.stdout.readline())
    return line


@pytest.mark.timeout(300)  # two processes that import torch, on a machine that may have other work
def test_it_serves_answers_with_typed_errors_and_stops_on_sigterm(process: subprocess.Popen[bytes]) -> None:
    line = listening(process)
    assert {**line, "port": 0, "metrics_port": 0} == {
        **{"event": "listening", "service": "harmonize", "host": "127.0.0.1"},
        **{"port": 0, "metrics_port": 0},
    }
    with grpc.insecure_channel(f"127.0.0.1:{line['port']}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE_NAME):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        until(lambda: status(health, "worker") == "SERVING", 2 * START_TIMEOUT_S)
        assert (status(health, "store"), status(health, "weights")) == ("SERVING", "NOT_SERVING")
        assert status(health, "readiness") == "NOT_SERVING"
        with pytest.raises(grpc.RpcError) as caught:
            list(pb_grpc.HarmonizeServiceStub(channel).Harmonize(request(pb.HarmonizeRequest), timeout=100))
    assert read_details(caught.value).reason == "WEIGHTS_MISSING"
    text = scraped(int(str(line["metrics_port"])))
    assert {name: labels for name, labels in labels_of(text).items() if name not in OF_CALLS} == OF_JOBS
    assert value(text, "painterly_worker_up") == 1
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"computing on cpu in float32, 1 CPU threads" in log
    assert b"Traceback" not in log


def test_it_stops_when_standard_input_ends(process: subprocess.Popen[bytes]) -> None:
    listening(process)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == 0


def test_a_missing_extra_is_named_in_one_line() -> None:
    code = (
        "import sys, runpy; sys.modules['torch'] = None; runpy.run_module('painterly_harmonize', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == ("painterly-harmonize: module torch is missing; run: pip install 'painterly[harmonize]'\n")


def test_all_faults_of_the_settings_are_told_one_line_each() -> None:
    done = click.testing.CliRunner().invoke(main, ["--port", "70000", "--threads", "none", "--device", "tpu"])
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    for line, flag, got in zip(
        sorted(lines), ("--device", "--port", "--threads"), ("'tpu'", "70000", "'none'"), strict=True
    ):
        assert line.startswith(f"painterly-harmonize: {flag} (or PAINTERLY_HARMONIZE_{flag[2:].upper()}) must be")
        assert line.endswith(f"got {got}")


def test_a_missing_device_ends_the_start() -> None:
    done = click.testing.CliRunner().invoke(main, ["--port", "0", "--device", "cuda:99"])
    assert done.exit_code == 2
    assert done.stderr.startswith("painterly-harmonize: device cuda:99 is missing: torch sees ")
    assert len(done.stderr.splitlines()) == 1


async def test_a_taken_port_ends_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{port}"):
            await serve(Settings(port=port, data_folder=str(tmp_path)))
