"""Worker processes that are killed, frozen, told to stop or left alone; and a disk that is full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from painterly.errors import ServiceError, reason_name
from painterly_harmonize.jobs.front import Front
from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import JobRecord, State
from painterly_harmonize.jobs.supervisor import Supervisor
from tests.harmonize.jobs.counting import command, expected, request_of
from tests.harmonize.jobs.kit import (
    QUICK,
    ROOT,
    front_of,
    last_payload,
    open_again,
    read,
    submission,
    summary,
    wait_for,
    with_policy,
    worker_of,
    worker_process,
)


class Ups(Observer):
    """Takes note of a supervised worker's comings and goings."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def on_worker(self, is_up: bool) -> None:
        self.seen.append(is_up)


@contextlib.contextmanager
def supervised(folder: Path, policy: Policy = QUICK, observer: Observer | None = None) -> Iterator[Supervisor]:
    """A supervisor with a counting worker."""
    store = open_again(folder, policy)
    supervisor = Supervisor(
        partial(command, folder, policy), worker_id="s", store=store, policy=policy, observer=observer or Observer()
    )
    try:
        yield supervisor
    finally:
        supervisor.stop()
        store.close()


async def frames_until(front: Front, record: JobRecord, step: int) -> None:
    """Read until a step has been shown."""
    async with contextlib.aclosing(front.stream(record)) as things:
        async for seen in things:
            kind, *rest = summary(seen)
            if kind == "frame" and int(rest[0]) >= step:
                return


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


async def test_a_killed_workers_job_goes_on_in_the_next_process(tmp_path: Path) -> None:
    store, observer = open_again(tmp_path), Ups()
    with supervised(tmp_path, observer=observer) as supervisor:
        async with front_of(tmp_path) as front:
            record, is_new = await front.submit(submission(request_of(600, 0.003), "k"))
            reading = asyncio.create_task(read(front, record, is_new=is_new))
            await frames_until(front, record, 150)
            os.kill(supervisor.process_id, signal.SIGKILL)
            things = await reading
    ended = store.get(record.job_id)
    assert ended is not None
    assert last_payload(things) == expected(600)
    assert (ended.state, ended.attempt, ended.lost_count) == (State.SUCCEEDED, 2, 1)
    assert ended.resumed_from is not None
    assert ended.resumed_from.iteration > 0
    tens = [rest[0] for kind, *rest in map(summary, things) if kind == "event"][:-1]
    assert set(tens) == {str(number) for number in range(10, 601, 10)}  # some twice, none missing
    assert observer.seen == [True, False, True]
    store.close()


async def test_a_job_that_kills_its_workers_fails_in_the_end_and_the_others_are_computed(tmp_path: Path) -> None:
    with supervised(tmp_path, with_policy(restart_s=(0.05, 0.1))):
        async with front_of(tmp_path) as front:
            poison, _ = await front.submit(submission(request_of(20, 0.001, crash_at=5), "k"))
            with pytest.raises(ServiceError) as caught:
                await read(front, poison)
            after, _ = await front.submit(submission(request_of(7)))
            assert last_payload(await read(front, after)) == expected(7)
    assert (reason_name(caught.value.reason), caught.value.metadata) == ("JOB_ATTEMPTS_EXHAUSTED", {"attempts": "3"})


async def test_a_frozen_workers_job_is_taken_over_and_its_late_writes_are_refused(tmp_path: Path) -> None:
    store = open_again(tmp_path)
    with worker_process(tmp_path, worker_id="frozen") as frozen:
        async with front_of(tmp_path) as front:
            record, _ = await front.submit(submission(request_of(1200, 0.003), "k"))
            reading = asyncio.create_task(read(front, record))
            await frames_until(front, record, 100)
            frozen.send_signal(signal.SIGSTOP)
            with worker_process(tmp_path, worker_id="second"):
                await asyncio.to_thread(wait_for, lambda: _attempt(store, record) == 2)
                frozen.send_signal(signal.SIGCONT)
                things = await reading
                assert frozen.poll() is None  # it found its lease lost, and waits for other jobs
    ended = store.get(record.job_id)
    assert ended is not None
    assert last_payload(things) == expected(1200)
    assert (ended.attempt, ended.lost_count) == (2, 1)
    store.close()


def _attempt(store: Any, record: JobRecord) -> int:
    found = store.get(record.job_id)
    return 0 if found is None else int(found.attempt)


async def test_a_silent_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    observer = Ups()
    with supervised(tmp_path, observer=observer) as supervisor:
        await asyncio.to_thread(wait_for, lambda: observer.seen)
        before = supervisor.process_id
        os.kill(before, signal.SIGSTOP)
        await asyncio.to_thread(wait_for, lambda: supervisor.process_id != before)
        async with front_of(tmp_path) as front:
            record, _ = await front.submit(submission(request_of(5)))
            assert last_payload(await read(front, record)) == expected(5)
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


async def test_a_stopped_worker_hands_its_job_over_where_it_is(tmp_path: Path) -> None:
    store = open_again(tmp_path)
    async with front_of(tmp_path, with_policy(checkpoint_s=60.0)) as front:
        record, _ = await front.submit(submission(request_of(400, 0.003), "k"))
        with supervised(tmp_path, with_policy(checkpoint_s=60.0)):
            await frames_until(front, record, 50)
        handed = store.get(record.job_id)
        assert handed is not None
        assert (handed.state, handed.attempt, handed.lost_count) == (State.QUEUED, 1, 0)
        assert handed.checkpoint_place is not None
        assert handed.checkpoint_place == handed.place  # not a step is done twice
        with worker_of(tmp_path):
            things = await read(front, record)
    assert last_payload(things) == expected(400)
    store.close()


