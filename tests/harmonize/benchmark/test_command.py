"""What is measured for which options, and how the command ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from painterly.v1 import image_pb2
from painterly.weights import WeightsError, WeightStore
from painterly_harmonize.algorithm.params import NetworkName, Preset
from painterly_harmonize.benchmark.cases import Case
from painterly_harmonize.benchmark.command import main
from painterly_harmonize.benchmark.passes import MemorySpec, PassesSpec
from painterly_harmonize.benchmark.plan import Plan, measurements
from painterly_harmonize.benchmark.whole_run import RunSpec
from painterly_images import encode
from tests.harmonize.toy import scene


def plan(*, baseline: bool = False, grid: bool = False, presets: tuple[Preset, ...] = ()) -> Plan:
    return Plan(
        cases=[Case(name="a"), Case(name="b")],
        sizes_px=[128, 256],
        presets=presets,
        devices=["cpu"],
        threads=2,
        network=NetworkName.VGG16,
        precision="float32",
        cuda_graphs=False,
        iterations=5,
        baseline=baseline,
        grid=grid,
    )


def ends(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_every_case_is_measured_at_every_size() -> None:
    work = list(measurements(plan()))
    specs = [one.spec for one in work]
    assert all(isinstance(spec, PassesSpec) and not spec.baseline and spec.iterations == 5 for spec in specs)
    assert [(spec.setting.size_px, spec.setting.case.name) for spec in specs] == [
        *((128, "a"), (128, "b"), (256, "a"), (256, "b")),
    ]
    assert work[0].title == "a, 128 px, cpu: iterations and matching"


def test_the_baseline_adds_memory_and_presets_add_runs() -> None:
    work = list(measurements(plan(baseline=True, presets=(Preset.DRAFT, Preset.FULL))))
    kinds = [type(one.spec) for one in work[:7]]
    assert kinds == [PassesSpec, *[MemorySpec] * 4, RunSpec, RunSpec]
    assert len(work) == 4 * 7
    assert work[0].title.endswith("and the plain twin")
    run = work[6].spec
    assert isinstance(run, RunSpec)
    assert (run.preset, run.iterations) == (Preset.FULL, None)


def test_the_grid_varies_size_and_area_of_the_first_case() -> None:
    every = [one.spec for one in measurements(plan(grid=True)) if one.title.startswith("grid: ")]
    areas = [spec.setting.case.area for spec in every if isinstance(spec, PassesSpec)]
    assert areas == [0.05, 0.1, 0.2, 0.4] * len(plan().sizes_px)
    work = [spec for spec in every if isinstance(spec, RunSpec)]
    found = {(spec.setting.size_px, spec.setting.case.area) for spec in work}
    assert found == {(size, area) for size in (512, 1024, 2048, 4096) for area in (0.05, 0.1, 0.2, 0.4)}
    assert all(spec.iterations == 5 for spec in work)
    assert {spec.setting.case.name for spec in every} == {"a, 5%", "a, 10%", "a, 20%", "a, 40%"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--size", "512,12"], 2, "'12' must be a whole number from 64 to 8192"),
        (["--preset", "draft,best"], 2, "'best' must be one of draft, standard, full, none"),
        (["--device", "tpu"], 2, "painterly: --device 'tpu' must be cpu, cuda or cuda:N"),
        (["--device", "cuda:99"], 4, "painterly: device cuda:99 is missing"),
        (["nowhere"], 2, "'nowhere' does not exist"),
        (["--threads", "0"], 2, "--threads"),
    ],
)
def test_wrong_options_are_told(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(arguments) == code
    assert words in capsys.readouterr().err


def test_missing_weights_are_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PAINTERLY_WEIGHTS_DIR", str(tmp_path))
    assert ends(["--device", "cpu"]) == 4
    error = capsys.readouterr().err
    assert error.startswith("painterly: weights vgg16 are missing")
    assert "painterly weights fetch vgg16" in error
    assert len(error.splitlines()) == 1


def test_a_missing_extra_is_named_in_one_line() -> None:
    code = (
        "import sys, runpy; sys.modules['torch'] = None; "
        "runpy.run_module('painterly_harmonize.benchmark', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert done.stderr == "painterly: module torch is missing; run: pip install 'painterly[harmonize]'\n"


COMMAND = [sys.executable, "-m", "painterly_harmonize.benchmark", "--device", "cpu", "--threads", "1"]


@pytest.fixture
def stored_weights() -> None:
    """The test is skipped where the real network is not stored."""
    try:
        WeightStore().path("vgg16")
    except WeightsError as error:
        pytest.skip(f"no VGG-16 weights: {error}")


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.usefixtures("stored_weights")
def test_an_interrupt_ends_the_measuring_process_too() -> None:
    command = [*COMMAND, "--preset", "none"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("[1/3] coffee, 512 px, cpu: ")
        process.send_signal(signal.SIGINT)
        # Standard error ends when nobody has it open any more, the measuring process included.
        assert process.stderr.read().strip() == "painterly: interrupted"
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("stored_weights")
def test_a_small_benchmark_from_begin_to_end(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    options = ["--size", "64", "--iterations", "1", "--baseline", "--preset", "none", "--json", str(path)]
    case = tmp_path / "case"
    case.mkdir()
    _write_case(case)
    done = subprocess.run([*COMMAND, *options, str(case)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[5/5] case, 64 px, cpu: memory of passes, twin"
    assert "64 px, cpu, median of 1: roofline: an iteration reaches" in done.stdout
    content = json.loads(path.read_text())
    (figures,) = content["passes"]
    assert figures["matching"]["agreement"] > 0.99
    assert figures["pass1"]["twin_flop"] >= figures["pass1"]["product_flop"] > 1e8
    assert content["environment"]["threads"] == 1
    assert len(content["memory"]) == 4


def _write_case(folder: Path) -> None:
    pictures = scene(64, 64)
    mask = pictures.mask[:, :, None].repeat(3, axis=2).astype("uint8") * 255
    for name, pixels in (("composite", pictures.composite), ("painting", pictures.painting), ("mask", mask)):
        (folder / f"{name}.png").write_bytes(encode(pixels, image_pb2.IMAGE_FORMAT_PNG).data)
