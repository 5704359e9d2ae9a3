"""Load and soak of both services: many callers at once, each call and each job counted, what the servers hold sampled.

    python -m tests.benchmarks.service_load --minutes 10

First ``--calls`` mixed calls, then ``--jobs`` jobs, from ``--clients`` callers at once, each with a connection of its
own; then, until the minutes are over, both again and again from a few callers. A caller that is refused for the moment
waits as it is told and tries again. Pictures are of 80×64 pixels and the harmonize service has a toy network, so that
the figures are those of everything around the computing. It goes over the wire alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from painterly.errors import read_details
from painterly.limits import CHANNEL_OPTIONS
from painterly.v1 import harmonize_service_pb2 as harmonize
from painterly.v1 import harmonize_service_pb2_grpc as harmonize_grpc
from painterly.v1 import preprocess_service_pb2_grpc as preprocess_grpc
from tests.abuse.calls import calls, valid
from tests.abuse.judging import Sample, sample
from tests.abuse.servers import Service, serving
from tests.harmonize import toy

SOAK_CLIENTS = 8
MIXED = ("RemoveBackground", "Compose", "SuggestPlacement", "DilateMask", "Prepare", "Plan", "Evaluate", "Check")
_CALL_TIMEOUT_S, _JOB_TIMEOUT_S = 60.0, 600.0
_SAMPLE_EVERY_S = 2.0
_LONGEST_WAIT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One call or job: how long it took once it was taken, how long with all waiting, how often it was refused before.

    ``fault`` is empty when it ended as it should.
    """

    kind: str
    served_s: float
    whole_s: float
    refusal_count: int
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a server's processes, and the folder with all its files, hold at a moment."""

    at_s: float
    processes: Sample
    file_count: int


