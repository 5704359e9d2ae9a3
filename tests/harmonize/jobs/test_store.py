"""The store's promises: claims, fencing, slots, cursors, fairness, retention. One body for every kind of store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from painterly_harmonize.jobs.fairness import claim_order, estimated_wait_s, position
from painterly_harmonize.jobs.records import Lease, NewEvent, NewJob, Place, Queue, Running, State, Waiting
from painterly_harmonize.jobs.store import (
    BadCursor,
    BlobMissing,
    KeyTaken,
    LeaseLost,
    PrincipalLimit,
    QueueFull,
    StoreFull,
)
from tests.harmonize.jobs.counting import report_of
from tests.harmonize.jobs.kit import QUICK, Clock, Opened, open_sqlite, with_policy

OPENERS = {"sqlite": open_sqlite}
Open = Callable[..., Opened]


@pytest.fixture(params=OPENERS)
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens stores of one kind over one place."""
    opened: list[Opened] = []

    def open_with(clock: Clock | None = None, **values: object) -> Opened:
        clock, policy = clock or Clock(), with_policy(**values)
        store, blobs = OPENERS[request.param](tmp_path, policy, clock)
        opened.append(Opened(store=store, blobs=blobs, clock=clock, policy=policy))
        return opened[-1]

    yield open_with
    for each in opened:
        each.store.close()


@pytest.fixture
def kept(opening: Open) -> Opened:
    return opening()


def claimed(kept: Opened, worker_id: str = "w") -> Lease:
    lease = kept.store.claim(worker_id)
    assert lease is not None
    return lease


def payloads(kept: Opened, job_id: str, after: str = "") -> list[bytes]:
    return [event.payload for event in kept.store.events(job_id, after)]


def test_a_job_is_claimed_once_and_in_order(kept: Opened) -> None:
    for name in "abc":
        kept.add(name)
        kept.clock.now_s += 0.001
    assert [claimed(kept).job_id for _ in range(3)] == ["a", "b", "c"]
    assert kept.store.claim("w") is None
    assert kept.get("a").state is State.RUNNING


def test_an_expired_lease_is_taken_over_before_what_waits_and_the_late_worker_is_refused(kept: Opened) -> None:
    kept.add("a")
    first = claimed(kept, "one")
    kept.store.checkpoint(first, b"state", Place(stage="pass1", iteration=3))
    kept.add("b", watched_until=kept.clock.now_s + 100)
    kept.store.watch(["a"], kept.clock.now_s + 100)
    kept.clock.now_s += QUICK.lease_s + 0.1
    second = claimed(kept, "two")
    assert (second.job_id, second.attempt) == ("a", 2)
    assert kept.get("a").checkpoint_place == Place(stage="pass1", iteration=3)
    late: list[Callable[[], object]] = [
        lambda: kept.store.renew(first),
        lambda: kept.store.append(first, NewEvent(payload=b"late")),
        lambda: kept.store.checkpoint(first, b"late", Place(stage="pass1", iteration=4)),
        lambda: kept.store.end(first, State.SUCCEEDED, NewEvent(payload=b"late")),
        lambda: kept.store.release(first, State.QUEUED),
        lambda: kept.store.begin(first, None, ""),
        lambda: kept.store.control(first),
    ]
    for write in late:
        with pytest.raises(LeaseLost):
            write()
    kept.store.end(second, State.SUCCEEDED, NewEvent(payload=b"done"))
    assert payloads(kept, "a") == [b"done"]


def test_a_renewed_lease_does_not_expire(kept: Opened) -> None:
    kept.add("a", watched_until=kept.clock.now_s + 100)
    lease = claimed(kept)
    for _ in range(5):
        kept.clock.now_s += QUICK.lease_s * 0.9
        kept.store.renew(lease)
    assert kept.store.claim("other") is None


