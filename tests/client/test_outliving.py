"""Named jobs of the real service, its processes and connections ended in many ways: the result arrives, once."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from painterly_client import (
    Accepted,
    Client,
    Event,
    Frame,
    Heartbeat,
    JobState,
    Progress,
    Reattachment,
    Result,
    Stage,
    StreamOptions,
)
from painterly_client.cli.job_file import read_job_file
from tests.client.cli.kit import lines_about, start
from tests.client.kit import MakeTwin, until
from tests.client.toy_server import ITERATIONS, PARAMETERS, ToyServer, arguments, pictures
from tests.proxy import Mode, Proxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATIENT = Reattachment(initial_backoff_s=0.05, max_backoff_s=0.5, idle_timeout_s=1.5, give_up_after_s=300)
EVERY = StreamOptions(progress_interval_s=0.0, frame_interval_s=0.0)
PACE_S = 0.04


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyServer]:
    """A server that the tests leave alone."""
    with ToyServer(tmp_path_factory.mktemp("server"), pace_s=PACE_S) as one:
        yield one


@pytest.fixture(scope="module")
def undisturbed(server: ToyServer) -> dict[str, bytes]:
    """What a run without any trouble makes: the passes' results and the result."""
    with Client(harmonize_endpoint=server.endpoint) as client:
        arguments: dict[str, Any] = {**pictures(), "parameters": PARAMETERS, "stream": EVERY}
        return lasting(list(client.harmonize(**arguments)))


def lasting(events: list[Event]) -> dict[str, bytes]:
    """The pictures that must arrive; each of them once."""
    found: dict[str, bytes] = {}
    for event in events:
        name = "result" if isinstance(event, Result) else None
        if isinstance(event, Frame) and event.is_stage_result:
            name = event.stage.value
        if name:
            assert name not in found
            assert isinstance(event, (Frame, Result))
            found[name] = event.image
    return found


def assert_nothing_twice(events: list[Event]) -> None:
    """Of what a job tells in its course, nothing comes twice, unless it begins a new attempt."""
    seen: set[Any] = set()
    for event in events:
        if isinstance(event, Accepted):
            seen.clear()
        key: tuple[object, ...] | None = None
        if isinstance(event, Progress):
            key = ("progress", event.stage, event.iteration)
        elif isinstance(event, Frame):
            key = ("frame", event.stage, event.iteration, event.is_stage_result)
        assert key is None or key not in seen, key
        seen.add(key)


def disturbed(client: Any, key: str, disturb: Any, *, at: int) -> list[Event]:
    """A named run that is disturbed when pass 1 is at an iteration."""
    events: list[Event] = []
    thread = None
    for event in client.harmonize(**pictures(), parameters=PARAMETERS, stream=EVERY, job_key=key):
        events.append(event)
        if thread is None and isinstance(event, Progress) and event.iteration >= at:
            thread = threading.Thread(target=disturb)
            thread.start()
    assert thread
    thread.join()
    return events


def test_a_swallowed_connection_is_noticed_and_the_job_goes_on(
    server: ToyServer, undisturbed: dict[str, bytes], make_twin: MakeTwin, request: pytest.FixtureRequest
) -> None:
    with Proxy(server.port) as proxy:

        def swallow() -> None:
            proxy.mode = Mode.BLACKHOLE
            time.sleep(2.5)  # longer than the idle timeout
            proxy.mode = Mode.PASS

        twin = make_twin(harmonize_endpoint=f"127.0.0.1:{proxy.port}", reattachment=PATIENT)
        events = disturbed(twin, f"swallowed-{request.node.name[-6:-1].strip('[')}", swallow, at=5)
        assert proxy.connection_count >= 2
    assert lasting(events) == undisturbed
    assert_nothing_twice(events)
    assert [event.attempt for event in events if isinstance(event, Accepted)] == [0]


