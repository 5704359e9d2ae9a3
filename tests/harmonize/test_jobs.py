"""The queue: order, positions, pace, slow readers, cancellation, failures."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from functools import partial
from typing import Any

import pytest
import torch

from painterly.errors import ServiceError, reason_name
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_harmonize.algorithm import pipeline
from painterly_harmonize.algorithm.errors import StageFailed, Stopped
from painterly_harmonize.algorithm.params import HarmonizeParams, Pass1Params
from painterly_harmonize.algorithm.stage import Event, Iterate, Result, Stage, StageResult, StylizationLevel
from painterly_harmonize.conversion import StreamOptions
from painterly_harmonize.images import read_pictures
from painterly_harmonize.jobs import Job, JobQueue, Work
from painterly_harmonize.reporting import Finished, Frame, Item, Progress, Queued, Reporter
from tests.harmonize.toy import request, toy_network, until

CPU = torch.device("cpu")
EVERYTHING = StreamOptions(progress_interval_s=0, frame_interval_s=0)
BYTES = torch.zeros(4, 5, 3, dtype=torch.uint8)
RESULT = Result(
    image=BYTES,
    painting_noise=0.5,
    pass2_weights={},
    changed_pixel_count=1,
    blend_pixel_count=2,
    working_size=(20, 30),
    style_mask=None,
    iteration_counts={},
    params=HarmonizeParams(),
    level=StylizationLevel(value=5, is_estimated=False),
)


def iterate(stage: Stage, iteration: int, count: int) -> Iterate:
    """A step whose picture shows its number."""
    return Iterate(
        stage=stage,
        iteration=iteration,
        iteration_count=count,
        losses=lambda: {"content": float(iteration)} if iteration else {},
        image=lambda: torch.full((1, 3, 4, 5), iteration / 255),
    )


def run(count: int = 2) -> Iterator[Event]:
    """The events of a run of two passes and post-processing."""
    for stage in Stage:
        yield from (iterate(stage, number, count) for number in range(count + 1))
        if stage is not Stage.POSTPROCESSING:
            yield StageResult(stage=stage, image=BYTES)
    yield RESULT


def work(should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
    """A run that stops when asked."""
    for event in run():
        if should_stop():
            raise Stopped
        yield event


class Gate:
    """Work that waits until it is opened."""

    def __init__(self, then: Work = work) -> None:
        self.entered, self._opened, self._then = threading.Event(), threading.Event(), then

    def open(self) -> None:
        self._opened.set()

    def __call__(self, should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        self.entered.set()
        while not self._opened.wait(0.002):
            if should_stop():
                raise Stopped
        yield from self._then(should_stop)


@contextlib.asynccontextmanager
async def queue_of(size: int = 8) -> AsyncIterator[JobQueue]:
    queue = JobQueue(device=CPU, size=size)
    try:
        yield queue
    finally:
        await queue.close()


async def all_items(job: Job) -> list[Item]:
    return [item async for item in job.events()]


async def reason_of(job: Job) -> str:
    with pytest.raises(ServiceError) as caught:
        await all_items(job)
    return reason_name(caught.value.reason)


def summary(item: Item) -> tuple[Any, ...]:
    if isinstance(item, Progress):
        return ("progress", item.stage.value, item.iteration)
    if isinstance(item, Frame):
        return ("frame", item.stage.value, item.iteration, item.is_stage_result)
    return ("queued", item.position) if isinstance(item, Queued) else ("finished",)


class Clock:
    """A clock that the test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_everything_is_reported_without_intervals() -> None:
    reporter = Reporter(EVERYTHING)
    assert [summary(item) for event in run() for item in reporter.items(event)] == [
        ("progress", "pass1", 0),
        ("progress", "pass1", 1),
        ("frame", "pass1", 1, False),
        ("progress", "pass1", 2),
        ("frame", "pass1", 2, True),
        ("progress", "pass2", 0),
        ("progress", "pass2", 1),
        ("frame", "pass2", 1, False),
        ("progress", "pass2", 2),
        ("frame", "pass2", 2, True),
        ("progress", "postprocessing", 0),
        ("progress", "postprocessing", 1),
        ("frame", "postprocessing", 1, False),
        ("progress", "postprocessing", 2),
        ("finished",),
    ]


