"""Streams of named jobs whose connections are lost: nothing is told twice, nothing is missing; over both clients."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc
import pytest

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_client import (
    Accepted,
    Cancelled,
    Client,
    DeadlineExceeded,
    Event,
    Heartbeat,
    InvalidRequest,
    JobNotFound,
    PreconditionFailed,
    Progress,
    Queued,
    Reattachment,
    RestartReason,
    Result,
    ResumePoint,
    ServerBusy,
    ServerUnavailable,
    Stage,
    StreamLost,
)
from painterly_client._reattachment import Backoff
from tests.client.job_kit import SILENCE, Fault, OneJob, accepted, heartbeat, progress, result
from tests.client.kit import Harmonize, MakeTwin, free_port, queued, serving, until
from tests.proxy import Mode, Proxy

QUICK = Reattachment(initial_backoff_s=0.01, max_backoff_s=0.05, idle_timeout_s=0.4, give_up_after_s=20.0)
STORED = [progress(0), progress(1), heartbeat(), progress(2), progress(3), result()]
CODES = grpc.StatusCode
Reason = error_reason_pb2


def told(events: list[Event]) -> list[object]:
    """What is told, short: iterations as numbers."""
    return [event.iteration if isinstance(event, Progress) else type(event) for event in events]


WHOLE = [Accepted, 0, 1, Heartbeat, 2, 3, Result]


@pytest.mark.parametrize(
    "fault",
    [
        CODES.UNAVAILABLE,
        CODES.INTERNAL,
        CODES.UNKNOWN,
        CODES.CANCELLED,
        SILENCE,
        ServiceError(Reason.ERROR_REASON_DRAINING, "it stops"),
        ServiceError(Reason.ERROR_REASON_STARTING, "it starts", retry_after_s=0.05),
        ServiceError(Reason.ERROR_REASON_STORE_UNAVAILABLE, "no store", retry_after_s=0.05),
    ],
    ids=str,
)
def test_a_lost_stream_goes_on_behind_its_last_event(make_twin: MakeTwin, fault: Fault) -> None:
    job = OneJob(STORED, [(2, fault), (0, fault), (3, fault)])
    with serving(Harmonize(job)) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint, reattachment=QUICK)
        assert told(list(twin.harmonize(b"c", b"p", b"m", job_key="k"))) == WHOLE
    watch = "WatchJobRequest"
    assert job.calls == [("HarmonizeRequest", "k"), (watch, "2"), (watch, "2"), (watch, "5")]


def test_a_stream_that_was_lost_before_it_was_accepted_is_asked_for_again_by_its_key(make_twin: MakeTwin) -> None:
    job = OneJob(STORED, [(-1, CODES.INTERNAL), (-1, CODES.INTERNAL)])
    with serving(Harmonize(job)) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint, reattachment=QUICK)
        assert told(list(twin.run_pass1(b"c", b"p", b"m", job_key="k"))) == WHOLE
    assert job.calls == [("RunPass1Request", "k")] * 3


def test_a_watched_job_goes_on_too(make_twin: MakeTwin) -> None:
    job = OneJob(STORED, [(1, CODES.UNAVAILABLE)])
    with serving(Harmonize(job)) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint, reattachment=QUICK)
        stream = twin.watch_job("j1", after_cursor="1")
        assert told(list(stream)) == [Accepted, 1, Heartbeat, 2, 3, Result]
    assert job.calls == [("WatchJobRequest", "1"), ("WatchJobRequest", "2")]


def test_a_stream_knows_its_job_and_its_place(make_twin: MakeTwin) -> None:
    with serving(Harmonize(OneJob(STORED))) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint)
        blocking = twin.harmonize(b"c", b"p", b"m", job_key="k")
        stream = getattr(blocking, "stream", blocking)
        assert (stream.job_id, stream.cursor, stream.is_named) == ("", "", True)
        places = [stream.cursor for _ in blocking]
    assert places == ["", "1", "2", "3", "4", "5", "6"]
    assert stream.job_id == "j1"


def test_an_unnamed_job_is_not_taken_up_again(make_twin: MakeTwin) -> None:
    job = OneJob(STORED, [(2, CODES.UNAVAILABLE)], first=lambda: [accepted(named=False)])
    with serving(Harmonize(job)) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint, reattachment=QUICK).harmonize(b"c", b"p", b"m")
        assert told([next(stream) for _ in range(3)]) == [Accepted, 0, 1]
        with pytest.raises(ServerUnavailable, match="went away in the middle of the call") as caught:
            next(stream)
    assert type(caught.value) is ServerUnavailable
    assert len(job.calls) == 1


def test_a_failed_job_is_told_at_once_with_its_names(make_twin: MakeTwin) -> None:
    error = ServiceError(Reason.ERROR_REASON_WEIGHTS_MISSING, "no vgg16", metadata={"weights": "vgg16"})
    job = OneJob(STORED, [(2, error)])
    with serving(Harmonize(job)) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint, reattachment=QUICK).harmonize(b"c", b"p", b"m", job_key="k")
        assert told([next(stream) for _ in range(3)]) == [Accepted, 0, 1]
        with pytest.raises(PreconditionFailed, match=r"^no vgg16$") as caught:
            next(stream)
        assert list(stream) == []
    assert (caught.value.job_id, caught.value.job_key, caught.value.cursor) == ("j1", "k", "2")
    assert len(job.calls) == 1


def test_a_stream_that_stays_lost_says_how_to_go_on(make_twin: MakeTwin) -> None:
    impatient = Reattachment(initial_backoff_s=0.01, max_backoff_s=0.05, give_up_after_s=0.4)
    job = OneJob(STORED, [(2, CODES.UNAVAILABLE), *[(0, CODES.UNAVAILABLE)] * 999])
    with serving(Harmonize(job)) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint, reattachment=impatient).harmonize(b"c", b"p", b"m", job_key="k")
        assert told([next(stream) for _ in range(3)]) == [Accepted, 0, 1]
        begin = time.monotonic()
        with pytest.raises(StreamLost, match="something between broke") as caught:
            next(stream)
        assert 0.1 < time.monotonic() - begin < 10
        assert list(stream) == []
    assert "job j1 is not lost: read on with watch_job('j1', after_cursor='2')" in str(caught.value)
    assert (caught.value.job_id, caught.value.job_key, caught.value.cursor) == ("j1", "k", "2")
    assert caught.value.code is CODES.UNAVAILABLE
    assert len(job.calls) >= 3


def test_no_attempts_when_none_are_wanted(make_twin: MakeTwin) -> None:
    job = OneJob(STORED, [(1, CODES.UNAVAILABLE)])
    with serving(Harmonize(job)) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint, reattachment=Reattachment(give_up_after_s=0))
        with pytest.raises(StreamLost):
            list(twin.harmonize(b"c", b"p", b"m", job_key="k"))
    assert len(job.calls) == 1


def test_a_server_that_was_never_there_is_told_soon(make_twin: MakeTwin) -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    twin = make_twin(harmonize_endpoint=endpoint, reattachment=Reattachment(begin_within_s=0.2))
    with pytest.raises(ServerUnavailable, match="cannot be reached") as caught:
        list(twin.harmonize(b"c", b"p", b"m", job_key="k"))
    assert "the same call with job_key='k' reads on" in str(caught.value)
    assert (caught.value.job_id, caught.value.job_key) == ("", "k")


def test_what_is_told_again_is_told_once(make_twin: MakeTwin) -> None:
    """The same place in the queue and the first beginning are no news; a new attempt is."""
    again = pb.ResumePoint(stage=pb.STAGE_PASS1, iteration=2)
    first = [
        [accepted(), queued(1)],
        [accepted(), queued(1)],
        [accepted(attempt=1)],
        [accepted(attempt=2, resumed_from=again)],
        [accepted(attempt=3, restart_reason=pb.RESTART_REASON_VERSION_DIFFERS)],
    ]
    job = OneJob(STORED, [(0, CODES.UNAVAILABLE)] * 4, first=lambda: first.pop(0))
    with serving(Harmonize(job)) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint, reattachment=QUICK)
        events = list(twin.harmonize(b"c", b"p", b"m", job_key="k"))
    assert events[:4] == [
        Accepted(job_id="j1", named=True),
        Queued(position=1),
        Accepted(job_id="j1", named=True, attempt=2, resumed_from=ResumePoint(stage=Stage.PASS1, iteration=2)),
        Accepted(job_id="j1", named=True, attempt=3, restart_reason=RestartReason.VERSION_DIFFERS),
    ]
    assert told(events[4:]) == WHOLE[1:]


def test_a_job_that_the_server_no_longer_knows(make_twin: MakeTwin) -> None:
    gone = ServiceError(Reason.ERROR_REASON_JOB_NOT_FOUND, "job_id: there is no job 'j1' of yours", field="job_id")
    with serving(Harmonize(OneJob(STORED, [(1, CODES.UNAVAILABLE), (-1, gone)]))) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint, reattachment=QUICK).harmonize(b"c", b"p", b"m", job_key="k")
        with pytest.raises(JobNotFound, match="no job 'j1'") as caught:
            list(stream)
    assert isinstance(caught.value, InvalidRequest)
    assert caught.value.job_id == "j1"


def full(retry_after_s: float) -> ServiceError:
    return ServiceError(
        Reason.ERROR_REASON_QUEUE_FULL, "2 wait", metadata={"queue_size": "2"}, retry_after_s=retry_after_s
    )


def longest(_low: float, high: float) -> float:
    return high


def shortest(low: float, _high: float) -> float:
    return low


@pytest.mark.parametrize("job_key", ["", "k"])
def test_a_full_queue_is_waited_for_on_request(make_twin: MakeTwin, job_key: str) -> None:
    job = OneJob(STORED, [(-1, full(0.2)), (-1, full(0.3))])
    with serving(Harmonize(job)) as endpoint:
        begin = time.monotonic()
        twin = make_twin(harmonize_endpoint=endpoint, waits_when_busy=True)
        assert told(list(twin.harmonize(b"c", b"p", b"m", job_key=job_key))) == WHOLE
        assert time.monotonic() - begin > 0.5
    assert job.calls == [("HarmonizeRequest", job_key)] * 3


def test_a_full_queue_is_an_error_otherwise(make_twin: MakeTwin) -> None:
    job = OneJob(STORED, [(-1, full(0.1))])
    with serving(Harmonize(job)) as endpoint, pytest.raises(ServerBusy) as caught:
        list(make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m", job_key="k"))
    assert (caught.value.reason, caught.value.retry_after_s) == ("QUEUE_FULL", 0.1)
    assert len(job.calls) == 1


def test_a_parked_job_waits_for_its_place_in_a_full_queue(make_twin: MakeTwin) -> None:
    job = OneJob(STORED, [(2, CODES.UNAVAILABLE), (-1, full(0.1))])
    with serving(Harmonize(job)) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint, reattachment=QUICK)
        assert told(list(twin.harmonize(b"c", b"p", b"m", job_key="k"))) == WHOLE


def test_a_unary_call_waits_on_request(make_twin: MakeTwin) -> None:
    refusals = [full(0.2), full(0.2)]

    async def plan(request: Any, context: Any) -> Any:
        if refusals:
            raise refusals.pop()
        yield pb.PlanResponse(fits=True)

    with serving(Harmonize(plan)) as endpoint:
        with pytest.raises(ServerBusy):
            make_twin(harmonize_endpoint=endpoint).plan(b"m")
        assert len(refusals) == 1
        begin = time.monotonic()
        assert make_twin(harmonize_endpoint=endpoint, waits_when_busy=True).plan(b"m").fits
        assert time.monotonic() - begin > 0.2


def test_a_deadline_bounds_all_attempts_together(make_twin: MakeTwin) -> None:
    job = OneJob(STORED, [(1, SILENCE), *[(0, SILENCE)] * 99])
    with serving(Harmonize(job)) as endpoint:
        begin = time.monotonic()
        twin = make_twin(harmonize_endpoint=endpoint, reattachment=QUICK, timeout_s=1.0)
        with pytest.raises((DeadlineExceeded, StreamLost), match="job j1 is not lost"):
            list(twin.harmonize(b"c", b"p", b"m", job_key="k"))
        assert time.monotonic() - begin < 10
    assert len(job.calls) >= 2


def test_leaving_ends_the_call_and_not_the_job(make_twin: MakeTwin) -> None:
    servicer = Harmonize(OneJob(STORED, [(2, SILENCE)]))
    with serving(servicer) as endpoint:
        stream = make_twin(harmonize_endpoint=endpoint).harmonize(b"c", b"p", b"m", job_key="k")
        assert told([next(stream) for _ in range(3)]) == [Accepted, 0, 1]
        stream.cancel()
        assert servicer.ended.wait(20)
        with pytest.raises(Cancelled, match="read on with watch_job"):
            list(stream)
        assert list(stream) == []
    assert [type(request) for request in servicer.requests] == [pb.HarmonizeRequest]


def test_closing_the_client_ends_the_attempts() -> None:
    slow = Reattachment(initial_backoff_s=30, max_backoff_s=30, give_up_after_s=600)
    job = OneJob(STORED, [(1, ServiceError(Reason.ERROR_REASON_DRAINING, "it stops", retry_after_s=30))])
    with serving(Harmonize(job)) as endpoint, Client(harmonize_endpoint=endpoint, reattachment=slow) as client:
        stream = client.harmonize(b"c", b"p", b"m", job_key="k")
        assert told([next(stream), next(stream)]) == [Accepted, 0]
        threading.Timer(0.2, client.close).start()
        begin = time.monotonic()
        with pytest.raises(Cancelled):
            next(stream)
        assert time.monotonic() - begin < 5


def test_a_reset_connection_is_made_anew(make_twin: MakeTwin) -> None:
    job = OneJob(STORED, [(2, SILENCE)])
    with serving(Harmonize(job)) as endpoint, Proxy(int(endpoint.rpartition(":")[2])) as proxy:
        patient = Reattachment(initial_backoff_s=0.01, max_backoff_s=0.2)
        twin = make_twin(harmonize_endpoint=f"127.0.0.1:{proxy.port}", reattachment=patient)
        stream = twin.harmonize(b"c", b"p", b"m", job_key="k")
        events = [next(stream) for _ in range(3)]
        proxy.mode = Mode.RESET
        proxy.mode = Mode.PASS
        assert told(events + list(stream)) == WHOLE
        assert proxy.connection_count >= 2
    assert [call for call in job.calls if call[0] == "HarmonizeRequest"] == [("HarmonizeRequest", "k")]


def test_a_swallowed_connection_is_noticed_and_replaced(make_twin: MakeTwin) -> None:
    job = OneJob(STORED, [(2, SILENCE)])
    with serving(Harmonize(job)) as endpoint, Proxy(int(endpoint.rpartition(":")[2])) as proxy:
        twin = make_twin(harmonize_endpoint=f"127.0.0.1:{proxy.port}", reattachment=QUICK)
        stream = twin.harmonize(b"c", b"p", b"m", job_key="k")
        events = [next(stream) for _ in range(3)]
        proxy.mode = Mode.BLACKHOLE
        threading.Timer(1.0, lambda: setattr(proxy, "mode", Mode.PASS)).start()
        assert told(events + list(stream)) == WHOLE
        assert proxy.connection_count >= 2
    assert len([call for call in job.calls if call[0] == "HarmonizeRequest"]) == 1


def test_a_slow_reader_is_not_taken_for_a_silent_server(make_twin: MakeTwin) -> None:
    job = OneJob(STORED)
    with serving(Harmonize(job)) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint, reattachment=QUICK)
        events = []
        for event in twin.harmonize(b"c", b"p", b"m", job_key="k"):
            events.append(event)
            if len(events) == 2:
                time.sleep(3 * QUICK.idle_timeout_s)
        assert told(events) == WHOLE
    assert len(job.calls) == 1


def test_dropping_a_stream_of_a_named_job_ends_its_call(make_twin: MakeTwin) -> None:
    servicer = Harmonize(OneJob(STORED, [(2, SILENCE)]))
    with serving(servicer) as endpoint:
        twin = make_twin(harmonize_endpoint=endpoint)
        for _ in twin.harmonize(b"c", b"p", b"m", job_key="k"):
            break
        assert servicer.ended.wait(20)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "painterly-silence"])


def test_back_off_doubles_up_to_its_bound_and_begins_anew_with_an_event() -> None:
    now = [0.0]
    backoff = Backoff(Reattachment(give_up_after_s=60), clock=lambda: now[0], draw=longest)
    assert [backoff.next_delay_s(None) for _ in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next_delay_s(None) == 0.25
    assert backoff.next_delay_s(7.0) == 7.0
    now[0] = 59.9
    assert backoff.next_delay_s(None) is None
    assert backoff.silence_s == 59.9


def test_before_the_first_event_the_client_gives_up_sooner() -> None:
    now = [0.0]
    backoff = Backoff(Reattachment(), clock=lambda: now[0], draw=shortest)
    now[0] = 9.9
    assert backoff.next_delay_s(None) == 0.0
    now[0] = 10.1
    assert backoff.next_delay_s(None) is None
    assert backoff.next_delay_s(3.0) == 3.0  # a server that says when is there


def test_jitter_is_full() -> None:
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    Backoff(Reattachment(), draw=draw).next_delay_s(None)
    assert drawn == [(0.0, 0.25)]


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_settings_are_checked(value: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Reattachment(max_backoff_s=value)
    assert caught.value.field == "reattachment.max_backoff_s"


def test_a_bad_key_is_refused_before_it_is_sent(make_twin: MakeTwin) -> None:
    with pytest.raises(InvalidRequest, match="1 to 128") as caught:
        make_twin(harmonize_endpoint="127.0.0.1:1").harmonize(b"c", b"p", b"m", job_key="a b")
    assert caught.value.field == "job_key"
