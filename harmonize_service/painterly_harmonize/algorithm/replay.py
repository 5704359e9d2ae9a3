"""An iteration recorded once as a CUDA graph and replayed: the same kernels without the time to launch each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from painterly_harmonize.algorithm.memory import is_out_of_memory
from painterly_harmonize.algorithm.optimize import Evaluation

# Libraries choose kernels and take workspaces at first; that must not be recorded.
_WARM_UP_COUNT = 3


class Replay:
    """An evaluation whose work does not depend on values, so that all its calls launch the same kernels.

    The losses of a call are overwritten by the next one.
    """

    def __init__(self, evaluate: Callable[[Tensor], Evaluation], like: Tensor) -> None:
        """Record for vectors like ``like``, on a CUDA device.

        Raises: RuntimeError that says what to do when the evaluation cannot be recorded; what lacks memory as it is.
        """
        self._input = like.clone()
        device = like.device
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        try:
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP_COUNT):
                    evaluate(self._input)
            torch.cuda.current_stream(device).wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads answer calls meanwhile and may allocate.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._gradient, self._losses = evaluate(self._input)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            text = f"an iteration cannot be recorded as a CUDA graph; start the server without --cuda-graphs ({error})"
            raise RuntimeError(text) from error

    def __call__(self, vector: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The gradient, which is the caller's own, and the losses."""
        self._input.copy_(vector)
        self._graph.replay()
        return self._gradient.clone(), self._losses
