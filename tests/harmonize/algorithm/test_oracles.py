"""Each of the method's 40 oracles (algorithm.md, section 8) has a test that carries its number."""

from __future__ import annotations

import ast
import re
from pathlib import Path


def test_every_oracle_has_a_test() -> None:
    numbers = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (found := re.match(r"test_oracle_(\d\d)_", node.name)):
                numbers.add(int(found[1]))
    assert numbers == set(range(1, 41))
