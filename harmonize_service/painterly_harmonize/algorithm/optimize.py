"""L-BFGS without line search, driven one iteration at a time. Source: section 2.4."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from painterly_harmonize.algorithm.continuation import PassState, restored, taken
from painterly_harmonize.algorithm.errors import CheckpointInvalid

# A function's gradient, and its loss terms for whoever wants to look at them.
Evaluation = tuple[Tensor, Mapping[str, Tensor]]

# After how many iterations losses are compared, to see whether they still fall.
PLATEAU_PERIOD = 25
_CURVATURE_THRESHOLD = 1e-10
# How far the steepest entry moves in the first of steps that are bounded.
_FIRST_STEP = 1.0
# After how many iterations the device is asked whether to go on; asking waits for all but the CPU.
_QUESTION_PERIODS = {"cpu": 1, "cuda": 25}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One iteration: the vector after the step, and the loss terms where the step began.

    ``vector`` is overwritten by the next step, and so is what ``state`` returns: the tensors to go on from.
    """

    iteration: int
    vector: Tensor
    losses: Mapping[str, Tensor]
    state: Callable[[], dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """When to stop before the last iteration: largest gradient entry, largest move. Negative values never stop."""

    gradient: float = 1e-7
    move: float = 1e-9


NEVER = Tolerances(gradient=-1.0, move=-1.0)


class Plateau:
    """Tells that a loss has stopped falling: by less than the share ``min_improvement`` in 25 iterations; 0 never does.

    Only every 25 iterations is the loss fetched from the device.
    """

    def __init__(self, min_improvement: float, least: float = float("inf")) -> None:
        """``least`` is what another one had come to."""
        self._min_improvement = min_improvement
        self.least = least

    def is_reached(self, iteration: int, loss: Tensor) -> bool:
        """Whether to stop after ``iteration``, counted from 1, which began with the scalar ``loss``."""
        if not self._min_improvement or iteration % PLATEAU_PERIOD:
            return False
        before, self.least = self.least, min(float(loss), self.least)
        return self.least > (1 - self._min_improvement) * before


class _History:
    """The correction pairs of L-BFGS in a ring buffer, and all their dot products.

    Everything stays on the device: whether a pair is kept, and where, is never asked by the host. Pair ``i`` is the
    moves s (row 2i) and the gradients' changes y (row 2i + 1) of one matrix; pair 0 takes what is not kept.
    """

    def __init__(self, size: int, like: Tensor) -> None:
        self._size = size
        self._pairs = like.new_zeros(2 * (size + 1), like.numel())
        small = partial(torch.zeros, device=like.device, dtype=torch.float64)
        self._move_changes = small(size + 1, size + 1)  # s_i · y_j
        self._changes = small(size + 1, size + 1)  # y_i · y_j
        self._scale = like.new_ones(())
        self._count = torch.zeros((), device=like.device, dtype=torch.int64)
        self._slots = torch.arange(size, device=like.device)
        self._offered = 0

    def direction(self, move: Tensor, change: Tensor, gradient: Tensor) -> Tensor:
        """Keep a pair unless its curvature is too small to trust; the quasi-Newton direction from all that are kept.

        It is the two-loop recursion on dot products, as two triangular systems. With R the upper triangle of
        s_i · y_j, oldest pair first, and D its diagonal, the first loop solves ``R a = Sᵀ g`` and the second
        ``Rᵀ c = D a - γ (Yᵀ g - YᵀY a)``; then ``H g = γ (g - Y a) + S c``.
        """
        size = self._size
        curvature = change @ move
        kept = curvature > _CURVATURE_THRESHOLD
        slot = torch.where(kept, 1 + self._count % size, 0)[None]
        self._pairs.index_copy_(0, 2 * slot, move[None])
        self._pairs.index_copy_(0, 2 * slot + 1, change[None])
        self._scale = torch.where(kept, curvature / (change @ change), self._scale)
        self._count += kept
        # The rows that have ever been written; the others would be read for nothing.
        self._offered = min(self._offered + 1, size)
        pairs = self._pairs[: 2 * (self._offered + 1)]
        products = (pairs @ torch.stack((move, change, gradient), dim=1)).double()
        products = torch.cat((products, products.new_zeros(2 * (size - self._offered), 3)))
        moves, changes = products[::2], products[1::2]
        self._move_changes.index_copy_(0, slot, changes[None, :, 0])
        self._move_changes.index_copy_(1, slot, moves[:, 1:2])
        self._changes.index_copy_(0, slot, changes[None, :, 1])
        self._changes.index_copy_(1, slot, changes[:, 1:2])
        first, second = self._solve(moves[:, 2], changes[:, 2])
        weights = torch.stack((second, -self._scale.double() * first), dim=1).flatten()[: len(pairs)]
        return -(self._scale * gradient + weights.to(gradient.dtype) @ pairs)

    def _solve(self, moves: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
        """a and c, in the order of the rows, from Sᵀ g and Yᵀ g."""
        # Only what has been written: a run that ends early computes then as one that was meant to be as short.
        order = 1 + (self._count + self._slots[: self._offered]) % self._offered
        triangle = self._move_changes[order[:, None], order].triu()
        curvatures = triangle.diagonal()
        # An empty slot is a row and column of zeros: with a one on the diagonal it takes no part.
        triangle = triangle + torch.diag((curvatures == 0).double())
        first = _solve(triangle, moves[order], upper=True)
        inner = self._changes[order[:, None], order]
        right = curvatures * first - self._scale.double() * (changes[order] - inner @ first)
        second = _solve(triangle.T, right, upper=False)
        empty = torch.zeros_like(moves)
        return empty.index_copy(0, order, first), empty.index_copy(0, order, second)

    def tensors(self) -> dict[str, Tensor]:
        """What it takes to go on, not copied."""
        return {
            "pairs": self._pairs[: 2 * (self._offered + 1)],
            "move_changes": self._move_changes,
            "changes": self._changes,
            "scale": self._scale,
            "count": self._count,
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`tensors` gave. Raises: CheckpointInvalid."""
        rows = len(taken(tensors, "pairs"))
        if rows % 2 or not 2 <= rows <= len(self._pairs):
            raise CheckpointInvalid(f"pairs must be 2 to {len(self._pairs)} rows, an even number, but are {rows}")
        self._offered = rows // 2 - 1
        self._pairs[:rows] = restored(tensors, "pairs", self._pairs[:rows])
        self._move_changes = restored(tensors, "move_changes", self._move_changes)
        self._changes = restored(tensors, "changes", self._changes)
        self._scale = restored(tensors, "scale", self._scale)
        self._count = restored(tensors, "count", self._count)


def _solve(triangle: Tensor, right: Tensor, *, upper: bool) -> Tensor:
    solution: Tensor = torch.linalg.solve_triangular(triangle, right[:, None], upper=upper)
    return solution[:, 0]


class _Lbfgs:
    """The state of a run, all of it on the device."""

    def __init__(
        self, start: Tensor, history_size: int, learning_rate: float, tolerances: Tolerances, max_step: float
    ) -> None:
        self.vector = start.clone()
        self._history = _History(history_size, start)
        self._rate, self._tolerances, self._max_step = learning_rate, tolerances, max_step
        self._previous: Tensor | None = None
        self._move = torch.zeros_like(start)
        yes = torch.ones((), device=start.device, dtype=torch.bool)
        self.is_finite, self.is_steep, self.is_moving = yes, yes, yes

    def step(self, gradient: Tensor) -> None:
        """Move the vector; once a tolerance is met, it stays."""
        steepest = gradient.abs().max()
        self.is_finite = self.is_finite & torch.isfinite(steepest)
        self.is_steep = self.is_steep & ~(steepest <= self._tolerances.gradient)
        if self._previous is None:
            move = self._first_move(gradient)
        else:
            move = self._history.direction(self._move, gradient - self._previous, gradient) * self._rate
            if self._max_step:
                move = move * (self._max_step / move.abs().max().clamp(min=1e-30)).clamp(max=1)
        self._previous, self._move = gradient, move
        self.vector += torch.where(self.is_steep & self.is_moving, move, 0)
        self.is_moving = self.is_moving & ~(move.abs().max() <= self._tolerances.move)

    def tensors(self) -> dict[str, Tensor]:
        """What it takes to go on after a step, not copied."""
        assert self._previous is not None
        return {
            "vector": self.vector,
            "previous": self._previous,
            "move": self._move,
            "is_finite": self.is_finite,
            "is_steep": self.is_steep,
            "is_moving": self.is_moving,
            **self._history.tensors(),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`tensors` gave, but for the vector. Raises: CheckpointInvalid."""
        self._previous = restored(tensors, "previous", self.vector)
        self._move = restored(tensors, "move", self.vector)
        self.is_finite = restored(tensors, "is_finite", self.is_finite)
        self.is_steep = restored(tensors, "is_steep", self.is_steep)
        self.is_moving = restored(tensors, "is_moving", self.is_moving)
        self._history.restore(tensors)

    def _first_move(self, gradient: Tensor) -> Tensor:
        if self._max_step:
            # Large enough to learn the curvature from at once.
            return gradient * (-min(self._max_step, _FIRST_STEP) / gradient.abs().max().clamp(min=1e-30))
        return gradient * (-self._rate * (1 / gradient.abs().sum().clamp(min=1e-30)).clamp(max=1))


def minimize(
    start: Tensor,
    evaluate: Callable[[Tensor], Evaluation],
    *,
    iteration_count: int,
    learning_rate: float,
    history_size: int,
    tolerances: Tolerances = NEVER,
    max_step: float = 0.0,
    resume: PassState | None = None,
) -> Iterator[Step]:
    """Minimize by L-BFGS, yielding after every step; ``evaluate`` is called once per iteration.

    The first step is ``min(1, 1 / ‖g‖₁) · learning_rate`` long, later ones ``learning_rate``; there is no line search,
    and the last update is not evaluated again. With ``max_step`` no entry moves farther in a step, which is then
    shortened as a whole, and in the first step the steepest entry moves by one, or ``max_step`` where that is less.
    Ends early only by ``tolerances``. On an accelerator nothing waits for it but a question every 25 iterations whether
    to go on; a vector that has met a tolerance no longer moves. With ``resume`` it goes on after that state, whose
    vector must be ``start``.

    Raises: FloatingPointError when gradients are not finite; CheckpointInvalid.
    """
    state = _Lbfgs(start, min(history_size, iteration_count), learning_rate, tolerances, max_step)
    finished = 0
    if resume is not None:
        state.restore(resume.tensors)
        # It is as large as the history: let go of it.
        finished, resume = resume.iteration, None
    period = _QUESTION_PERIODS[start.device.type]

    def is_asked(iteration: int) -> bool:
        return iteration % period == 0 or iteration == iteration_count

    for iteration in range(finished + 1, iteration_count + 1):
        if is_asked(iteration - 1) and not bool(state.is_moving):
            return
        gradient, losses = evaluate(state.vector)
        state.step(gradient)
        if is_asked(iteration) and not bool(state.is_finite):
            raise FloatingPointError("the gradient is not finite")
        if is_asked(iteration) and not bool(state.is_steep):
            return
        yield Step(iteration=iteration, vector=state.vector, losses=losses, state=state.tensors)
