"""Texts that strangers may have had a hand in."""

from __future__ import annotations


def one_line(text: str, limit: int) -> str:
    """The text as it may stand in a header, a log and a terminal: printable, at most ``limit`` bytes of UTF-8.

    What is not printable is written as an escape; what is too long ends with an ellipsis.
    """
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text[: limit + 1]
    )
    encoded = shown.encode()
    if len(encoded) <= limit:
        return shown
    return encoded[: limit - 3].decode(errors="ignore") + "…"
