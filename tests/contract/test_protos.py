"""The proto files: linted, their table of reasons kept, their tools pinned alike."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from painterly.errors import CODE_OF_REASON, reason_name
from painterly.v1.error_reason_pb2 import ErrorReason

ROOT = Path(__file__).parents[2]
COMMENTED_VALUE = re.compile(r"((?:^ *//.*\n)+)^ *(ERROR_REASON_\w+) = (\d+);", re.MULTILINE)
COMMENT = re.compile(r"(?P<name>ERROR_REASON_\w+): (?P<code>[A-Z_]+)[ ;.]")


def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    with (ROOT / "pyproject.toml").open("rb") as file:
        parsed: dict[str, Any] = tomllib.load(file)
    return parsed


def requirement(requirements: list[str], name: str) -> str:
    """What stands after the name, for example ``==1.76.0``."""
    return next(each.removeprefix(name).strip() for each in requirements if re.match(rf"{name} ?[=<>]", each))


def test_buf_lint_passes() -> None:
    buf = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
    if buf is None:
        pytest.skip("buf is not installed: pip install buf-bin")
    done = subprocess.run([buf, "lint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def codes_in_comments() -> dict[str, str]:
    """The code that each value's comment names, by the value's name."""
    text = (ROOT / "protos/painterly/v1/error_reason.proto").read_text()
    codes = {}
    for lines, name, number in COMMENTED_VALUE.findall(text):
        if number != "0":
            comment = COMMENT.match(" ".join(line.strip(" /") for line in lines.splitlines()))
            assert comment is not None, f"the comment of {name} names no code"
            assert comment["name"] == name
            codes[name] = comment["code"]
    return codes


def test_every_reason_has_the_code_that_its_comment_names() -> None:
    codes = codes_in_comments()
    assert set(codes) == {name for name, number in ErrorReason.items() if number != 0}
    assert {ErrorReason.Name(reason): code.name for reason, code in CODE_OF_REASON.items()} == codes
    assert "OK" not in codes.values()


def test_a_reason_travels_without_its_prefix() -> None:
    assert reason_name(ErrorReason.Value("ERROR_REASON_MASK_EMPTY")) == "MASK_EMPTY"


def test_the_generator_is_pinned_alike_and_is_the_floor_of_the_runtime() -> None:
    settings = project()
    build, base = settings["build-system"]["requires"], settings["project"]["dependencies"]
    extras = settings["project"]["optional-dependencies"]
    pin = requirement(build, "grpcio-tools")
    assert re.fullmatch(r"==\d+\.\d+\.\d+", pin)
    assert requirement(extras["dev"], "grpcio-tools") == pin
    assert requirement(extras["dev"], "mypy-protobuf") == requirement(build, "mypy-protobuf")
    floor = pin.replace("==", ">=")
    assert requirement(base, "grpcio") == floor
    assert requirement(base, "grpcio-health-checking") == floor
    assert requirement(base, "grpcio-status") == floor
    assert requirement(extras["preprocess"], "grpcio-reflection") == floor
    assert requirement(extras["harmonize"], "grpcio-reflection") == floor


def test_protobuf_is_bounded_as_the_generator_bounds_it() -> None:
    declared = set(requirement(project()["project"]["dependencies"], "protobuf").split(","))
    of_generator = requirement(importlib.metadata.requires("grpcio-tools") or [], "protobuf")
    assert declared == {re.sub(r"(<\d+)(\.0)+$", r"\1", bound) for bound in of_generator.split(",")}
