"""painterly_preprocess.imaging.fast_matting, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from painterly_preprocess.imaging import fast_matting


def printed(program: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_part_comes_alone() -> None:
    program = (
        "import sys\n"
        "from painterly_preprocess.imaging import fast_matting\n"
        "part = fast_matting.part('preconditioner.ichol')\n"
        "assert part is fast_matting.part('preconditioner.ichol')\n"
        "print(part.__name__, sorted(name for name in sys.modules if name.startswith('pymatting')))"
    )
    assert printed(program) == "pymatting.preconditioner.ichol ['pymatting.preconditioner.ichol']"


def test_nothing_is_compiled_before_it_is_needed() -> None:
    program = "import sys, painterly_preprocess.servicer; print('numba' in sys.modules, 'scipy' in sys.modules)"
    assert printed(program) == "False True"


def test_an_unknown_part() -> None:
    with pytest.raises(ModuleNotFoundError):
        fast_matting.part("laplacian.unheard_of")
    assert "pymatting.laplacian" not in sys.modules
