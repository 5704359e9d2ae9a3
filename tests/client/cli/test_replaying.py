"""``--manifest`` and ``replay`` against real servers with scripted streams."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2
from painterly.v1 import harmonize_service_pb2 as pb
from tests.client.cli.kit import RESULT, WHOLE_RUN, one_json, picture, play, result, run, write_pictures
from tests.client.kit import Harmonize

NAMES = {"composite": "c.png", "painting": "painting.png", "mask": "m.png"}
ENVIRONMENT = pb.Environment(
    device="cpu",
    instructions="AVX2",
    thread_count=3,
    precision="float32",
    weights_checksum="sha256:" + "ab" * 32,
    versions={"torch": "2.9", "algorithm": "f" * 64},
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_manifest(data: bytes = RESULT, pixels: str = "9" * 64) -> pb.HarmonizeResponse:
    """A result with a manifest of the files in ``NAMES``."""
    response = result(data)
    manifest = response.result.manifest
    manifest.stages.extend([pb.STAGE_PASS1, pb.STAGE_PASS2, pb.STAGE_POSTPROCESSING])
    for name, file in NAMES.items():
        manifest.inputs.add(
            name=name, sha256=sha256(Path(file).read_bytes()), pixels_sha256="1" * 64, width_px=24, height_px=18
        )
    manifest.parameters.CopyFrom(response.result.parameters_used)
    manifest.environment.CopyFrom(ENVIRONMENT)
    manifest.output.CopyFrom(
        pb.ImageDigest(name="image", sha256=sha256(data), pixels_sha256=pixels, width_px=24, height_px=18)
    )
    return response


@pytest.fixture
def files() -> list[str]:
    write_pictures(Path(), *NAMES.values())
    return ["--composite", "c.png", "--mask", "m.png", "painting.png"]


@pytest.fixture
def manifest(endpoint: str, harmonize: Harmonize, files: list[str]) -> dict[str, Any]:
    """``made/r.json``, written by a run."""
    harmonize.handler = play(*WHOLE_RUN[:-1], with_manifest())
    outcome = run("harmonize", *files, "-o", "out.png", "--manifest", "made/r.json", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert one_json(outcome.stdout)["manifest"] == "made/r.json"
    harmonize.requests.clear()
    found: dict[str, Any] = json.loads(Path("made/r.json").read_text())
    return found


def test_a_manifest_is_written_beside_the_result(manifest: dict[str, Any]) -> None:
    assert manifest["format"] == "painterly-manifest/1"
    assert manifest["stages"] == ["pass1", "pass2", "postprocessing"]
    assert manifest["inputs"] == {
        name: {
            "path": f"../{file}",
            "sha256": sha256(Path(file).read_bytes()),
            "pixels_sha256": "1" * 64,
            "width_px": 24,
            "height_px": 18,
        }
        for name, file in NAMES.items()
    }
    assert manifest["output"]["path"] == "../out.png"
    assert (manifest["output"]["format"], manifest["output"]["sha256"]) == ("png", sha256(RESULT))
    assert manifest["parameters"]["pass1"] == {"iteration_count": 4, "style_weight": 100.0}
    assert manifest["environment"]["versions"] == {"algorithm": "f" * 64, "torch": "2.9"}


def test_a_replay_asks_for_the_same_of_the_same_environment(harmonize: Harmonize, manifest: dict[str, Any]) -> None:
    outcome = run("replay", "made/r.json", "-o", "again.png", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert one_json(outcome.stdout) == {"equal": True, "sha256": sha256(RESULT), "result": "again.png", "device": "cpu"}
    assert Path("again.png").read_bytes() == RESULT
    (asked,) = harmonize.requests
    assert asked.expected_environment == ENVIRONMENT
    assert asked.parameters == result().result.parameters_used
    assert {name: getattr(asked, name).data for name in NAMES} == {
        name: Path(file).read_bytes() for name, file in NAMES.items()
    }
    assert not asked.HasField("dilated_mask")
    assert run("replay", "made/r.json", "--anyway").exit_code == 0
    assert not harmonize.requests[1].HasField("expected_environment")


def test_other_bytes_are_told(harmonize: Harmonize, manifest: dict[str, Any]) -> None:
    other = picture("black")
    for pixels, reason, text in (
        ("9" * 64, "FILE_DIFFERS", "the pixels are equal, the file is not"),
        ("8" * 64, "RESULT_DIFFERS", "the picture is another"),
    ):
        harmonize.handler = play(with_manifest(other, pixels))
        outcome = run("replay", "made/r.json", "-o", "again.png", "--json")
        assert outcome.exit_code == 1
        assert one_json(outcome.stdout)["error"]["reason"] == reason
        assert f"not equal: {text}" in outcome.stderr
        assert sha256(other)[:12] in outcome.stderr
        assert Path("again.png").read_bytes() == other


def test_changed_and_missing_inputs_are_refused_before_anything_is_sent(
    harmonize: Harmonize, manifest: dict[str, Any]
) -> None:
    Path("m.png").write_bytes(picture("black"))
    outcome = run("replay", "made/r.json", "--anyway", "--json")
    assert outcome.exit_code == 2
    assert one_json(outcome.stdout)["error"]["reason"] == "INPUT_DIFFERS"
    assert f"mask: made/../m.png has the sha256 {sha256(picture('black'))[:12]}" in outcome.stderr
    Path("c.png").unlink()
    outcome = run("replay", "made/r.json", "--json")
    assert (outcome.exit_code, one_json(outcome.stdout)["error"]["reason"]) == (2, "INPUT_MISSING")
    assert "composite: made/../c.png cannot be read: No such file" in outcome.stderr
    assert "mask: made/../m.png has the sha256" in outcome.stderr
    assert harmonize.requests == []


def test_another_environment_is_refused_by_the_server(harmonize: Harmonize, manifest: dict[str, Any]) -> None:
    harmonize.handler = play(
        then=ServiceError(
            error_reason_pb2.ERROR_REASON_ENVIRONMENT_DIFFERS, "torch was 2.9", metadata={"differences": "torch"}
        )
    )
    outcome = run("replay", "made/r.json", "--json")
    assert (outcome.exit_code, one_json(outcome.stdout)["error"]["reason"]) == (4, "ENVIRONMENT_DIFFERS")


def test_what_is_no_manifest_is_refused(manifest: dict[str, Any], harmonize: Harmonize) -> None:
    without = {key: value for key, value in manifest.items() if key != "inputs"}
    odd = {**manifest, "parameters": {"seed": "x"}}
    cases: list[tuple[str, str]] = [
        ("no json", "cannot be read as a manifest"),
        ("[]", "is no manifest of the format painterly-manifest/1"),
        (json.dumps({**manifest, "format": "painterly-manifest/2"}), "is no manifest of the format"),
        (json.dumps(without), "inputs is missing"),
        (json.dumps(odd), 'parameters.seed must be a whole number, got "x"'),
        (json.dumps({**manifest, "stages": ["pass3"]}), "'pass3' is not a valid Stage"),
        (json.dumps({**manifest, "environment": {"versions": {}}}), "cannot be read as a manifest"),
        (json.dumps({**manifest, "inputs": {"mask": {"path": "m.png", "sha256": 1}}}), "inputs.mask.sha256"),
    ]
    for text, told in cases:
        Path("odd.json").write_text(text)
        outcome = run("replay", "odd.json", "--json")
        assert (outcome.exit_code, one_json(outcome.stdout)["error"]["reason"]) == (2, "MANIFEST_INVALID"), text
        assert told in outcome.stderr
    Path("made/odd.json").write_text(json.dumps({**manifest, "stages": ["pass2", "pass1"]}))
    assert "no call runs pass2, pass1" in run("replay", "made/odd.json").stderr.replace("\n", " ")
    assert harmonize.requests == []


def test_outputs_are_checked(manifest: dict[str, Any], files: list[str]) -> None:
    assert "must be a PNG file" in run("replay", "made/r.json", "-o", "again.jpg").stderr
    assert "would overwrite mask" in run("replay", "made/r.json", "-o", "m.png").stderr
    assert "would overwrite" in run("harmonize", *files, "-o", "o.png", "--manifest", "o.png").stderr


def test_a_server_without_manifests_is_told(endpoint: str, files: list[str]) -> None:
    outcome = run("harmonize", *files, "-o", "out.png", "--manifest", "r.json", "--json")
    assert (outcome.exit_code, one_json(outcome.stdout)["error"]["reason"]) == (1, "NO_MANIFEST")
    assert Path("out.png").read_bytes() == RESULT
