"""The log: one JSON object a line for machines, plain lines for people. Neither can be forged from outside."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

from painterly.calls import current_call

# In this order, and only those that a line has.
_FIELDS = ("request_id", "job_id", "principal", "method", "code", "reason", "ms")


def set_up_logging(level: str, form: str) -> None:
    """Log to standard error from ``level`` on, as ``json`` or ``text``; ``auto`` is text on a terminal."""
    is_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter() if is_text else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _known(record: logging.LogRecord) -> dict[str, object]:
    call = current_call()
    known: dict[str, object] = {}
    for name in _FIELDS:
        value = getattr(record, name, getattr(call, name, ""))
        if value != "":
            known[name] = value
    return known


class JsonFormatter(logging.Formatter):
    """``{"ts": …, "level": …, "event": …}`` with what is known of the call; ``trace`` where there is an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        when = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line = {"ts": when, "level": record.levelname, "event": record.getMessage(), **_known(record)}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """``2026-11-21 12:00:00,123 INFO painterly.serving: event request_id=…``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the base class's name)
        """The line, with everything that could break it or color a terminal written as an escape."""
        known = "".join(f" {name}={value}" for name, value in _known(record).items())
        return "".join(
            each if each.isprintable() else each.encode("unicode_escape").decode()
            for each in super().formatMessage(record) + known
        )
