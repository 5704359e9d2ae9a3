"""Malformed and hostile requests against both services, each in a process of its own: every one gets a documented
answer, the server lives on, and neither memory nor descriptors nor its log show a trace of them.

``python -m tests.abuse --requests 20000`` is the same at length.
"""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from painterly.limits import CHANNEL_OPTIONS
from tests.abuse import pictures
from tests.abuse.calls import Call, calls, valid
from tests.abuse.campaign import Account, run, send
from tests.abuse.cases import Case, cases
from tests.abuse.judging import LogReader, sample
from tests.abuse.mutations import spans, tag, varint
from tests.abuse.servers import Service
from tests.abuse.strategies import paths, put

MEMORY_SLACK_BYTES = 128 << 20
# What valid requests lack here.
WITHOUT = ("REMOVE_BG_KEY_MISSING", "JOB_NOT_FOUND", "FIELD_REQUIRED")


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Service:
    """One of the two, by the name in the parametrization."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Service)
    return found


both = pytest.mark.parametrize("service", ["preprocess", "harmonize"], indirect=True)


def with_pictures(service: Service) -> tuple[Call, tuple[FieldDescriptor, ...]]:
    """The last of its calls that reads pictures, and where the first of them lies."""
    for call in reversed(calls(service.name)):
        for path in paths(call.request.DESCRIPTOR):
            if path[-1].name == "data":
                return call, path
    raise AssertionError("no call reads pictures")


def assert_unimpressed(account: Account) -> None:
    """No fault, and what the server holds is what it held after the first batch."""
    assert account.faults == []
    assert account.growth_bytes < MEMORY_SLACK_BYTES
    first, last = account.samples[0], account.samples[-1]
    assert last.descriptor_count <= first.descriptor_count + 4
    assert last.thread_count <= first.thread_count + 4
    assert last.process_count == first.process_count


@both
def test_valid_requests_are_answered(service: Service) -> None:
    """What the cases start from comes to an end; only remove.bg has no key, and there are no jobs to ask about."""
    with grpc.insecure_channel(service.target, options=CHANNEL_OPTIONS) as channel:
        for call in calls(service.name):
            for message in valid(call):
                answer = send(channel, Case(call=call, data=message.SerializeToString(), origin="valid"), 30)
                assert answer.faults == ()
                assert answer.code is grpc.StatusCode.OK or answer.reason in WITHOUT, call.name


@both
def test_hostile_requests_get_documented_answers(service: Service) -> None:
    assert_unimpressed(run(service, 200 if service.name == "preprocess" else 100, start=1))


@both
@pytest.mark.slow
def test_many_hostile_requests_leave_no_trace(service: Service) -> None:
    account = run(service, 1000, start=2)
    assert_unimpressed(account)
    assert account.request_count == 1000
    assert len(account.samples) == 4


@pytest.mark.parametrize("service", ["preprocess", pytest.param("harmonize", marks=pytest.mark.slow)], indirect=True)
def test_every_hostile_file_gets_a_documented_answer(service: Service) -> None:
    """In one picture of one call: all pictures are read by the same code."""
    call, path = with_pictures(service)
    with grpc.insecure_channel(service.target, options=CHANNEL_OPTIONS) as channel:
        for name, data in {**pictures.hostile(), **pictures.unusual()}.items():
            request = call.request()
            request.CopyFrom(valid(call)[0])
            put(request, path, data)
            answer = send(channel, Case(call=call, data=request.SerializeToString(), origin=name), 30)
            assert answer.faults == (), name
            assert answer.code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), name
    assert LogReader(path=service.log).faults() == []
    assert service.is_alive


@pytest.mark.slow
@both
def test_the_largest_pictures_do_not_stay_in_memory(service: Service) -> None:
    call, path = with_pictures(service)
    held = []
    with grpc.insecure_channel(service.target, options=CHANNEL_OPTIONS) as channel:
        for _ in range(3):
            for name, data in pictures.heavy().items():
                request = call.request()
                request.CopyFrom(valid(call)[0])
                put(request, path, data)
                answer = send(channel, Case(call=call, data=request.SerializeToString(), origin=name), 60)
                assert answer.faults == (), name
                assert answer.code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), name
            held.append(sample(service.process.pid).rss_bytes)
    print(f"{service.name} holds after each round, MiB: {[each >> 20 for each in held]}")
    assert held[-1] < held[0] + MEMORY_SLACK_BYTES


def test_the_same_seed_makes_the_same_cases() -> None:
    first, again, other = (cases("preprocess", 40, start) for start in (5, 5, 6))
    assert first == again
    assert first != other
    assert {case.origin for case in first} == {"fields", "bytes", "files"}


def test_fields_are_found_where_they_are() -> None:
    """Field 1 is the number 300, field 2 holds a message with field 3 = 7."""
    data = tag(1, 0) + varint(300) + tag(2, 2) + varint(2) + tag(3, 0) + varint(7)
    assert data.hex() == "08ac0212021807"
    assert spans(data) == [(0, 1, 3), (3, 5, 7), (5, 6, 7)]
