"""Sends many cases to a service and keeps account of the answers and of what the server holds meanwhile."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import grpc

from painterly.limits import CHANNEL_OPTIONS
from painterly.v1 import harmonize_service_pb2 as harmonize
from painterly.v1 import harmonize_service_pb2_grpc as harmonize_grpc
from tests.abuse.cases import Case, cases
from tests.abuse.judging import Answer, LogReader, Sample, judged_answer, judged_error, sample
from tests.abuse.servers import Service

logger = logging.getLogger(__name__)

# A job that the cases made long is ended by its caller: that, too, must leave nothing behind.
DEADLINE_S = 3.0
_BATCH = 250
_AT_ONCE = 3


@dataclass(kw_only=True)
class Account:
    """What came of a campaign against one service."""

    service: str
    codes: Counter[tuple[str, str]] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def growth_bytes(self) -> int:
        """How much more memory the server holds after the last batch than it did after the first."""
        return self.samples[-1].rss_bytes - self.samples[0].rss_bytes

    @property
    def request_count(self) -> int:
        """How many requests were sent."""
        return sum(self.codes.values())


def send(channel: grpc.Channel, case: Case, deadline_s: float = DEADLINE_S) -> Answer:
    """Send a case's bytes as they are and judge the answer."""
    try:
        if case.call.streams:
            stream: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(case.call.path)
            return judged_answer(list(stream(case.data, timeout=deadline_s)))
        single: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(case.call.path)
        return judged_answer([single(case.data, timeout=deadline_s)])
    except grpc.RpcError as error:
        return judged_error(error, case.data)


def run(service: Service, count: int, start: int, failures: Path | None = None) -> Account:
    """Send ``count`` cases to a service, several at once, and look at it after each batch.

    What was answered badly is written into ``failures``, one file per request.
    """
    account, began_s = Account(service=service.name), time.monotonic()
    log = LogReader(path=service.log)
    with (
        grpc.insecure_channel(service.target, options=CHANNEL_OPTIONS) as channel,
        ThreadPoolExecutor(_AT_ONCE) as threads,
    ):
        grpc.channel_ready_future(channel).result(30)
        for number, batch in enumerate(_batches(service.name, count, start)):
            answers = threads.map(lambda case: send(channel, case), batch)
            for case, answer in zip(batch, answers, strict=True):
                _enter(account, case, answer, failures)
            _cancel_jobs(channel, service)
            account.faults += log.faults()
            if not service.is_alive:
                account.faults.append(f"the server died in batch {number} with {service.process.returncode}")
                break
            account.samples.append(sample(service.process.pid))
            logger.info(
                "%s: %d of %d requests, %d faults, %d at their deadline, %.0f s",
                service.name,
                account.request_count,
                count,
                len(account.faults),
                account.codes["DEADLINE_EXCEEDED", ""],
                time.monotonic() - began_s,
            )
    account.seconds = time.monotonic() - began_s
    return account


def _batches(service: str, count: int, start: int) -> Iterator[Sequence[Case]]:
    """Cases in batches, each with a seed of its own."""
    for number, done in enumerate(range(0, count, _BATCH)):
        yield list(islice(cases(service, min(_BATCH, count - done), start * 1_000_000 + number), _BATCH))


def _cancel_jobs(channel: grpc.Channel, service: Service) -> None:
    """End the named jobs that the cases began, which would keep the device for as long as they like."""
    if service.name != "harmonize":
        return
    stub = harmonize_grpc.HarmonizeServiceStub(channel)
    unfinished = [harmonize.JOB_STATE_QUEUED, harmonize.JOB_STATE_RUNNING, harmonize.JOB_STATE_PARKED]
    for job in stub.ListJobs(harmonize.ListJobsRequest(page_size=1000, states=unfinished), timeout=30).jobs:
        # One that has just ended may be gone.
        with contextlib.suppress(grpc.RpcError):
            stub.CancelJob(harmonize.CancelJobRequest(job_id=job.job_id), timeout=30)


def _enter(account: Account, case: Case, answer: Answer, failures: Path | None) -> None:
    account.codes[answer.code.name, answer.reason] += 1
    account.origins[case.origin] += 1
    for fault in answer.faults:
        account.faults.append(f"{case.call.name} ({case.origin}): {fault}")
    if answer.faults and failures is not None:
        failures.mkdir(parents=True, exist_ok=True)
        (failures / f"{account.request_count:06d}-{case.call.name}.bin").write_bytes(case.data)
