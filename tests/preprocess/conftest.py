"""Pictures, and the preprocess service in this process on a free port."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from painterly.limits import CHANNEL_OPTIONS
from painterly.v1 import image_pb2
from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceStub
from painterly.weights import WeightStore
from painterly_preprocess.servicer import build_server
from painterly_preprocess.settings import Settings

if TYPE_CHECKING:
    from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceAsyncStub as Stub

Pixels = NDArray[np.uint8]
Connect = Callable[..., "contextlib.AbstractAsyncContextManager[Stub]"]


def encoded(pixels: Pixels | Image.Image, file_format: str = "PNG", **options: Any) -> image_pb2.Image:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return image_pb2.Image(data=buffer.getvalue())


@pytest.fixture(name="encoded")
def encoded_fixture() -> Callable[..., image_pb2.Image]:
    """``encoded(pixels, file_format="PNG", **options)`` makes an Image message."""
    return encoded


@pytest.fixture
def painting() -> Pixels:
    """60×80 RGB noise."""
    return np.random.default_rng(7).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture
def element() -> Pixels:
    """20×30 RGBA: opaque in columns 5 to 24 of every row, else transparent."""
    pixels = np.random.default_rng(8).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[:, 5:25, 3] = 255
    return pixels


@pytest.fixture
def photo() -> Pixels:
    """100×120 RGB: a noisy red square of 50 px on noisy green."""
    pixels = np.full((100, 120, 3), (60, 140, 60), dtype=np.uint8)
    pixels[25:75, 35:85] = (190, 50, 40)
    return pixels + np.random.default_rng(9).integers(0, 50, pixels.shape, dtype=np.uint8)


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    """``async with connect(**settings) as stub``: a server of its own, by default with an empty weight store."""

    @contextlib.asynccontextmanager
    async def connected(store: WeightStore | None = None, **settings: Any) -> AsyncIterator[Stub]:
        options = {"port": 0, "threads": 1, **settings}
        server, listener = build_server(Settings(**options), store or WeightStore(tmp_path / "weights"))
        await server.start()
        try:
            target = f"{listener.host}:{server.port}"
            async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
                yield PreprocessServiceStub(channel)
        finally:
            await server.stop()

    return connected


@pytest.fixture
async def stub(connect: Connect) -> AsyncIterator[Stub]:
    """A connection to a server without weights."""
    async with connect() as connected_stub:
        yield connected_stub
