"""Health while every core works: nobody takes a busy server for a dead one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from painterly_client import Client


def noise(size_px: int) -> bytes:
    """A PNG that is hard work to read."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (size_px, size_px, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
def test_health_answers_at_once_while_every_core_works() -> None:
    """99 of 100 checks within 50 ms, with as many pictures in work as there are cores and as many waiting."""
    picture, cores = noise(1500), os.cpu_count() or 1
    latencies_ms: list[float] = []
    over = threading.Event()
    done = 0

    def work(client: Client) -> None:
        nonlocal done
        while not over.is_set():
            client.suggest_placement(picture, aspect_ratio=1.0)
            done += 1

    command = [sys.executable, "-m", "painterly_preprocess", "--port", "0", "--exit-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        endpoint = f"127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        with Client(preprocess_endpoint=endpoint) as client, grpc.insecure_channel(endpoint) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            workers = [threading.Thread(target=work, args=(client,)) for _ in range(2 * cores)]
            for worker in workers:
                worker.start()
            while done < cores:
                time.sleep(0.05)
            for _ in range(300):
                begin = time.perf_counter()
                stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
                latencies_ms.append((time.perf_counter() - begin) * 1000)
                time.sleep(0.01)
            over.set()
            for worker in workers:
                worker.join()
        assert process.stdin is not None
        process.stdin.close()
    p50, p99 = np.percentile(latencies_ms, [50, 99])
    print(f"health while {2 * cores} calls are in work: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {done} calls done")
    assert p99 < 50
