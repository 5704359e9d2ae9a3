"""Measurements in processes of their own: answers, errors and deaths come back."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from painterly_harmonize.benchmark.cases import case_of_folder
from painterly_harmonize.benchmark.errors import BAD_INPUT, FAILED, BenchmarkError
from painterly_harmonize.benchmark.processes import in_fresh_process


def test_the_answer_comes_back() -> None:
    assert in_fresh_process(math.sqrt, 6.25) == 2.5


def test_an_expected_error_keeps_its_words_and_exit_code(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"has no painting\.png, composite\.png, mask\.png") as caught:
        in_fresh_process(case_of_folder, tmp_path)
    assert caught.value.exit_code == BAD_INPUT


def test_any_other_error_brings_its_traceback() -> None:
    with pytest.raises(BenchmarkError, match=r"(?s)Traceback.*ValueError: ") as caught:
        in_fresh_process(math.sqrt, -1.0)
    assert caught.value.exit_code == FAILED


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(BenchmarkError, match="ended with exit code 7"):
        in_fresh_process(os._exit, 7)
