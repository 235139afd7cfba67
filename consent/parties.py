"""The outside facilities: who is registered, in what state, with which keys and purposes."""

from __future__ import annotations

import enum
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from consent import keys
from consent.elements import can_be_client_id
from consent.errors import ImproperFacility, IncompleteConsent, NotInThatState, UnknownFacility
from consent.model import EMERGENCY, Provenance, Purpose
from consent.record import Record, facility_changed
from consent.tables import facility
from storage import epoch
from storage.log.event import Plain
from storage.model import Instant

READ_SCOPE: Final = "system/ImagingStudy.rs"
STORE_SCOPE: Final = "system/ImagingStudy.cu"
SCOPES: Final = frozenset({READ_SCOPE, STORE_SCOPE})
LONGEST_NAME: Final = 200
_NPI: Final = re.compile(r"\d{10}", re.ASCII)
_NPI_PREFIX: Final = "80840"  # the issuer number under which the check digit is computed (45 CFR 162.406)
_GET: Final = select(facility).where(facility.c.client_id == bindparam("of_facility"))
_ALL: Final = select(facility).order_by(facility.c.name, facility.c.client_id)
_CHANGE: Final = update(facility).where(facility.c.client_id == bindparam("of_facility"))


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
    jwks: Mapping[str, Any] | None
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
    jwks: Mapping[str, Any] | None = None,
    jwks_uri: str | None = None,
    npi: str | None = None,
    purposes: Sequence[Purpose] = (Purpose.TREAT,),
    scopes: Sequence[str] = (READ_SCOPE,),
    affiliated: bool = False,
    state: FacilityState = FacilityState.PENDING,
    client_id: str | None = None,
) -> Facility:
    """Register a facility, pending or active at once. Give a `client_id` only when a consent already names it.

    Raises
    ------
    ImproperFacility : says which part cannot stand
    """
    public, address = _keys(jwks, jwks_uri)
    new = Facility(
        client_id=client_id or new_client_id(),
        name=name.strip(),
        npi=npi,
        affiliated=affiliated,
        state=state,
        purposes=tuple(dict.fromkeys(purposes)),
        scopes=tuple(dict.fromkeys(scopes)),
        jwks=public,
        jwks_uri=address,
        registered_at=provenance.at,
        changed_at=provenance.at,
    )
    _check(new)
    try:
        tx.execute(insert(facility), _row(new))
    except IntegrityError as error:
        raise ImproperFacility("There is already a facility with this client_id.") from error
    log.append(tx, facility_changed("registered", new.client_id, _facts(new), provenance))
    return new


def approve(tx: Connection, log: Record, client_id: str, provenance: Provenance) -> Facility:
    """Let a pending or suspended facility in. Raises UnknownFacility, NotInThatState."""
    moved = _move(tx, client_id, FacilityState.ACTIVE, provenance)
    log.append(tx, facility_changed("approved", client_id, _facts(moved), provenance))
    return moved


def suspend(tx: Connection, log: Record, client_id: str, provenance: Provenance, *, reason: str) -> Facility:
    """Shut a facility out at once, running downloads included.

    Raises
    ------
    UnknownFacility : there is none of this client_id
    NotInThatState : it is suspended already
    IncompleteConsent : no reason is given
    """
    if not reason.strip():
        raise IncompleteConsent("the reason")
    moved = _move(tx, client_id, FacilityState.SUSPENDED, provenance)
    epoch.bump(tx)
    log.append(tx, facility_changed("suspended", client_id, {**_facts(moved), "reason": reason}, provenance))
    return moved


def rotate_key(
    tx: Connection,
    log: Record,
    client_id: str,
    provenance: Provenance,
    *,
    jwks: Mapping[str, Any] | None = None,
    jwks_uri: str | None = None,
) -> Facility:
    """Replace a facility's keys; whoever remembers the old ones is told by the epoch.

    Raises UnknownFacility, ImproperFacility.
    """
    public, address = _keys(jwks, jwks_uri)
    get(tx, client_id)
    values = {"jwks": _text(public), "jwks_uri": address, "changed_at": provenance.at}
    changed = _write(tx, client_id, values)
    epoch.bump(tx)
    log.append(tx, facility_changed("key-rotated", client_id, _facts(changed), provenance))
    return changed


