"""What the algorithm raises. Each names the field at fault, its value and the way out."""

from __future__ import annotations


class AlgorithmError(ValueError):
    """An input that cannot be worked on. ``field`` is the name of the input or the dotted path of the parameter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class ParameterError(AlgorithmError):
    """A parameter outside its range, or not finite."""

    def __init__(self, field: str, value: object, message: str) -> None:
        super().__init__(field, f"{message}, got {value!r}")
        self.value = value

    def within(self, prefix: str) -> ParameterError:
        """The same error with ``prefix`` before its field."""
        nested = ParameterError.__new__(ParameterError)
        ValueError.__init__(nested, f"{prefix}.{self}")
        nested.field, nested.value = f"{prefix}.{self.field}", self.value
        return nested


class SizeMismatch(AlgorithmError):
    """Images that must be of one size are not. Sizes are ``WIDTHxHEIGHT``."""

    def __init__(self, field: str, size: str, expected: str) -> None:
        super().__init__(field, f"is {size} pixels but must be {expected}, the painting's size")
        self.size, self.expected = size, expected


class MaskEmpty(AlgorithmError):
    """Nothing is inside the mask, or nothing of it is left at the size of the computation."""


class MaskFull(AlgorithmError):
    """Nothing is outside the mask."""


class MaskNotContained(AlgorithmError):
    """The dilated mask does not contain the mask."""


class StageFailed(RuntimeError):
    """A stage produced values that are not finite."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(f"{stage}: {message}")
        self.stage = stage


class Stopped(Exception):
    """The caller asked to stop."""


class CheckpointInvalid(ValueError):
    """Bytes that are no checkpoint, or not all of one: the run has to begin anew."""

    def __init__(self, message: str) -> None:
        super().__init__(f"the checkpoint cannot be used: {message}; begin anew")


class CheckpointMismatch(ValueError):
    """A checkpoint of another run. ``difference`` says what differs."""

    def __init__(self, difference: str) -> None:
        super().__init__(f"the checkpoint is of another run: {difference}; begin anew")
        self.difference = difference
