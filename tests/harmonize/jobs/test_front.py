"""Fronts with workers on threads: streams, names, cursors, positions, cancellation, orphans, drain, slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from painterly.errors import ServiceError, reason_name
from painterly_harmonize.jobs.front import Front
from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.records import JobRecord, Place, State
from painterly_harmonize.jobs.streaming import Accepted
from tests.harmonize.jobs.counting import expected, request_of
from tests.harmonize.jobs.kit import (
    QUICK,
    front_of,
    last_payload,
    open_again,
    read,
    submission,
    summary,
    with_policy,
    worker_of,
)
from tests.harmonize.jobs.kit import wait_for as wait_for_blocking

FOREVER = request_of(1_000_000, 0.002)


async def wait_for(condition: Any, timeout_s: float = 20) -> None:
    await asyncio.to_thread(wait_for_blocking, condition, timeout_s)


async def refusal(awaitable: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await awaitable
    return caught.value


class Counter(Observer):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.sent = self.dropped = self.resumed = 0
        self.rejected: list[str] = []
        self.outcomes: list[str] = []
        self.checkpoints: list[int] = []

    def on_frames_sent(self, count: int) -> None:
        self.sent += count

    def on_frames_dropped(self, count: int) -> None:
        self.dropped += count

    def on_resumed(self) -> None:
        self.resumed += 1

    def on_rejected(self, reason: str) -> None:
        self.rejected.append(reason)

    def on_ended(self, outcome: str, seconds: float) -> None:
        self.outcomes.append(outcome)

    def on_checkpoint(self, seconds: float, byte_count: int) -> None:
        self.checkpoints.append(byte_count)


async def test_a_stream_begins_with_accepted_and_queued_and_ends_with_the_result(tmp_path: Path) -> None:
    with worker_of(tmp_path):
        async with front_of(tmp_path) as front:
            record, is_new = await front.submit(submission(request_of(30, 0.001)))
            things = await read(front, record, is_new=is_new)
    shown = [summary(seen) for seen in things]
    assert is_new
    assert shown[:2] == [("accepted", 0), ("waits", 0)]
    assert [text for kind, text in shown[2:-1] if kind == "event"] == ["10", "20", "30"]
    assert last_payload(things) == expected(30)
    frames = [int(text) for kind, text in shown[2:] if kind == "frame"]
    assert frames == sorted(frames)
    assert frames[-1] == 30


async def test_an_unnamed_job_is_gone_with_its_call(tmp_path: Path) -> None:
    store = open_again(tmp_path)
    with worker_of(tmp_path) as worker:
        async with front_of(tmp_path) as front:
            record, _ = await front.submit(submission(request_of(5)))
            await read(front, record)
            await wait_for(lambda: store.get(record.job_id) is None)
            record, _ = await front.submit(submission(FOREVER))
            async with contextlib.aclosing(front.stream(record)) as things:
                async for seen in things:
                    if summary(seen)[0] == "frame":
                        break
            await wait_for(lambda: store.get(record.job_id) is None, 2)
            await wait_for(lambda: worker.is_idle, 1)
    assert list((tmp_path / "spool").iterdir()) == []
    store.close()


async def test_a_finished_named_job_is_replayed_and_another_request_under_its_key_refused(tmp_path: Path) -> None:
    observer = Counter()
    with worker_of(tmp_path):
        async with front_of(tmp_path, observer=observer) as front:
            first, _ = await front.submit(submission(request_of(20), "k", digest={"mask": "1", "seed": "2"}))
            once = await read(front, first)
            again, is_new = await front.submit(submission(request_of(20), "k", digest={"mask": "1", "seed": "2"}))
            replay = await read(front, again)
            conflicts = [
                await refusal(front.submit(submission(request_of(20), "k", digest=digest, **more)))
                for digest, more in (
                    ({"mask": "1", "seed": "3"}, {}),
                    ({"mask": "1"}, {}),
                    ({"mask": "1", "seed": "2"}, {"kind": "RunPass1"}),
                )
            ]
    assert (is_new, again.job_id) == (False, first.job_id)
    assert last_payload(replay) == last_payload(once) == expected(20)
    assert [summary(seen) for seen in replay if summary(seen)[0] == "event"] == [
        ("event", "10"),
        ("event", "20"),
        ("event", expected(20).decode()),
    ]
    assert [reason_name(error.reason) for error in conflicts] == ["JOB_KEY_CONFLICT"] * 3
    assert [error.metadata["differs_in"] for error in conflicts] == ["seed", "seed", "method"]
    assert conflicts[0].metadata["job_id"] == first.job_id
    assert observer.resumed == 1


async def test_a_reader_goes_on_behind_its_cursor_with_nothing_missing_or_repeated(tmp_path: Path) -> None:
    with worker_of(tmp_path):
        async with front_of(tmp_path) as front:
            record, _ = await front.submit(submission(request_of(120, 0.002), "k"))
            seen_numbers: list[int] = []
            cursor, text = "", ""
            while text != expected(120).decode():
                async with contextlib.aclosing(front.stream(record, cursor)) as things:
                    async for seen in things:
                        cursor = seen.cursor
                        kind, *rest = summary(seen)
                        if kind == "event":
                            text = rest[0]
                            break
                if text.isdigit():
                    seen_numbers.append(int(text))
            error = await refusal(_first(front, record, "999999"))
    assert seen_numbers == list(range(10, 121, 10))
    assert (reason_name(error.reason), error.field) == ("FIELD_OUT_OF_RANGE", "after_cursor")


async def _first(front: Front, record: JobRecord, after: str) -> None:
    await read(front, record, after)


async def test_waiting_jobs_learn_their_position_and_a_full_queue_says_when_to_return(tmp_path: Path) -> None:
    observer = Counter()
    with worker_of(tmp_path):
        async with front_of(tmp_path, with_policy(queue_size=2), observer) as front:
            running, _ = await front.submit(submission(FOREVER, predicted_s=10.0))
            streams = [front.stream(running)]
            await _until(streams[0], "frame")
            for expected_position in (0, 1):
                record, is_new = await front.submit(submission(FOREVER, predicted_s=10.0))
                streams.append(front.stream(record, is_new=is_new))
                waits = await _until(streams[-1], "waits")
                assert waits.what.position == expected_position
                assert 5 < waits.what.estimated_wait_s - 10 * expected_position <= 10
            full = await refusal(front.submit(submission(FOREVER)))
            await streams[1].aclose()
            moved = await _until(streams[2], "waits")
            assert moved.what.position == 0
            for stream in (streams[0], streams[2]):
                await stream.aclose()
    assert reason_name(full.reason) == "QUEUE_FULL"
    assert full.metadata == {"queue_size": "2"}
    assert full.retry_after_s == pytest.approx(15, abs=2.5)
    assert observer.rejected == ["QUEUE_FULL"]
    assert list((tmp_path / "spool").iterdir()) == []


async def _until(stream: Any, kind: str) -> Any:
    async for seen in stream:
        if summary(seen)[0] == kind:
            return seen
    raise AssertionError(f"the stream ended without {kind}")


async def test_the_bytes_of_requests_under_way_are_bounded(tmp_path: Path) -> None:
    async with front_of(tmp_path, with_policy(request_bytes=1000)) as front:
        with front.holding(600):
            with pytest.raises(ServiceError) as caught, front.holding(500):
                pass
            with front.holding(400):
                pass
        with front.holding(1000):
            pass
    assert reason_name(caught.value.reason) == "MEMORY_BUDGET"
    assert caught.value.metadata == {"needed_bytes": "500", "available_bytes": "400"}
    assert caught.value.retry_after_s is not None


async def test_cancelling_at_any_moment_stops_within_a_step_and_leaves_nothing(tmp_path: Path) -> None:
    dice = random.Random(5)
    store = open_again(tmp_path)
    with worker_of(tmp_path) as worker:
        async with front_of(tmp_path) as front:
            for number in range(20):
                record, _ = await front.submit(submission(FOREVER, f"k{number}"))
                stream = asyncio.create_task(read(front, record))
                await asyncio.sleep(dice.uniform(0, 0.08))
                await front.cancel(record)
                error = await refusal(stream)
                assert reason_name(error.reason) == "CANCELLED"
                began_s = time.monotonic()
                await wait_for(lambda: worker.is_idle, 2)
                assert time.monotonic() - began_s < 1
                ended = store.get(record.job_id)
                assert ended is not None
                assert ended.state is State.CANCELLED
    store.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("painterly")]


async def test_a_cancelled_job_keeps_its_last_frame(tmp_path: Path) -> None:
    with worker_of(tmp_path) as worker:
        async with front_of(tmp_path) as front:
            record, _ = await front.submit(submission(FOREVER, "k"))
            stream = front.stream(record)
            await _until(stream, "frame")
            await front.cancel(record)
            await wait_for(lambda: worker.is_idle)
            await stream.aclose()
            await _until(front.stream(record), "frame")
            assert reason_name((await refusal(read(front, record))).reason) == "CANCELLED"


async def test_a_stage_is_finished_early_on_request(tmp_path: Path) -> None:
    with worker_of(tmp_path):
        async with front_of(tmp_path) as front:
            record, _ = await front.submit(submission(FOREVER))
            stream = front.stream(record)
            await _until(stream, "frame")
            await front.finish_stage(record)
            *_, last = [seen async for seen in stream]
    steps = int(last_payload([last]).split()[0])
    assert 0 < steps < 1_000_000
    assert last_payload([last]) == expected(steps)


async def test_an_orphan_is_parked_at_a_checkpoint_and_goes_on_when_somebody_listens(tmp_path: Path) -> None:
    store, observer = open_again(tmp_path), Counter()
    steps = 1500
    with worker_of(tmp_path, observer=observer) as worker:
        async with front_of(tmp_path, with_policy(orphan_s=0.4)) as front:
            record, _ = await front.submit(submission(request_of(steps, 0.002), "k"))
            stream = front.stream(record)
            await _until(stream, "frame")
            await stream.aclose()
            await wait_for(lambda: _state(store, record) is State.PARKED)
            await wait_for(lambda: worker.is_idle)
            parked = store.get(record.job_id)
            assert parked is not None
            assert parked.checkpoint_place is not None
            done = parked.checkpoint_place.iteration
            assert 0 < done < steps
            again = await front.resume("anonymous", record.job_id)
            assert again.state is State.QUEUED
            things = await read(front, again)
    assert last_payload(things) == expected(steps)
    frames = [int(text) for kind, text, *_ in map(summary, things) if kind == "frame"]
    assert min(frames[1:]) > done
    ended = store.get(record.job_id)
    assert ended is not None
    assert (ended.attempt, ended.lost_count, ended.resumed_from) == (2, 0, Place(stage="pass1", iteration=done))
    assert observer.outcomes == ["parked", "succeeded"]
    assert observer.checkpoints
    store.close()


def _state(store: Any, record: JobRecord) -> State | None:
    found = store.get(record.job_id)
    return None if found is None else found.state


async def test_a_reader_that_comes_back_in_time_and_an_unattended_job_are_not_parked(tmp_path: Path) -> None:
    store = open_again(tmp_path)
    with worker_of(tmp_path):
        async with front_of(tmp_path, with_policy(orphan_s=3.0)) as front:
            record, _ = await front.submit(submission(request_of(400, 0.002), "k"))
            for _ in range(3):
                stream = front.stream(record)
                await _until(stream, "frame")
                await stream.aclose()
                await asyncio.sleep(0.1)
            await read(front, record)
            alone, _ = await front.submit(submission(request_of(1600, 0.002), "u", is_unattended=True))
            await wait_for(lambda: _state(store, alone) is State.SUCCEEDED)
    for each in (record, alone):
        ended = store.get(each.job_id)
        assert ended is not None
        assert ended.attempt == 1
    store.close()


async def test_a_slow_reader_misses_frames_and_knows_it_but_gets_all_that_must_arrive(tmp_path: Path) -> None:
    observer = Counter()
    with worker_of(tmp_path):
        async with front_of(tmp_path, observer=observer) as front:
            record, is_new = await front.submit(submission(request_of(300, 0.002)))
            shown = []
            async with contextlib.aclosing(front.stream(record, is_new=is_new)) as things:
                async for seen in things:
                    shown.append(seen)
                    await asyncio.sleep(0.05 if summary(seen)[0] == "frame" else 0)
    frames = [int(summary(seen)[1]) for seen in shown if summary(seen)[0] == "frame"]
    assert frames[-1] == 300
    assert len(frames) < 100
    assert (observer.sent, observer.sent + observer.dropped) == (len(frames), 300)
    assert last_payload(shown) == expected(300)
    assert [summary(seen)[1] for seen in shown if summary(seen)[0] == "event"][:-1] == [
        str(number) for number in range(10, 301, 10)
    ]


async def test_silence_is_broken_by_heartbeats(tmp_path: Path) -> None:
    async with front_of(tmp_path, with_policy(heartbeat_s=0.1)) as front:
        record, _ = await front.submit(submission(request_of(1)))
        stream = front.stream(record)
        shown = [summary(await anext(stream))[0] for _ in range(4)]
        await stream.aclose()
    assert shown == ["accepted", "waits", "silence", "silence"]


async def test_draining_sends_away_what_waits_and_lets_the_running_job_end(tmp_path: Path) -> None:
    store = open_again(tmp_path)
    with worker_of(tmp_path) as worker:
        async with front_of(tmp_path) as front:
            running, _ = await front.submit(submission(request_of(200, 0.002)))
            stream = front.stream(running)
            await _until(stream, "frame")
            waiting = {name: (await front.submit(submission(FOREVER, name)))[0] for name in ("", "named")}
            reading = [asyncio.create_task(read(front, record)) for record in waiting.values()]
            await asyncio.sleep(0.05)
            worker.drain()
            front.drain()
            away = [await refusal(task) for task in reading]
            with pytest.raises(ServiceError) as refused, front.holding(1):
                pass
            *_, last = [seen async for seen in stream]
            await wait_for(lambda: store.get(waiting[""].job_id) is None)
    assert [reason_name(error.reason) for error in (*away, refused.value)] == ["DRAINING"] * 3
    assert last_payload([last]) == expected(200)
    assert _state(store, waiting["named"]) in (State.QUEUED, State.PARKED)
    store.close()


async def test_a_failure_comes_to_its_caller_as_it_was_and_a_crashing_job_ends_by_itself(tmp_path: Path) -> None:
    with worker_of(tmp_path):
        async with front_of(tmp_path) as front:
            record, _ = await front.submit(submission(request_of(20, fail_at=12), "k"))
            errors = [await refusal(read(front, record)) for _ in range(2)]
            broken, _ = await front.submit(submission(b"no json"))
            with pytest.raises(RuntimeError, match="failed in its worker"):
                await read(front, broken)
            after, _ = await front.submit(submission(request_of(3)))
            assert last_payload(await read(front, after)) == expected(3)
    for error in errors:
        assert (reason_name(error.reason), error.field, error.message) == ("MASK_EMPTY", "mask", "nothing is inside")


async def test_a_job_belongs_to_its_principal(tmp_path: Path) -> None:
    async with front_of(tmp_path) as front:
        record, _ = await front.submit(submission(request_of(1), "k", principal="one"))
        for call in (front.job("two", record.job_id), front.resume("two", record.job_id), front.job_of_key("two", "k")):
            assert reason_name((await refusal(call)).reason) == "JOB_NOT_FOUND"
        assert (await front.job("one", record.job_id)).job_id == record.job_id
        _, is_new = await front.submit(submission(request_of(2), "k", principal="two"))
        assert is_new


async def test_a_job_that_runs_too_long_fails_with_its_limit(tmp_path: Path) -> None:
    with worker_of(tmp_path, with_policy(run_limit_s=0.2)):
        async with front_of(tmp_path) as front:
            record, _ = await front.submit(submission(FOREVER))
            error = await refusal(read(front, record))
    assert (reason_name(error.reason), error.metadata) == ("JOB_RUN_LIMIT", {"limit_s": "0.2"})


async def test_two_fronts_show_the_same_job(tmp_path: Path) -> None:
    with worker_of(tmp_path):
        async with front_of(tmp_path) as one, front_of(tmp_path) as two:
            record, _ = await one.submit(submission(request_of(100, 0.002), "k"))
            other = await two.resume("anonymous", record.job_id)
            results = await asyncio.gather(read(one, record), read(two, other))
    assert [last_payload(things) for things in results] == [expected(100)] * 2
    assert isinstance(results[1][0].what, Accepted)


async def test_forty_jobs_at_once_end_once_each(tmp_path: Path) -> None:
    observer = Counter()
    with worker_of(tmp_path, QUICK, "a", observer), worker_of(tmp_path, QUICK, "b", observer):
        async with front_of(tmp_path, with_policy(queue_size=100)) as front:

            async def one(number: int) -> bytes:
                record, is_new = await front.submit(submission(request_of(number)))
                return last_payload(await read(front, record, is_new=is_new))

            results = await asyncio.gather(*(one(number) for number in range(40)))
    assert results == [expected(number) for number in range(40)]
    assert observer.outcomes == ["succeeded"] * 40
