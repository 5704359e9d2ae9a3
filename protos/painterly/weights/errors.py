"""What can be wrong with weights. Every message ends with the way out.

WeightsError
├── UnknownWeights       no network of that name
├── WeightsMissing       not in the store
├── WeightsCorrupt       in the store, but not what it should be
├── WeightsUnobtainable  no source delivered the file
└── ConverterMissing     a source's file cannot be converted by this installation
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class WeightsError(Exception):
    """Base of all errors of the weight store. ``name`` is the network asked for.

    ``told`` is what a service tells its callers: the message without this machine's paths.
    """

    def __init__(self, name: str, message: str, told: str | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.told = message if told is None else told


class UnknownWeights(WeightsError):
    """The manifest has no network of that name. ``known`` are those it has."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(name, f"there are no weights named {name!r}; known names: {', '.join(known)}")
        self.known = tuple(known)


class WeightsMissing(WeightsError):
    """The store does not hold the network. ``path`` is where it would be."""

    def __init__(self, name: str, path: Path) -> None:
        way_out = f"run: {fetch_command(name)}"
        super().__init__(
            name,
            f"weights {name} are missing: no file {path}; {way_out}",
            f"weights {name} are missing on this server; there {way_out}",
        )
        self.path = path


class WeightsCorrupt(WeightsError):
    """The stored file is not the network. ``path`` is the file, ``problem`` what is wrong with it."""

    def __init__(self, name: str, path: Path, problem: str) -> None:
        way_out = f"run: {fetch_command(name)}"
        super().__init__(
            name,
            f"weights {name} are corrupt: {path}: {problem}; {way_out}",
            f"weights {name} are corrupt on this server; there {way_out}",
        )
        self.path = path
        self.problem = problem


class WeightsUnobtainable(WeightsError):
    """No source delivered the file. ``failures`` are pairs of a source's label and why it failed, in order."""

    def __init__(self, name: str, failures: Sequence[tuple[str, str]], way_out: str | None = None) -> None:
        reasons = "".join(f"\n  {label}: {reason}" for label, reason in failures)
        by_hand = f"get one of these files in another way and run: {fetch_command(name)} --from FILE"
        super().__init__(name, f"weights {name} could not be obtained:{reasons}\n{way_out or by_hand}")
        self.failures = tuple(failures)


class ConverterMissing(WeightsError):
    """The converter that a source's file needs cannot be loaded. ``converter`` is its entry point's name."""

    def __init__(self, name: str, converter: str, reason: str) -> None:
        way_out = "run: pip install 'painterly[harmonize]'"
        super().__init__(
            name, f"weights {name} need the converter {converter}, which fails to load: {reason}; {way_out}"
        )
        self.converter = converter
        self.reason = reason


def fetch_command(name: str) -> str:
    """The command that fetches a network."""
    return f"painterly weights fetch {name}"
