"""Reading what remove.bg, or whatever stands in its place, answers."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any

import requests

_SHOWN_CHARACTERS = 200


def told(body: bytes) -> tuple[str, str]:
    """The first error's code and title in the service's JSON; of anything else nothing is shown."""
    try:
        error = json.loads(body.decode("utf-8"))["errors"][0]
        code, title = str(error.get("code", "")), str(error.get("title", ""))
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", "without a reason"
    printable = "".join(character for character in title if character.isprintable())
    return code, printable[:_SHOWN_CHARACTERS] or "without a reason"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds in a Retry-After header, which may be a number or a date; None without one that makes sense."""
    value = headers.get("Retry-After", "")
    seconds = number(value)
    if seconds is None and value:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return seconds if seconds is not None and 0 < seconds < 86_400 else None


def number(value: Any) -> float | None:
    """A number that is finite and not negative; None for anything else."""
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        return None
    return parsed if 0 <= parsed < float("inf") else None


def was_never_connected(error: requests.exceptions.ConnectionError) -> bool:
    """Whether no byte can have been sent: the name was not found, or nobody listened."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return type(reason).__name__ in ("NewConnectionError", "NameResolutionError")
