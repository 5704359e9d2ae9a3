"""Jobs that outlive their command: job files, ``resume``, ``--detach``, ``jobs``; servers are scripted."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import pytest

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_client import Stage
from painterly_client.cli.job_file import read_job_file
from tests.client.cli.kit import (
    PASS1,
    PASS2,
    RESULT,
    WHOLE_RUN,
    frame,
    lines_about,
    one_json,
    progress,
    run,
    write_pictures,
)
from tests.client.job_kit import SILENCE, Fault, OneJob, accepted, heartbeat
from tests.client.kit import Harmonize, free_port, queued

JOB = Path("out.png.job.json")
STORED = [
    progress(pb.STAGE_PASS1, 1, content=10.0),
    frame(pb.STAGE_PASS1, 1),
    frame(pb.STAGE_PASS1, 4, PASS1, last=True),
    heartbeat(),
    progress(pb.STAGE_PASS2, 4, content=30.0, histogram=0.25),
    frame(pb.STAGE_PASS2, 4, PASS2, last=True),
    WHOLE_RUN[-1],
]


@pytest.fixture
def prepared() -> list[str]:
    write_pictures(Path(), "c.png", "m.png", "painting.png")
    return ["--composite", "c.png", "--mask", "m.png", "painting.png"]


def serve_job(harmonize: Harmonize, *faults: tuple[int, Fault]) -> OneJob:
    job = OneJob(STORED, faults)
    harmonize.handler = job
    return job


def stop_at(harmonize: Harmonize, count: int, prepared: list[str], *more: object) -> OneJob:
    """A command that gives up after ``count`` stored events, as one whose server went away."""
    job = serve_job(harmonize, (count, grpc.StatusCode.UNAVAILABLE))
    outcome = run("harmonize", *prepared, "-o", "out.png", "--give-up-after", "0", *more)
    assert outcome.exit_code == 3, outcome.stderr
    assert lines_about(outcome.stderr, "resume with") == ["painterly resume out.png"]
    return job


def test_a_command_at_an_endpoint_makes_a_named_job(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    serve_job(harmonize)
    outcome = run("harmonize", *prepared, "-o", "out.png")
    assert outcome.exit_code == 0, outcome.stderr
    request = harmonize.requests[0]
    assert request.job_key.startswith("cli-")
    assert len(request.job_key) == 36
    assert not request.runs_unattended
    assert Path("out.png").read_bytes() == RESULT
    assert not JOB.exists()
    assert "job" not in lines_about(outcome.stderr, "kept")[0]


def test_a_key_may_be_chosen(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    serve_job(harmonize)
    assert run("pass1", *prepared, "-o", "out.png", "--job-key", "boat.v2").exit_code == 0
    assert harmonize.requests[0].job_key == "boat.v2"
    refused = run("pass1", *prepared, "-o", "out.png", "--job-key", "a b")
    assert refused.exit_code == 2
    assert "1 to 128" in refused.stderr


def test_without_an_endpoint_nothing_outlives_the_command(prepared: list[str]) -> None:
    for flags in (["--detach"], ["--job-key", "k"]):
        outcome = run("harmonize", *prepared, "-o", "out.png", *flags)
        assert outcome.exit_code == 2
        assert f"{flags[0]}: a service that is started for this command ends with it" in outcome.stderr


def test_a_lost_connection_is_taken_up_again_within_the_command(
    endpoint: str, harmonize: Harmonize, prepared: list[str]
) -> None:
    unavailable = grpc.StatusCode.UNAVAILABLE
    job = serve_job(harmonize, (2, unavailable), (1, unavailable))
    outcome = run("harmonize", *prepared, "-o", "out.png", "--frames", "f")
    assert outcome.exit_code == 0, outcome.stderr
    assert [cursor for _, cursor in job.calls[1:]] == ["2", "3"]
    assert "job j1: UNAVAILABLE; trying again for up to" in outcome.stderr
    assert len(json.loads(Path("f/index.json").read_text())["frames"]) == 3
    assert Path("out-work/pass1.png").read_bytes() == PASS1


def test_a_job_file_says_what_it_takes_to_go_on(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    more = ("--seed", "3", "--report", "r.html", "--frames", "f", "--style-region", "0,0.25,0.5,0.75")
    stop_at(harmonize, 3, prepared, *more)
    data = json.loads(JOB.read_text())
    here = Path().absolute()
    assert (data["endpoint"], data["job_id"], data["cursor"], data["command"]) == (endpoint, "j1", "3", "harmonize")
    assert data["job_key"] == harmonize.requests[0].job_key
    assert (data["out"], data["report"], data["frames"]) == (
        str(here / "out.png"),
        str(here / "r.html"),
        str(here / "f"),
    )
    assert data["inputs"] == {
        "composite": str(here / "c.png"),
        "mask": str(here / "m.png"),
        "painting": str(here / "painting.png"),
    }
    assert data["parameters"]["seed"] == 3
    assert data["losses"] == {"pass1": {"content": [[1, 10.0]]}}
    file = read_job_file(JOB)
    assert file.order.parameters.seed == 3
    assert file.losses == {Stage.PASS1: {"content": [(1, 10.0)]}}
    assert file.resume_command() == f"painterly resume {here / 'out.png'}"


def test_resume_goes_on_behind_the_last_event(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    job = stop_at(harmonize, 3, prepared, "--frames", "f", "--report", "r.html")
    assert Path("out-work/pass1.png").read_bytes() == PASS1
    outcome = run("resume", "out.png", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert job.calls[-1] == ("WatchJobRequest", "3")
    assert Path("out.png").read_bytes() == RESULT
    assert Path("out-work/pass2.png").read_bytes() == PASS2
    names = [entry["file"] for entry in json.loads(Path("f/index.json").read_text())["frames"]]
    assert names == ["0001-pass1-0001.jpg", "0002-pass1-0004.png", "0003-pass2-0004.png"]
    assert sorted(path.name for path in Path("f").iterdir()) == [*names, "index.json"]
    report = Path("r.html").read_text()
    assert "painting" in report
    told = one_json(outcome.stdout)
    assert (told["result"], told["frame_count"]) == (str(Path("out.png").absolute()), 3)
    assert told["kept"] == {"pass2": str(Path("out-work/pass2.png").absolute())}
    assert not JOB.exists()


def test_resume_works_from_anywhere_and_finds_the_only_job_file(
    endpoint: str, harmonize: Harmonize, prepared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(harmonize, 3, prepared)
    result = Path("out.png").absolute()
    assert run("resume").exit_code == 0
    assert result.read_bytes() == RESULT
    result.unlink()
    stop_at(harmonize, 3, prepared)
    job_file = JOB.absolute()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert "no job file in this folder" in run("resume").stderr
    assert run("resume", job_file).exit_code == 0
    assert result.read_bytes() == RESULT


def test_resume_says_what_is_wrong_with_its_argument(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    assert "other.png.job.json is not there" in run("resume", "other.png").stderr
    stop_at(harmonize, 3, prepared)
    shutil.copy(JOB, "b.png.job.json")
    outcome = run("resume")
    assert outcome.exit_code == 2
    assert "b.png.job.json, out.png.job.json" in outcome.stderr
    for text, why in (("{", "cannot be read"), ("{}", "not a job file"), ('{"painterly_job": 1}', "not a whole job")):
        JOB.write_text(text)
        outcome = run("resume", "out.png")
        assert outcome.exit_code == 2
        assert why in outcome.stderr


def test_a_job_that_was_never_accepted_is_asked_for_by_its_key(
    endpoint: str, harmonize: Harmonize, prepared: list[str]
) -> None:
    serve_job(harmonize, (-1, grpc.StatusCode.INTERNAL))
    outcome = run("harmonize", *prepared, "-o", "out.png", "--give-up-after", "0", "--seed", "3")
    assert outcome.exit_code == 1, outcome.stderr
    first = harmonize.requests[0]
    assert json.loads(JOB.read_text())["job_id"] == ""
    assert run("resume").exit_code == 0
    assert harmonize.requests[1] == first
    assert Path("out.png").read_bytes() == RESULT


def test_what_cannot_be_resumed_leaves_the_command_that_begins_anew(
    endpoint: str, harmonize: Harmonize, prepared: list[str]
) -> None:
    stop_at(harmonize, 3, prepared)
    gone = ServiceError(reasons.ERROR_REASON_JOB_EXPIRED, "it has been removed", metadata={"job_id": "j1"})
    serve_job(harmonize, (-1, gone))
    outcome = run("resume")
    assert outcome.exit_code == 2
    assert lines_about(outcome.stderr, "painterly") == ["it has been removed"]
    assert lines_about(outcome.stderr, "go on with")[0].startswith("painterly harmonize --composite c.png")
    assert not JOB.exists()


def test_refused_rights_leave_the_job_file(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    stop_at(harmonize, 3, prepared)
    serve_job(harmonize, (-1, ServiceError(reasons.ERROR_REASON_TOKEN_MISSING, "a token is needed")))
    assert run("resume").exit_code == 4
    assert JOB.exists()


def test_detach_leaves_the_job_to_the_server(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    job = serve_job(harmonize, (0, SILENCE))
    outcome = run("harmonize", *prepared, "-o", "out.png", "--detach", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    told = one_json(outcome.stdout)
    assert (told["job_id"], told["endpoint"], told["job_file"]) == ("j1", endpoint, "out.png.job.json")
    assert told["resume"] == "painterly resume out.png"
    assert harmonize.requests[0].runs_unattended
    assert not Path("out.png").exists()
    assert run("resume").exit_code == 0
    assert job.calls[-1] == ("WatchJobRequest", "")
    assert Path("out.png").read_bytes() == RESULT


def test_a_failed_detach_leaves_no_job_file(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    full = ServiceError(reasons.ERROR_REASON_QUEUE_FULL, "32 wait", metadata={"queue_size": "32"}, retry_after_s=9)
    serve_job(harmonize, (-1, full))
    outcome = run("harmonize", *prepared, "-o", "out.png", "--detach")
    assert outcome.exit_code == 1
    assert not JOB.exists()


def test_a_full_server_is_waited_for_on_request(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    full = ServiceError(reasons.ERROR_REASON_QUEUE_FULL, "32 wait", metadata={"queue_size": "32"}, retry_after_s=0.1)
    serve_job(harmonize, (-1, full), (-1, full))
    outcome = run("harmonize", *prepared, "-o", "out.png", "--wait")
    assert outcome.exit_code == 0, outcome.stderr
    assert len(harmonize.requests) == 3


def test_an_interruption_on_the_server_is_told(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    point = pb.ResumePoint(stage=pb.STAGE_PASS2, iteration=7)
    harmonize.handler = OneJob(STORED, first=lambda: [accepted(attempt=2, resumed_from=point), queued(0)])
    outcome = run("harmonize", *prepared, "-o", "out.png")
    assert "the job was interrupted on the server and goes on at pass 2, iteration 7" in outcome.stderr


def job_message(job_id: str, state: Any, **more: Any) -> pb.Job:
    message = pb.Job(job_id=job_id, kind=pb.JOB_KIND_HARMONIZE, state=state, **more)
    message.create_time.FromSeconds(1_700_000_000)
    return message


class Office:
    """Answers the unary calls about jobs from a table, and pages it by two."""

    def __init__(self, *jobs: pb.Job) -> None:
        self.jobs = {job.job_id: job for job in jobs}

    async def __call__(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:
        if isinstance(request, pb.ListJobsRequest):
            begin = int(request.page_token or 0)
            found = [job for job in self.jobs.values() if not request.states or job.state in request.states]
            end = begin + min(request.page_size or 50, 2)
            yield pb.ListJobsResponse(jobs=found[begin:end], next_page_token=str(end) if end < len(found) else "")
            return
        by_key = {job.job_key: job for job in self.jobs.values() if job.job_key}
        job = self.jobs.get(request.job_id) or by_key.get(getattr(request, "job_key", ""))
        if job is None:
            raise ServiceError(reasons.ERROR_REASON_JOB_NOT_FOUND, "there is no such job of yours", field="job_id")
        if isinstance(request, pb.CancelJobRequest):
            job.state = pb.JOB_STATE_CANCELLED
            yield pb.CancelJobResponse(job=job)
        else:
            yield pb.GetJobResponse(job=job)


def office() -> Office:
    running = job_message("j1", pb.JOB_STATE_RUNNING, job_key="k1", attempt=1)
    running.progress.CopyFrom(pb.ProgressEvent(stage=pb.STAGE_PASS2, iteration=3, iteration_count=9))
    waiting = job_message("j2", pb.JOB_STATE_QUEUED, position=4)
    waiting.estimated_wait.FromSeconds(80)
    failure = pb.JobFailure(reason="WORKER_LOST", message="its worker was lost")
    return Office(running, waiting, job_message("j3", pb.JOB_STATE_FAILED, failure=failure))


def test_jobs_are_listed(endpoint: str, harmonize: Harmonize) -> None:
    harmonize.handler = office()
    outcome = run("jobs", "list")
    assert outcome.exit_code == 0, outcome.stderr
    rows = [line.split() for line in outcome.stdout.splitlines()]
    assert rows[0] == ["JOB", "CALL", "STATE", "PROGRESS", "BEGUN", "KEY"]
    assert rows[1][:6] == ["j1", "harmonize", "running", "pass", "2", "3/9"]
    assert rows[1][-1] == "k1"
    assert rows[2][:6] == ["j2", "harmonize", "queued", "4", "before", "it"]
    assert [row[0] for row in rows[1:]] == ["j1", "j2", "j3"]
    told = one_json(run("jobs", "list", "--state", "failed", "--json").stdout)
    assert [job["job_id"] for job in told["jobs"]] == ["j3"]
    assert told["jobs"][0]["create_time"] == "2023-11-14T22:13:20+00:00"
    assert [job["job_id"] for job in one_json(run("jobs", "list", "--limit", "1", "--json").stdout)["jobs"]] == ["j1"]


def test_a_job_is_shown_by_id_key_or_output(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    stop_at(harmonize, 3, prepared)
    harmonize.handler = office()
    for name in ("j1", "k1", "out.png", "out.png.job.json"):
        outcome = run("jobs", "show", name)
        assert outcome.exit_code == 0, outcome.stderr
        assert lines_about(outcome.stdout, "job") == ["j1"]
        assert lines_about(outcome.stdout, "progress") == ["pass 2 3/9"]
    assert lines_about(run("jobs", "show", "j3").stdout, "failure") == ["WORKER_LOST: its worker was lost"]
    assert lines_about(run("jobs", "show", "j2").stdout, "estimated wait") == ["80 s"]
    assert run("jobs", "show", "j9").exit_code == 2
    assert "there is no job file other.png.job.json" in run("jobs", "show", "other.png").stderr


def test_a_job_is_cancelled_and_its_file_removed(endpoint: str, harmonize: Harmonize, prepared: list[str]) -> None:
    stop_at(harmonize, 3, prepared)
    harmonize.handler = office()
    outcome = run("jobs", "cancel", "out.png", "j2", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert one_json(outcome.stdout) == {"jobs": {"j1": "cancelled", "j2": "cancelled"}}
    assert not JOB.exists()


def test_prune_removes_the_files_of_jobs_that_are_gone(
    endpoint: str, harmonize: Harmonize, prepared: list[str]
) -> None:
    stop_at(harmonize, 3, prepared)
    data = json.loads(JOB.read_text())
    changes = {
        "unknown": {"job_id": "j9"},
        "failed": {"job_id": "j3"},
        "far": {"endpoint": f"127.0.0.1:{free_port()}"},
    }
    for name, change in changes.items():
        Path(f"{name}.png.job.json").write_text(json.dumps(data | change))
    Path("broken.png.job.json").write_text("{")
    harmonize.handler = office()
    dry = run("jobs", "prune", "--dry-run", "--json")
    assert one_json(dry.stdout)["removed"] == ["failed.png.job.json", "unknown.png.job.json"]
    assert len(list(Path().glob("*.job.json"))) == 5
    outcome = run("jobs", "prune")
    assert outcome.exit_code == 0, outcome.stderr
    left = sorted(path.name for path in Path().glob("*.job.json"))
    assert left == ["broken.png.job.json", "far.png.job.json", "out.png.job.json"]
    assert "out.png.job.json stays: its job is running" in outcome.stderr
