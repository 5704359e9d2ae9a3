"""``painterly serve``: processes are supervised as real ones; the services themselves run in tests/end_to_end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.client.cli.kit import run
from tests.client.cli.test_embedded import is_running
from tests.client.kit import until

# Two children that note their process ids; the code of the second is given.
_SUPERVISE = """
import sys
from painterly_client.cli.serving import supervise
note = "import os, sys, time; from pathlib import Path; Path(sys.argv[1]).write_text(str(os.getpid()) + '\\\\n'); "
commands = {
    "preprocess": [sys.executable, "-c", note + "sys.stdin.read()", "first"],
    "harmonize": [sys.executable, "-c", note + sys.argv[1], "second"],
}
print(supervise(commands))
"""


def supervisor(second: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _SUPERVISE, second], stdout=subprocess.PIPE, text=True)


def pids() -> list[int]:
    def noted(name: str) -> str:
        return Path(name).read_text() if Path(name).exists() else ""

    until(lambda: noted("first").endswith("\n") and noted("second").endswith("\n"), 20)
    return [int(Path(name).read_text()) for name in ("first", "second")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_both(number: signal.Signals) -> None:
    process = supervisor("sys.stdin.read()")
    children = pids()
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=20)
    assert (stdout, process.returncode) == ("None\n", 0)
    assert not any(is_running(pid) for pid in children)


def test_when_one_dies_the_other_is_stopped_and_the_dead_one_is_named() -> None:
    process = supervisor("time.sleep(0.5); sys.exit(9)")
    children = pids()
    stdout, _ = process.communicate(timeout=20)
    assert stdout == "('harmonize', 9)\n"
    assert not any(is_running(pid) for pid in children)


def test_when_the_supervisor_is_killed_both_end() -> None:
    process = supervisor("sys.stdin.read()")
    children = pids()
    process.kill()
    process.communicate()
    until(lambda: not any(is_running(pid) for pid in children))


def test_a_service_that_cannot_start_ends_serve_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("painterly_client.cli.serving.MODULES", {"preprocess": "timeit", "harmonize": "no_such_module"})
    started = time.monotonic()
    outcome = run("serve", "all", "--preprocess-port", "0")
    assert outcome.exit_code == 1
    assert "service ended by itself with exit code" in outcome.stderr
    assert time.monotonic() - started < 10


def test_a_port_out_of_range_is_refused() -> None:
    assert run("serve", "harmonize", "--port", "70000").exit_code == 2


def test_options_that_only_the_service_knows_are_passed_on() -> None:
    command = [sys.executable, "-m", "painterly_client.cli", "serve", "preprocess", "--port", "0", "--threads", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "painterly-preprocess: --threads (or PAINTERLY_PREPROCESS_THREADS) must be from 1 to 1024, got 0\n"
    )
