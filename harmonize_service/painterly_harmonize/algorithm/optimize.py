"""L-BFGS without line search, driven one iteration at a time. Source: section 2.4."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# A function's gradient, and its loss terms for whoever wants to look at them.
Evaluation = tuple[Tensor, Mapping[str, Tensor]]

_CURVATURE_THRESHOLD = 1e-10


@dataclass(frozen=True, kw_only=True)
class Step:
    """One iteration: the vector after the step, and the loss terms where the step began.

    ``vector`` is overwritten by the next step.
    """

    iteration: int
    vector: Tensor
    losses: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """When to stop before the last iteration: largest gradient entry, largest move. Negative values never stop."""

    gradient: float = 1e-7
    move: float = 1e-9


NEVER = Tolerances(gradient=-1.0, move=-1.0)


class _History:
    """The correction pairs of L-BFGS in one preallocated ring buffer, newest last."""

    def __init__(self, size: int, like: Tensor) -> None:
        self._moves = like.new_empty(size, like.numel())
        self._changes = like.new_empty(size, like.numel())
        self._curvatures = like.new_empty(size)
        self._count = 0
        self.scale: Tensor | float = 1.0

    def add(self, move: Tensor, change: Tensor) -> None:
        """Keep a pair unless its curvature is too small to trust. Raises: FloatingPointError when it is not finite."""
        curvature = change @ move
        known = float(curvature)
        if not math.isfinite(known):
            raise FloatingPointError("the gradient is not finite")
        if known <= _CURVATURE_THRESHOLD:
            return
        slot = self._count % len(self._moves)
        self._moves[slot], self._changes[slot], self._curvatures[slot] = move, change, curvature
        self._count += 1
        self.scale = curvature / (change @ change)

    def direction(self, gradient: Tensor) -> Tensor:
        """The quasi-Newton direction, by the two-loop recursion."""
        size, count = len(self._moves), self._count
        slots = [index % size for index in range(max(0, count - size), count)]
        direction = -gradient
        weights: dict[int, Tensor] = {}
        for slot in reversed(slots):
            weights[slot] = (self._moves[slot] @ direction) / self._curvatures[slot]
            direction = direction - weights[slot] * self._changes[slot]
        direction = direction * self.scale
        for slot in slots:
            back = (self._changes[slot] @ direction) / self._curvatures[slot]
            direction = direction + (weights[slot] - back) * self._moves[slot]
        return direction


def minimize(
    start: Tensor,
    evaluate: Callable[[Tensor], Evaluation],
    *,
    iteration_count: int,
    learning_rate: float,
    history_size: int,
    tolerances: Tolerances = NEVER,
) -> Iterator[Step]:
    """Minimize by L-BFGS, yielding after every step; ``evaluate`` is called once per iteration.

    The first step is ``min(1, 1 / ‖g‖₁) · learning_rate`` long, later ones ``learning_rate``; there is no line search,
    and the last update is not evaluated again. Ends early only by ``tolerances``.

    Raises: FloatingPointError when gradients are not finite.
    """
    vector = start.clone()
    history = _History(min(history_size, iteration_count), start)
    previous: Tensor | None = None
    move = torch.zeros_like(start)
    for iteration in range(1, iteration_count + 1):
        gradient, losses = evaluate(vector)
        if tolerances.gradient >= 0 and float(gradient.abs().max()) <= tolerances.gradient:
            return
        if previous is None:
            rate = learning_rate * min(1.0, 1.0 / max(float(gradient.abs().sum()), 1e-30))
            direction = -gradient
        else:
            history.add(move, gradient - previous)
            direction = history.direction(gradient)
            rate = learning_rate
        previous, move = gradient, direction * rate
        vector += move
        yield Step(iteration=iteration, vector=vector, losses=losses)
        if tolerances.move >= 0 and float(move.abs().max()) <= tolerances.move:
            return
