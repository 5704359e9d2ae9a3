"""Ctrl-C and killed servers, in processes of their own."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from painterly.v1 import harmonize_service_pb2 as pb
from tests.client.cli.kit import PASS1, PREVIEW, WHOLE_RUN, lines_about, one_json, start, write_pictures
from tests.client.job_kit import accepted
from tests.client.kit import Harmonize, until

# A real server in a process that can be killed: it streams pass 1 and then takes for ever.
_SERVER = """
import asyncio
from pathlib import Path
from tests.client.cli.kit import WHOLE_RUN
from tests.client.kit import Harmonize, serving

async def handler(request, context):
    for response in WHOLE_RUN[:8]:
        yield response
    Path("streamed").touch()
    await asyncio.sleep(60)

with serving(Harmonize(handler)) as endpoint:
    print(endpoint, flush=True)
    input()
"""


def prepared() -> list[str]:
    write_pictures(Path(), "c.png", "m.png", "painting.png")
    return ["--composite", "c.png", "--mask", "m.png", "painting.png"]


def test_ctrl_c_detaches_from_a_named_job_and_keeps_what_is_done(endpoint: str, harmonize: Harmonize) -> None:
    async def handler(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        for response in (accepted(), *WHOLE_RUN[:7], WHOLE_RUN[4]):
            yield response
        await asyncio.sleep(60)

    harmonize.handler = handler
    process = start("harmonize", *prepared(), "-o", "out.png", "--frames", "frames", "--json")
    try:
        # The frame after the stage's result is the last thing that arrives.
        until(lambda: len(list(Path("frames").glob("*-pass1-*"))) == 3, 20)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert harmonize.ended.wait(5)
    assert lines_about(stderr, "painterly")[0].startswith("detached from job j1, which is not lost")
    assert lines_about(stderr, "resume with") == ["painterly resume out.png"]
    assert lines_about(stderr, "or cancel it with") == ["painterly jobs cancel out.png"]
    assert [type(request) for request in harmonize.requests] == [pb.HarmonizeRequest]
    assert "Traceback" not in stderr
    assert Path("out-work/pass1.png").read_bytes() == PASS1
    assert Path("out-work/latest-frame.jpg").read_bytes() == PREVIEW
    told = one_json(stdout)
    assert told["error"]["reason"] == "DETACHED"
    assert told["kept"] == {
        "job": "out.png.job.json",
        "pass1": "out-work/pass1.png",
        "latest-frame": "out-work/latest-frame.jpg",
    }
    assert json.loads(Path("out.png.job.json").read_text())["job_id"] == "j1"
    assert "--pass1 out-work/pass1.png" in stderr
    assert not Path("out.png").exists()


@pytest.mark.parametrize("has_ended", [False, True], ids=["in time", "too late"])
def test_a_second_ctrl_c_cancels_the_job(endpoint: str, harmonize: Harmonize, has_ended: bool) -> None:
    async def handler(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        if isinstance(request, pb.CancelJobRequest):
            state = pb.JOB_STATE_SUCCEEDED if has_ended else pb.JOB_STATE_CANCELLED
            job = pb.Job(job_id="j1", kind=pb.JOB_KIND_HARMONIZE, state=state)
            yield pb.CancelJobResponse(job=job)
            return
        yield accepted()
        yield WHOLE_RUN[2]
        await asyncio.sleep(60)

    harmonize.handler = handler
    process = start("harmonize", *prepared(), "-o", "out.png")
    try:
        until(lambda: '"j1"' in job_text(), 20)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        lines = [process.stderr.readline()]
        while "Ctrl-C once more" not in lines[-1]:
            lines.append(process.stderr.readline())
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    what = "had ended already" if has_ended else "is cancelled"
    assert lines_about(stderr, "painterly") == [f"interrupted; job j1 {what}"]
    assert harmonize.requests[1:] == [pb.CancelJobRequest(job_id="j1")]
    # A result that is there is not thrown away.
    assert Path("out.png.job.json").exists() is has_ended
    assert lines_about(stderr, "fetch its result with") == ["painterly resume out.png"] * has_ended


def job_text() -> str:
    path = Path("out.png.job.json")
    return path.read_text() if path.exists() else ""


def test_a_server_that_is_killed_leaves_the_finished_pass(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    server = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{_SERVER}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin
    assert server.stdout
    try:
        where = server.stdout.readline().strip()
        process = start("harmonize", *prepared(), "-o", "out.png", "--harmonize-endpoint", where)
        until(lambda: Path("streamed").exists() and Path("out-work/pass1.png").exists(), 20)
        server.kill()
        _, stderr = process.communicate(timeout=20)
    finally:
        server.kill()
        server.communicate()
    assert process.returncode == 3
    assert "went away" in lines_about(stderr, "painterly")[0]
    assert lines_about(stderr, "kept") == ["out.png.job.json, out-work/pass1.png"]
    assert f"--harmonize-endpoint {where}" in lines_about(stderr, "go on with")[0]
    assert Path("out-work/pass1.png").read_bytes() == PASS1
