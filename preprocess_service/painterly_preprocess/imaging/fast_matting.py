"""The compiled parts of pymatting that are used here, loaded one by one.

Importing the package itself compiles every algorithm that it has, which takes a minute where nothing is cached yet;
these parts alone take a few seconds. They are cached beside the package, or where ``NUMBA_CACHE_DIR`` says.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

_PACKAGE = "pymatting"
_SLOW_S = 3.0
_loading = threading.Lock()


def part(name: str) -> Any:
    """A module of pymatting by its name within the package, such as ``laplacian.cf_laplacian``."""
    whole = f"{_PACKAGE}.{name}"
    with _loading:
        loaded = sys.modules.get(whole)
        return loaded if loaded is not None else _load(whole)


def _load(name: str) -> ModuleType:
    begin = time.perf_counter()
    # Packages without contents stand in for those above the module, whose own code would import everything.
    parents = [name.rsplit(".", depth)[0] for depth in range(name.count("."), 0, -1)]
    stand_ins = [parent for parent in parents if parent not in sys.modules]
    try:
        for parent in stand_ins:
            sys.modules[parent] = _empty_package(parent)
        module = importlib.import_module(name)
    finally:
        for parent in stand_ins:
            sys.modules.pop(parent, None)
    duration = time.perf_counter() - begin
    if duration > _SLOW_S:
        logger.info("compiled %s in %.0f s; it is cached for the next start", name, duration)
    return module


def _empty_package(name: str) -> ModuleType:
    spec = importlib.util.find_spec(_PACKAGE) if _PACKAGE not in sys.modules else None
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
    elif _PACKAGE in sys.modules:
        root = Path(sys.modules[_PACKAGE].__path__[0])
    else:
        raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    package = ModuleType(name)
    package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    return package
