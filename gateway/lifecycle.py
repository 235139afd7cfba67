"""The gateway's own life in the record: started, with which settings, and stopped (PS3.15 A.5.3.1)."""

from __future__ import annotations

import hashlib
from importlib.metadata import version

from sqlalchemy import Connection, insert, select, update

from gateway.settings import Settings
from storage.log.audit_log import AuditLog
from storage.log.event import AuditEvent, Kind
from storage.model import Instant
from storage.tables import store_identity

SETTINGS = "settings"  # the row that holds what the settings were at the last start


def started(tx: Connection, log: AuditLog, settings: Settings, at: Instant, request: str) -> None:
    """Record a start, and what changed in the settings since the one before."""
    document = settings.model_dump_json(exclude={"database"})  # its URL may hold a password
    digest = hashlib.sha256(document.encode()).hexdigest()
    before = tx.execute(select(store_identity.c.value).where(store_identity.c.name == SETTINGS)).scalar()
    facts = {"version": version("openpriors"), "settings": digest}
    events = [AuditEvent(kind=Kind.STARTED, at=at, request=request, plain=facts)]
    if before != document:
        sealed = {"settings": document}
        events.append(AuditEvent(kind=Kind.SETTINGS, at=at, request=request, plain=facts, sealed=sealed))
        _remember(tx, document, known=before is not None)
    log.append_many(tx, events)


def stopped(tx: Connection, log: AuditLog, at: Instant, request: str) -> None:
    """Record a stop in good order; a start without one before it followed a crash."""
    log.append(tx, AuditEvent(kind=Kind.STOPPED, at=at, request=request))


def _remember(tx: Connection, document: str, *, known: bool) -> None:
    if known:
        tx.execute(update(store_identity).where(store_identity.c.name == SETTINGS).values(value=document))
    else:
        tx.execute(insert(store_identity).values(name=SETTINGS, value=document))
