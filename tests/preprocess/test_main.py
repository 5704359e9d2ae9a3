"""painterly_preprocess.__main__: the command in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

COMMAND = [sys.executable, "-m", "painterly_preprocess"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("ending", ["stdin", "signal"])
def test_serves_until_told_to_stop(ending: str) -> None:
    environment: Mapping[str, str] = {**os.environ, "PAINTERLY_PREPROCESS_PORT": "0"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMMAND, "--exit-with-stdin", "--log-level", "warning"], env=environment, stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        assert (line["event"], line["service"], line["host"]) == ("listening", "preprocess", "127.0.0.1")
        with grpc.insecure_channel(f"127.0.0.1:{line['port']}") as channel:
            for name in ("", "painterly.v1.PreprocessService"):
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=name), timeout=10
                )
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        if ending == "stdin":
            process.stdin.close()
            process.stdin = None
        else:
            process.send_signal(signal.SIGTERM)
        output, log = process.communicate(timeout=20)
        assert (process.returncode, output, log) == (0, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--port", "65536"], {}, ["--port", "65536"]),
        (["--log-level", "loud"], {}, ["--log-level", "loud"]),
        ([], {"PAINTERLY_PREPROCESS_PORT": "many"}, ["PAINTERLY_PREPROCESS_PORT", "many"]),
        (["--host", ""], {}, ["host"]),
        (["--remove-bg-endpoint", "ftp://example.org"], {}, ["endpoint", "ftp://example.org"]),
        ([], {"PAINTERLY_REMOVE_BG_API_KEY": "two words"}, ["PAINTERLY_REMOVE_BG_API_KEY"]),
        (["--threads", "0"], {}, ["--threads"]),
    ],
)
def test_wrong_settings(arguments: list[str], environment: dict[str, str], words: list[str]) -> None:
    result = run(*arguments, **environment)
    assert result.returncode == 2
    assert result.stdout == ""
    assert all(word in result.stderr for word in words)
    assert "Traceback" not in result.stderr
    assert "two words" not in result.stderr


def test_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = run("--port", port)
    assert result.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("module", ["cv2", "grpc_reflection"])
def test_missing_extra_is_named(module: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; import runpy; runpy.run_module('painterly_preprocess')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr == (
        f"painterly-preprocess: module {module} is missing; run: pip install 'painterly[preprocess]'\n"
    )