@dataclass(kw_only=True)
class Outcome:
    """All that was counted. ``phase_s`` is how long each phase took; ``slowest_health_s`` the slowest probe."""

    ended: list[Ended] = field(default_factory=list)
    phase_s: dict[str, float] = field(default_factory=dict)
    held: dict[str, list[Held]] = field(default_factory=lambda: defaultdict(list))
    job_ids: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What was wrong with calls and jobs, and job ids that came twice."""
        twice = [f"{name} was given to {count} jobs" for name, count in Counter(self.job_ids).items() if count > 1]
        return [f"{each.kind}: {each.fault}" for each in self.ended if each.fault] + twice

    def growth(self, service: str, value: Callable[[Held], float]) -> float:
        """How much a value's mean over the last quarter of the samples is above that of the second quarter."""
        held = self.held[service]
        quarter = max(len(held) // 4, 1)
        early, late = held[quarter : 2 * quarter] or held[:1], held[-quarter:]
        return statistics.fmean(map(value, late)) - statistics.fmean(map(value, early))


@dataclass(frozen=True, kw_only=True)
class Caller:
    """One caller's connections."""

    preprocess: Any
    harmonize: Any
    health: Any


@contextlib.asynccontextmanager
async def _callers(preprocess: str, harmonize_target: str, count: int) -> AsyncIterator[list[Caller]]:
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            # A pool of its own, or all channels of this process would share one connection.
            options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
            one = await stack.enter_async_context(grpc.aio.insecure_channel(preprocess, options=options))
            other = await stack.enter_async_context(grpc.aio.insecure_channel(harmonize_target, options=options))
            made.append(
                Caller(
                    preprocess=preprocess_grpc.PreprocessServiceStub(one),
                    harmonize=harmonize_grpc.HarmonizeServiceStub(other),
                    health=health_pb2_grpc.HealthStub(other),
                )
            )
        yield made


def _requests() -> dict[str, Any]:
    """One valid request of each mixed call; what costs nothing but time (remove.bg) is left out."""
    by_name = {call.name: call for name in ("preprocess", "harmonize") for call in calls(name)}
    found: dict[str, Any] = {name: valid(by_name[name])[0] for name in MIXED if name in by_name}
    return found | {"Check": health_pb2.HealthCheckRequest()}


async def _mixed_call(caller: Caller, kind: str, request: Any) -> str:
    stub = {"Plan": caller.harmonize, "Evaluate": caller.harmonize, "Check": caller.health}.get(kind, caller.preprocess)
    await getattr(stub, kind)(request, timeout=_CALL_TIMEOUT_S)
    return ""


async def _job(caller: Caller, outcome: Outcome, request: harmonize.HarmonizeRequest) -> str:
    """Run a job; what is wrong with its events, or nothing."""
    kinds = []
    async for response in caller.harmonize.Harmonize(request, timeout=_JOB_TIMEOUT_S):
        kinds.append(response.WhichOneof("event"))
        if kinds[-1] == "accepted":
            outcome.job_ids.append(response.accepted.job_id)
    if kinds.count("result") != 1 or kinds[-1] != "result":
        return f"{kinds.count('result')} results, the last event is {kinds[-1] if kinds else None}"
    return ""


async def _until_taken(kind: str, attempt: Callable[[], Awaitable[str]], chance: random.Random) -> Ended:
    """Try until the server has room, waiting as it says."""
    began_s = time.monotonic()
    for refusal_count in itertools.count():
        tried_s = time.monotonic()
        try:
            fault = await attempt()
        except grpc.aio.AioRpcError as error:
            details = read_details(error)
            if details.retry_after_s is not None and tried_s - began_s < _JOB_TIMEOUT_S:
                await asyncio.sleep(min(details.retry_after_s, _LONGEST_WAIT_S) * chance.uniform(0.5, 1))
                continue
            fault = f"{details.code.name} {details.reason} {details.message}"
        now_s = time.monotonic()
        return Ended(
            kind=kind, served_s=now_s - tried_s, whole_s=now_s - began_s, refusal_count=refusal_count, fault=fault
        )
    raise AssertionError("the count does not end")


async def _mixed_phase(outcome: Outcome, callers: Sequence[Caller], count: int, chance: random.Random) -> None:
    requests = _requests()
    work = iter([MIXED[number % len(MIXED)] for number in range(count)])

    async def drain(caller: Caller) -> None:
        for kind in work:
            attempt = functools.partial(_mixed_call, caller, kind, requests[kind])
            outcome.ended.append(await _until_taken(kind, attempt, chance))

    await asyncio.gather(*(drain(caller) for caller in callers))


async def _job_phase(outcome: Outcome, callers: Sequence[Caller], count: int, chance: random.Random) -> None:
    request = toy.request(harmonize.HarmonizeRequest, iteration_count=2)
    work = iter(range(count))

    async def drain(caller: Caller) -> None:
        for _ in work:
            attempt = functools.partial(_job, caller, outcome, request)
            outcome.ended.append(await _until_taken("job", attempt, chance))

    await asyncio.gather(*(drain(caller) for caller in callers))


async def _sample_always(outcome: Outcome, services: Sequence[Service], folder: Path, began_s: float) -> None:
    while True:
        for service in services:
            files = sum(1 for path in (folder / service.name).rglob("*") if path.is_file())
            processes = await asyncio.to_thread(sample, service.process.pid)
            held = Held(at_s=time.monotonic() - began_s, processes=processes, file_count=files)
            outcome.held[service.name].append(held)
        await asyncio.sleep(_SAMPLE_EVERY_S)


@contextlib.contextmanager
def _timed(outcome: Outcome, phase: str) -> Iterator[None]:
    began_s = time.monotonic()
    yield
    outcome.phase_s[phase] = outcome.phase_s.get(phase, 0) + time.monotonic() - began_s


async def _run(services: Sequence[Service], folder: Path, options: argparse.Namespace) -> Outcome:
    outcome, chance, began_s = Outcome(), random.Random(0), time.monotonic()
    targets = [service.target for service in services]
    sampling = asyncio.create_task(_sample_always(outcome, services, folder, began_s))
    async with _callers(targets[0], targets[1], options.clients) as callers:
        with _timed(outcome, "calls"):
            await _mixed_phase(outcome, callers, options.calls, chance)
        with _timed(outcome, "jobs"):
            await _job_phase(outcome, callers, options.jobs, chance)
    async with _callers(targets[0], targets[1], min(SOAK_CLIENTS, options.clients)) as callers:
        while time.monotonic() - began_s < 60 * options.minutes:
            with _timed(outcome, "soak"):
                await _mixed_phase(outcome, callers, 40, chance)
                await _job_phase(outcome, callers, 8, chance)
    sampling.cancel()
    await asyncio.gather(sampling, return_exceptions=True)
    return outcome


def measure(arguments: Sequence[str] = ()) -> Outcome:
    """Start both services, load them and count."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, services = Path(name), []
        for service in ("preprocess", "harmonize"):
            (folder / service).mkdir()
            services.append(stack.enter_context(serving(service, folder / service)))
        return asyncio.run(_run(services, folder, options))


def report(outcome: Outcome) -> str:
    """The tables, as Markdown: milliseconds by call, and what was held at five moments."""
    lines = ["| call | count | refused before | served p50 | p99 | with waiting p50 | p99 |", "|---|" + "---:|" * 6]
    by_kind: dict[str, list[Ended]] = defaultdict(list)
    for each in outcome.ended:
        by_kind[each.kind].append(each)
    for kind, ended in by_kind.items():
        numbers = [len(ended), sum(each.refusal_count for each in ended)]
        for values in ([each.served_s for each in ended], [each.whole_s for each in ended]):
            numbers += [round(1000 * _percentile(values, share)) for share in (0.5, 0.99)]
        lines.append(f"| {kind} | {' | '.join(f'{number:,}' for number in numbers)} |")
    lines.append("")
    for phase, seconds in outcome.phase_s.items():
        lines.append(f"* {phase}: {seconds:.1f} s")
    lines += ["", "| service | at, s | memory, MiB | descriptors | threads | files |", "|---|---:|---:|---:|---:|---:|"]
    for service, held in outcome.held.items():
        for moment in [held[index * (len(held) - 1) // 4] for index in range(5)]:
            seen = moment.processes
            columns = (
                f"{moment.at_s:.0f}",
                f"{seen.rss_bytes >> 20}",
                f"{seen.descriptor_count}",
                f"{seen.thread_count}",
                f"{moment.file_count}",
            )
            lines.append(f"| {service} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=0)
    return parser


def main() -> None:
    """Measure and print. Exits with 1 when a call or job did not end as it should."""
    outcome = measure(sys.argv[1:])
    print(report(outcome))
    for fault, count in Counter(outcome.faults).most_common(20):
        print(f"{count} x {fault}", file=sys.stderr)
    sys.exit(1 if outcome.faults else 0)


if __name__ == "__main__":
    main()
