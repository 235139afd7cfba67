"""Passwords of local staff accounts: argon2id (RFC 9106), checked off the event loop, few at a time."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from gateway.auth.errors import SignInBusy, StaffRefused

SHORTEST: Final = 12  # characters
LONGEST: Final = 1024
AT_ONCE: Final = 2  # each check takes 64 MiB and tens of milliseconds
WAITING: Final = 16


class Passwords:
    """Hashes passwords, and checks them.

    Parameters
    ----------
    hasher : argon2id with its parameters; the library's default is RFC 9106's second choice
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._decoy = self._hasher.hash(secrets.token_urlsafe(32))
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")
        self._inside = 0

    def hash(self, password: str) -> str:
        """What is stored of a password.

        Raises
        ------
        StaffRefused : it is too short or too long
        """
        plain = _normal(password)
        if not SHORTEST <= len(plain) <= LONGEST:
            raise StaffRefused(f"A password needs {SHORTEST} to {LONGEST} characters.")
        return self._hasher.hash(plain)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether this is the password; an account that is not there takes as long as one that is.

        Raises
        ------
        SignInBusy : too many checks are waiting
        """
        if self._inside >= AT_ONCE + WAITING:
            raise SignInBusy
        self._inside += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._check, stored, password) and stored is not None
        finally:
            self._inside -= 1

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown()

    def _check(self, stored: str | None, password: str) -> bool:
        try:
            plain = _normal(password[: 4 * LONGEST])[: LONGEST + 1]  # longer than any that is stored
            return self._hasher.verify(stored or self._decoy, plain)
        except (Argon2Error, InvalidHashError):
            return False


def _normal(password: str) -> str:
    """One spelling of what was typed, whatever the keyboard sent (RFC 8265 4.2)."""
    return unicodedata.normalize("NFC", password)
