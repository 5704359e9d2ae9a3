"""Finding what turns a source's file into the stored one, without importing anything heavy before it is needed."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

ENTRY_POINT_GROUP = "painterly.weight_converters"

# Reads the source's file (first) and writes the stored file (second); raises ValueError when it cannot read the first.
Converter = Callable[[Path, Path], None]


class ConverterUnavailable(Exception):
    """A converter cannot be loaded; the message says why."""


def load_converter(name: str) -> Converter:
    """Load a converter by its entry point's name.

    Raises: ConverterUnavailable when no installed package offers it or its imports fail.
    """
    found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=name)
    if not found:
        raise ConverterUnavailable(f"no installed package has an entry point {name} in the group {ENTRY_POINT_GROUP}")
    try:
        converter: Converter = next(iter(found)).load()
    except (ImportError, AttributeError) as error:
        raise ConverterUnavailable(str(error)) from error
    return converter
