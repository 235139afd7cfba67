"""Where a facility's keys come from: by value from its registration, or by address (RFC 7517, SMART STU2.2).

An address is https (or on this machine), its host is the registered one because no redirect is followed, and whoever
answers must hold that host's certificate: an address that resolves into this network leads nowhere. A set is kept no
longer than its Cache-Control says and one hour at most; a name that is not in it is asked for again once a minute at
most.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import httpx2
from joserfc.jwk import Key

from consent.errors import ImproperFacility
from consent.keys import check_address
from consent.parties import Facility
from gateway.auth.compact_jws import Unreadable
from gateway.auth.errors import BadKeySet, Reason
from gateway.auth.registered_keys import RegisteredKey, read_key_set, select
from storage.model import Instant

SET_LIMIT: Final = 64 * 1024  # bytes of a key set
FETCH_S: Final = 5.0
USUAL_LIFE_S: Final = 300  # of a set that says nothing about caching
LONGEST_LIFE_S: Final = 3600
REFRESH: Final = 60_000_000  # microseconds between two fetches for an unknown name
BACK_OFF: Final = 10_000_000  # microseconds after a fetch that failed
ADDRESSES_LIMIT: Final = 1000
_MAX_AGE: Final = re.compile(r"max-age=\"?(\d{1,9})\"?")


class KeysAway(Exception):
    """A key set could not be fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetched:
    """One key set, until when it may be used, and when it was last asked for."""

    keys: Sequence[RegisteredKey]
    good_until: Instant
    asked_at: Instant
    away: bool = False


def open_client(tls: ssl.SSLContext | None = None) -> httpx2.AsyncClient:
    """The HTTP client that fetches key sets; without `tls` it trusts the system's certificate authorities."""
    return httpx2.AsyncClient(
        verify=tls or ssl.create_default_context(),
        follow_redirects=False,
        trust_env=False,
        timeout=FETCH_S,
        limits=httpx2.Limits(max_connections=16, max_keepalive_connections=8),
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    )


class FacilityKeys:
    """Finds the key that a facility's token means.

    Parameters
    ----------
    client : fetches key sets; nothing else may be reached through it
    clock : the present instant
    fetch_s : how long one fetch may take in all, seconds
    """

    def __init__(self, client: httpx2.AsyncClient, clock: Callable[[], Instant], *, fetch_s: float = FETCH_S) -> None:
        self._client = client
        self._clock = clock
        self._fetch_s = fetch_s
        self._fetched: dict[str, _Fetched] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def find(self, facility: Facility, kid: object, algorithm: str) -> Key:
        """The facility's key of this name, good for this algorithm.

        Raises
        ------
        Unreadable : it has none, or its key set cannot be had
        """
        if facility.jwks_uri is None:
            return _found(select(_by_value(facility), kid, algorithm))
        held = await self._current(facility.jwks_uri)
        key = select(held.keys, kid, algorithm)
        if key is None and self._clock() - held.asked_at >= REFRESH:
            held = await self._fetch_once(facility.jwks_uri, held)
            key = select(held.keys, kid, algorithm)
        return _found(key)

    async def _current(self, uri: str) -> _Fetched:
        held = self._fetched.get(uri)
        if held is None or self._clock() >= held.good_until:
            held = await self._fetch_once(uri, held)
        if held.away:
            raise Unreadable(Reason.KEYS_AWAY)
        return held

    async def _fetch_once(self, uri: str, seen: _Fetched | None) -> _Fetched:
        """Fetch a set; whoever waited meanwhile takes what the first one got."""
        async with self._locks.setdefault(uri, asyncio.Lock()):
            held = self._fetched.get(uri)
            if held is not None and held is not seen:
                return held
            now = self._clock()
            try:
                keys, life_s = await self._fetch(uri)
                held = _Fetched(keys=keys, good_until=now + life_s * 1_000_000, asked_at=now)
            except KeysAway:
                still_good = held is not None and now < held.good_until and not held.away
                held = replace(held, asked_at=now) if held and still_good else _away(now)
            self._remember(uri, held)
            return held

    async def _fetch(self, uri: str) -> tuple[Sequence[RegisteredKey], int]:
        try:
            check_address(uri)
            async with (
                asyncio.timeout(self._fetch_s),
                self._client.stream("GET", uri, follow_redirects=False) as answer,
            ):
                if (
                    answer.status_code != httpx2.codes.OK
                    or answer.headers.get("Content-Encoding", "identity") != "identity"
                ):
                    raise KeysAway
                return read_key_set(await _read_bounded(answer)), _life_s(answer.headers)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, BadKeySet, ImproperFacility) as error:
            raise KeysAway from error

    def _remember(self, uri: str, held: _Fetched) -> None:
        if uri not in self._fetched and len(self._fetched) >= ADDRESSES_LIMIT:
            self._fetched.clear()
            self._locks.clear()
        self._fetched[uri] = held


def _by_value(facility: Facility) -> Sequence[RegisteredKey]:
    try:
        return read_key_set(json.dumps(facility.jwks or {"keys": []}, sort_keys=True).encode())
    except BadKeySet:  # registration lets none of these in
        return ()


def _found(key: Key | None) -> Key:
    if key is None:
        raise Unreadable(Reason.UNKNOWN_KEY)
    return key


def _away(now: Instant) -> _Fetched:
    return _Fetched(keys=(), good_until=now + BACK_OFF, asked_at=now, away=True)


async def _read_bounded(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > SET_LIMIT:
            raise KeysAway
    return bytes(body)


def _life_s(headers: httpx2.Headers) -> int:
    """For how long the answer may be kept, in seconds (RFC 9111 5.2.2)."""
    directives = headers.get("Cache-Control", "").lower()
    if "no-store" in directives or "no-cache" in directives:
        return 0
    ages = [int(age) for age in _MAX_AGE.findall(directives)]
    life = min(ages) if ages else USUAL_LIFE_S
    spent = headers.get("Age", "0")
    return max(0, min(life, LONGEST_LIFE_S) - (int(spent) if spent.isdecimal() and len(spent) < 10 else 0))  # noqa: PLR2004
