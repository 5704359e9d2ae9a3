"""Who makes a call: the innermost layer."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from painterly.calls import Call
from painterly.errors import ServiceError
from painterly.serving.interceptor import Context
from painterly.serving.layers import HEALTH_SERVICE
from painterly.serving.tokens import TokenFile
from painterly.v1 import error_reason_pb2

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,128}")
_BEARER = re.compile(r"bearer +([\x21-\x7e]{1,1024})", re.IGNORECASE)
_HOW = "send the metadata `authorization: Bearer TOKEN` (painterly's clients: token, --token or PAINTERLY_TOKEN)"


@dataclass(frozen=True, kw_only=True)
class Authentication:
    """Names the principal of each call to ``service`` (``preprocess`` or ``harmonize``); health is exempt.

    With ``tokens`` a call needs one, and the principal is its name; else, with ``certificates``, it is the name in the
    caller's certificate, which TLS has verified.
    """

    service: str = ""
    tokens: TokenFile | None = None
    certificates: bool = False

    @property
    def is_on(self) -> bool:
        """Whether strangers are kept out."""
        return self.tokens is not None or self.certificates

    @contextlib.asynccontextmanager
    async def layer(self, call: Call, context: Context) -> AsyncIterator[None]:
        """Let a call pass. Raises: ServiceError TOKEN_MISSING, TOKEN_INVALID, NOT_ALLOWED."""
        if call.service != HEALTH_SERVICE:
            if self.certificates:
                call.principal = _certified_name(context)
            if self.tokens is not None:
                call.principal = self._token_owner(self.tokens, context)
        yield

    def _token_owner(self, tokens: TokenFile, context: Context) -> str:
        given = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        if not given:
            text = f"the call needs a token; {_HOW}"
            raise ServiceError(error_reason_pb2.ERROR_REASON_TOKEN_MISSING, text)
        match = _BEARER.fullmatch(given[0]) if len(given) == 1 and isinstance(given[0], str) else None
        grant = tokens.find(match[1]) if match else None
        if grant is None:
            text = f"the token is not one that this server knows; {_HOW}"
            raise ServiceError(error_reason_pb2.ERROR_REASON_TOKEN_INVALID, text)
        if grant.services and self.service not in grant.services:
            text = (
                f"the token of {grant.principal} is not good for the {self.service} service; its operator can allow it"
            )
            raise ServiceError(error_reason_pb2.ERROR_REASON_NOT_ALLOWED, text)
        return grant.principal


def _certified_name(context: Context) -> str:
    facts = context.auth_context()
    names = [*facts.get("x509_common_name", ()), *facts.get("x509_subject_alternative_name", ())]
    raw = bytes(names[0]) if names else b""
    name = raw.decode("utf-8", "replace")
    return name if _NAME.fullmatch(name) else f"certificate-{hashlib.sha256(raw).hexdigest()[:16]}"
