"""Texts of strangers in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from painterly.texts import one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mask is empty", "mask is empty"),
        ("a\r\n\x1b[31mb\0", r"a\r\n\x1b[31mb\x00"),
        ("U²-Net", "U²-Net"),
        ("\u202eright to left", r"\u202eright to left"),
        ("\ud800", r"\ud800"),
        ("x" * 20, "x" * 20),
        ("x" * 21, "x" * 17 + "…"),
        ("²" * 21, "²" * 8 + "…"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text, 20) == shown


@given(st.text(st.characters(codec=None), max_size=100), st.integers(4, 60))
def test_any_text_is_printable_and_short(text: str, limit: int) -> None:
    shown = one_line(text, limit)
    assert shown.isprintable()
    assert len(shown.encode()) <= limit
