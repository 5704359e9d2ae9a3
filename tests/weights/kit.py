"""A local file server with faults, a local package index, and small networks to fetch from them."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import safetensors.numpy
from numpy.typing import NDArray

from painterly.weights import InputConvention, Network, UrlSource, WheelSource
from painterly.weights.manifest import vgg_tensors

PLAIN_INPUT = InputConvention(scale=1.0, mean=(0.0, 0.0, 0.0))
TINY_CHANNELS = (4, 4, 8, 8, 8)
VGG16_BLOCKS = (2, 2, 3, 3, 1)
VGG19_BLOCKS = (2, 2, 4, 4, 1)

Tensors = dict[str, NDArray[np.float32]]


@dataclass
class Fault:
    """What is wrong with an answer: a status, an end or a standstill after so many bytes, a pause before each chunk."""

    status: int | None = None
    cut_after: int | None = None
    pause_s: float = 0.0
    stall_after: int | None = None


@dataclass
class FileServer:
    """Serves ``files`` over HTTP on loopback; each request uses up one of ``faults``.

    ``requests`` are the path and the Range header of every request so far.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    ignores_range: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    port: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def ranges(self) -> list[str | None]:
        return [byte_range for _, byte_range in self.requests]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        shop = self.server.shop
        shop.requests.append((self.path, self.headers.get("Range")))
        fault = shop.faults.pop(0) if shop.faults else Fault()
        body = shop.files.get(self.path)
        if body is None or fault.status is not None:
            self.send_error(fault.status or 404)
            return
        start = self._start(len(body))
        if start is None:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(body, start, fault)

    def _start(self, size: int) -> int | None:
        byte_range = self.headers.get("Range")
        if byte_range is None or self.server.shop.ignores_range:
            return 0
        start = int(byte_range.removeprefix("bytes=").removesuffix("-"))
        return start if start < size else None

    def _send(self, body: bytes, start: int, fault: Fault) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        is_page = self.path.endswith("/")
        self.send_header("Content-Type", "text/html" if is_page else "application/octet-stream")
        self.end_headers()
        end = len(body) if fault.cut_after is None else start + fault.cut_after
        for position in range(start, end, 1 << 16):
            if fault.stall_after is not None and position - start >= fault.stall_after:
                self.server.shop.closing.wait(30)
                return
            time.sleep(fault.pause_s)
            try:
                self.wfile.write(body[position : min(position + (1 << 16), end)])
            except (BrokenPipeError, ConnectionResetError):
                return

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, shop: FileServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.shop = shop
        shop.port = self.server_address[1]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def build_wheel(directory: Path, package: str, members: dict[str, bytes], requires_python: str = ">=3.8") -> Path:
    """A wheel that pip accepts, version 1.0."""
    name = package.replace("-", "_")
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Python: {requires_python}\n"
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    path = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in {**members, f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": tags.encode()}.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in archive.namelist()))
    return path


def plain_network(name: str, *sources: UrlSource | WheelSource) -> Network:
    """A network whose file is stored as it comes."""
    return Network(
        name=name,
        file_name=f"{name}.bin",
        description=f"{name} for tests",
        license="CC0",
        input=PLAIN_INPUT,
        sources=sources,
    )


def vgg_network(name: str, blocks: tuple[int, ...], *sources: UrlSource | WheelSource) -> Network:
    """A VGG of few channels."""
    return Network(
        name=name,
        file_name=f"{name}.safetensors",
        description=f"{name} for tests",
        license="CC0",
        input=PLAIN_INPUT,
        tensors=vgg_tensors(blocks, TINY_CHANNELS),
        sources=sources,
    )


def vgg_values(blocks: tuple[int, ...], seed: int) -> Tensors:
    """Random tensors of a small VGG."""
    generator = np.random.default_rng(seed)
    specs = vgg_tensors(blocks, TINY_CHANNELS)
    return {spec.name: generator.standard_normal(spec.shape, dtype=np.float32) for spec in specs}


def keras_onnx(directory: Path, tensors: Tensors) -> Path:
    """An ONNX file that names a VGG's tensors as a Keras export does, with input channels in BGR order."""
    initializers = []
    for name, values in tensors.items():
        layer, part = name.split(".")
        block, index = layer.removeprefix("conv").split("_")
        tail = "convolution/ReadVariableOp:0" if part == "weight" else "Squeeze:0"
        keras_order = values[:, [2, 1, 0]] if name == "conv1_1.weight" else values
        title = f"functional_1/block{block}_conv{index}_1/{tail}"
        initializers.append(onnx.numpy_helper.from_array(np.ascontiguousarray(keras_order), title))
    dense = np.ones((2, 3), np.float32)
    initializers.append(onnx.numpy_helper.from_array(dense, "functional_1/dense_1/Cast/ReadVariableOp:0"))
    graph = onnx.helper.make_graph([], "vgg", [], [], initializers)
    path = directory / "keras-vgg.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    return path


def save_tensors(path: Path, tensors: Tensors) -> Path:
    safetensors.numpy.save_file(tensors, path)
    return path