def test_a_job_whose_workers_are_lost_fails_after_its_attempts(kept: Opened) -> None:
    kept.add("a", watched_until=kept.clock.now_s + 100)
    for attempt in (1, 2, 3):
        assert claimed(kept).attempt == attempt
        kept.clock.now_s += QUICK.lease_s + 0.1
    assert kept.store.claim("w") is None
    assert list(kept.store.sweep()) == ["a"]
    failure = kept.get("a").failure
    assert failure is not None
    assert (failure.reason, failure.metadata) == ("JOB_ATTEMPTS_EXHAUSTED", {"attempts": "3"})


def test_with_one_attempt_a_lost_worker_is_told_as_such(opening: Open) -> None:
    kept = opening(attempts=1)
    kept.add("a", watched_until=kept.clock.now_s + 100)
    claimed(kept)
    kept.clock.now_s += QUICK.lease_s + 0.1
    assert kept.store.claim("w") is None
    kept.store.sweep()
    failure = kept.get("a").failure
    assert failure is not None
    assert failure.reason == "WORKER_LOST"


def test_a_worker_that_signed_off_loses_its_jobs_at_once(kept: Opened) -> None:
    kept.add("a")
    kept.store.report(report_of("w"))
    claimed(kept, "w")
    kept.store.forget_worker("w")
    assert claimed(kept, "other").attempt == 2
    assert kept.store.workers() == []


def test_of_a_slot_the_newest_is_kept_and_cursors_go_on_exactly(kept: Opened) -> None:
    kept.add("a")
    lease = claimed(kept)
    for number in range(1, 4):
        kept.store.append(lease, NewEvent(payload=b"p%d" % number, slot="progress", number=number))
        kept.store.append(lease, NewEvent(payload=b"f%d" % number, slot="frame", number=number))
        kept.store.append(lease, NewEvent(payload=b"m%d" % number))
    events = kept.store.events("a", "")
    assert [event.payload for event in events] == [b"m1", b"m2", b"p3", b"f3", b"m3"]
    assert [event.number for event in events if event.slot] == [3, 3]
    for index, event in enumerate(events):
        assert payloads(kept, "a", event.cursor) == [later.payload for later in events[index + 1 :]]
    with pytest.raises(BadCursor):
        kept.store.events("a", "99")
    with pytest.raises(BadCursor):
        kept.store.events("a", "x")


def test_large_events_are_blobs_that_go_with_their_job(kept: Opened) -> None:
    large = [bytes([number]) * 1_000_000 for number in range(3)]
    kept.add("a", job_key="k")
    lease = claimed(kept)
    kept.store.append(lease, NewEvent(payload=large[0], slot="frame"))
    kept.store.append(lease, NewEvent(payload=large[1], slot="frame"))
    assert payloads(kept, "a") == [large[1]]
    kept.store.append(lease, NewEvent(payload=large[2]))
    kept.store.checkpoint(lease, b"s" * 1000, Place(stage="pass1", iteration=1))
    kept.store.checkpoint(lease, b"t" * 1000, Place(stage="pass1", iteration=2))
    assert len(set(kept.blobs.names())) == 4
    kept.store.end(lease, State.SUCCEEDED, NewEvent(payload=b"done"))
    assert len(set(kept.blobs.names())) == 3
    kept.clock.now_s += kept.policy.result_retention_s + 1
    kept.store.sweep()
    assert kept.get("a").state is State.EXPIRED
    assert list(kept.blobs.names()) == []


def test_the_same_bytes_of_two_jobs_stay_until_the_second_goes(kept: Opened) -> None:
    kept.add("a", request=b"same")
    kept.add("b", request=b"same")
    kept.store.leave("a")
    record = kept.get("b")
    assert kept.blobs.get(record.request_blob) == b"same"
    kept.store.leave("b")
    assert kept.store.get("b") is None
    with pytest.raises(BlobMissing):
        kept.blobs.get(record.request_blob)


