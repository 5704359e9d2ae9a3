"""A tiny network, tiny pictures and a real server on port 0."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from painterly.errors import ErrorDetails, read_details
from painterly.limits import CHANNEL_OPTIONS
from painterly.serving import Listener, Server
from painterly.serving.authentication import Authentication
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import harmonize_service_pb2_grpc as pb_grpc
from painterly.v1 import image_pb2
from painterly.weights import WeightStore
from painterly_harmonize.algorithm.params import NetworkName
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.vgg import CAFFE_INPUT, FeatureNetwork, build_network
from painterly_harmonize.computing import Computer
from painterly_harmonize.jobs.front import Front
from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import WorkerReport
from painterly_harmonize.jobs.sqlite_store import SqliteJobStore, open_folder
from painterly_harmonize.jobs.worker import Worker
from painterly_harmonize.networks import LoadedNetwork, Networks
from painterly_harmonize.planning import Planner
from painterly_harmonize.server import SERVICE_NAME
from painterly_harmonize.servicer import HarmonizeServicer
from painterly_harmonize.settings import describe_device
from painterly_images import encode
from tests.harmonize.algorithm.toy import TOY_PLAN, plan_tensors

CPU = torch.device("cpu")
WIDTH_PX, HEIGHT_PX = 80, 64
CHECKSUM = "sha256:" + "0" * 64
FeaturesHook = Callable[[frozenset[str], Tensor], Tensor]

_Request = TypeVar("_Request", pb.RunPass1Request, pb.RunPass2Request, pb.HarmonizeRequest)


class ToyNetwork(FeatureNetwork):
    """A network with fixed random weights that counts its calls and shows each one's taps and pixels to a hook.

    ``delay_s`` is how much longer each of its runs takes, those of single iterations among them.
    """

    before_features: FeaturesHook | None = None
    call_count = 0
    delay_s = 0.0

    def to_input(self, pixels: Tensor) -> Tensor:
        time.sleep(self.delay_s)
        return super().to_input(pixels)

    def features(self, pixels: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        self.call_count += 1
        if self.before_features is not None:
            pixels = self.before_features(frozenset(taps), pixels)
        return super().features(pixels, taps)


def toy_network(
    before_features: FeaturesHook | None = None, device: torch.device = CPU, *, delay_s: float = 0.0
) -> ToyNetwork:
    """Build the toy network."""
    tensors = {name: tensor.to(device) for name, tensor in plan_tensors(TOY_PLAN).items()}
    network = build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="toy")
    network.__class__ = ToyNetwork
    assert isinstance(network, ToyNetwork)
    network.before_features = before_features
    network.delay_s = delay_s
    return network


def networks_of(network: FeatureNetwork) -> Networks:
    """That network under every name."""

    def find(name: NetworkName) -> LoadedNetwork:
        return LoadedNetwork(network=network, checksum=CHECKSUM)

    return find


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Noise as painting, a flat block pasted over it; RGB uint8 H×W×3, mask bool H×W."""

    painting: NDArray[np.uint8]
    composite: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def scene(width: int = WIDTH_PX, height: int = HEIGHT_PX) -> Scene:
    """Make a scene with an object of 24×20 pixels."""
    painting = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[20:40, 24:48] = True
    composite = painting.copy()
    composite[mask] = (200, 120, 40)
    return Scene(painting=painting, composite=composite, mask=mask)


def png(pixels: NDArray[Any]) -> image_pb2.Image:
    """A PNG image message; of bool masks, white inside."""
    return encode(pixels * np.uint8(255) if pixels.dtype == np.bool_ else pixels, image_pb2.IMAGE_FORMAT_PNG)


