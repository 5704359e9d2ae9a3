"""Iterations of both passes, the product's and the plain twin's, turn by turn."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

from torch import Tensor

from painterly_harmonize.algorithm import pass1, pass2
from painterly_harmonize.algorithm.params import Pass1Params, Pass2Params
from painterly_harmonize.algorithm.problem import Working
from painterly_harmonize.algorithm.stage import Iterate
from painterly_harmonize.algorithm.style_level import LEVEL_MEDIUM, Pass2Weights, painting_noise, pass2_weights
from painterly_harmonize.algorithm.vgg import FeatureNetwork
from painterly_harmonize.benchmark.errors import BenchmarkError
from painterly_harmonize.benchmark.measuring import Clock
from painterly_harmonize.benchmark.plain_twin import PlainNetwork, PlainPass1, PlainPass2, iterates
from painterly_harmonize.benchmark.roofline import flop_of

# Of an iteration's timings, the first ones warm caches up, and the very first holds matching and targets.
_WARM_UP = 2


@dataclass(frozen=True, kw_only=True)
class IterationFigures:
    """One iteration of a pass: seconds (median) and counted operations of the product, and of the twin."""

    product_s: float
    product_flop: int
    twin_s: float | None = None
    twin_flop: int | None = None


@dataclass(frozen=True)
class Passes:
    """Both passes over one case by either side, with a run's parameters but for ``iteration_count``."""

    working: Working
    iteration_count: int

    @cached_property
    def _params1(self) -> Pass1Params:
        return Pass1Params(iteration_count=self.iteration_count)

    @cached_property
    def _params2(self) -> Pass2Params:
        return Pass2Params(iteration_count=self.iteration_count)

    @cached_property
    def _weights(self) -> Pass2Weights:
        noise = painting_noise(self.working.painting)
        return pass2_weights(LEVEL_MEDIUM, noise, content=self._params2.content_weight)

    def product1(self, network: FeatureNetwork) -> Iterator[Iterate]:
        """The product's pass 1, from iteration 0 on."""
        return pass1.run_pass1(self.working, self._params1, network, lambda: None)

    def product2(self, network: FeatureNetwork, pass1_result: Tensor) -> Iterator[Iterate]:
        """The product's pass 2, from iteration 0 on."""
        return pass2.run_pass2(self.working, pass1_result, self._params2, self._weights, network, lambda: None)

    def twin1(self, plain: PlainNetwork) -> Iterator[Tensor]:
        """The twin's pass 1, from iteration 1 on: outputs in 8-bit units."""
        params, start = self._params1, self.working.composite * self.working.pixel_scale
        gradient = PlainPass1(self.working, params, plain).gradient
        yield from iterates(start, gradient, learning_rate=params.learning_rate, history_size=params.history_size)

    def twin2(self, plain: PlainNetwork, pass1_result: Tensor) -> Iterator[Tensor]:
        """The twin's pass 2, from iteration 1 on: outputs in 8-bit units."""
        params, start = self._params2, self.working.composite * self.working.pixel_scale
        gradient = PlainPass2(self.working, pass1_result, params, self._weights, plain).gradient
        yield from iterates(start, gradient, learning_rate=params.learning_rate, history_size=params.history_size)


def time_passes(
    working: Working, network: FeatureNetwork, plain: PlainNetwork | None, iterations: int, clock: Clock
) -> tuple[IterationFigures, IterationFigures]:
    """Time ``iterations`` of each pass; where there is a twin, its own in between. Raises: BenchmarkError."""
    # One more than is timed, for the operation counter.
    passes = Passes(working, _WARM_UP + iterations + 1)
    twin = None if plain is None else passes.twin1(plain)
    first, result = _turn_by_turn(passes.product1(network), twin, iterations, clock)
    twin = None if plain is None else passes.twin2(plain, result)
    second, _ = _turn_by_turn(passes.product2(network, result), twin, iterations, clock)
    return first, second


def run_twin(working: Working, plain: PlainNetwork, iterations: int) -> None:
    """Both passes by the twin alone, with as many iterations as :func:`time_passes` runs."""
    passes = Passes(working, _WARM_UP + iterations + 1)
    output = _last(passes.twin1(plain), passes.iteration_count)
    _last(passes.twin2(plain, working.blend(output / working.pixel_scale)), passes.iteration_count)


def _last(steps: Iterator[Tensor], count: int) -> Tensor:
    for _ in range(count - 1):
        next(steps)
    return next(steps)


def _turn_by_turn(
    product: Iterator[Iterate], twin: Iterator[Tensor] | None, iterations: int, clock: Clock
) -> tuple[IterationFigures, Tensor]:
    """Figures of one pass, and the product's picture after it."""
    next(product)
    product_s, twin_s = [], []
    for _ in range(_WARM_UP + iterations):
        product_s.append(clock.timed(partial(_step, product))[1])
        if twin is not None:
            twin_s.append(clock.timed(partial(next, twin))[1])
    last: list[Iterate] = []
    product_flop = flop_of(lambda: last.append(_step(product)))
    figures = IterationFigures(
        product_s=statistics.median(product_s[_WARM_UP:]),
        product_flop=product_flop,
        twin_s=statistics.median(twin_s[_WARM_UP:]) if twin is not None else None,
        twin_flop=flop_of(partial(next, twin)) if twin is not None else None,
    )
    return figures, last[0].image().clone()


def _step(product: Iterator[Iterate]) -> Iterate:
    iterate = next(product, None)
    if iterate is None:
        raise BenchmarkError("the pass ended before it could be timed: nothing moves any more; take another case")
    return iterate
