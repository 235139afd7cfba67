"""Hold the index of subjects against the events: a patient's disclosures must not vanish from a search for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, bindparam, select

from storage.log.entry import SUBJECTS, parse, subject_pairs, value_of
from storage.log.errors import LogDamaged
from storage.log.event import EventId
from storage.log.pages import Entry, entries
from storage.log.reading import opening_of
from storage.sealing import KeyRing
from storage.tables import log_subject

Say = Callable[[str], None]
Pairs = Sequence[tuple[str, str]]

_ALL: Final = select(log_subject).execution_options(yield_per=1000)
_ROW: Final = select(log_subject.c.seq).where(
    log_subject.c.subject == bindparam("subject"),
    log_subject.c.node == bindparam("node"),
    log_subject.c.seq == bindparam("seq"),
)


class IndexCheck:
    """Sums up the rows that the events call for, and compares them with those there are; a sum needs no memory."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._due = _Sum()

    def add(self, place: EventId, pairs: Pairs) -> None:
        """Take the subjects of an event."""
        for kind, identifier in pairs:
            self._due.add(self._keys.subject(kind, identifier), place)

    def finish(self, tx: Connection, say: Say) -> None:
        """Compare; only when the sums differ, look for each row."""
        stored = _Sum()
        for row in tx.execute(_ALL):
            stored.add(bytes(row.subject), EventId(node=row.node, seq=row.seq))
        if (stored.count, stored.total) != (self._due.count, self._due.total):
            missing = sum(self._missing(tx, entry, say) for entry in entries(tx))
            extra = stored.count - self._due.count + missing
            if extra:
                say(f"{extra} row{'s' * (extra > 1)} of the index of subjects belong to no event.")

    def _missing(self, tx: Connection, entry: Entry, say: Say) -> int:
        """Count an event's rows that are missing."""
        try:
            pairs = subjects_of(self._keys, entry)
        except LogDamaged:
            return 0  # told before
        due = [self._keys.subject(kind, identifier) for kind, identifier in pairs]
        where = {"node": entry.node, "seq": entry.seq}
        missing = [subject for subject in due if tx.execute(_ROW, {**where, "subject": subject}).first() is None]
        if missing:
            say(f"The index of subjects lacks {entry.where}: a search for {len(missing)} of its subjects misses it.")
        return len(missing)


class _Sum:
    """The same for the same rows, in whatever order they come."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0

    def add(self, subject: bytes, place: EventId) -> None:
        digest = sha256(b"%b\x00%b\x00%d" % (subject, place.node.encode(), place.seq)).digest()
        self.count += 1
        self.total = (self.total + int.from_bytes(digest)) % (1 << 256)


def subjects_of(keys: KeyRing, entry: Entry) -> Pairs:
    """Open the subjects of an event; none when it has none or they were erased."""
    sealed = entry.openings.get(SUBJECTS)
    if sealed is None:
        return []
    place, committed = EventId(node=entry.node, seq=entry.seq), parse(entry.body).sealed.get(SUBJECTS)
    return subject_pairs(value_of(opening_of(keys, place, SUBJECTS, sealed, committed)))
