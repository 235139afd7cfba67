"""The outside facilities: who is registered, in what state, with which keys and purposes."""

from __future__ import annotations

import enum
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from consent.model import Provenance, Purpose
from consent.record import Record
from storage.model import Instant

READ_SCOPE = "system/ImagingStudy.rs"
STORE_SCOPE = "system/ImagingStudy.cu"


class FacilityState(enum.Enum):
    """Only an active facility receives anything."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facility:
    """A registered facility. The first of `purposes` is its default; `jwks` holds public keys only (RFC 7517)."""

    client_id: str
    name: str
    npi: str | None
    affiliated: bool
    state: FacilityState
    purposes: tuple[Purpose, ...]
    scopes: tuple[str, ...]
    jwks: Mapping[str, object] | None
    jwks_uri: str | None
    registered_at: Instant
    changed_at: Instant


def new_client_id() -> str:
    """A client_id that nobody holds."""
    return "fac-" + secrets.token_hex(8)


def add(
    tx: Connection,
    log: Record,
    provenance: Provenance,
    *,
    name: str,
    jwks: Mapping[str, object] | None = None,
    jwks_uri: str | None = None,
    npi: str | None = None,
    purposes: Sequence[Purpose] = (Purpose.TREAT,),
    scopes: Sequence[str] = (READ_SCOPE,),
    affiliated: bool = False,
    state: FacilityState = FacilityState.PENDING,
    client_id: str | None = None,
) -> Facility:
    """Register a facility, pending or active at once. `client_id` is one that a consent already names.

    Raises
    ------
    ImproperFacility : says which part cannot stand
    """
    raise NotImplementedError


def approve(tx: Connection, log: Record, client_id: str, provenance: Provenance) -> Facility:
    """Let a pending or suspended facility in. Raises UnknownFacility, NotInThatState."""
    raise NotImplementedError


def suspend(tx: Connection, log: Record, client_id: str, provenance: Provenance, *, reason: str) -> Facility:
    """Shut a facility out at once. Raises UnknownFacility, NotInThatState."""
    raise NotImplementedError


def rotate_key(
    tx: Connection,
    log: Record,
    client_id: str,
    provenance: Provenance,
    *,
    jwks: Mapping[str, object] | None = None,
    jwks_uri: str | None = None,
) -> Facility:
    """Replace a facility's keys. Raises UnknownFacility, ImproperFacility."""
    raise NotImplementedError


def get(tx: Connection, client_id: str) -> Facility:
    """The facility of this client_id. Raises UnknownFacility."""
    raise NotImplementedError


def list_all(tx: Connection) -> Sequence[Facility]:
    """Every facility, by name."""
    raise NotImplementedError