def request(kind: type[_Request], iteration_count: int = 3, of: Scene | None = None) -> _Request:
    """A valid request with few iterations at the pictures' own size, every event shown."""
    pictures = of or scene()
    message = kind(
        composite=png(pictures.composite),
        painting=png(pictures.painting),
        mask=png(pictures.mask),
        parameters=pb.HarmonizeParameters(
            working_long_side_px=2048,
            pass1=pb.Pass1Parameters(iteration_count=iteration_count),
            pass2=pb.Pass2Parameters(iteration_count=iteration_count),
            postprocess=pb.PostprocessParameters(skip_patch_synthesis=True),
        ),
    )
    message.stream.progress_interval.FromSeconds(0)
    message.stream.frame_interval.FromSeconds(0)
    return message


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server in this process with its worker on a thread, and a connection to it."""

    server: Server
    front: Front
    store: SqliteJobStore
    worker: Worker
    styles: StyleCache
    stub: pb_grpc.HarmonizeServiceAsyncStub

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        queue = self.store.queue()
        return not queue.waiting and not queue.running and self.worker.is_idle


def report_of(planner: Planner, device: torch.device) -> Callable[[], WorkerReport]:
    """What a worker in this process says of itself."""

    def report() -> WorkerReport:
        return WorkerReport(
            worker_id="here",
            device=describe_device(device),
            precision="float32",
            torch_version=torch.__version__,
            available_bytes=planner.available_bytes(),
            flop_per_s=planner.speed.flop_per_s,
            bytes_per_s=planner.speed.bytes_per_s,
            correction=planner.speed.correction,
        )

    return report


@contextlib.asynccontextmanager
async def running(
    networks: Networks | None = None,
    *,
    device: torch.device = CPU,
    queue_size: int = 4,
    patience_s: float = 5,
    memory_bytes: int | None = None,
    policy: Policy | None = None,
    observer: Observer | None = None,
    folder: Path | None = None,
    authentication: Authentication | None = None,
) -> AsyncIterator[Running]:
    """Run the real server on port 0 with the real pipeline over a toy network, and the real worker on a thread."""
    policy = policy or Policy(queue_size=queue_size, lease_s=2, renewal_s=0.5)
    observer = observer or Observer()
    styles = StyleCache()
    planner = Planner(device, limit_bytes=memory_bytes)
    computer = Computer(device=device, networks=networks or networks_of(toy_network()), styles=styles, planner=planner)
    with contextlib.ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Each as in a process of its own.
        front_store, front_blobs = open_folder(folder, policy)
        worker_store, worker_blobs = open_folder(folder, policy)
        stack.callback(front_store.close)
        stack.callback(worker_store.close)
        worker = Worker(
            store=worker_store,
            blobs=worker_blobs,
            policy=policy,
            run_job=computer.run_job,
            report=report_of(planner, device),
            observer=observer,
        )
        worker_store.report(report_of(planner, device)())
        thread = threading.Thread(target=worker.run)
        thread.start()
        front = Front(store=front_store, blobs=front_blobs, policy=policy, observer=observer)
        servicer = HarmonizeServicer(front, WeightStore())

        def register(server: grpc.aio.Server) -> Sequence[str]:
            pb_grpc.add_HarmonizeServiceServicer_to_server(servicer, server)
            return (SERVICE_NAME,)

        async def on_drain() -> None:
            front.drain()
            worker.drain()
            with contextlib.suppress(asyncio.TimeoutError):
                await until(lambda: worker.is_idle, patience_s)
            front.end_streams()
            worker.stop()

        listener = Listener(grace_s=2, authentication=authentication or Authentication())
        server = Server(register, listener, on_drain=on_drain)
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=CHANNEL_OPTIONS) as channel:
                yield Running(
                    server=server,
                    front=front,
                    store=front_store,
                    worker=worker,
                    styles=styles,
                    stub=pb_grpc.HarmonizeServiceStub(channel),
                )
        finally:
            await server.stop()
            await asyncio.to_thread(thread.join)
            await front.close()


class Gate:
    """Holds a network's calls until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, taps: frozenset[str], pixels: Tensor) -> Tensor:
        self.entered.set()
        assert self.opened.wait(20)
        return pixels


def pixels_of(image: image_pb2.Image) -> NDArray[np.uint8]:
    """Decode with nothing of ours."""
    with Image.open(io.BytesIO(image.data)) as opened:
        return np.array(opened.convert("RGB"))


async def next_of(call: Any) -> Any:
    """The next event that says something of the job's course."""
    while (event := await anext(aiter(call))).WhichOneof("event") in ("accepted", "heartbeat"):
        pass
    return event


async def last_of(call: Any) -> Any:
    *_, event = [event async for event in call]
    return event


async def failure(call: Any) -> ErrorDetails:
    """The details of a call that must fail."""
    try:
        events = [event async for event in call]
    except grpc.aio.AioRpcError as error:
        return read_details(error)
    raise AssertionError(f"the call ended well after {len(events)} events")


async def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Wait for a condition."""

    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.002)

    await asyncio.wait_for(poll(), timeout_s)
