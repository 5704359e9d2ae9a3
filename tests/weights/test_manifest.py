"""The real manifest, and what a source may be."""

from __future__ import annotations

import pytest

from painterly.weights import MANIFEST, UrlSource, WeightStore
from painterly.weights.manifest import vgg_tensors


def test_names_are_those_of_the_three_networks() -> None:
    assert WeightStore().names() == ("vgg16", "vgg19", "u2net")
    assert all(MANIFEST[name].name == name for name in MANIFEST)


@pytest.mark.parametrize(("name", "convolution_count"), [("vgg16", 11), ("vgg19", 13)])
def test_vgg_tensors_end_with_conv5_1(name: str, convolution_count: int) -> None:
    shapes = {tensor.name: tensor.shape for tensor in MANIFEST[name].tensors}
    assert len(shapes) == 2 * convolution_count
    assert shapes["conv1_1.weight"] == (64, 3, 3, 3)
    assert shapes["conv5_1.weight"] == (512, 512, 3, 3)
    assert shapes["conv5_1.bias"] == (512,)
    assert "conv5_2.weight" not in shapes


def test_vgg_tensors_grow_from_block_to_block() -> None:
    shapes = {tensor.name: tensor.shape for tensor in vgg_tensors((1, 2), (5, 7))}
    assert shapes == {
        "conv1_1.weight": (5, 3, 3, 3),
        "conv1_1.bias": (5,),
        "conv2_1.weight": (7, 5, 3, 3),
        "conv2_1.bias": (7,),
        "conv2_2.weight": (7, 7, 3, 3),
        "conv2_2.bias": (7,),
    }


def test_every_network_states_license_and_sources() -> None:
    for network in MANIFEST.values():
        assert network.license
        assert network.description
        assert network.sources
        assert {source.label for source in network.sources} == {source.label for source in set(network.sources)}


def test_input_conventions() -> None:
    assert MANIFEST["vgg16"].input.scale == 255.0
    assert MANIFEST["vgg16"].input.mean == (123.68, 116.779, 103.939)
    assert MANIFEST["vgg19"].input.scale == 1.0
    assert MANIFEST["vgg19"].input.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    "digests",
    [
        {},
        {"sha256": "0" * 64, "sha256_prefix": "0" * 8},
        {"sha256": "0" * 63},
        {"sha256": "A" * 64},
        {"sha256_prefix": "0" * 7},
        {"sha256": "0" * 64, "tensors_sha256": "x"},
    ],
)
def test_source_refuses_digests_that_are_none(digests: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"sha256|SHA-256|8 digits"):
        UrlSource(url="http://localhost/x", **digests)  # type: ignore[arg-type]


def test_source_accepts_its_digest_only() -> None:
    whole = UrlSource(url="http://localhost/x", sha256="ab" * 32)
    prefix = UrlSource(url="http://localhost/x", sha256_prefix="ab" * 4)
    assert whole.accepts("ab" * 32)
    assert not whole.accepts("ab" * 31 + "ac")
    assert prefix.accepts("ab" * 4 + "cd" * 28)
    assert not prefix.accepts("ac" + "ab" * 31)
