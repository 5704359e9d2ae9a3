"""What Prometheus is told: the calls here, and a port of its own where all metrics are served."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from importlib import metadata

import prometheus_client
from google.protobuf import descriptor_pool
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from painterly.calls import Call
from painterly.serving.interceptor import UNKNOWN_METHOD, Context
from painterly.v1.error_reason_pb2 import ErrorReason

# When a series began is of no use to anybody here and doubles the number of series.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_IMAGE_REASONS = tuple(
    name.removeprefix("ERROR_REASON_")
    for name in ErrorReason.keys()  # noqa: SIM118 (an enum of protobuf's is no mapping)
    if name.startswith(("ERROR_REASON_IMAGE_", "ERROR_REASON_MASK_"))
)
_ADMISSION_REASONS = ("QUEUE_FULL", "MEMORY_BUDGET", "PRINCIPAL_LIMIT", "DEVICE_OUT_OF_MEMORY", "DRAINING", "STARTING")


class CallMetrics:
    """Calls begun, ended and refused, by method, status and reason; ``layer`` goes around each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = Counter(
            "grpc_server_started", "Calls begun, by full method name.", ["method"], registry=registry
        )
        self._handled = Counter("grpc_server_handled", "Calls ended.", ["method", "code"], registry=registry)
        self._seconds = Histogram(
            "grpc_server_handling_seconds", "Time of a call.", ["method"], buckets=_SECONDS, registry=registry
        )
        self._image_rejected = Counter(
            "painterly_image_rejected", "Calls refused for one of their images.", ["reason"], registry=registry
        )
        self._admission_rejected = Counter(
            "painterly_admission_rejected", "Calls refused for want of room.", ["reason"], registry=registry
        )
        for reason in _IMAGE_REASONS:
            self._image_rejected.labels(reason)
        for reason in _ADMISSION_REASONS:
            self._admission_rejected.labels(reason)
        build = Gauge("painterly_build_info", "Always 1; the version is the label.", ["version"], registry=registry)
        build.labels(metadata.version("painterly")).set(1)

    def expect(self, services: Iterable[str]) -> None:
        """Show the methods of services from the start, at zero: what never happened is seen too."""
        pool = descriptor_pool.Default()
        methods = [f"{name}/{each.name}" for name in services for each in pool.FindServiceByName(name).methods]
        for method in (*methods, UNKNOWN_METHOD):
            self._started.labels(method)
            self._handled.labels(method, "OK")
            self._seconds.labels(method)

    @contextlib.asynccontextmanager
    async def layer(self, call: Call, _context: Context) -> AsyncIterator[None]:
        """Count a call."""
        self._started.labels(call.method).inc()
        try:
            yield
        finally:
            self._handled.labels(call.method, call.code or "UNKNOWN").inc()
            self._seconds.labels(call.method).observe(call.elapsed_s)
            if call.reason in _IMAGE_REASONS:
                self._image_rejected.labels(call.reason).inc()
            if call.reason in _ADMISSION_REASONS:
                self._admission_rejected.labels(call.reason).inc()


class MetricsPort:
    """``http://HOST:PORT/metrics``, served by a thread. Raises: OSError when the port is taken."""

    def __init__(self, endpoint: str, registry: CollectorRegistry) -> None:
        host, _, port = endpoint.rpartition(":")
        self._server, self._thread = prometheus_client.start_http_server(int(port), host.strip("[]"), registry)
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