def test_a_key_is_its_principals(kept: Opened) -> None:
    kept.add("a", job_key="k", principal="one")
    kept.add("b", job_key="k", principal="two")
    with pytest.raises(KeyTaken) as caught:
        kept.add("c", job_key="k", principal="one")
    assert caught.value.record.job_id == "a"
    found = kept.store.find("two", "k")
    assert found is not None
    assert found.job_id == "b"
    assert [record.job_id for record in kept.store.page("one", (), None, 9)] == ["a"]


def test_the_queue_and_each_principal_are_bounded(opening: Open) -> None:
    kept = opening(queue_size=3, principal_jobs=2)
    kept.add("a", principal="one")
    kept.add("b", principal="one")
    with pytest.raises(PrincipalLimit):
        kept.add("c", principal="one")
    kept.add("c", principal="two")
    kept.add("d", principal="three")
    with pytest.raises(QueueFull) as caught:
        kept.add("e", principal="four")
    assert len(caught.value.queue.waiting) == 4  # one of them is about to run


def test_a_batch_of_a_hundred_does_not_starve_a_single_request(opening: Open) -> None:
    kept = opening(queue_size=200, principal_jobs=200)
    for number in range(100):
        kept.add(f"batch{number}", principal="batch")
        kept.clock.now_s += 0.001
    assert claimed(kept).job_id == "batch0"
    kept.clock.now_s += 0.001
    kept.add("single", principal="single")
    assert [claimed(kept).job_id for _ in range(3)] == ["single", "batch1", "batch2"]


def test_principals_take_turns() -> None:
    def job(name: str, queued_at: float) -> Waiting:
        return Waiting(job_id=name, principal=name[0], number=int(queued_at), queued_at=queued_at, predicted_s=2)

    waiting = [job("a1", 1), job("a2", 2), job("a3", 3), job("b1", 4), job("c1", 5), job("b2", 6)]
    order = claim_order(waiting, {"a": 30.0, "b": 20.0})
    assert [each.job_id for each in order] == ["c1", "b1", "a1", "b2", "a2", "a3"]


def test_positions_and_waits_are_counted_from_what_runs_and_waits_before() -> None:
    waiting = tuple(Waiting(job_id=str(n), principal="a", number=n, queued_at=n, predicted_s=10.0) for n in range(3))
    running = (Running(job_id="r", started_at=100.0, predicted_s=8.0),)
    queue = Queue(waiting=waiting, running=running, worker_count=1)
    assert [position(queue, index) for index in range(3)] == [0, 1, 2]
    assert [estimated_wait_s(queue, index, 105.0) for index in range(3)] == [3.0, 13.0, 23.0]
    assert [position(Queue(waiting=waiting, worker_count=1), index) for index in range(3)] == [0, 0, 1]
    unknown = Queue(running=(Running(job_id="r", started_at=0, predicted_s=0),), waiting=waiting, worker_count=1)
    assert estimated_wait_s(unknown, 0, 5.0) is None


def test_what_nobody_listens_to_is_parked_or_removed_and_the_unattended_runs_on(kept: Opened) -> None:
    kept.add("n", job_key="n")
    kept.add("u")
    kept.add("x", job_key="x", is_unattended=True)
    kept.clock.now_s += 11
    kept.store.sweep()
    assert kept.get("n").state is State.PARKED
    assert kept.store.get("u") is None
    assert claimed(kept).job_id == "x"
    assert kept.store.claim("w") is None
    kept.store.watch(["n"], kept.clock.now_s + 10)
    record = kept.store.requeue("n")
    assert record is not None
    assert record.state is State.QUEUED
    assert claimed(kept).job_id == "n"


def test_a_running_job_is_told_what_is_wished_of_it(kept: Opened) -> None:
    kept.add("a", job_key="k")
    lease = claimed(kept)
    before = kept.store.control(lease)
    assert (before.is_cancelled, before.finish_count, before.is_watched) == (False, 0, True)
    kept.store.finish_stage("a")
    kept.store.cancel("a")
    after = kept.store.control(lease)
    assert (after.is_cancelled, after.finish_count) == (True, 1)
    kept.clock.now_s += 11
    assert not kept.store.control(lease).is_watched
    kept.store.end(lease, State.CANCELLED)
    assert kept.get("a").state is State.CANCELLED


