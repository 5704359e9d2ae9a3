"""Whole servers as processes, with the real pipeline over the toy network: killed, told to stop, started again."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from painterly.errors import read_details
from painterly.limits import CHANNEL_OPTIONS
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import harmonize_service_pb2_grpc as pb_grpc
from tests.harmonize.jobs.kit import ROOT, wait_for
from tests.harmonize.toy import request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
START_TIMEOUT_S = 180
ITERATION_COUNT = 60


class Servers:
    """Starts servers over one data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, **settings: object) -> tuple[subprocess.Popen[bytes], str]:
        """A server and its address."""
        given = {"port": 0, "device": "cpu", "threads": 1, "lease_s": 2, "data_folder": self._folder, **settings}
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.harmonize.jobs.toy_process",
                *(f"{name}={value}" for name, value in given.items()),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env={**os.environ, "TOY_PACE_S": "0.02"},
        )
        self.processes.append(process)
        if given.get("role") == "worker":
            return process, ""
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_TIMEOUT_S)[0], "the server does not start"
        return process, f"127.0.0.1:{json.loads(process.stdout.readline())['port']}"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    started = Servers(tmp_path / "data")
    yield started
    for process in started.processes:
        process.kill()
        process.communicate()


def asked(key: str) -> pb.HarmonizeRequest:
    message = request(pb.HarmonizeRequest, ITERATION_COUNT)
    message.job_key = key
    message.stream.omit_frames = True
    return message


class Reader:
    """Reads a job from one server after the other; keeps what it saw."""

    def __init__(self) -> None:
        self.job_id = self.cursor = ""
        self.events: list[Any] = []

    def read(self, address: str, *, until: int = 0, key: str = "k") -> grpc.RpcError | None:
        """Read to the end, or until so many iterations of pass 1 were shown."""
        with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            stub = pb_grpc.HarmonizeServiceStub(channel)
            if self.job_id:
                call: Any = stub.WatchJob(pb.WatchJobRequest(job_id=self.job_id, after_cursor=self.cursor))
            else:
                call = stub.Harmonize(asked(key))
            try:
                for event in call:
                    self.events.append(event)
                    self.cursor = event.cursor
                    self.job_id = event.accepted.job_id or self.job_id
                    if until and event.progress.iteration >= until:
                        return None
            except grpc.RpcError as error:
                return error
        return None

    def iterations(self, stage: pb.Stage.ValueType) -> list[int]:
        return [event.progress.iteration for event in self.events if event.progress.stage == stage]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The result of an uninterrupted run."""
    servers = Servers(tmp_path_factory.mktemp("plain"))
    _, address = servers.start()
    reader = Reader()
    assert reader.read(address, key="plain") is None
    for process in servers.processes:
        process.kill()
        process.communicate()
    return reader.events[-1].result


def test_a_server_that_was_killed_goes_on_with_its_jobs_when_it_is_started_again(servers: Servers, plain: Any) -> None:
    process, address = servers.start()
    reader = Reader()
    assert reader.read(address, until=20) is None
    process.kill()
    _, address = servers.start()
    assert reader.read(address) is None
    assert reader.events[-1].result.image == plain.image
    shown = reader.iterations(pb.STAGE_PASS1)
    assert shown == sorted(set(shown))  # none twice: the worker wrote a checkpoint when its server was gone
    assert shown[-1] == ITERATION_COUNT
    resumed = [event.accepted for event in reader.events if event.accepted.attempt == 2]
    assert resumed[-1].resumed_from.iteration >= 20


def test_a_killed_worker_costs_no_iteration_and_changes_no_byte(servers: Servers, plain: Any) -> None:
    process, address = servers.start(checkpoint_s=0.2)
    reader = Reader()
    assert reader.read(address, until=20) is None
    (worker,) = _children(process.pid)
    os.kill(worker, signal.SIGKILL)
    assert reader.read(address) is None
    assert reader.events[-1].result.image == plain.image
    assert [event.accepted.attempt for event in reader.events if event.HasField("accepted")][-1] == 2
    assert reader.iterations(pb.STAGE_PASS2)[-1] == ITERATION_COUNT


def _children(process_id: int) -> list[int]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process_id)], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


def test_sigterm_hands_a_running_job_over_within_its_time(servers: Servers, plain: Any) -> None:
    process, address = servers.start(drain_s=0.5)
    reader = Reader()
    assert reader.read(address, until=20) is None
    _, other = servers.start(role="front")
    began_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(45) == 0
    assert time.monotonic() - began_s < 45
    servers.start(role="worker")
    assert reader.read(other) is None
    assert reader.events[-1].result.image == plain.image


def test_both_fronts_may_be_killed_while_a_worker_of_its_own_goes_on(servers: Servers, plain: Any) -> None:
    worker, _ = servers.start(role="worker")
    fronts = [servers.start(role="front") for _ in range(2)]
    reader = Reader()
    for (front, address), until in zip(fronts, (10, 25), strict=True):
        assert reader.read(address, until=until) is None
        front.kill()
    _, address = servers.start(role="front")
    assert reader.read(address) is None
    assert reader.events[-1].result.image == plain.image
    shown = reader.iterations(pb.STAGE_PASS1)
    assert shown == sorted(set(shown))
    assert {event.accepted.attempt for event in reader.events if event.HasField("accepted")} <= {0, 1}
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(45) == 0


def test_a_draining_server_tells_its_streams_and_an_unnamed_job_ends_with_it(servers: Servers) -> None:
    process, address = servers.start(drain_s=0.2)
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        message = request(pb.HarmonizeRequest, 10_000)
        call = pb_grpc.HarmonizeServiceStub(channel).Harmonize(message)
        for event in call:
            if event.progress.iteration >= 3:
                break
        process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    details = read_details(caught.value)
    assert (details.code, details.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert process.wait(45) == 0


def test_a_temporary_folder_goes_with_its_server_even_when_that_is_killed(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process, address = servers.start(data_folder="temporary")
    reader = Reader()
    assert reader.read(address, until=3) is None
    assert len(list(tmp_path.glob("painterly-jobs-*"))) == 1
    process.kill()
    wait_for(lambda: not list(tmp_path.glob("painterly-jobs-*")), 60)
