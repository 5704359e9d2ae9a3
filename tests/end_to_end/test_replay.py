"""Results made again from their manifests, through the real command line, services and network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.kit import missing_weights, painterly, service, write_painting, write_photo

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow, pytest.mark.weights]

SMALL = ("--preset", "draft", "--size", "96", "--pass1-iterations", "3", "--pass2-iterations", "3")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if reason := missing_weights("vgg16"):
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    write_photo(Path("photo.png"))
    write_painting(Path("painting.png"))
    return tmp_path


def test_a_manifest_makes_the_same_bytes_and_refuses_what_differs() -> None:
    with service("harmonize") as (endpoint, _):
        given = {"PAINTERLY_HARMONIZE_ENDPOINT": endpoint}
        outputs = ("-o", "out.png", "--manifest", "made/out.json")
        made = painterly("harmonize", "photo.png", "painting.png", *outputs, *SMALL, **given)
        assert made.returncode == 0, made.stderr
        assert "manifest: made/out.json" in made.stderr
        manifest = json.loads(Path("made/out.json").read_text())
        paths = {name: each["path"] for name, each in manifest["inputs"].items()}
        assert paths == {
            "painting": "../painting.png",
            **{name: f"../out-work/{name}.png" for name in ("composite", "mask", "dilated_mask")},
        }
        again = painterly("replay", "made/out.json", "-o", "again.png", "--json", **given)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["equal"]
        assert Path("again.png").read_bytes() == Path("out.png").read_bytes()

        def changed(name: str, **values: str) -> str:
            path = f"made/{name}.json"
            environment = {**manifest["environment"], **values}
            if "torch" in values:
                environment["versions"] = {**manifest["environment"]["versions"], "torch": environment.pop("torch")}
            Path(path).write_text(json.dumps({**manifest, "environment": environment}))
            return path

        for path, text in (
            (changed("weights", weights_checksum="sha256:" + "ab" * 32), "weights_checksum was sha256:abab"),
            (changed("version", torch="1.0"), "torch was 1.0 and is"),
        ):
            refused = painterly("replay", path, "--json", **given)
            assert refused.returncode == 4, refused.stderr
            assert json.loads(refused.stdout)["error"]["reason"] == "ENVIRONMENT_DIFFERS"
            assert text in refused.stderr
        anyway = painterly("replay", path, "--anyway", **given)
        assert anyway.returncode == 0, anyway.stderr
        assert f"equal: sha256 {manifest['output']['sha256']}" in anyway.stderr
        # Another result than the one that was recorded.
        other = {**manifest, "parameters": {**manifest["parameters"], "stylization_level": 1.0}}
        Path("made/other.json").write_text(json.dumps(other))
        differs = painterly("replay", "made/other.json", "--json", **given)
        assert differs.returncode == 1, differs.stderr
        assert json.loads(differs.stdout)["error"]["reason"] == "RESULT_DIFFERS"
    # A service of its own computes with as many threads as the manifest names, whatever the surroundings say.
    own = painterly("replay", "made/out.json", PAINTERLY_HARMONIZE_THREADS="2")
    assert own.returncode == 0, own.stderr
    Path("out-work/mask.png").write_bytes(Path("out-work/mask.png").read_bytes() + b"\0")
    refused = painterly("replay", "made/out.json", "--json")
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["error"]["reason"] == "INPUT_DIFFERS"
    assert "mask: made/../out-work/mask.png has the sha256" in refused.stderr
