"""Two processes that fetch at once, and one that is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from painterly.weights import Transfer, UrlSource, WeightStore
from tests.weights.kit import Fault, FileServer, plain_network, sha256

BODY = os.urandom(1_000_000)
SLOW = Fault(pause_s=0.05)

FETCH = """
import sys
from pathlib import Path
from painterly.weights import InputConvention, Network, UrlSource, WeightStore

directory, url, digest = sys.argv[1:]
network = Network(
    name="net", file_name="net.bin", description="", license="",
    input=InputConvention(scale=1.0, mean=(0.0, 0.0, 0.0)), sources=(UrlSource(url=url, sha256=digest),),
)
def report(progress):
    print(progress.phase.value, progress.received_bytes, flush=True)
print(WeightStore(Path(directory), manifest={"net": network}).fetch("net", on_progress=report), flush=True)
"""


def _start(directory: Path, server: FileServer) -> subprocess.Popen[str]:
    arguments = [str(directory), server.url("/net"), sha256(BODY)]
    return subprocess.Popen([sys.executable, "-c", FETCH, *arguments], stdout=subprocess.PIPE, text=True)


def _store(directory: Path, server: FileServer) -> WeightStore:
    source = UrlSource(url=server.url("/net"), sha256=sha256(BODY))
    return WeightStore(directory, manifest={"net": plain_network("net", source)}, transfer=Transfer(backoff_s=0.01))


def test_two_processes_download_once(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    file_server.faults += [SLOW]
    first, second = _start(tmp_path, file_server), _start(tmp_path, file_server)
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert all(output.splitlines()[-1] == str(tmp_path / "net.bin") for output in outputs)
    assert len(file_server.requests) == 1
    waiting = [output for output in outputs if output.startswith("waiting")]
    assert len(waiting) == 1
    assert "downloading" not in waiting[0]
    assert (tmp_path / "net.bin").read_bytes() == BODY


def test_killed_fetch_leaves_nothing_half_and_is_continued(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    file_server.faults += [SLOW]
    with _start(tmp_path, file_server) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line.split()[1]) > 300_000:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "net.bin").exists()
    started = time.monotonic()
    assert _store(tmp_path, file_server).fetch("net").read_bytes() == BODY
    assert time.monotonic() - started < 5
    continued_at = file_server.ranges[-1]
    assert continued_at is not None
    assert int(continued_at.removeprefix("bytes=").removesuffix("-")) >= 262_144
