"""A reader who is slower than the job, on a real connection: it misses frames, and the server holds none of them."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from painterly.limits import CHANNEL_OPTIONS
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import harmonize_service_pb2_grpc as pb_grpc
from painterly.v1 import image_pb2
from tests.abuse.judging import sample
from tests.abuse.servers import Service, serving
from tests.harmonize import toy
from tests.proxy import Mode, Proxy

ITERATIONS = 30


def frames_and_memory(service: Service, port: int) -> tuple[list[pb.FrameEvent], int]:
    """Run one job to its result: the frames that arrived, and the most memory that the server held meanwhile."""
    request = toy.request(pb.HarmonizeRequest, iteration_count=ITERATIONS, of=toy.scene(480, 384))
    request.stream.frame_format = image_pb2.IMAGE_FORMAT_PNG
    frames, most = [], 0
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS) as channel:
        last = None
        for event in pb_grpc.HarmonizeServiceStub(channel).Harmonize(request, timeout=200):
            last = event.WhichOneof("event")
            if last == "frame":
                frames.append(event.frame)
            most = max(most, sample(service.process.pid).rss_bytes)
    assert last == "result"
    return frames, most


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_slow_reader_gets_fewer_frames_the_last_ones_and_flat_memory(tmp_path: Path) -> None:
    with serving("harmonize", tmp_path) as service:
        frames_and_memory(service, service.port)
        fast, usual = frames_and_memory(service, service.port)
        with Proxy(service.port, mode=Mode.SLOW, bytes_per_s=1 << 20) as proxy:
            slow, most = frames_and_memory(service, proxy.port)
    # Each frame has half a megabyte: several times what lies between the two ends of a connection.
    assert sum(len(frame.image.data) for frame in fast) > 15 << 20
    assert len(slow) < len(fast)
    assert [frame.stage for frame in slow if frame.is_stage_result] == [pb.STAGE_PASS1, pb.STAGE_PASS2]
    places = [(frame.stage, frame.iteration) for frame in slow]
    assert places == sorted(places)
    print(f"most memory, MiB: a fast reader {usual >> 20}, a slow one {most >> 20}; frames {len(fast)}, {len(slow)}")
    assert most < usual + (48 << 20)
