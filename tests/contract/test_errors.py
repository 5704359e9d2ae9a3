"""Errors over the wire: what a server raises and what a caller reads back, through a real server and both clients."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from painterly.errors import (
    CODE_OF_REASON,
    STATUS_DETAILS_KEY,
    ErrorDetails,
    ServiceError,
    read_details,
    reason_name,
    to_status,
)
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.v1.error_reason_pb2 import ErrorReason
from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceStub
from tests.client.kit import Preprocess, serving

OUT_OF_RANGE = ServiceError(
    reasons.ERROR_REASON_FIELD_OUT_OF_RANGE,
    "placement.height_fraction: 9 must be within 0.01 and 4",
    field="placement.height_fraction",
    metadata={"value": "9"},
)


def raising(error: BaseException) -> Preprocess:
    async def handler(request: Any, context: Any) -> Any:
        raise error

    return Preprocess(Compose=handler)


def call_sync(endpoint: str, **options: Any) -> grpc.RpcError:
    with grpc.insecure_channel(endpoint) as channel, pytest.raises(grpc.RpcError) as caught:
        PreprocessServiceStub(channel).Compose(pb.ComposeRequest(), timeout=10, **options)
    return caught.value


async def call_async(endpoint: str, **options: Any) -> grpc.RpcError:
    async with grpc.aio.insecure_channel(endpoint) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await PreprocessServiceStub(channel).Compose(pb.ComposeRequest(), timeout=10, **options)
    return caught.value


def trailing(error: Any, key: str) -> Any:
    return dict(tuple(pair) for pair in error.trailing_metadata()).get(key)


async def test_what_a_caller_sent_does_not_break_the_status() -> None:
    """However long it is and whatever it holds: headers have a limit, logs have lines."""
    rude = "²\n" * 50_000
    with serving(
        raising(ServiceError(reasons.ERROR_REASON_JOB_NOT_FOUND, rude, metadata={"a": rude, "b": rude}))
    ) as at:
        details = read_details(await call_async(at))
    assert (details.code, details.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    assert details.message.startswith(r"²\n²\n")
    assert len(details.message.encode()) <= 800
    assert {name: len(value.encode()) <= 200 for name, value in details.metadata.items()} == {
        "a": True,
        "b": True,
        "request_id": True,
    }


async def test_both_clients_read_all_that_was_raised() -> None:
    with serving(raising(OUT_OF_RANGE)) as endpoint:
        given = (("x-request-id", "the-callers-own"),)
        details = [
            read_details(call_sync(endpoint, metadata=given)),
            read_details(await call_async(endpoint, metadata=given)),
        ]
    assert details == 2 * [
        ErrorDetails(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            message="placement.height_fraction: 9 must be within 0.01 and 4",
            reason="FIELD_OUT_OF_RANGE",
            metadata={"field": "placement.height_fraction", "value": "9", "request_id": "the-callers-own"},
            violations=(("placement.height_fraction", "placement.height_fraction: 9 must be within 0.01 and 4"),),
            retry_after_s=None,
        )
    ]


def test_when_to_try_again_travels() -> None:
    full = ServiceError(reasons.ERROR_REASON_QUEUE_FULL, "full", metadata={"queue_size": "2"}, retry_after_s=1.25)
    with serving(raising(full)) as endpoint:
        details = read_details(call_sync(endpoint))
    assert (details.code, details.retry_after_s) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 1.25)
    assert (details.metadata["queue_size"], details.violations) == ("2", ())


@pytest.mark.parametrize("reason", [number for number in ErrorReason.values() if number != 0], ids=ErrorReason.Name)
def test_every_reason_travels_with_its_code(reason: ErrorReason.ValueType) -> None:
    with serving(raising(ServiceError(reason, "text"))) as endpoint:
        details = read_details(call_sync(endpoint))
    assert (details.code, details.reason) == (CODE_OF_REASON[reason], reason_name(reason))
    assert details.message == "text"


def test_a_bug_hides_its_text_and_names_the_request(caplog: pytest.LogCaptureFixture) -> None:
    with serving(raising(RuntimeError("a secret"))) as endpoint:
        error = call_sync(endpoint)
    details = read_details(error)
    request_id = details.metadata["request_id"]
    assert (details.code, details.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert request_id in details.message
    assert trailing(error, "x-request-id") == request_id
    assert "secret" not in details.message
    assert b"secret" not in trailing(error, STATUS_DETAILS_KEY)
    (record,) = (record for record in caplog.records if record.name == "painterly.serving")
    assert record.exc_info is not None
    assert "a secret" in str(record.exc_info[1])
    assert record.__dict__["request_id"] == request_id


@pytest.mark.parametrize("given", ["", "x" * 129])
def test_a_request_id_that_cannot_be_kept_is_replaced(given: str) -> None:
    with serving(raising(OUT_OF_RANGE)) as endpoint:
        request_id = read_details(call_sync(endpoint, metadata=(("x-request-id", given),))).metadata["request_id"]
    assert request_id != given
    assert len(request_id) == 32


def test_a_status_of_someone_elses_yields_its_code_and_text() -> None:
    async def plain(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.ABORTED, "by a proxy")

    async def garbled(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.ABORTED, "by a proxy", ((STATUS_DETAILS_KEY, b"\xff\xff"),))

    for handler in (plain, garbled):
        with serving(Preprocess(Compose=handler)) as endpoint:
            expected = ErrorDetails(code=grpc.StatusCode.ABORTED, message="by a proxy")
            assert read_details(call_sync(endpoint)) == expected


def test_details_of_another_domain_are_not_ours() -> None:
    status = to_status(OUT_OF_RANGE)
    info = status.details[0]
    info.value = info.value.replace(b"painterly", b"elsewhere")

    async def foreign(request: Any, context: Any) -> Any:
        packed = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "text", packed)

    with serving(Preprocess(Compose=foreign)) as endpoint:
        details = read_details(call_sync(endpoint))
    assert (details.reason, details.metadata) == ("", {})


def test_a_status_has_no_details_that_do_not_apply() -> None:
    def kinds(status: status_pb2.Status) -> list[str]:
        return [detail.type_url.rpartition(".")[2] for detail in status.details]

    missing = ServiceError(reasons.ERROR_REASON_WEIGHTS_MISSING, "no vgg16", metadata={"weights": "vgg16"})
    assert kinds(to_status(missing)) == ["ErrorInfo"]
    assert kinds(to_status(OUT_OF_RANGE)) == ["ErrorInfo", "BadRequest"]
    draining = ServiceError(reasons.ERROR_REASON_DRAINING, "the server stops", retry_after_s=5)
    assert kinds(to_status(draining)) == ["ErrorInfo", "RetryInfo"]


def test_an_error_that_no_server_answered_has_no_code() -> None:
    assert read_details(grpc.RpcError()) == ErrorDetails(code=grpc.StatusCode.UNKNOWN, message="")