def test_cancelling_ends_a_waiting_job_and_leaves_an_ended_one(kept: Opened) -> None:
    kept.add("a", job_key="k")
    kept.store.cancel("a")
    assert kept.get("a").state is State.CANCELLED
    kept.add("b", job_key="l")
    kept.store.end(claimed(kept), State.SUCCEEDED, NewEvent(payload=b"done"))
    kept.store.cancel("b")
    kept.store.finish_stage("b")
    assert kept.get("b").state is State.SUCCEEDED


def test_events_go_before_results_and_results_before_the_name(kept: Opened) -> None:
    kept.add("a", job_key="k")
    lease = claimed(kept)
    kept.store.append(lease, NewEvent(payload=b"first"))
    kept.store.end(lease, State.SUCCEEDED, NewEvent(payload=b"result"))
    kept.clock.now_s += kept.policy.event_retention_s + 1
    kept.store.sweep()
    assert payloads(kept, "a") == [b"result"]
    kept.clock.now_s += kept.policy.result_retention_s
    kept.store.sweep()
    assert kept.get("a").state is State.EXPIRED
    kept.add("b", job_key="k")  # the key is free again
    kept.clock.now_s += 2 * kept.policy.result_retention_s + 1
    kept.store.sweep()
    assert kept.store.get("a") is None


def test_room_is_made_by_the_oldest_results_and_never_by_what_has_not_ended(opening: Open) -> None:
    kept = opening(spool_bytes=2500)
    for name in "ab":
        kept.add(name, job_key=name, request=name.encode() * 1000)
        kept.store.end(claimed(kept), State.SUCCEEDED, NewEvent(payload=b"done"))
        kept.clock.now_s += 1
    kept.store.make_room(1000)
    assert [kept.get(name).state for name in "ab"] == [State.EXPIRED, State.SUCCEEDED]
    kept.add("c", job_key="c", request=b"c" * 1000)
    kept.store.make_room(1000)
    with pytest.raises(StoreFull):
        kept.store.make_room(2000)
    assert kept.get("c").state is State.QUEUED


def test_pages_go_on_where_the_last_one_ended(kept: Opened) -> None:
    for number in range(5):
        kept.add(f"j{number}", job_key=f"k{number}")
        kept.store.cancel(f"j{number}")
    first = kept.store.page("anonymous", (), None, 2)
    second = kept.store.page("anonymous", (), first[-1].number, 2)
    assert [record.job_id for record in (*first, *second)] == ["j4", "j3", "j2", "j1"]
    assert kept.store.page("anonymous", (State.QUEUED,), None, 9) == []


def test_another_process_sees_changes_by_the_mark_and_stamps(opening: Open) -> None:
    kept = opening()
    other = opening(kept.clock)
    mark, none = other.store.change_mark(), other.store.stamps(["a"])
    kept.add("a")
    assert other.store.change_mark() != mark
    lease = claimed(kept)
    before = other.store.stamps(["a"])
    assert none == {}
    kept.store.append(lease, NewEvent(payload=b"x"))
    assert other.store.stamps(["a"]) != before
    assert payloads(other, "a") == [b"x"]


def test_blobs_that_nothing_refers_to_are_collected(kept: Opened) -> None:
    kept.add("a", request=b"kept")
    stray = kept.blobs.put(b"stray")
    kept.store.collect_strays()
    assert not kept.blobs.exists(stray)
    assert kept.blobs.get(kept.get("a").request_blob) == b"kept"
    late = NewJob(
        job_id="late",
        principal="anonymous",
        job_key="",
        kind="Harmonize",
        request_blob=stray,
        digest={},
        watched_until=kept.clock.now_s + 1,
    )
    with pytest.raises(BlobMissing):
        kept.store.create(late)
