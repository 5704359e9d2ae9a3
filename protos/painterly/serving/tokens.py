"""Who may call: a file of names and sha256 sums of their tokens."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from painterly.configuration import SettingsError
from painterly.configuration.reading import SERVICES

logger = logging.getLogger("painterly.serving")

_PRINCIPAL = re.compile(r"[A-Za-z0-9._@-]{1,128}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A principal, the sha256 of a token of theirs, and the services it is good for (empty: all)."""

    principal: str
    digest: bytes
    services: frozenset[str]


def read_grants(text: str, where: str) -> Sequence[Grant]:
    """The grants of a token file: lines ``name sha256 [service,…]``, empty ones and ``#`` comments aside.

    A name may have several lines, so that a token can be replaced without a gap. Raises: SettingsError that names every
    faulty line by its number, never by its content.
    """
    grants, faults = [], []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        services = frozenset(words[2].split(",")) if len(words) == 3 else frozenset()
        if len(words) not in (2, 3) or not _PRINCIPAL.fullmatch(words[0]) or not _DIGEST.fullmatch(words[1]):
            faults.append(
                f"{where} line {number} must be a name, the sha256 of a token in 64 lower-case hex digits and, "
                f"if it is not good for all, services such as {','.join(SERVICES)}"
            )
        elif not services <= set(SERVICES):
            faults.append(f"{where} line {number} must name services among {', '.join(SERVICES)}")
        else:
            grants.append(Grant(principal=words[0], digest=bytes.fromhex(words[1]), services=services))
    if not grants and not faults:
        faults.append(f"{where} must hold at least one token, or nobody could call")
    if faults:
        raise SettingsError(faults)
    return grants


class TokenFile:
    """A token file, read again when it changes; one that has become faulty or is gone changes nothing.

    Raises: SettingsError, OSError at first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _signature(path)
        self._grants = read_grants(path.read_text("utf-8"), str(path))

    def find(self, token: str) -> Grant | None:
        """The grant of a token; every digest is compared in full, so the time tells nothing."""
        self._refresh()
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for grant in self._grants:
            if hmac.compare_digest(grant.digest, digest):
                found = grant
        return found

    def _refresh(self) -> None:
        signature = _signature(self._path)
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._grants = read_grants(self._path.read_text("utf-8"), str(self._path))
        except (OSError, ValueError) as error:  # a SettingsError is a ValueError
            logger.error("the token file cannot be used, the tokens known before stay: %s", error)
        else:
            logger.info("token file read again: %d tokens", len(self._grants))


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