def get(tx: Connection, client_id: str) -> Facility:
    """The facility of this client_id. Raises UnknownFacility."""
    row = tx.execute(_GET, {"of_facility": client_id}).one_or_none()
    if row is None:
        raise UnknownFacility
    return _facility(row)


def list_all(tx: Connection) -> Sequence[Facility]:
    """Every facility, by name."""
    return [_facility(row) for row in tx.execute(_ALL)]


def is_npi(text: str) -> bool:
    """Whether this is a National Provider Identifier: ten digits whose last one checks (45 CFR 162.406)."""
    if not _NPI.fullmatch(text):
        return False
    digits = [int(digit) for digit in reversed(_NPI_PREFIX + text)]
    return sum(sum(divmod(digit * (1 + place % 2), 10)) for place, digit in enumerate(digits)) % 10 == 0


def _check(new: Facility) -> None:
    wrong = {
        "A facility needs a name of at most 200 printable characters.": not new.name.isprintable()
        or not 0 < len(new.name) <= LONGEST_NAME,
        "The NPI is not one: ten digits, of which the last one checks the others.": new.npi is not None
        and not is_npi(new.npi),
        "A facility needs at least one purpose, and its default cannot be an emergency.": not new.purposes
        or new.purposes[0] in EMERGENCY,
        "A facility has the scope to read, to store, or both.": not new.scopes or not SCOPES.issuperset(new.scopes),
        "The client_id holds characters that it cannot have.": not can_be_client_id(new.client_id),
        "A facility is registered as pending or active.": new.state is FacilityState.SUSPENDED,
    }
    for sentence, is_wrong in wrong.items():
        if is_wrong:
            raise ImproperFacility(sentence)


def _keys(jwks: Mapping[str, Any] | None, jwks_uri: str | None) -> tuple[dict[str, Any] | None, str | None]:
    if (jwks is None) == (jwks_uri is None):
        raise ImproperFacility("A facility has its keys by value or by address, one of the two.")
    return (
        None if jwks is None else keys.public_keys(jwks),
        None if jwks_uri is None else keys.check_address(jwks_uri),
    )


def _move(tx: Connection, client_id: str, to: FacilityState, provenance: Provenance) -> Facility:
    if get(tx, client_id).state is to:
        raise NotInThatState(f"The facility is {to.value} already.")
    return _write(tx, client_id, {"state": to.value, "changed_at": provenance.at})


def _write(tx: Connection, client_id: str, values: Mapping[str, object]) -> Facility:
    tx.execute(_CHANGE.values(values), {"of_facility": client_id})
    return get(tx, client_id)


def _facts(party: Facility) -> dict[str, Plain]:
    return {
        "name": party.name,
        "state": party.state.value,
        "affiliated": party.affiliated,
        "purposes": [purpose.value for purpose in party.purposes],
        "scopes": list(party.scopes),
        "keys": [] if party.jwks is None else keys.thumbprints(party.jwks),
        "jwks_uri": party.jwks_uri,
    }


def _row(party: Facility) -> dict[str, object]:
    return {
        "client_id": party.client_id,
        "name": party.name,
        "npi": party.npi,
        "affiliated": party.affiliated,
        "state": party.state.value,
        "purposes": ",".join(purpose.value for purpose in party.purposes),
        "scopes": " ".join(party.scopes),
        "jwks": _text(party.jwks),
        "jwks_uri": party.jwks_uri,
        "registered_at": party.registered_at,
        "changed_at": party.changed_at,
    }


def _facility(row: Row[Any]) -> Facility:
    return Facility(
        client_id=row.client_id,
        name=row.name,
        npi=row.npi,
        affiliated=row.affiliated,
        state=FacilityState(row.state),
        purposes=tuple(map(Purpose, row.purposes.split(","))),
        scopes=tuple(row.scopes.split(" ")),
        jwks=None if row.jwks is None else json.loads(row.jwks),
        jwks_uri=row.jwks_uri,
        registered_at=row.registered_at,
        changed_at=row.changed_at,
    )


def _text(jwks: Mapping[str, Any] | None) -> str | None:
    return None if jwks is None else json.dumps(jwks, sort_keys=True)
