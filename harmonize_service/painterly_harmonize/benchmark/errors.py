"""What ends a benchmark, and with which exit code."""

from __future__ import annotations

FAILED, BAD_INPUT, PRECONDITION, INTERRUPTED = 1, 2, 4, 130


class BenchmarkError(Exception):
    """The benchmark cannot go on. The message says why and the way out; ``exit_code`` is one of the above."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message, exit_code)
        self.message, self.exit_code = message, exit_code

    def __str__(self) -> str:
        return self.message
