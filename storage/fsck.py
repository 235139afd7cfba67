"""The check of store, catalog and log against each other: what every promise of the store comes down to.

I1 every instance has an object with its digest     I2 the counters are what they count
I3 every fragment can be read, and is its row's     I4 every derived document is its series'
I5 every instance is in the record of a store       I6 the record is whole
I7 what nobody catalogued is known: orphans, quarantine, left-overs

An orphan is no problem: after the database was restored from a backup every newer image is one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, func, select, tuple_

from storage.data_directory import DataDirectory
from storage.database import Database
from storage.document import build
from storage.fragment import RAW, TAG, merge
from storage.ingest_events import INSTANCES
from storage.log.audit_log import AuditLog
from storage.log.errors import LogDamaged
from storage.log.event import Kind
from storage.model import Custody
from storage.object_check import PAGE, Report, check_objects, check_orphans, check_quarantine
from storage.tables import instance, patient, series, series_document, study

_FRAGMENTS: Final = (
    select(
        instance.c.id,
        instance.c.sop_instance_uid,
        series.c.series_instance_uid,
        study.c.study_instance_uid,
        study.c.fragment.label("study_fragment"),
        instance.c.fragment,
    )
    .select_from(instance.join(series).join(study))
    .where(instance.c.id > bindparam("after"))
    .order_by(instance.c.id)
    .limit(PAGE)
)
_MISCOUNTED: Final = (
    select(series.c.id, series.c.instance_count, func.count(instance.c.id).label("found"))
    .select_from(series.outerjoin(instance))
    .group_by(series.c.id, series.c.instance_count)
    .having((series.c.instance_count != func.count(instance.c.id)) | (func.count(instance.c.id) == 0))
)
_EMPTY_STUDIES: Final = select(study.c.id).select_from(study.outerjoin(series)).where(series.c.id.is_(None))
_WRONG_PATIENTS: Final = (
    select(study.c.id)
    .select_from(study.outerjoin(patient))
    .where(
        (study.c.patient.is_(None) & study.c.patient_id.is_not(None) & study.c.issuer.is_not(None))
        | (patient.c.patient_id != study.c.patient_id)
        | (patient.c.issuer != study.c.issuer)
    )
)
_DOCUMENTS: Final = (
    select(series_document, series.c.revision.label("current"))
    .select_from(series_document.join(series))
    .where(
        tuple_(series_document.c.series, series_document.c.base) > tuple_(bindparam("after"), bindparam("after_base"))
    )
    .order_by(series_document.c.series, series_document.c.base)
    .limit(PAGE)
)
_STUDIES: Final = (
    select(study.c.id, study.c.study_instance_uid)
    .where(study.c.id > bindparam("after"))
    .order_by(study.c.id)
    .limit(PAGE)
)
_INSTANCES_OF: Final = (
    select(instance.c.sop_instance_uid).select_from(instance.join(series)).where(series.c.study == bindparam("key"))
)


def check(
    database: Database, directory: DataDirectory, log: AuditLog, custody: Custody, *, full: bool = False
) -> Report:
    """Check everything; `full` reads every object and builds every document again. Changes nothing.

    May run beside a gateway that stores: an instance that arrives meanwhile can show as an orphan.
    """
    report = Report(counts=dict.fromkeys(("instances", "objects", "orphans", "quarantine", "events", "problems"), 0))
    check_objects(database, directory.objects, custody, report, full=full)
    database.read(_check_counters, report)
    _check_fragments(database, report)
    _check_documents(database, report, full=full)
    check_orphans(database, directory, custody, report)
    database.read(check_quarantine, directory, report)
    _check_record(database, log, report)
    found = database.read(log.verify)
    report.add("events", found.size + found.waiting)
    for problem in found.problems:
        report.say(problem)
    return report


def _check_counters(tx: Connection, report: Report) -> None:
    """I2."""
    for row in tx.execute(_MISCOUNTED):
        report.say(f"Series {row.id} has {row.found} instances and says {row.instance_count}.")
    for key in tx.execute(_EMPTY_STUDIES).scalars():
        report.say(f"Study {key} has no series.")
    for key in tx.execute(_WRONG_PATIENTS).scalars():
        report.say(f"Study {key} is not with the patient that it names.")


def _check_fragments(database: Database, report: Report) -> None:
    """I3."""
    for row in _pages(database, _FRAGMENTS):
        expected = {
            b"0020000D": row.study_instance_uid,
            b"0020000E": row.series_instance_uid,
            b"00080018": row.sop_instance_uid,
        }
        try:
            lines = {line[TAG]: line for line in merge(row.study_fragment, row.fragment)}
        except zlib.error:
            lines = {}
        for tag, uid in expected.items():
            if f'"{uid}"'.encode() not in lines.get(tag, b""):
                report.say(f"The fragment of instance {row.id} is damaged at {tag.decode()}.")


def _check_documents(database: Database, report: Report, *, full: bool) -> None:
    """I4."""
    after = (0, "")
    while page := database.read(_page_of_documents, after):
        after = (page[-1].series, page[-1].base)
        for row in page:
            report.add("documents")
            _check_document(database, row, report, full=full)


def _check_document(database: Database, row: Any, report: Report, *, full: bool) -> None:
    try:
        text = zlib.decompressobj(RAW).decompress(row.body)
    except zlib.error:
        text = b""
    if zlib.crc32(text) != row.crc32 or len(text) != row.size_bytes or row.revision > row.current:
        report.say(f"The metadata document of series {row.series} is damaged.")
    elif full and row.revision == row.current and not _is_current(database, row):
        report.say(f"The metadata document of series {row.series} is not what its instances say.")


def _is_current(database: Database, row: Any) -> bool:
    """Whether a document is what its series' instances say."""
    try:
        again = database.read(build, row.series, row.base)
    except zlib.error:
        return False
    return again.revision != row.revision or (again.crc32, again.size_bytes) == (row.crc32, row.size_bytes)


def _check_record(database: Database, log: AuditLog, report: Report) -> None:
    """I5: every instance stands in an event that says it was stored."""
    for row in _pages(database, _STUDIES):
        instances = database.read(_instances_of, row.id)
        try:
            recorded, whole = database.read(_recorded, log, row.study_instance_uid)
        except LogDamaged as damaged:
            report.say(str(damaged))
            continue
        missing = len(instances - recorded)
        if missing and whole:
            report.say(f"The record of stores lacks {missing} instances of study {row.id}.")


def _recorded(tx: Connection, log: AuditLog, study_instance_uid: str) -> tuple[set[str], bool]:
    """The instances of a study that the log says were stored; false when some of that was erased since."""
    recorded: set[str] = set()
    after, whole = None, True
    while places := log.find(tx, "study", study_instance_uid, after=after):
        after = places[-1]
        for place in places:
            event = log.read(tx, place)
            if event.kind is Kind.INGESTED:
                recorded.update(event.sealed.get(INSTANCES, ()))
                whole = whole and INSTANCES not in event.unopened
    return recorded, whole


def _instances_of(tx: Connection, key: int) -> set[str]:
    return set(tx.execute(_INSTANCES_OF, {"key": key}).scalars())


def _page_of_documents(tx: Connection, after: tuple[int, str]) -> Sequence[Any]:
    return tx.execute(_DOCUMENTS, {"after": after[0], "after_base": after[1]}).all()


def _pages(database: Database, statement: Select[Any]) -> Iterator[Any]:
    after = 0
    while page := database.read(_rows, statement, after):
        after = page[-1].id
        yield from page


def _rows(tx: Connection, statement: Select[Any], after: int) -> Sequence[Any]:
    return tx.execute(statement, {"after": after}).all()