def test_intervals_hold_within_a_stage_and_its_ends_are_always_reported() -> None:
    clock = Clock()
    reporter = Reporter(StreamOptions(progress_interval_s=2, frame_interval_s=5), clock)
    seen = []
    for number in range(13):
        seen += [summary(item) for item in reporter.items(iterate(Stage.PASS1, number, 12))]
        clock.now_s += 1
    assert [item[2] for item in seen if item[0] == "progress"] == [0, 2, 4, 6, 8, 10, 12]
    assert [item[2] for item in seen if item[0] == "frame"] == [1, 6, 11]


def test_times_and_losses_are_reported() -> None:
    clock = Clock()
    reporter = Reporter(EVERYTHING, clock)
    reported: list[Item] = []
    for event in run(1):
        clock.now_s += 1.5
        reported += reporter.items(event)
    progress = [item for item in reported if isinstance(item, Progress)]
    assert [item.elapsed_s for item in progress] == [1.5, 3.0, 6.0, 7.5, 10.5, 12.0]
    assert [dict(item.losses) for item in progress[:2]] == [{}, {"content": 1.0}]
    finished = reported[-1]
    assert isinstance(finished, Finished)
    assert finished.result is RESULT
    assert finished.stage_times_s == {Stage.PASS1: 3.0, Stage.PASS2: 3.0, Stage.POSTPROCESSING: 3.0}


def test_omitted_frames_are_not_computed_but_stage_results_come() -> None:
    def never() -> torch.Tensor:
        raise AssertionError("an omitted frame was computed")

    reporter = Reporter(StreamOptions(omit_frames=True, frame_interval_s=0))
    step = Iterate(stage=Stage.PASS1, iteration=1, iteration_count=3, losses=dict, image=never)
    assert [summary(item) for item in reporter.items(step)] == [("progress", "pass1", 1)]
    (frame,) = reporter.items(StageResult(stage=Stage.PASS1, image=BYTES))
    assert summary(frame) == ("frame", "pass1", 1, True)


def test_what_is_not_due_is_not_computed() -> None:
    """Losses and pictures wait for the device: asking for them every iteration would hold it up."""
    asked: list[str] = []

    def losses() -> dict[str, float]:
        asked.append("losses")
        return {}

    def image() -> torch.Tensor:
        asked.append("image")
        return torch.zeros(1, 3, 4, 5)

    reporter = Reporter(StreamOptions(progress_interval_s=60, frame_interval_s=60))
    for number in range(100):
        step = Iterate(stage=Stage.PASS1, iteration=number, iteration_count=100, losses=losses, image=image)
        list(reporter.items(step))
    assert asked == ["losses", "image"]


async def test_a_job_alone_starts_at_once_and_ends_with_its_result() -> None:
    async with queue_of() as queue:
        items = await all_items(queue.submit(work, EVERYTHING))
        await until(lambda: queue.idle)
    shown = [summary(item) for item in items]
    assert shown[0] == ("queued", 0)
    assert shown[-1] == ("finished",)
    assert [item for item in shown if item[0] == "frame" and item[3]] == [
        ("frame", "pass1", 2, True),
        ("frame", "pass2", 2, True),
    ]


async def test_positions_are_told_as_they_change() -> None:
    async with queue_of() as queue:
        first, second, third = Gate(), Gate(), Gate()
        jobs = [queue.submit(gate, EVERYTHING) for gate in (first, second, third, work)]
        streams = [job.events() for job in jobs]
        assert [await anext(stream) for stream in streams] == [Queued(position=n) for n in (0, 0, 1, 2)]
        jobs[1].cancel()
        assert [await anext(stream) for stream in streams[2:]] == [Queued(position=0), Queued(position=1)]
        first.open()
        assert await anext(streams[3]) == Queued(position=0)
        third.open()
        assert summary([item async for item in streams[3]][-1]) == ("finished",)
        assert not second.entered.is_set()


