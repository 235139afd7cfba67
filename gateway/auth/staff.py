"""Staff accounts: who works here, in which role. Every change is recorded in its own transaction."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from consent.model import Provenance
from consent.record import Record
from gateway.auth.errors import StaffExists, StaffRefused, UnknownStaff
from gateway.auth.tables import staff, staff_session
from storage import epoch
from storage.log.event import AuditEvent, Kind
from storage.model import Instant

ACTIVE: Final = "active"
CLOSED: Final = "closed"
EMAIL_LIMIT: Final = 254  # RFC 5321 4.5.3.1.3
_EMAIL: Final = re.compile(r"[^\s@<>\"',;:]+@[^\s@<>\"',;:]+")
_BY_EMAIL = select(staff).where(staff.c.email == bindparam("by_email"))


class Role(enum.Enum):
    """What somebody does here: keeps consents, keeps images, runs the gateway, or looks at the record."""

    CONSENT = "consent"
    RECORDS = "records"
    ADMIN = "admin"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffAccount:
    """One account. `password` is the argon2id hash."""

    id: int
    email: str
    role: Role
    active: bool
    password: str
    created_at: Instant


def normal_email(text: str) -> str:
    """An address as accounts are found by; letter case and outer blanks do not count."""
    return text.strip().casefold()


def add(
    tx: Connection, log: Record, provenance: Provenance, *, email: str, role: Role, password_hash: str
) -> StaffAccount:
    """Make an account.

    Raises
    ------
    StaffRefused : the address is none
    StaffExists : the address is taken, also by an account that was closed
    """
    address = normal_email(email)
    if len(address) > EMAIL_LIMIT or not _EMAIL.fullmatch(address) or not address.isprintable():
        raise StaffRefused("An account needs an address like name@hospital.example.")
    row = {"email": address, "role": role.value, "password": password_hash, "state": ACTIVE}
    if tx.execute(_BY_EMAIL, {"by_email": address}).first() is not None:
        raise StaffExists
    try:
        tx.execute(insert(staff), {**row, "created_at": provenance.at})
    except IntegrityError as error:  # another node made it in this moment
        raise StaffExists from error
    _record(tx, log, provenance, email=address, change="added", role=role)
    return _account(tx.execute(_BY_EMAIL, {"by_email": address}).one())


def find(tx: Connection, email: str) -> StaffAccount | None:
    """The account of this address, open or closed."""
    row = tx.execute(_BY_EMAIL, {"by_email": normal_email(email)}).first()
    return None if row is None else _account(row)


def list_all(tx: Connection) -> Sequence[StaffAccount]:
    """Every account, by address."""
    return [_account(row) for row in tx.execute(select(staff).order_by(staff.c.email))]


def set_password(tx: Connection, log: Record, provenance: Provenance, *, email: str, password_hash: str) -> None:
    """Give an account another password; its sessions end. Raises UnknownStaff."""
    account = _change(tx, email, password=password_hash)
    _record(tx, log, provenance, email=account.email, change="password set", role=account.role)


def set_role(tx: Connection, log: Record, provenance: Provenance, *, email: str, role: Role) -> None:
    """Give an account another role; its sessions end. Raises UnknownStaff."""
    account = _change(tx, email, role=role.value)
    _record(tx, log, provenance, email=account.email, change="role set", role=role)


def close(tx: Connection, log: Record, provenance: Provenance, *, email: str) -> None:
    """Close an account; its sessions end, its name stays in the record. Raises UnknownStaff."""
    account = _change(tx, email, state=CLOSED)
    _record(tx, log, provenance, email=account.email, change="closed", role=account.role)


def _change(tx: Connection, email: str, **values: str) -> StaffAccount:
    account = find(tx, email)
    if account is None or not account.active:
        raise UnknownStaff
    tx.execute(update(staff).where(staff.c.id == account.id).values(**values))
    tx.execute(delete(staff_session).where(staff_session.c.staff == account.id))
    epoch.bump(tx)  # what runs on one of those sessions is looked at again
    return account


def _record(tx: Connection, log: Record, provenance: Provenance, *, email: str, change: str, role: Role) -> None:
    event = AuditEvent(
        kind=Kind.STAFF,
        at=provenance.at,
        request=provenance.request,
        plain={"change": change, "role": role.value},
        sealed={"by": provenance.by, "person": email},
        subjects=[("person", email)],
    )
    log.append(tx, event)


def _account(row: Row[Any]) -> StaffAccount:
    return StaffAccount(
        id=row.id,
        email=row.email,
        role=Role(row.role),
        active=row.state == ACTIVE,
        password=row.password,
        created_at=row.created_at,
    )
