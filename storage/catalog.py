"""The only discloser of study, series and instance rows (law 2): search and locate, each behind a `Visible`.

Absent and forbidden are one case: the same statements run, and the same comes back (law 4). Search and locate ask the
same condition of a series (law 3).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Dialect,
    FromClause,
    Join,
    Row,
    Select,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    select,
)

from storage.catalog_rows import layout_of, teller
from storage.catalog_statement import FORMS, Prepared
from storage.errors import ObjectMissing
from storage.model import Found, InstanceRef, Level, Located, Query, SeriesRef, Target, Visibility, Visible
from storage.patients import identifier
from storage.query import (
    INSTANCE_ORDER,
    NARROW,
    SERIES_ORDER,
    Form,
    count_permits,
    place_of,
    search_statement,
    understand,
    visible_series,
)
from storage.tables import instance, series, study

_UIDS: Final[dict[Level, Callable[[Row[Any]], tuple[str, ...]]]] = {
    Level.STUDY: lambda row: (row.study_instance_uid,),
    Level.SERIES: lambda row: (row.study_instance_uid, row.series_instance_uid),
    Level.INSTANCE: lambda row: (row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid),
}


_INSTANCE_REF: Final = (
    *("sop_instance_uid", "sop_class_uid", "transfer_syntax_uid", "archive_id", "locator", "size_bytes", "digest"),
    *("chunk_crcs", "data_set_offset", "state", "bits_allocated"),
)


def search(tx: Connection, query: Query, visible: Visible) -> Found:
    """The matching rows that the requester may see, newest study first (PS3.18 10.6).

    All that is counted, `more` included, is counted over visible rows.

    Raises
    ------
    BadQuery : a key cannot be matched at this level, stands twice, or its value cannot be read
    """
    layout = layout_of(query)
    asked = understand(query, layout)
    parameters = {**visible.parameters, **asked.parameters(tx.dialect.name)}
    from_permits = _starts_from_permits(tx, asked.form, visible)
    statement = search_statement(asked.form, visible.visibility, tx.dialect, from_permits=from_permits)
    rows = statement.rows(tx, parameters)
    page, tell, uids = rows[: query.limit], teller(layout), _UIDS[query.level]
    return Found(
        objects=[tell(row) for row in page],
        uids=[uids(row) for row in page],
        patients=list(dict.fromkeys(identifier(row.patient_id, row.issuer) for row in page)),
        more=len(rows) > query.limit,
        last=place_of(page[-1], query.level) if page else query.after,
    )


def is_short(query: Query) -> bool:
    """Whether a search names what it is about, so that it is answered from few rows.

    Raises
    ------
    BadQuery : as `search`
    """
    return understand(query, layout_of(query)).form.selective


def _starts_from_permits(tx: Connection, form: Form, visible: Visible) -> bool:
    """Whether a search without a selective key starts from what the requester was granted."""
    if form.selective:
        return False
    counted = count_permits(visible.visibility, tx.dialect).rows(tx, visible.parameters)
    return bool(counted[0][0] < NARROW)


def locate_instances(tx: Connection, target: Target, visible: Visible, *, with_frames: bool = False) -> Located:
    """The instances of the target that the requester may have, by series and InstanceNumber (PS3.18 10.4).

    `with_frames` reads their frame tables and the places of their bulk data too.
    """
    statement = _locate_instances(visible.visibility, tx.dialect, _reach(target), with_frames=with_frames)
    rows = statement.rows(tx, {**visible.parameters, **_named(target)})
    if not rows:
        return Located()
    return Located(
        instances=[_instance_ref(row, with_frames=with_frames) for row in rows],
        patient=identifier(rows[0].patient_id, rows[0].issuer),
        part_hidden=bool(rows[0].hidden),
    )


def locate_series(tx: Connection, target: Target, visible: Visible) -> Located:
    """The series of the target that the requester may have, in their order, for their metadata (PS3.18 10.4.1.1.2)."""
    statement = _locate_series(visible.visibility, tx.dialect, _reach(target))
    rows = statement.rows(tx, {**visible.parameters, **_named(target)})
    if not rows:
        return Located()
    return Located(
        series=[_series_ref(row) for row in rows],
        patient=identifier(rows[0].patient_id, rows[0].issuer),
        part_hidden=bool(rows[0].hidden),
    )


def instance_metadata(tx: Connection, ref: InstanceRef) -> tuple[bytes, bytes]:
    """The fragments of a located instance's study and of itself; `storage.fragment.merge` makes them its metadata.

    Raises
    ------
    ObjectMissing : the instance was removed since it was located
    """
    row = _row_of(tx, ref)
    return row.fragment, row.instance_fragment


def bulk_table(tx: Connection, ref: InstanceRef) -> bytes | None:
    """Where the bulk data of a located instance lies, for `storage.bulk.find`; None when it has none.

    Raises
    ------
    ObjectMissing : the instance was removed since it was located
    """
    table: bytes | None = _row_of(tx, ref).bulk
    return table


def _row_of(tx: Connection, ref: InstanceRef) -> Row[Any]:
    rows = _details(tx.dialect).rows(tx, {"under_instance": ref.sop_instance_uid, "series": ref.series})
    if not rows:
        raise ObjectMissing
    return rows[0]


def _named(target: Target) -> dict[str, object]:
    return {
        "under_study": target.study_instance_uid,
        "under_series": target.series_instance_uid,
        "under_instance": target.sop_instance_uid,
    }


def _reach(target: Target) -> Reach:
    return Reach(series=target.series_instance_uid is not None, instance=target.sop_instance_uid is not None)


def _instance_ref(row: Row[Any], *, with_frames: bool) -> InstanceRef:
    return InstanceRef(
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        archive_id=row.archive_id,
        locator=row.locator,
        size_bytes=row.size_bytes,
        digest=row.digest,
        chunk_crcs=row.chunk_crcs,
        data_set_offset=row.data_set_offset,
        state=row.state,
        ground=row.ground or "",
        series=row.series,
        bits_allocated=row.bits_allocated,
        frames=row.frames if with_frames else None,
        bulk=row.bulk if with_frames else None,
    )


def _series_ref(row: Row[Any]) -> SeriesRef:
    return SeriesRef(
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        series=row.series,
        revision=row.revision,
        instance_count=row.instance_count,
        ground=row.ground or "",
    )


# The statements, each built once


class Reach(NamedTuple):
    """Below which level a target names more than the study."""

    series: bool
    instance: bool


@lru_cache(FORMS)
def _locate_instances(visibility: Visibility, dialect: Dialect, reach: Reach, *, with_frames: bool) -> Prepared:
    granted, hidden = _granted(visibility, reach)
    columns = [study.c.patient_id, study.c.issuer, study.c.study_instance_uid, series.c.series_instance_uid]
    columns += [instance.c[name] for name in (*_INSTANCE_REF, *(("frames", "bulk") if with_frames else ()))]
    found = _joined(granted).join(instance, instance.c.series == granted.c.series)
    statement = select(*columns, granted.c.series, granted.c.ground, hidden).select_from(found)
    if reach.instance:
        statement = statement.where(instance.c.sop_instance_uid == bindparam("under_instance", type_=Text))
    return Prepared(statement.order_by(*SERIES_ORDER, *INSTANCE_ORDER), dialect)


@lru_cache(FORMS)
def _locate_series(visibility: Visibility, dialect: Dialect, reach: Reach) -> Prepared:
    granted, hidden = _granted(visibility, reach)
    columns: list[ColumnElement[Any]] = [study.c.patient_id, study.c.issuer]
    columns += [study.c.study_instance_uid, series.c.series_instance_uid]
    columns += [series.c.revision, series.c.instance_count, granted.c.series, granted.c.ground]
    statement = select(*columns, hidden).select_from(_joined(granted))
    if reach.instance:
        holds_it = instance.c.sop_instance_uid == bindparam("under_instance", type_=Text)
        statement = statement.where(series.c.id.in_(select(instance.c.series).where(holds_it)))
    return Prepared(statement.order_by(*SERIES_ORDER), dialect)


@lru_cache(FORMS)
def _details(dialect: Dialect) -> Prepared:
    found = study.join(series, series.c.study == study.c.id).join(instance, instance.c.series == series.c.id)
    statement = select(study.c.fragment, instance.c.fragment.label("instance_fragment"), instance.c.bulk)
    same = (
        instance.c.sop_instance_uid == bindparam("under_instance", type_=Text),
        series.c.id == bindparam("series", type_=series.c.id.type),
    )
    return Prepared(statement.select_from(found).where(*same), dialect)


def _granted(visibility: Visibility, reach: Reach) -> tuple[CTE, ColumnElement[Any]]:
    """The series of the target that may be seen, with the consent relied on; and how many of a study may not."""
    named = [study.c.study_instance_uid == bindparam("under_study", type_=Text)]
    if reach.series:
        named.append(series.c.series_instance_uid == bindparam("under_series", type_=Text))
    if reach.series or reach.instance:
        granted = _with_ground(visibility, study.join(series, series.c.study == study.c.id))
        granted = granted.where(*named, visible_series(visibility))
        return _once(granted, "granted"), literal_column("0").label("hidden")
    is_visible = case((visible_series(visibility), 1), else_=0).label("visible")
    whole = select(study.c.id.label("study"), series.c.id.label("series"), is_visible)
    chosen = _once(whole.select_from(study.join(series, series.c.study == study.c.id)).where(*named), "chosen")
    granted = _with_ground(visibility, _joined(chosen)).where(chosen.c.visible == 1)
    hidden = select(func.count()).select_from(chosen).where(chosen.c.visible == 0).scalar_subquery()
    return _once(granted, "granted"), hidden.label("hidden")


def _with_ground(visibility: Visibility, found: FromClause) -> Select[Any]:
    columns = (study.c.id.label("study"), series.c.id.label("series"), visibility.ground.label("ground"))
    return select(*columns).select_from(found)


def _joined(keys: CTE) -> Join:
    return keys.join(study, study.c.id == keys.c.study).join(series, series.c.id == keys.c.series)


def _once(statement: Select[Any], name: str) -> CTE:
    """A step whose result is kept: the condition is asked once for each series, not for each instance of it."""
    return statement.cte(name).prefix_with("MATERIALIZED")
