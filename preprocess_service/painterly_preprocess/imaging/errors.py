"""What the imaging raises. Each names the input or parameter at fault and the way out.

ImagingError
├── ParameterError    a parameter outside its range, or not finite
├── ParameterConflict two parameters that exclude each other
├── AlphaMissing      a picture that needs transparency has none
├── MaskEmpty         nothing is inside the mask, or no foreground was found
├── MaskFull          nothing is outside the mask
└── ElementOutside    the placement leaves nothing of the element inside the painting
"""

from __future__ import annotations


class ImagingError(ValueError):
    """An input that cannot be worked on. ``field`` is the name of the input or parameter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field
        self.message = message


class ParameterError(ImagingError):
    """A parameter outside its range, or not finite. ``value`` is what was given."""

    def __init__(self, field: str, value: object, message: str) -> None:
        super().__init__(field, f"{message}, got {value!r}")
        self.value = value


class ParameterConflict(ImagingError):
    """Two parameters that exclude each other; ``conflicts_with`` is the other one."""

    def __init__(self, field: str, conflicts_with: str, message: str) -> None:
        super().__init__(field, f"{message} ({conflicts_with} is set too)")
        self.conflicts_with = conflicts_with


class AlphaMissing(ImagingError):
    """A picture that needs transparency has none."""


class MaskEmpty(ImagingError):
    """Nothing is inside the mask, or no foreground was found."""


class MaskFull(ImagingError):
    """Nothing is outside the mask."""


class ElementOutside(ImagingError):
    """The placement leaves nothing of the element inside the painting."""
