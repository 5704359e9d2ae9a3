"""What a run writes down, to go on later with the same numbers: a header that can be read, then plain tensors.

No code is ever loaded from it, and what is cut short, damaged or of another run is told from what can be used.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib import metadata, resources
from typing import Any

import torch
from torch import Tensor

from painterly_harmonize.algorithm.errors import CheckpointInvalid
from painterly_harmonize.algorithm.params import HarmonizeParams
from painterly_harmonize.algorithm.stage import Inputs, Stage
from painterly_harmonize.algorithm.vgg import FeatureNetwork

FORMAT = 1
_MAGIC = b"painterly checkpoint\n"
# The header's length and, at the end of all, the checksum of everything before it.
_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
_DTYPES = {
    str(each): each
    for each in (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whose numbers they are. All that differs between two runs whose iterates may differ, but device and threads.

    ``inputs`` maps names to sha256 of the pictures' values, ``parameters`` dotted names to values as text, ``network``
    its name, dtypes and checksum, ``code`` the version of this package, its sources' checksum and torch's version.
    """

    stages: Sequence[str]
    inputs: Mapping[str, str]
    parameters: Mapping[str, str]
    network: Mapping[str, str]
    code: Mapping[str, str]

    @classmethod
    def of(cls, inputs: Inputs, params: HarmonizeParams, network: FeatureNetwork, stages: Iterable[Stage]) -> Identity:
        """Of a run over ``stages``; reads all pictures and weights once."""
        pictures = {field.name: getattr(inputs, field.name) for field in fields(inputs)}
        return cls(
            stages=[stage.value for stage in stages],
            inputs={name: _sha256(each) for name, each in pictures.items() if each is not None},
            parameters=dict(_flat(asdict(params))),
            network={
                "name": network.name,
                "dtype": str(network.dtype),
                "layer dtype": str(network.layer_dtype),
                "weights": network.checksum,
            },
            code={"painterly": metadata.version("painterly"), "algorithm": code_checksum(), "torch": torch.__version__},
        )

    def difference(self, other: Identity) -> str | None:
        """What of ``other`` differs from this one, in words; None where nothing does."""
        if list(self.stages) != list(other.stages):
            return f"its stages are {', '.join(self.stages)}, not {', '.join(other.stages)}"
        for kind in ("inputs", "parameters", "network", "code"):
            ours, theirs = getattr(self, kind), getattr(other, kind)
            for name in sorted({*ours, *theirs}):
                one, two = ours.get(name, "absent"), theirs.get(name, "absent")
                if one != two:
                    return f"{kind}: {name} is {_short(one)} there and {_short(two)} here"
        return None


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a run is: ``iteration`` iterations of ``stage`` are done, or all that it has where it is finished."""

    stage: Stage
    iteration: int
    is_finished: bool


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that it takes to go on. ``iteration_counts`` are those of the passes that began.

    ``is_last`` and ``least_loss`` are those of the pass's state.
    """

    identity: Identity
    position: Position
    iteration_counts: Mapping[Stage, int]
    is_last: bool
    least_loss: float
    tensors: Mapping[str, Tensor]


def dump(checkpoint: Checkpoint) -> bytes:
    """The checkpoint's bytes; tensors on a device are copied from there."""
    position = checkpoint.position
    header = {
        "format": FORMAT,
        "identity": asdict(checkpoint.identity),
        "stage": position.stage.value,
        "iteration": position.iteration,
        "is_finished": position.is_finished,
        "iteration_counts": {stage.value: count for stage, count in checkpoint.iteration_counts.items()},
        "is_last": checkpoint.is_last,
        "least_loss": checkpoint.least_loss.hex(),
        "tensors": [
            {"name": name, "dtype": str(tensor.dtype), "shape": list(tensor.shape)}
            for name, tensor in checkpoint.tensors.items()
        ],
    }
    text = json.dumps(header).encode()
    parts: list[bytes | memoryview] = [_MAGIC, _LENGTH.pack(len(text)), text, *map(_raw, checkpoint.tensors.values())]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b"".join([*parts, _CHECKSUM.pack(checksum)])


