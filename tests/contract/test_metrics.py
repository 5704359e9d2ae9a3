"""What Prometheus is told: a closed set of series, parsed from a real port, and what calls do to it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import urllib.request
from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from painterly.errors import ServiceError
from painterly.serving import Listener, Server
from painterly.v1 import error_reason_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceStub, add_PreprocessServiceServicer_to_server
from tests.client.kit import PREPROCESS_NAME, Preprocess

OF_CALLS = {
    "grpc_server_started": {"method"},
    "grpc_server_handled": {"method", "code"},
    "grpc_server_handling_seconds": {"method"},
    "painterly_image_rejected": {"reason"},
    "painterly_admission_rejected": {"reason"},
    "painterly_build_info": {"version"},
}
METHODS = {
    *(
        f"{PREPROCESS_NAME}/{name}"
        for name in ("RemoveBackground", "Compose", "SuggestPlacement", "DilateMask", "Prepare")
    ),
    "grpc.health.v1.Health/Check",
    "unknown",
}


def scraped(port: int) -> str:
    """What is served at ``/metrics``."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def labels_of(text: str) -> Mapping[str, set[str]]:
    """The label names of each metric, without the buckets'."""
    return {
        family.name: {name for sample in family.samples for name in sample.labels} - {"le"}
        for family in text_string_to_metric_families(text)
    }


def value(text: str, name: str, **labels: str) -> float:
    """One sample."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    (found,) = [sample.value for sample in samples if sample.name == name and sample.labels == labels]
    return float(found)


async def moody(request: pb.ComposeRequest, context: Any) -> pb.ComposeResponse:
    """Fails as the element's bytes say."""
    mood = request.element.data.decode()
    if mood == "bug":
        raise ValueError("a bug")
    if mood:
        raise ServiceError(getattr(error_reason_pb2, f"ERROR_REASON_{mood}"), "refused")
    return pb.ComposeResponse()


async def test_calls_are_counted_by_method_and_code() -> None:
    def register(server: grpc.aio.Server) -> list[str]:
        add_PreprocessServiceServicer_to_server(Preprocess(Compose=moody), server)
        return [PREPROCESS_NAME]

    server = Server(register, Listener(metrics="127.0.0.1:0"))
    await server.start()
    assert server.metrics_port is not None
    fresh = scraped(server.metrics_port)
    assert value(fresh, "grpc_server_started_total", method=f"{PREPROCESS_NAME}/Prepare") == 0
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            for mood in ("", "", "bug", "IMAGE_UNDECODABLE", "MASK_EMPTY", "QUEUE_FULL", "WEIGHTS_MISSING"):
                request = pb.ComposeRequest()
                request.element.data = mood.encode()
                try:
                    await PreprocessServiceStub(channel).Compose(request, timeout=5)
                except grpc.aio.AioRpcError:
                    assert mood
            for method, content in ((f"{PREPROCESS_NAME}/Compose", b"\xff\xff"), ("a/B\nc", b""), ("x" * 300, b"")):
                raw: Any = channel.unary_unary(f"/{method}")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await raw(content, timeout=5)
                if content:
                    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        # A call is counted when its handler has ended, and its caller may know of that before.
        for _ in range(100):
            text = scraped(server.metrics_port)
            if value(text, "grpc_server_handling_seconds_count", method="unknown") == 2:
                break
            await asyncio.sleep(0.02)
    finally:
        await server.stop()
    compose = f"{PREPROCESS_NAME}/Compose"
    codes = {"OK": 2, "INTERNAL": 1, "INVALID_ARGUMENT": 3, "RESOURCE_EXHAUSTED": 1, "FAILED_PRECONDITION": 1}
    assert {code: value(text, "grpc_server_handled_total", method=compose, code=code) for code in codes} == codes
    assert value(text, "grpc_server_started_total", method=compose) == 8
    assert value(text, "grpc_server_handling_seconds_count", method=compose) == 8
    assert value(text, "grpc_server_handled_total", method="unknown", code="UNIMPLEMENTED") == 2
    for reason, count in (("IMAGE_UNDECODABLE", 1), ("MASK_EMPTY", 1), ("MASK_FULL", 0)):
        assert value(text, "painterly_image_rejected_total", reason=reason) == count
    assert value(text, "painterly_admission_rejected_total", reason="QUEUE_FULL") == 1
    assert labels_of(text) == OF_CALLS
    methods = {
        sample.labels["method"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "method" in sample.labels
    }
    assert methods <= METHODS


async def test_the_exposition_is_well_formed() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt install prometheus")
    server = Server(lambda _: [PREPROCESS_NAME], Listener(metrics="127.0.0.1:0", registry=CollectorRegistry()))
    await server.start()
    try:
        text = scraped(server.metrics_port or 0)
    finally:
        await server.stop()
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
