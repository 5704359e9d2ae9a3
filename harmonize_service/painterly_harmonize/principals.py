"""Who asks: the one place where a call's principal is taken from."""

from __future__ import annotations

from contextvars import ContextVar

from painterly_harmonize.jobs.records import ANONYMOUS

# Set by whoever authenticates calls, in the call's own context.
PRINCIPAL: ContextVar[str] = ContextVar("painterly_principal", default=ANONYMOUS)


def current_principal() -> str:
    """The principal of the call that is being answered; "anonymous" without authentication."""
    return PRINCIPAL.get()
