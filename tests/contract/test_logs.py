"""The log: what a line holds, that nobody forges one, that calls are told with who and how."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from painterly.calls import begin_call, note_job
from painterly.errors import REQUEST_ID_KEY, ServiceError, read_details
from painterly.logs import JsonFormatter, TextFormatter
from painterly.serving import Listener, Server
from painterly.v1 import error_reason_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceStub, add_PreprocessServiceServicer_to_server
from tests.client.kit import PREPROCESS_NAME, Preprocess

FORGED = 'x\n{"ts": "now", "level": "ERROR", "event": "forged"}\r\x1b[31mred\u2028'


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a server's log would hold, as JSON lines."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("painterly.serving")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before)


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("painterly.serving", logging.INFO, __file__, 1, message, arguments, None)
    made.__dict__.update(extra)
    return made


def test_a_line_is_one_object_with_what_is_known_of_the_call() -> None:
    call = begin_call("painterly.v1.HarmonizeService/Harmonize", "abc-1")
    call.principal = "ann"
    note_job("job-7")
    line = json.loads(JsonFormatter().format(record("refused: %s", "no", code="INTERNAL", ms=0.0)))
    assert list(line) == ["ts", "level", "event", "request_id", "job_id", "principal", "method", "code", "ms"]
    assert line.pop("ts").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "event": "refused: no",
        "request_id": "abc-1",
        "job_id": "job-7",
        "principal": "ann",
        "method": "painterly.v1.HarmonizeService/Harmonize",
        "code": "INTERNAL",
        "ms": 0.0,
    }


def test_nothing_from_outside_makes_a_line_of_its_own() -> None:
    begin_call("m/M", "r")
    as_json = JsonFormatter().format(record("refused: %s", FORGED))
    assert len(as_json.splitlines()) == 1
    assert json.loads(as_json)["event"] == f"refused: {FORGED}"
    as_text = TextFormatter().format(record("refused: %s", FORGED, job_id=FORGED))
    assert len(as_text.splitlines()) == 1
    assert "\x1b" not in as_text
    assert as_text.isprintable()


@pytest.mark.parametrize("given", ["a b", "a\nb", "a=b", '"', "", "x" * 129, "é", b"bytes", None])
def test_a_request_id_is_kept_only_if_nothing_can_be_smuggled_by_it(given: object) -> None:
    made = begin_call("m/M", given).request_id
    assert made != given
    assert len(made) == 32
    assert begin_call("m/M", "Az09._:/-").request_id == "Az09._:/-"


async def test_each_call_is_told_once_with_its_outcome(written: io.StringIO) -> None:
    async def fail(request: Any, context: Any) -> pb.ComposeResponse:
        raise ServiceError(error_reason_pb2.ERROR_REASON_MASK_EMPTY, FORGED, field="mask")

    async def crash(request: Any, context: Any) -> pb.DilateMaskResponse:
        raise ValueError("secret detail")

    async def work(request: Any, context: Any) -> pb.PrepareResponse:
        return pb.PrepareResponse()

    def register(server: grpc.aio.Server) -> list[str]:
        servicer = Preprocess(Compose=fail, Prepare=work, DilateMask=crash)
        add_PreprocessServiceServicer_to_server(servicer, server)
        return [PREPROCESS_NAME]

    server = Server(register, Listener())
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = PreprocessServiceStub(channel)
            photo = pb.PrepareRequest()
            photo.photo.data = b"\x89PNG-bytes-of-a-picture"
            call = stub.Prepare(photo, timeout=5, metadata=[(REQUEST_ID_KEY, "mine"), ("authorization", "Bearer hush")])
            await call
            assert (REQUEST_ID_KEY, "mine") in tuple(await call.trailing_metadata())
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Compose(pb.ComposeRequest(), timeout=5)
            with pytest.raises(grpc.aio.AioRpcError) as crashed:
                await stub.DilateMask(pb.DilateMaskRequest(), timeout=5)
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            # What is too much for a header never arrives, and hurts nobody.
            with pytest.raises(grpc.aio.AioRpcError) as oversized:
                await stub.Prepare(photo, timeout=5, metadata=[("x-much", "x" * 100_000)])
            await stub.Prepare(photo, timeout=5)
    finally:
        await server.stop()
    assert oversized.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    calls = [line for line in lines if line["event"] == "call"]
    told = [(line["level"], line["method"].partition("/")[2], line["code"], line.get("reason")) for line in calls]
    assert told == [
        ("INFO", "Prepare", "OK", None),
        ("INFO", "Compose", "INVALID_ARGUMENT", "MASK_EMPTY"),
        ("INFO", "DilateMask", "INTERNAL", "INTERNAL"),
        ("DEBUG", "Check", "OK", None),
        ("INFO", "Prepare", "OK", None),
    ]
    assert calls[0]["request_id"] == "mine"
    assert all(line["principal"] == "anonymous" and line["ms"] >= 0 for line in calls)
    assert [line["request_id"] for line in calls[1:3]] == [
        read_details(caught.value).metadata["request_id"] for caught in (refused, crashed)
    ]
    (trace,) = [line["trace"] for line in lines if "trace" in line]
    assert "ValueError: secret detail" in trace
    assert "secret detail" not in f"{crashed.value.details()} {crashed.value.trailing_metadata()}"
    assert "hush" not in written.getvalue()
    assert "bytes-of-a-picture" not in written.getvalue()
