"""Services started for one command: real processes with real faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from painterly_client._embedded import MODULES, EmbeddedServer, EmbeddedServerFailed
from painterly_client.cli.connecting import Services
from painterly_client.cli.session import Session
from tests.client.kit import until

_LISTEN = 'import sys; print(\'{"event": "listening", "host": "127.0.0.1", "port": 4711}\', flush=True); '


def server(code: str) -> EmbeddedServer:
    return EmbeddedServer("harmonize", [sys.executable, "-c", code])


def is_running(pid: int) -> bool:
    # A process that nobody has waited for yet has ended all the same.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_endpoint_is_the_announced_one() -> None:
    running = server("print('noise'); print('[1]'); " + _LISTEN + "sys.stdin.read()")
    try:
        assert running.endpoint(20) == "127.0.0.1:4711"
        assert running.endpoint() == "127.0.0.1:4711"
        # A Ctrl-C at our terminal must not reach it.
        assert os.getpgid(running._process.pid) != os.getpgid(0)
    finally:
        running.stop()


def test_a_process_that_dies_tells_its_last_words() -> None:
    running = server("import sys; [print('line', n, file=sys.stderr) for n in range(9)]; sys.exit(7)")
    with pytest.raises(EmbeddedServerFailed) as caught:
        running.endpoint(20)
    running.stop()
    assert str(caught.value) == (
        "the harmonize service ended with exit code 7 before it listened\n  line 6\n  line 7\n  line 8"
    )
    assert caught.value.log_path.read_text().startswith("line 0\n")


def test_a_silent_process_is_given_up() -> None:
    running = server("import time; time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(EmbeddedServerFailed, match=r"did not listen within 0\.2 s"):
        running.endpoint(0.2)
    running.stop()
    assert time.monotonic() - started < 5


def test_a_deaf_process_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("painterly_client._embedded._STOP_TIMEOUT_S", 0.3)
    running = server(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + _LISTEN + "import time; time.sleep(60)"
    )
    running.endpoint(20)
    running.stop()
    assert running._process.returncode == -signal.SIGKILL


def test_much_output_does_not_block_the_process() -> None:
    running = server(
        _LISTEN + "print('x' * 1_000_000, flush=True); print('done', file=sys.stderr, flush=True); sys.stdin.read()"
    )
    try:
        running.endpoint(20)
        until(lambda: running.log_path.read_text() == "done\n")
    finally:
        running.stop()


def test_a_service_dies_with_us_even_when_we_are_killed() -> None:
    child = "import os, sys; print(os.getpid(), file=sys.stderr, flush=True); sys.stdin.read()"
    parent = (
        "import sys, time; from painterly_client._embedded import EmbeddedServer; "
        f"server = EmbeddedServer('harmonize', [sys.executable, '-c', {child!r}]); "
        "print(server.log_path, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    log = Path(process.stdout.readline().strip())
    until(lambda: log.read_text().endswith("\n"), 20)
    pid = int(log.read_text())
    assert is_running(pid)
    process.kill()
    process.communicate()
    until(lambda: not is_running(pid))


def test_only_missing_services_are_started() -> None:
    session = Session(quiet=True)
    with Services(("harmonize",), {"harmonize": "127.0.0.1:1"}, session) as services:
        services.client("harmonize")
    assert session.logs == []
    assert list(Path(os.environ["TMPDIR"]).iterdir()) == []


def test_the_log_of_a_failed_start_is_named_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULES, "harmonize", "no_such_module")
    session = Session(quiet=True)
    with (
        pytest.raises(EmbeddedServerFailed, match="No module named no_such_module"),
        Services(("harmonize",), {}, session) as services,
    ):
        services.client("harmonize")
    assert [path.exists() for path in session.logs] == [True]


def test_no_log_stays_after_success() -> None:
    session = Session(quiet=True)
    with Services(("preprocess",), {"preprocess": ""}, session):
        pass
    assert list(Path(os.environ["TMPDIR"]).iterdir()) == []
