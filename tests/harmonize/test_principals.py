"""Whose a job is: with tokens, nobody sees, hears, stops or joins another's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest

from painterly.serving.authentication import Authentication
from painterly.serving.tokens import TokenFile
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_harmonize.jobs.policy import Policy
from tests.harmonize.toy import failure, request, running

NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")


def bearer(name: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer token-of-{name}")]


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that must fail."""

    async def events() -> Any:
        if isinstance(call, grpc.aio.UnaryUnaryCall):
            await call
        else:
            async for event in call:
                yield event

    details = await failure(events())
    return details.code, details.reason


@pytest.mark.timeout(300)  # two whole jobs, on a machine that may have other work
async def test_a_job_is_its_callers_alone(tmp_path: Path) -> None:
    sums = {name: hashlib.sha256(f"token-of-{name}".encode()).hexdigest() for name in ("ann", "bob")}
    (tmp_path / "tokens").write_text("".join(f"{name} {digest}\n" for name, digest in sums.items()))
    authentication = Authentication(service="harmonize", tokens=TokenFile(tmp_path / "tokens"))
    policy = Policy(lease_s=2, renewal_s=0.5, principal_jobs=1)
    async with running(authentication=authentication, policy=policy) as service:
        message = request(pb.HarmonizeRequest)
        message.job_key = "the-key"
        ids = {}
        for name in ("ann", "bob"):
            events = [event async for event in service.stub.Harmonize(message, metadata=bearer(name), timeout=100)]
            ids[name] = events[0].accepted.job_id
            assert events[-1].WhichOneof("event") == "result"
        assert ids["ann"] != ids["bob"]
        for name, other in (("ann", "bob"), ("bob", "ann")):
            listed = await service.stub.ListJobs(pb.ListJobsRequest(), metadata=bearer(name), timeout=10)
            assert [job.job_id for job in listed.jobs] == [ids[name]]
            of_key = await service.stub.GetJob(pb.GetJobRequest(job_key="the-key"), metadata=bearer(name), timeout=10)
            assert of_key.job.job_id == ids[name]
            stranger: dict[str, Any] = {"metadata": bearer(other), "timeout": 10}
            stub, job_id = service.stub, ids[name]
            assert await refused(stub.GetJob(pb.GetJobRequest(job_id=job_id), **stranger)) == NOT_FOUND
            assert await refused(stub.WatchJob(pb.WatchJobRequest(job_id=job_id), **stranger)) == NOT_FOUND
            assert await refused(stub.CancelJob(pb.CancelJobRequest(job_id=job_id), **stranger)) == NOT_FOUND
            assert await refused(stub.FinishJob(pb.FinishJobRequest(job_id=job_id), **stranger)) == NOT_FOUND
        nobody = service.stub.GetJob(pb.GetJobRequest(job_id=ids["ann"]), timeout=10)
        assert await refused(nobody) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
