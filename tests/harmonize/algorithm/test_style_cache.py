"""Features of paintings are computed once, are the same as computed, and stay within their bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.params import HarmonizeParams, Pass1Params, Pass2Params, PostprocessParams
from painterly_harmonize.algorithm.pipeline import harmonize
from painterly_harmonize.algorithm.stage import Result
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.algorithm.vgg import CAFFE_INPUT, build_network
from tests.harmonize.algorithm.toy import (
    TOY_PLAN,
    picture,
    plan_tensors,
    rectangle_mask,
    toy_inputs,
    toy_network,
)

TAPS = ("relu1_1", "relu3_1")


def test_the_second_time_nothing_is_computed() -> None:
    network, pixels, cache = toy_network(), picture(64, 48, seed=1) * 255, StyleCache()
    expected = network.features(pixels, TAPS)
    for misses, hits in ((2, 0), (2, 2)):
        found = cache.features(network, pixels.clone(), TAPS)
        assert list(found) == list(TAPS)
        assert all(torch.equal(found[tap], expected[tap]) for tap in TAPS)
        assert (cache.miss_count, cache.hit_count) == (misses, hits)
    assert cache.byte_count == sum(each.nbytes for each in expected.values())


def test_only_what_is_missing_is_computed() -> None:
    network, pixels, cache = toy_network(), picture(64, 48, seed=1) * 255, StyleCache()
    cache.features(network, pixels, ["relu3_1"])
    found = cache.features(network, pixels, ["relu1_1", "relu3_1"])
    assert (cache.miss_count, cache.hit_count) == (2, 1)
    assert torch.equal(found["relu1_1"], network.features(pixels, TAPS)["relu1_1"])


@pytest.mark.parametrize("change", ["a pixel", "the shape", "the network", "the dtype"])
def test_another_picture_or_network_is_not_mistaken_for_a_known_one(change: str) -> None:
    network, pixels, cache = toy_network(), picture(64, 48, seed=1) * 255, StyleCache()
    cache.features(network, pixels, TAPS)
    if change == "a pixel":
        pixels = pixels.clone()
        pixels[0, 0, 5, 5] += 1
    elif change == "the shape":
        pixels = pixels.reshape(1, 3, 48, 64)
    elif change == "the network":
        network.name = "another"
    else:
        network = toy_network(torch.float64)
        pixels = pixels.double()
    found = cache.features(network, pixels, TAPS)
    assert (cache.miss_count, cache.hit_count) == (4, 0)
    assert torch.equal(found["relu3_1"], network.features(pixels, TAPS)["relu3_1"])


def test_the_least_recently_used_goes_first() -> None:
    network = toy_network()
    first, second, third = (picture(64, 48, seed=seed) * 255 for seed in (1, 2, 3))
    one = network.features(first, ["relu1_1"])["relu1_1"].nbytes
    cache = StyleCache(limit_bytes=2 * one)

    def misses(pixels: Tensor) -> int:
        before = cache.miss_count
        cache.features(network, pixels, ["relu1_1"])
        return cache.miss_count - before

    assert [misses(p) for p in (first, second, first, third)] == [1, 1, 0, 1]
    assert cache.byte_count == 2 * one
    assert [misses(p) for p in (first, second)] == [0, 1]


def test_what_does_not_fit_at_all_is_computed_and_not_kept() -> None:
    network, pixels, cache = toy_network(), picture(64, 48, seed=1) * 255, StyleCache(limit_bytes=10)
    found = cache.features(network, pixels, TAPS)
    assert torch.equal(found["relu3_1"], network.features(pixels, TAPS)["relu3_1"])
    assert cache.byte_count == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_leaves_the_device_waits_on_the_host() -> None:
    tensors = {name: tensor.cuda() for name, tensor in plan_tensors(TOY_PLAN).items()}
    network = build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="toy on a GPU")
    first, second = (picture(64, 48, seed=seed).cuda() * 255 for seed in (1, 2))
    expected = network.features(first, ["relu1_1"])["relu1_1"]
    cache = StyleCache(limit_bytes=expected.nbytes)
    for pixels in (first, second, first):
        found = cache.features(network, pixels, ["relu1_1"])["relu1_1"]
        assert found.is_cuda
    assert (cache.miss_count, cache.hit_count) == (2, 1)
    assert torch.equal(found, expected)


def test_the_second_object_skips_the_style_side_and_gets_the_same_picture() -> None:
    params = HarmonizeParams(
        working_long_side_px=80,
        object_size_px=None,
        pass1=Pass1Params(iteration_count=2),
        pass2=Pass2Params(iteration_count=2),
        postprocess=PostprocessParams(skip_patch_synthesis=True),
    )
    network, cache = toy_network(), StyleCache()
    first = toy_inputs()
    second = replace(
        first,
        mask=rectangle_mask(80, 64, (10, 30), (8, 30)),
        composite=first.painting + (first.composite - first.painting).flip(-2, -1),
    )

    def result(inputs: object, styles: StyleCache) -> Tensor:
        events = list(harmonize(inputs, params, network, lambda: False, styles))  # type: ignore[arg-type]
        assert isinstance(events[-1], Result)
        return events[-1].image

    result(first, cache)
    # Of the seven taps of both passes two are asked for twice.
    assert (cache.miss_count, cache.hit_count) == (5, 2)
    shared = result(second, cache)
    assert (cache.miss_count, cache.hit_count) == (5, 9)
    assert torch.equal(shared, result(second, StyleCache()))
