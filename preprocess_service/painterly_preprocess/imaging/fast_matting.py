"""The compiled parts of pymatting that are used here, loaded one by one.

Importing the package itself compiles every algorithm that it has, which takes a minute where nothing is cached yet; these
parts alone take a few seconds. They are cached beside the package, or where ``NUMBA_CACHE_DIR`` says.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

_SLOW_S = 3.0
_loading = threading.Lock()


def part(name: str) -> Any:
    """The module at a path inside the package pymatting, such as ``laplacian/cf_laplacian``."""
    with _loading:
        return _load(name)


@lru_cache(maxsize=None)
def _load(name: str) -> ModuleType:
    package = importlib.util.find_spec("pymatting")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'pymatting'", name="pymatting")
    path = Path(package.origin).parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{__name__}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    begin = time.perf_counter()
    spec.loader.exec_module(module)
    if time.perf_counter() - begin > _SLOW_S:
        logger.info("compiled %s in %.0f s; it is cached for the next start", name, time.perf_counter() - begin)
    return module
