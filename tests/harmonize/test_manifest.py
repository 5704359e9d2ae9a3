"""Manifests over the wire: what they name, that they give the same bytes again, and what is refused."""

from __future__ import annotations

import hashlib
import platform
from typing import Any

import numpy as np
import pytest
import torch
from PIL import __version__ as pillow_version

from painterly.v1 import harmonize_service_pb2 as pb
from painterly_harmonize.algorithm.checkpoint import code_checksum
from tests.harmonize.toy import CHECKSUM, failure, last_of, pixels_of, request, running, scene


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_a_manifest_names_inputs_output_and_what_computed() -> None:
    asked, made = request(pb.HarmonizeRequest), scene()
    async with running() as service:
        result = (await last_of(service.stub.Harmonize(asked))).result
    manifest = result.manifest
    assert list(manifest.stages) == [pb.STAGE_PASS1, pb.STAGE_PASS2, pb.STAGE_POSTPROCESSING]
    found = {each.name: (each.sha256, each.pixels_sha256, each.width_px, each.height_px) for each in manifest.inputs}
    assert found == {
        name: (sha256(getattr(asked, name).data), sha256(pixels.tobytes()), 80, 64)
        for name, pixels in (("composite", made.composite), ("painting", made.painting), ("mask", made.mask))
    }
    assert made.mask.tobytes().count(1) == 24 * 20
    assert manifest.output.sha256 == sha256(result.image.data)
    assert manifest.output.pixels_sha256 == sha256(pixels_of(result.image).tobytes())
    expected = pb.HarmonizeParameters()
    expected.CopyFrom(result.parameters_used)
    expected.memory_policy = pb.MEMORY_POLICY_REFUSE
    assert manifest.parameters == expected
    assert manifest.environment == pb.Environment(
        device="cpu",
        instructions=torch.backends.cpu.get_cpu_capability(),
        thread_count=torch.get_num_threads(),
        precision="float32",
        weights_checksum=CHECKSUM,
        versions={
            "painterly": "0.1.0",
            "algorithm": code_checksum(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "pillow": pillow_version,
        },
    )


def ending_early(kind: type[Any]) -> Any:
    """A request whose passes end by themselves before their last iteration."""
    asked = request(kind, iteration_count=300)
    for own in (asked.parameters.pass1, asked.parameters.pass2):
        own.min_improvement, own.max_step = 0.5, 16
    return asked


@pytest.mark.parametrize("call", ["RunPass1", "RunPass2", "Harmonize"])
async def test_a_manifest_gives_the_same_bytes_again(call: str) -> None:
    asked = ending_early(getattr(pb, f"{call}Request"))
    if call == "RunPass2":
        asked.pass1_result.CopyFrom(asked.composite)
    async with running() as service:
        method = getattr(service.stub, call)
        first = (await last_of(method(asked))).result
        manifest = first.manifest
        counts = [manifest.parameters.pass1.iteration_count, manifest.parameters.pass2.iteration_count]
        again = type(asked)()
        again.CopyFrom(asked)
        again.parameters.CopyFrom(manifest.parameters)
        again.expected_environment.CopyFrom(manifest.environment)
        second = (await last_of(method(again))).result
    assert second.image == first.image
    assert second.manifest == manifest
    assert [count < 300 for count in counts] == {
        "RunPass1": [True, False],
        "RunPass2": [False, True],
        "Harmonize": [True, True],
    }[call]
    assert ("pass1_result" in {each.name for each in manifest.inputs}) == (call == "RunPass2")


async def test_another_environment_is_refused_and_named() -> None:
    async with running() as service:
        own = (await last_of(service.stub.RunPass1(request(pb.RunPass1Request)))).result.manifest.environment
        changes: dict[str, tuple[pb.Environment, str]] = {
            "device": (pb.Environment(device="cuda NVIDIA H200"), "device was cuda NVIDIA H200 and is cpu here"),
            "instructions": (
                pb.Environment(instructions="VSX"),
                f"instructions was VSX and is {own.instructions} here",
            ),
            "threads": (pb.Environment(thread_count=99), f"thread_count was 99 and is {own.thread_count} here"),
            "precision": (pb.Environment(precision="tf32"), "precision was tf32 and is float32 here"),
            "weights": (
                pb.Environment(weights_checksum="sha256:1"),
                f"weights_checksum was sha256:1 and is {CHECKSUM}",
            ),
            "torch": (pb.Environment(versions={"torch": "0.1"}), f"torch was 0.1 and is {torch.__version__} here"),
            "cuda": (pb.Environment(versions={"cuda": "12.8"}), "cuda was 12.8 and is none here"),
        }
        for expected, text in changes.values():
            asked = request(pb.RunPass1Request)
            asked.expected_environment.CopyFrom(expected)
            details = await failure(service.stub.RunPass1(asked))
            assert (details.code.name, details.reason) == ("FAILED_PRECONDITION", "ENVIRONMENT_DIFFERS")
            assert text in details.metadata["differences"]
            assert text in details.message
        asked = request(pb.RunPass1Request)
        asked.expected_environment.CopyFrom(own)
        asked.expected_environment.versions["numpy"] = "1"
        asked.expected_environment.precision = "bfloat16"
        differences = (await failure(service.stub.RunPass1(asked))).metadata["differences"]
        assert differences == f"precision was bfloat16 and is float32 here; numpy was 1 and is {np.__version__} here"
        # What is not set does not count.
        asked.expected_environment.CopyFrom(pb.Environment(versions={"torch": torch.__version__}))
        assert (await last_of(service.stub.RunPass1(asked))).HasField("result")