def test_a_worker_ends_with_its_supervisor(tmp_path: Path) -> None:
    code = (
        "import sys, time; from functools import partial; from pathlib import Path;"
        "from painterly_harmonize.jobs.observer import Observer;"
        "from painterly_harmonize.jobs.supervisor import Supervisor;"
        "from tests.harmonize.jobs.counting import command; from tests.harmonize.jobs.kit import QUICK, open_again;"
        "folder = Path(sys.argv[1]);"
        "s = Supervisor(partial(command, folder, QUICK), worker_id='s', store=open_again(folder), policy=QUICK,"
        " observer=Observer());"
        "print(s.process_id, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        store = open_again(tmp_path)
        wait_for(lambda: store.workers())
        parent.kill()
        parent.wait()
        wait_for(lambda: not Path(f"/proc/{worker}").exists() or _is_zombie(worker), 10)
        assert store.workers() == []
        store.close()


def _is_zombie(process_id: int) -> bool:
    return "(zombie)" in Path(f"/proc/{process_id}/status").read_text()


async def test_two_fronts_over_one_folder_may_die_and_the_reader_goes_on_by_its_cursor(tmp_path: Path) -> None:
    """A front that dies leaves nothing behind that another one needs."""
    numbers: list[int] = []
    with worker_process(tmp_path):
        cursor, record = "", None
        for part in range(3):
            async with front_of(tmp_path) as front:
                if record is None:
                    record, _ = await front.submit(submission(request_of(300, 0.003), "k"))
                else:
                    record = await front.resume("anonymous", record.job_id)
                async with contextlib.aclosing(front.stream(record, cursor)) as things:
                    async for seen in things:
                        cursor = seen.cursor
                        kind, *rest = summary(seen)
                        if kind == "event" and " " not in rest[0]:
                            numbers.append(int(rest[0]))
                            if part < 2 and len(numbers) % 10 == 0:
                                break
                        elif kind == "event":
                            assert rest[0].encode() == expected(300)
    assert numbers == list(range(10, 301, 10))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of four MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs rights that this process does not have")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_is_a_typed_error_and_nothing_is_lost_by_it(small_disk: Path) -> None:
    with worker_of(small_disk):
        async with front_of(small_disk) as front:
            record, _ = await front.submit(submission(request_of(500, 0.003, result_bytes=400_000), "k"))
            reading = asyncio.create_task(read(front, record))
            await frames_until(front, record, 50)
            filler = small_disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"\0" * 4096)
            with pytest.raises(ServiceError) as caught:
                await front.submit(submission(request_of(5) + b" " * 100_000, "other"))
            assert reason_name(caught.value.reason) == "STORE_UNAVAILABLE"
            assert caught.value.retry_after_s is not None
            await asyncio.sleep(2.5)
            assert not reading.done()
            filler.unlink()
            things = await reading
            assert last_payload(things).rstrip() == expected(500)
            other, _ = await front.submit(submission(request_of(5) + b" " * 100_000, "other"))
            assert last_payload(await read(front, other)) == expected(5)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_two_hundred_jobs_under_random_faults_end_exactly_once(tmp_path: Path) -> None:
    dice, count = random.Random(11), 200
    policy = with_policy(attempts=50, queue_size=400, restart_s=(0.05, 0.2), orphan_s=5.0)
    store = open_again(tmp_path, policy)
    results: dict[int, bytes] = {}

    async def one(front: Front, number: int) -> None:
        while number not in results:
            record, is_new = await front.submit(submission(request_of(20 + number % 7, 0.002), f"job-{number}"))
            if dice.random() < 0.2:  # a caller that goes away and comes back
                await frames_until(front, record, 3)
                continue
            results[number] = last_payload(await read(front, record, is_new=is_new))

    async def faults(supervisors: list[Supervisor]) -> None:
        while len(results) < count:
            await asyncio.sleep(dice.uniform(0.2, 0.8))
            victim = dice.choice(supervisors).process_id
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, dice.choice([signal.SIGKILL, signal.SIGSTOP]))

    with contextlib.ExitStack() as stack:
        supervisors = [stack.enter_context(supervised(tmp_path / ".", policy)) for _ in range(2)]
        async with front_of(tmp_path, policy) as front:
            await asyncio.gather(faults(supervisors), *(one(front, number) for number in range(count)))
    records = store.page("anonymous", (), None, 1000)
    assert len(records) == count
    assert {record.state for record in records} == {State.SUCCEEDED}
    assert results == {number: expected(20 + number % 7) for number in range(count)}
    ends = [sum(b" " in event.payload for event in store.events(record.job_id, "")) for record in records]
    assert set(ends) == {1}
    assert sum(record.lost_count for record in records) > 0
    store.close()


def test_the_worker_process_of_the_service_knows_no_grpc() -> None:
    code = "import sys, painterly_harmonize.worker_process; print([name for name in sys.modules if 'grpc' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "[]"
