"""Manifests: what a result was made from and with, and whether this server would make it in the same way."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from importlib import metadata

import numpy as np
import torch
from numpy.typing import NDArray

from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1 import harmonize_service_pb2 as pb
from painterly_harmonize.algorithm.checkpoint import code_checksum
from painterly_harmonize.algorithm.params import HarmonizeParams, MemoryPolicy
from painterly_harmonize.algorithm.stage import Result, Stage
from painterly_harmonize.algorithm.vgg import FeatureNetwork
from painterly_harmonize.conversion import STAGE_NUMBERS, params_to_proto
from painterly_harmonize.images import Pictures, Request

_VERSIONS = ("painterly", "numpy", "pillow")


def environment_of(network: FeatureNetwork, checksum: str) -> pb.Environment:
    """What a network, whose weights have that checksum, computes with. To be asked on the thread that computes."""
    device = network.device
    is_cpu = device.type == "cpu"
    versions = {name: metadata.version(name) for name in _VERSIONS}
    # The distribution's version lacks what tells builds apart.
    versions |= {"algorithm": code_checksum(), "python": platform.python_version(), "torch": str(torch.__version__)}
    if not is_cpu and torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    return pb.Environment(
        device="cpu" if is_cpu else f"{device.type} {torch.cuda.get_device_name(device)}",
        instructions=torch.backends.cpu.get_cpu_capability() if is_cpu else "",
        thread_count=torch.get_num_threads() if is_cpu else 0,
        precision=_precision(network),
        weights_checksum=checksum,
        versions=versions,
    )


def _precision(network: FeatureNetwork) -> str:
    if network.device.type == "cuda" and network.layer_dtype == torch.float32 and torch.backends.cudnn.allow_tf32:
        return "tf32"
    return str(network.layer_dtype).removeprefix("torch.")


def require_environment(request: Request, found: pb.Environment) -> None:
    """Refuse a job that expects something else than what would compute it.

    Raises: ServiceError ENVIRONMENT_DIFFERS.
    """
    if not request.HasField("expected_environment"):
        return
    differences = list(_differences(request.expected_environment, found))
    if differences:
        text = "; ".join(differences)
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_ENVIRONMENT_DIFFERS,
            f"the bytes may differ: {text}; leave out expected_environment to compute nevertheless",
            field="expected_environment",
            metadata={"differences": text},
        )


def _differences(expected: pb.Environment, found: pb.Environment) -> Iterator[str]:
    for field, value in expected.ListFields():
        if field.name != "versions" and value != getattr(found, field.name):
            yield f"{field.name} was {value} and is {getattr(found, field.name) or 'none'} here"
    for name, version in sorted(expected.versions.items()):
        here = found.versions.get(name, "none")
        if version != here:
            yield f"{name} was {_shortened(version)} and is {_shortened(here)} here"


def _shortened(version: str) -> str:
    """A version as it is, of a checksum the first digits."""
    return version if len(version) < 64 else f"{version[:12]}…"


def manifest_of(
    request: Request,
    pictures: Pictures,
    result: Result,
    stages: Iterable[Stage],
    environment: pb.Environment,
    image: image_pb2.Image,
) -> pb.Manifest:
    """The manifest of a result that was encoded as ``image``; ``pictures`` are the request's, decoded."""
    decoded = {field.name: getattr(pictures, field.name) for field in fields(pictures)}
    return pb.Manifest(
        stages=[STAGE_NUMBERS[stage] for stage in stages],
        inputs=[
            _digest(name, getattr(request, name).data, pixels) for name, pixels in decoded.items() if pixels is not None
        ],
        parameters=params_to_proto(_repeating(result)),
        environment=environment,
        output=_digest("image", image.data, result.image.numpy()),
    )


def _repeating(result: Result) -> HarmonizeParams:
    """The parameters that give the same picture, whatever ended its passes and chose its size."""
    params, counts = result.params, result.iteration_counts
    one, two = counts.get(Stage.PASS1), counts.get(Stage.PASS2)
    return replace(
        params,
        memory_policy=MemoryPolicy.REFUSE,
        pass1=replace(params.pass1, iteration_count=one) if one else params.pass1,
        pass2=replace(params.pass2, iteration_count=two) if two else params.pass2,
    )


def _digest(name: str, data: bytes, pixels: NDArray[np.generic]) -> pb.ImageDigest:
    return pb.ImageDigest(
        name=name,
        sha256=hashlib.sha256(data).hexdigest(),
        pixels_sha256=hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest(),
        width_px=pixels.shape[1],
        height_px=pixels.shape[0],
    )
