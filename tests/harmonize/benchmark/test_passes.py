"""Iterations, matching, operations and memory of both sides, on the toy network."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from painterly_harmonize.algorithm.params import ParityParams
from painterly_harmonize.algorithm.problem import Working, working_pictures
from painterly_harmonize.algorithm.stage import Inputs
from painterly_harmonize.algorithm.vgg import CAFFE_INPUT, build_network
from painterly_harmonize.benchmark.cases import Case, load_case
from painterly_harmonize.benchmark.errors import BAD_INPUT, PRECONDITION, BenchmarkError
from painterly_harmonize.benchmark.fields import fields_of, time_matching
from painterly_harmonize.benchmark.iterations import run_twin, time_passes
from painterly_harmonize.benchmark.measuring import Clock, PeakMemory, find_device
from painterly_harmonize.benchmark.plain_twin import PlainNetwork
from painterly_harmonize.benchmark.roofline import best_convolution, flop_of
from tests.harmonize.algorithm.toy import TOY_PLAN, plan_tensors, toy_network

CPU = torch.device("cpu")
NETWORK, PLAIN = toy_network(), PlainNetwork(tensors=plan_tensors(TOY_PLAN))
MEBIBYTE = 2**20


@pytest.fixture
def working() -> Working:
    inputs = load_case(Case(name="drawn", area=0.05), 96, CPU)
    return working_pictures(inputs, 96, ParityParams(), NETWORK)


def test_both_sides_are_timed_and_counted(working: Working) -> None:
    for figures in time_passes(working, NETWORK, PLAIN, 2, Clock(CPU)):
        assert figures.product_s > 0
        assert figures.twin_s is not None
        assert figures.twin_s > 0
        assert figures.twin_flop is not None
        # The product computes the part of the picture that can change.
        assert 0 < figures.product_flop < figures.twin_flop


def test_without_baseline_the_product_is_alone(working: Working) -> None:
    first, second = time_passes(working, NETWORK, None, 1, Clock(CPU))
    assert first.twin_s is first.twin_flop is second.twin_s is second.twin_flop is None
    assert first.product_flop > second.product_flop > 0


def test_the_twin_alone_runs_as_many_iterations(working: Working) -> None:
    evaluations = []

    class Counting(PlainNetwork):
        def features(self, pixels, taps, hook=lambda _, x: x):  # type: ignore[no-untyped-def]
            evaluations.append(pixels.requires_grad)
            return super().features(pixels, taps, hook)

    run_twin(working, Counting(tensors=PLAIN.tensors), 1)
    assert sum(evaluations) == 2 * (2 + 1 + 1)


def test_a_pass_that_does_not_move_is_a_fault_of_the_case() -> None:
    painting = torch.full((1, 3, 72, 96), 0.5)
    mask = load_case(Case(name="drawn"), 96, CPU).mask
    tensors = {name: torch.zeros_like(tensor) for name, tensor in plan_tensors(TOY_PLAN).items()}
    blind = build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="blind")
    inputs = Inputs(composite=painting, painting=painting, mask=mask)
    working = working_pictures(inputs, 96, ParityParams(), blind)
    with pytest.raises(BenchmarkError, match="nothing moves any more"):
        time_passes(working, blind, None, 1, Clock(CPU))


def test_both_sides_find_the_same_matches(working: Working) -> None:
    fields = fields_of(working, PLAIN)
    assert [field.source.shape[-1] for field in fields] == [24, 12, 6, 12]
    figures = time_matching(fields, baseline=True, clock=Clock(CPU))
    assert figures.agreement == 1.0
    assert figures.product_s > 0
    alone = time_matching(fields, baseline=False, clock=Clock(CPU))
    assert (alone.twin_s, alone.agreement) == (None, None)


def test_operations_are_counted_forward_and_backward() -> None:
    image, weight = torch.rand(1, 4, 8, 10, requires_grad=True), torch.rand(6, 4, 3, 3)
    once = 2 * 9 * 4 * 6 * 8 * 10
    assert flop_of(lambda: functional.conv2d(image, weight, padding=1)) == once

    def backward() -> None:
        torch.autograd.grad(functional.conv2d(image, weight, padding=1).sum(), image)

    assert flop_of(backward) == 2 * once
    assert flop_of(lambda: torch.rand(3, 5) @ torch.rand(5, 7)) == 2 * 3 * 5 * 7


def test_the_best_convolution_is_one_of_the_shapes() -> None:
    best = best_convolution(CPU, shapes=((2, 8), (16, 32)), repeats=3)
    # The small one is all overhead.
    assert (best.channels, best.side) == (16, 32)
    assert 1e6 < best.flop_per_s < 1e14


def test_peak_memory_is_what_was_held_at_a_time() -> None:
    # Freed before: it must not count. Blocks as large go back to the system when they are freed.
    torch.ones(512 * MEBIBYTE // 4)
    memory = PeakMemory(CPU)
    for _ in range(3):
        torch.ones(256 * MEBIBYTE // 4)
    peak = memory.beyond()
    if peak is None:
        pytest.skip("the high-water mark cannot be reset here")
    assert 255 * MEBIBYTE < peak < 384 * MEBIBYTE


def test_devices_are_found_or_refused() -> None:
    assert find_device("cpu") == CPU
    with pytest.raises(BenchmarkError, match="device cuda:99 is missing") as missing:
        find_device("cuda:99")
    assert missing.value.exit_code == PRECONDITION
    with pytest.raises(BenchmarkError, match="--device 'tpu' must be") as wrong:
        find_device("tpu")
    assert wrong.value.exit_code == BAD_INPUT


@pytest.mark.gpu
def test_a_cuda_device_runs_the_same_operations() -> None:
    device = torch.device("cuda")
    tensors = {name: tensor.to(device) for name, tensor in plan_tensors(TOY_PLAN).items()}
    network, plain = build_network(TOY_PLAN, tensors, CAFFE_INPUT, name="toy"), PlainNetwork(tensors=tensors)
    case = Case(name="drawn", area=0.05)
    here = working_pictures(load_case(case, 96, CPU), 96, ParityParams(), NETWORK)
    there = working_pictures(load_case(case, 96, device), 96, ParityParams(), network)
    memory = PeakMemory(device)
    found = time_passes(there, network, plain, 2, Clock(device))
    for figures, expected in zip(found, time_passes(here, NETWORK, PLAIN, 2, Clock(CPU)), strict=True):
        assert (figures.product_flop, figures.twin_flop) == (expected.product_flop, expected.twin_flop)
        assert figures.product_s > 0
    assert time_matching(fields_of(there, plain), baseline=True, clock=Clock(device)).agreement == 1.0
    peak = memory.beyond()
    assert peak is not None
    assert peak > 96 * 72 * 6 * 4
