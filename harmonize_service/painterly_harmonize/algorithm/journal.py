"""How far a run is, written down for whoever goes on with it, and read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial

import torch
from torch import Tensor

from painterly_harmonize.algorithm.checkpoint import Checkpoint, Identity, Position, dump, load
from painterly_harmonize.algorithm.continuation import PassControl, PassState, restored, taken
from painterly_harmonize.algorithm.errors import CheckpointMismatch
from painterly_harmonize.algorithm.stage import Event, Iterate, Stage

# Told at each end of a stage and iteration, with what makes the checkpoint; valid until the next event.
OnCheckpoint = Callable[[Callable[[], bytes]], None]


class Journal:
    """What of a run is done: the outputs of its passes, how many iterations they had, what lends its style.

    ``output`` and ``style_cells`` are on the device that computes.
    """

    def __init__(
        self,
        identify: Callable[[], Identity],
        device: torch.device,
        checkpoint: bytes | None,
        on_checkpoint: OnCheckpoint | None,
    ) -> None:
        """``identify`` is called where a checkpoint is read or made. Raises: CheckpointInvalid, CheckpointMismatch."""
        self._identify, self._device, self._on_checkpoint = identify, device, on_checkpoint
        self.iteration_counts: dict[Stage, int] = {}
        self.style_cells: Tensor | None = None
        self._outputs: dict[str, Tensor] = {}
        self._state: PassState | None = None
        self._stage: Stage | None = None
        if checkpoint is not None:
            self._read(load(checkpoint))

    @cached_property
    def _identity(self) -> Identity:
        return self._identify()

    def _read(self, checkpoint: Checkpoint) -> None:
        difference = checkpoint.identity.difference(self._identity)
        if difference is not None:
            raise CheckpointMismatch(difference)
        tensors, position = checkpoint.tensors, checkpoint.position
        self.iteration_counts = dict(checkpoint.iteration_counts)
        self._outputs = _under("output/", tensors)
        if "style_cells" in tensors:
            self.style_cells = tensors["style_cells"].to(self._device)
        if not position.is_finished:
            self._stage = position.stage
            self._state = PassState(
                iteration=position.iteration,
                is_last=checkpoint.is_last,
                least_loss=checkpoint.least_loss,
                tensors=_under("pass/", tensors),
            )
        torch.set_rng_state(restored(tensors, "random/cpu", torch.get_rng_state()))
        if self._device.type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(taken(tensors, "random/cuda"), self._device)

    def control(self, stage: Stage, should_finish: Callable[[], bool]) -> PassControl:
        """Where a pass begins. The state that was read is given away once."""
        if stage is not self._stage:
            return PassControl(None, should_finish)
        state, self._state, self._stage = self._state, None, None
        return PassControl(state, should_finish)

    def output(self, stage: Stage, like: Tensor) -> Tensor | None:
        """The finished output of a pass; None where it has yet to be computed.

        Raises: CheckpointInvalid when it is not of the dtype and shape of ``like``.
        """
        return restored(self._outputs, stage.value, like) if stage.value in self._outputs else None

    def finish(self, stage: Stage, output: Tensor) -> None:
        """Note that a pass has ended with this output, which must not be written to any more."""
        self._outputs[stage.value] = output
        self._offer(Position(stage=stage, iteration=self.iteration_counts[stage], is_finished=True), None)

    def note(self, event: Event) -> None:
        """Note an event of a pass that was handed out."""
        if not isinstance(event, Iterate) or event.stage is Stage.POSTPROCESSING:
            return
        self.iteration_counts[event.stage] = event.iteration
        if event.state is not None:
            self._offer(Position(stage=event.stage, iteration=event.iteration, is_finished=False), event.state)

    def _offer(self, position: Position, state: Callable[[], PassState] | None) -> None:
        if self._on_checkpoint is not None:
            self._on_checkpoint(partial(self._write, position, state))

    def _write(self, position: Position, make_state: Callable[[], PassState] | None) -> bytes:
        state = None if make_state is None else make_state()
        tensors = {f"output/{stage}": output for stage, output in self._outputs.items()}
        if self.style_cells is not None:
            tensors["style_cells"] = self.style_cells
        tensors["random/cpu"] = torch.get_rng_state()
        if self._device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self._device)
        if state is not None:
            tensors.update({f"pass/{name}": tensor for name, tensor in state.tensors.items()})
        return dump(
            Checkpoint(
                identity=self._identity,
                position=position,
                iteration_counts=self.iteration_counts,
                is_last=state is not None and state.is_last,
                least_loss=float("inf") if state is None else state.least_loss,
                tensors=tensors,
            )
        )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