def load(data: bytes) -> Checkpoint:
    """The checkpoint of these bytes, its tensors on the CPU. Raises: CheckpointInvalid."""
    header, content = _opened(data)
    try:
        tensors, end = {}, 0
        for each in header["tensors"]:
            dtype, shape = _DTYPES[each["dtype"]], [int(length) for length in each["shape"]]
            begin, end = end, end + math.prod(shape) * dtype.itemsize
            if min(shape, default=0) < 0 or end > len(content):
                raise CheckpointInvalid(f"{each['name']} is larger than the file")
            # Copied, for torch reads no memory that it must not write to.
            raw = torch.frombuffer(bytearray(content[begin:end]), dtype=dtype) if end > begin else torch.empty(0)
            tensors[str(each["name"])] = raw.to(dtype).view(shape)
        if end != len(content):
            raise CheckpointInvalid(f"{len(content) - end} bytes of it belong to nothing")
        return Checkpoint(
            identity=_identity(header),
            position=_position(header),
            iteration_counts={Stage(name): int(count) for name, count in header["iteration_counts"].items()},
            is_last=bool(header["is_last"]),
            least_loss=float.fromhex(header["least_loss"]),
            tensors=tensors,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_understood(error) from None


def position(data: bytes) -> Position:
    """How far the run was. Raises: CheckpointInvalid."""
    header, _ = _opened(data)
    try:
        return _position(header)
    except (KeyError, TypeError, ValueError) as error:
        raise _not_understood(error) from None


def why_not(data: bytes, identity: Identity) -> str | None:
    """Why a run of that identity cannot go on from these bytes, in words; None where it can."""
    try:
        return load(data).identity.difference(identity)
    except CheckpointInvalid as error:
        return str(error)


@lru_cache
def code_checksum() -> str:
    """The sha256 of this package's sources, 64 hex digits: other code may compute other numbers."""
    digest = hashlib.sha256()
    sources = resources.files(__package__).iterdir()
    for source in sorted(sources, key=lambda each: each.name):
        if source.name.endswith((".py", ".json")):
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def _opened(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header and, uncopied, what comes after it."""
    begin = len(_MAGIC) + _LENGTH.size
    if not data.startswith(_MAGIC) or len(data) < begin + _CHECKSUM.size:
        raise CheckpointInvalid("it is none")
    view = memoryview(data)
    content, checksum = view[: -_CHECKSUM.size], view[-_CHECKSUM.size :]
    (length,) = _LENGTH.unpack_from(data, len(_MAGIC))
    if zlib.crc32(content) != _CHECKSUM.unpack(checksum)[0] or begin + length > len(content):
        raise CheckpointInvalid("it is damaged or not complete")
    try:
        header = json.loads(bytes(content[begin : begin + length]))
        found = header["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise _not_understood(error) from None
    if found != FORMAT:
        raise CheckpointInvalid(f"its format is {found!r}, and {FORMAT} is known")
    return header, content[begin + length :]


def _identity(header: Mapping[str, Any]) -> Identity:
    return Identity(**header["identity"])


def _position(header: Mapping[str, Any]) -> Position:
    stage, iteration, is_finished = Stage(header["stage"]), int(header["iteration"]), bool(header["is_finished"])
    if iteration < 0:
        raise CheckpointInvalid(f"its iteration is {iteration}")
    return Position(stage=stage, iteration=iteration, is_finished=is_finished)


def _not_understood(error: Exception) -> CheckpointInvalid:
    if isinstance(error, CheckpointInvalid):
        return error
    return CheckpointInvalid(f"its header is not understood ({type(error).__name__}: {error})")


def _raw(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _sha256(tensor: Tensor) -> str:
    return hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode() + _raw(tensor)).hexdigest()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, str(value)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:12]}…"