def test_reset_connections_lose_nothing(
    server: ToyServer, undisturbed: dict[str, bytes], make_twin: MakeTwin, request: pytest.FixtureRequest
) -> None:
    with Proxy(server.port) as proxy:

        def reset() -> None:
            for _ in range(5):
                proxy.mode = Mode.RESET
                proxy.mode = Mode.PASS
                time.sleep(0.3)

        twin = make_twin(harmonize_endpoint=f"127.0.0.1:{proxy.port}", reattachment=PATIENT)
        events = disturbed(twin, f"reset-{request.node.name[-6:-1].strip('[')}", reset, at=5)
    assert lasting(events) == undisturbed
    assert_nothing_twice(events)
    assert [event.attempt for event in events if isinstance(event, Accepted)] == [0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_server_that_ends_and_comes_back_goes_on(
    tmp_path: Path, undisturbed: dict[str, bytes], number: signal.Signals
) -> None:
    with (
        ToyServer(tmp_path, pace_s=PACE_S) as server,
        Client(harmonize_endpoint=server.endpoint, reattachment=PATIENT) as client,
    ):

        def restart() -> None:
            server.end(number)
            server.start()

        events = disturbed(client, "k", restart, at=10)
        job = client.get_job(job_key="k")
    assert lasting(events) == undisturbed
    assert job.state is JobState.SUCCEEDED
    attempts = [event for event in events if isinstance(event, Accepted)]
    assert len(attempts) == 2
    assert attempts[1].resumed_from is not None
    iterations = [event.iteration for event in events if isinstance(event, Progress) and event.stage is Stage.PASS1]
    assert iterations[-1] == ITERATIONS


def test_heartbeats_come_through(server: ToyServer, make_twin: MakeTwin, request: pytest.FixtureRequest) -> None:
    quiet = StreamOptions(progress_interval_s=60.0, omit_frames=True)
    twin = make_twin(harmonize_endpoint=server.endpoint)
    key = f"quiet-{request.node.name[-6:-1].strip('[')}"
    events = list(twin.harmonize(**pictures(), parameters=PARAMETERS, stream=quiet, job_key=key))
    assert any(isinstance(event, Heartbeat) for event in events)
    again = list(twin.harmonize(**pictures(), parameters=PARAMETERS, stream=quiet, job_key=key))
    assert isinstance(again[-1], Result)
    assert again[-1] == events[-1]


def result_of(folder: Path) -> dict[str, bytes]:
    work = folder / "out-work"
    names = {"pass1": work / "pass1.png", "pass2": work / "pass2.png", "result": folder / "out.png"}
    return {name: path.read_bytes() for name, path in names.items()}


def test_a_killed_command_is_resumed(server: ToyServer, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    process = start(*arguments(folder, server, "--frames", folder / "f"))
    try:
        until(lambda: len(list(folder.glob("f/*-pass1-*"))) >= 5, 60)
    finally:
        process.kill()
        process.communicate()
    job_id = read_job_file(folder / "out.png.job.json").job_id
    resumed = start("resume", folder / "out.png")
    _, stderr = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, stderr
    assert result_of(folder) == undisturbed
    assert not (folder / "out.png.job.json").exists()
    with Client(harmonize_endpoint=server.endpoint) as client:
        assert client.get_job(job_id).attempt == 1


def test_a_detached_job_is_parked_and_goes_on_from_its_checkpoint(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    folder = tmp_path / "detached"
    with ToyServer(tmp_path, pace_s=0.05, orphan_s="0.5") as server:
        process = start(*arguments(folder, server, "--frames", folder / "f"))
        try:
            until(lambda: len(list(folder.glob("f/*-pass1-*"))) >= 5, 60)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 130
        assert lines_about(stderr, "resume with") == [f"painterly resume {folder / 'out.png'}"]
        file = read_job_file(folder / "out.png.job.json")
        with Client(harmonize_endpoint=server.endpoint) as client:
            until(lambda: client.get_job(file.job_id).state is JobState.PARKED, 30)
        resumed = start("resume", folder / "out.png", "--json")
        _, stderr = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, stderr
    assert "the job was interrupted on the server and goes on at pass 1" in stderr
    assert result_of(folder) == undisturbed


def test_a_second_ctrl_c_cancels_on_the_server(server: ToyServer, tmp_path: Path) -> None:
    folder = tmp_path / "cancelled"
    process = start(*arguments(folder, server, "--frames", folder / "f", "--pass1-iterations", 10_000))
    try:
        until(lambda: len(list(folder.glob("f/*-pass1-*"))) >= 3, 60)
        job_id = read_job_file(folder / "out.png.job.json").job_id
        process.send_signal(signal.SIGINT)
        assert process.stderr
        while "Ctrl-C once more" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert lines_about(stderr, "painterly") == [f"interrupted; job {job_id} is cancelled"]
    with Client(harmonize_endpoint=server.endpoint) as client:
        until(lambda: client.get_job(job_id).state is JobState.CANCELLED, 10)


def test_detach_lets_the_job_run_to_its_end(server: ToyServer, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "left"
    process = start(*arguments(folder, server, "--detach"))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    job_id = read_job_file(folder / "out.png.job.json").job_id
    with Client(harmonize_endpoint=server.endpoint) as client:
        until(lambda: client.get_job(job_id).state is JobState.SUCCEEDED, 90)
    resumed = start("resume", folder / "out.png")
    _, stderr = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, stderr
    assert result_of(folder) == undisturbed


def test_a_key_press_ends_the_running_pass_early(tmp_path: Path, server: ToyServer) -> None:
    folder = tmp_path / "early"
    leader, follower = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "painterly_client.cli",
        *map(str, arguments(folder, server, "--frames", folder / "f")),
    ]
    process = subprocess.Popen(
        command, stdin=follower, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_own_terminal
    )
    os.close(follower)
    try:
        until(lambda: len(list(folder.glob("f/*-pass1-*"))) >= 3, 60)
        os.write(leader, b"f")
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
        os.close(leader)
    assert process.returncode == 0, stderr
    assert "press f to end the running pass early" in stderr
    assert "the running pass ends with what it has" in stderr
    last = max(int(path.stem.split("-")[2]) for path in folder.glob("f/*-pass1-*"))
    assert last < ITERATIONS
    assert max(int(path.stem.split("-")[2]) for path in folder.glob("f/*-pass2-*")) == ITERATIONS


def _own_terminal() -> None:
    """A session whose controlling terminal is standard input."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
