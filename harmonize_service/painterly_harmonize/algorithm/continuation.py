"""A pass between two iterations: what it takes to go on from there, and the wish that it ends early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from painterly_harmonize.algorithm.errors import CheckpointInvalid


@dataclass(frozen=True, kw_only=True)
class PassState:
    """A pass after ``iteration`` iterations: all that it takes to go on with the same numbers.

    With ``is_last`` the pass has ended. ``least_loss`` is what the plateau remembers; ``tensors``, by name and on any
    device, are the optimizer's and what the pass has matched. Valid until the next iteration.
    """

    iteration: int
    is_last: bool
    least_loss: float
    tensors: Mapping[str, Tensor]


class PassControl:
    """Where a pass begins, and whether it is to end early.

    ``should_finish`` is asked once after each iteration; where it says so, that iteration is the last. The state is
    let go once the optimizer has it, so that nothing is held twice for the length of a pass.
    """

    def __init__(self, state: PassState | None = None, should_finish: Callable[[], bool] = lambda: False) -> None:
        self._state = state
        self.should_finish = should_finish
        self.least_loss = float("inf") if state is None else state.least_loss
        self.has_ended = state is not None and state.is_last

    @property
    def is_resumed(self) -> bool:
        """Whether the pass goes on from a state that was not taken yet."""
        return self._state is not None

    def take(self) -> PassState | None:
        """The state, once."""
        state, self._state = self._state, None
        return state

    def vector(self, like: Tensor) -> Tensor:
        """The iterate to go on from; ``like``, where the pass begins at its beginning. Raises: CheckpointInvalid."""
        return like if self._state is None else restored(self._state.tensors, "vector", like)

    def matches(self, name: str, count: int, bound: int, device: torch.device) -> Tensor:
        """The ``count`` flat positions below ``bound`` that were matched under this name, int64.

        Raises: CheckpointInvalid.
        """
        assert self._state is not None
        like = torch.empty(count, dtype=torch.int64, device=device)
        found = restored(self._state.tensors, name, like)
        if not bool(((found >= 0) & (found < bound)).all()):
            raise CheckpointInvalid(f"{name} must be positions below {bound}")
        return found


def taken(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """The tensor of that name. Raises: CheckpointInvalid when there is none."""
    if name not in tensors:
        raise CheckpointInvalid(f"it has no {name}")
    return tensors[name]


def restored(tensors: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    """A copy of the tensor of that name on the device of ``like``.

    Raises: CheckpointInvalid when its dtype or shape are others.
    """
    found = taken(tensors, name)
    if found.dtype != like.dtype or found.shape != like.shape:
        ours, theirs = ((str(each.dtype), tuple(each.shape)) for each in (like, found))
        raise CheckpointInvalid(f"{name} must be {ours[0]} {ours[1]}, but is {theirs[0]} {theirs[1]}")
    return torch.empty_like(like).copy_(found)