async def test_a_full_queue_says_when_to_come_again() -> None:
    async with queue_of(size=1) as queue:
        gate = Gate()
        queue.submit(gate, EVERYTHING)
        waiting = queue.submit(work, EVERYTHING)
        with pytest.raises(ServiceError, match="1 jobs wait already") as caught:
            queue.submit(work, EVERYTHING)
        assert reason_name(caught.value.reason) == "QUEUE_FULL"
        assert caught.value.metadata == {"queue_size": "1"}
        assert caught.value.retry_after_s is not None
        assert 1 <= caught.value.retry_after_s <= 60
        gate.open()
        assert isinstance((await all_items(waiting))[-1], Finished)


async def test_without_a_queue_one_job_runs_and_a_second_is_refused() -> None:
    async with queue_of(size=0) as queue:
        gate = Gate()
        job = queue.submit(gate, EVERYTHING)
        with pytest.raises(ServiceError):
            queue.submit(work, EVERYTHING)
        gate.open()
        assert isinstance((await all_items(job))[-1], Finished)


async def test_a_slow_reader_gets_the_newest_and_all_that_must_arrive_in_flat_memory() -> None:
    living: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most_living = 0
    done = threading.Event()

    def many(should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        nonlocal most_living
        for number in range(1001):
            picture = torch.full((1, 3, 64, 64), (number % 256) / 255)
            living.add(picture)
            most_living = max(most_living, len(living))
            yield Iterate(
                stage=Stage.PASS1,
                iteration=number,
                iteration_count=1000,
                losses=dict,
                image=partial(torch.Tensor.detach, picture),
            )
        yield StageResult(stage=Stage.PASS1, image=BYTES)
        yield RESULT
        done.set()

    async with queue_of() as queue:
        job = queue.submit(many, EVERYTHING)
        await until(done.is_set)
        items = await all_items(job)
    assert [summary(item) for item in items] == [
        ("queued", 0),
        ("progress", "pass1", 0),
        ("progress", "pass1", 999),
        ("frame", "pass1", 999, False),
        ("progress", "pass1", 1000),
        ("frame", "pass1", 1000, True),
        ("finished",),
    ]
    assert most_living <= 4
    preview = items[3]
    assert isinstance(preview, Frame)
    assert preview.pixels[0, 0].tolist() == [999 % 256] * 3


async def test_the_newest_does_not_overtake_what_must_arrive() -> None:
    done = threading.Event()

    def two_passes(should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        yield from (event for event in run(5))
        done.set()

    async with queue_of() as queue:
        job = queue.submit(two_passes, EVERYTHING)
        await until(done.is_set)
        shown = [summary(item)[:3] for item in await all_items(job)]
    stages = [item[1] for item in shown if item[0] in ("progress", "frame")]
    assert stages == sorted(stages, key=["pass1", "pass2", "postprocessing"].index)
    assert shown.index(("frame", "pass1", 5)) < shown.index(("progress", "pass2", 0))


async def test_cancelling_stops_the_real_optimizer_within_one_iteration() -> None:
    network = toy_network()
    inputs = read_pictures(request(pb.HarmonizeRequest)).to_inputs(CPU)
    params = HarmonizeParams(pass1=Pass1Params(iteration_count=10_000))
    stopped = threading.Event()

    def passes(should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        try:
            yield from pipeline.harmonize(inputs, params, network, should_stop)
        except Stopped:
            stopped.set()
            raise

    async with queue_of() as queue:
        for pause_s in (0.0, 0.003, 0.05, 0.2):
            stopped.clear()
            job = queue.submit(passes, EVERYTHING)
            async for item in job.events():
                if isinstance(item, Progress) and item.iteration > 0:
                    break
            await asyncio.sleep(pause_s)
            job.cancel()
            before = network.call_count
            await until(lambda: queue.idle)
            assert stopped.is_set()
            assert network.call_count - before <= 1


async def test_a_cancelled_job_leaves_the_worker_to_the_next() -> None:
    async with queue_of() as queue:
        gate = Gate()
        job = queue.submit(gate, EVERYTHING)
        after = queue.submit(work, EVERYTHING)
        await until(gate.entered.is_set)
        job.cancel()
        assert isinstance((await all_items(after))[-1], Finished)


async def test_a_failing_stage_comes_after_what_was_finished_before() -> None:
    def failing(should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        yield iterate(Stage.PASS1, 0, 1)
        yield StageResult(stage=Stage.PASS1, image=BYTES)
        raise StageFailed("pass2", "not finite")

    async with queue_of() as queue:
        events = queue.submit(failing, EVERYTHING).events()
        seen = [summary(await anext(events)) for _ in range(3)]
        with pytest.raises(ServiceError, match="pass2: not finite") as caught:
            await anext(events)
        assert seen[1:] == [("progress", "pass1", 0), ("frame", "pass1", 0, True)]
        assert reason_name(caught.value.reason) == "STAGE_FAILED"
        assert isinstance((await all_items(queue.submit(work, EVERYTHING)))[-1], Finished)


async def test_a_real_lack_of_memory_is_a_typed_error_and_the_worker_lives_on() -> None:
    def greedy(should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        torch.empty(2**50)
        yield RESULT

    async with queue_of() as queue:
        job = queue.submit(greedy, EVERYTHING)
        with pytest.raises(ServiceError, match="the memory of cpu does not suffice") as caught:
            await all_items(job)
        assert reason_name(caught.value.reason) == "DEVICE_OUT_OF_MEMORY"
        assert caught.value.metadata == {"device": "cpu"}
        assert isinstance((await all_items(queue.submit(work, EVERYTHING)))[-1], Finished)


async def test_a_bug_in_the_work_reaches_the_caller_as_it_is() -> None:
    def broken(should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        raise KeyError("relu9_9")
        yield RESULT

    async with queue_of() as queue:
        with pytest.raises(KeyError, match="relu9_9"):
            await all_items(queue.submit(broken, EVERYTHING))


async def test_work_without_a_result_does_not_leave_the_caller_waiting() -> None:
    def empty(should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        yield iterate(Stage.PASS1, 0, 1)

    async with queue_of() as queue:
        with pytest.raises(RuntimeError, match="ended without a result"):
            await all_items(queue.submit(empty, EVERYTHING))


async def test_draining_ends_the_waiting_lets_the_running_finish_and_refuses_new_jobs() -> None:
    async with queue_of() as queue:
        gate = Gate()
        active, waiting = queue.submit(gate, EVERYTHING), queue.submit(work, EVERYTHING)
        queue.drain(60)
        assert await reason_of(waiting) == "DRAINING"
        with pytest.raises(ServiceError) as caught:
            queue.submit(work, EVERYTHING)
        assert reason_name(caught.value.reason) == "DRAINING"
        assert caught.value.retry_after_s == 5.0
        gate.open()
        assert isinstance((await all_items(active))[-1], Finished)


async def test_draining_ends_the_running_job_when_patience_ends() -> None:
    async with queue_of() as queue:
        active = queue.submit(Gate(), EVERYTHING)
        queue.drain(0.05)
        assert await reason_of(active) == "DRAINING"
        await until(lambda: queue.idle)


async def test_closing_stops_the_work_and_ends_the_thread() -> None:
    queue = JobQueue(device=torch.device("meta"), size=1)
    gate = Gate()
    job = queue.submit(gate, EVERYTHING)
    await until(gate.entered.is_set)
    assert any(thread.name.startswith("painterly-meta") for thread in threading.enumerate())
    await queue.close()
    assert not any(thread.name.startswith("painterly-meta") for thread in threading.enumerate())
    assert await reason_of(job) == "DRAINING"
