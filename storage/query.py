"""A search as SQL: which attributes can be matched, and the one statement that answers (PS3.18 10.6, PS3.4 C.2.2.2).

A statement holds three steps: the page of matching rows that the requester may see, in order; the totals of their
studies, from visible series alone; and what is told of each row. Its text depends on the form of the search only, so it
is built once; the keys' values are parameters. Nothing here runs anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Dialect,
    Exists,
    FromClause,
    Row,
    Select,
    Text,
    UnaryExpression,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)

from storage.catalog_attributes import ATTRIBUTES, MODALITIES_IN_STUDY, REQUEST_ATTRIBUTES_SEQUENCE, Path
from storage.catalog_order import Values, by_number, is_after, newest_first, place_parameters
from storage.catalog_rows import Layout
from storage.catalog_statement import FORMS, Prepared
from storage.errors import BadQuery
from storage.matching import Comparisons, Matching, is_universal, time_matching
from storage.matching_sql import POSTGRESQL, condition, padded_time, parameters
from storage.model import Level, Place, Query, Visibility
from storage.tables import instance, request_attribute, series, study

LEVELS: Final = (Level.STUDY, Level.SERIES, Level.INSTANCE)
NARROW: Final = 5000
"""A facility with fewer permits is searched for from its permits, another from the studies."""

_STUDY_ORDER: Final = (study.c.study_date.desc().nulls_last(), study.c.id.desc())
SERIES_ORDER: Final = (series.c.series_number.asc().nulls_last(), series.c.id)
INSTANCE_ORDER: Final = (instance.c.instance_number.asc().nulls_last(), instance.c.id)
_BY_STUDY: Final = newest_first(study.c.study_date, study.c.id)
_BY_SERIES: Final = (*_BY_STUDY, *by_number(series.c.series_number, series.c.id))
_BY_INSTANCE: Final = (*_BY_SERIES, *by_number(instance.c.instance_number, instance.c.id))
_VALUES: Final[dict[Level, Values]] = {Level.STUDY: _BY_STUDY, Level.SERIES: _BY_SERIES, Level.INSTANCE: _BY_INSTANCE}
"""What `_order` goes by."""

_ZERO: Final[ColumnElement[int]] = literal_column("0")
_TABLES: Final = {table.name: table for table in (study, series, request_attribute, instance)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """All that decides the text of a search's statement."""

    level: Level
    under_study: bool
    under_series: bool
    keys: tuple[tuple[Path, Comparisons], ...]
    totals: bool
    study_fragment: bool
    series_fragment: bool
    instance_fragment: bool
    selective: bool
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """A search that can be answered: the form of its statement, and what its keys ask for."""

    form: Form
    keys: tuple[tuple[Path, Matching], ...]
    query: Query

    def parameters(self, dialect: str) -> dict[str, object]:
        """The values for the statement of this form."""
        query = self.query
        values: dict[str, object] = {"page_limit": query.limit + 1, "page_offset": query.offset}
        values["under_study"], values["under_series"] = query.study_instance_uid, query.series_instance_uid
        if query.after is not None:
            values |= {"page_offset": 0} | place_parameters(query.after)
        for path, matching in self.keys:
            values.update(parameters(matching, _name(path), dialect))
        return values


def understand(query: Query, layout: Layout) -> Understood:
    """Read the keys of a search whose answer has this layout.

    Raises
    ------
    BadQuery : a key cannot be matched at this level, stands twice, or its value cannot be read
    """
    keys = {match.path: _read(query.level, match.path, match.text) for match in query.match}
    if len(keys) < len(query.match):
        raise BadQuery("An attribute can be matched only once in a search.")
    asked = tuple((path, one) for path, one in sorted(keys.items()) if one is not None and one.comparisons)
    named = any(ATTRIBUTES[path].selective and matching.is_exact for path, matching in asked)
    form = Form(
        level=query.level,
        under_study=query.study_instance_uid is not None,
        under_series=query.series_instance_uid is not None,
        keys=tuple((path, matching.comparisons) for path, matching in asked),
        totals=layout.totals,
        study_fragment=layout.study_fragment,
        series_fragment=layout.series_fragment,
        instance_fragment=layout.instance_fragment,
        selective=named or query.study_instance_uid is not None,
        resumed=query.after is not None,
    )
    return Understood(form=form, keys=asked, query=query)


def _read(level: Level, path: Path, text: str) -> Matching | None:
    """What a key asks; None when it matches everything, which any attribute may be asked for."""
    if is_universal(text):
        return None
    attribute = ATTRIBUTES.get(path)
    if attribute is None or LEVELS.index(attribute.level) > LEVELS.index(level):
        raise BadQuery(f"The attribute {'.'.join(path)} cannot be matched in a search for {level.value} resources.")
    return attribute.read(text)


def _name(path: Path) -> str:
    return "key_" + "_".join(path)


def visible_series(visibility: Visibility) -> ColumnElement[bool]:
    """What search and retrieve both ask of a row of study and of series (law 3)."""
    return and_(study.c.state == literal_column("'online'"), visibility.series)


@lru_cache(FORMS)
def count_permits(visibility: Visibility, dialect: Dialect) -> Prepared:
    """How many permits name the requester, counted up to `NARROW`: it chooses the plan, never the answer."""
    some = visibility.patients.limit(literal_column(str(NARROW))).subquery()
    return Prepared(select(func.count()).select_from(some), dialect)


@lru_cache(FORMS)
def search_statement(form: Form, visibility: Visibility, dialect: Dialect, *, from_permits: bool) -> Prepared:
    """The statement of a search. `from_permits` starts from the requester's permits and changes no answer."""
    page = _page(form, visibility, dialect.name, from_permits=from_permits)
    joined: FromClause = page.join(study, study.c.id == page.c.study)
    columns = _study_columns(form)
    if form.totals:
        totals = _totals(page, visibility, dialect.name)
        joined = joined.join(totals, totals.c.study == page.c.study)
        columns += [totals.c.series_count, totals.c.instances, totals.c.modalities]
    if form.level is not Level.STUDY:
        joined = joined.join(series, series.c.id == page.c.series)
        columns += _series_columns(form)
    if form.level is Level.INSTANCE:
        joined = joined.join(instance, instance.c.id == page.c.instance)
        columns += _instance_columns(form)
    columns += [value.label(f"place_{number}") for number, (value, _) in enumerate(_VALUES[form.level])]
    return Prepared(select(*columns).select_from(joined).order_by(*_order(form.level)), dialect)


def place_of(row: Row[Any], level: Level) -> Place:
    """Where a row of the statement stands in the order: its last columns."""
    return tuple(row[-len(_VALUES[level]) :])


def _page(form: Form, visibility: Visibility, dialect: str, *, from_permits: bool) -> CTE:
    """The keys of the rows on this page, and of one more, which tells that there are more."""
    visible = visible_series(visibility)
    found: FromClause = study
    columns: list[ColumnElement[Any]] = [study.c.id.label("study")]
    downwards = dialect != POSTGRESQL and not _starts_below(form)
    if form.level is not Level.STUDY:
        found = found.join(series, _plain(study.c.id, downwards=downwards) == series.c.study)
        columns.append(series.c.id.label("series"))
    if form.level is Level.INSTANCE:
        found = found.join(instance, _plain(series.c.id, downwards=downwards) == instance.c.series)
        columns.append(instance.c.id.label("instance"))
    conditions = [*_under(form), *_matches(form, visible, dialect)]
    if form.resumed:
        conditions.append(is_after(_VALUES[form.level]))
    if from_permits:
        conditions.append(study.c.patient.in_(visibility.patients))
    conditions.append(_some_series(visible) if form.level is Level.STUDY else visible)
    page: Select[Any] = select(*columns).select_from(found).where(*conditions).order_by(*_order(form.level))
    # + 0: after a bare parameter here SQLite would plan the statement anew for every search
    page = page.limit(bindparam("page_limit", type_=study.c.id.type) + _ZERO)
    return page.offset(bindparam("page_offset", type_=study.c.id.type) + _ZERO).cte("page")


def _starts_below(form: Form) -> bool:
    """Whether a key names single series or instances, so that the search rather starts from those."""
    attributes = [ATTRIBUTES[path] for path, _ in form.keys]
    return any(one.selective and one.level is not Level.STUDY for one in attributes)


def _plain(key: ColumnElement[int], *, downwards: bool) -> ColumnElement[int]:
    """A key to join by; `downwards` only from this table to the next, or SQLite may begin with all instances."""
    return key + _ZERO if downwards else key


def _under(form: Form) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if form.under_study:
        conditions.append(study.c.study_instance_uid == bindparam("under_study", type_=Text))
    if form.under_series:
        conditions.append(series.c.series_instance_uid == bindparam("under_series", type_=Text))
    return conditions


def _column(path: Path) -> ColumnElement[Any]:
    """What a key of this attribute is compared with."""
    attribute = ATTRIBUTES[path]
    table, _, name = attribute.column.partition(".")
    stored = _TABLES[table].c[name]
    return padded_time(stored) if attribute.read is time_matching else stored


def _matches(form: Form, visible: ColumnElement[bool], dialect: str) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    of_requests: list[ColumnElement[bool]] = []
    for path, comparisons in form.keys:
        matches = condition(_column(path), comparisons, _name(path), dialect)
        if path == MODALITIES_IN_STUDY:
            conditions.append(_some_series(visible, matches))
        elif path[0] == REQUEST_ATTRIBUTES_SEQUENCE:
            of_requests.append(matches)
        else:
            conditions.append(matches)
    if of_requests:
        # all keys of a sequence must match in the same item (PS3.4 C.2.2.2.6)
        conditions.append(series.c.id.in_(select(request_attribute.c.series).where(*of_requests)))
    return conditions


def _some_series(*conditions: ColumnElement[bool]) -> Exists:
    """Some series of the study, not only the one that the statement may stand at."""
    one: ColumnElement[int] = literal_column("1")
    found = select(one).select_from(series).where(series.c.study == study.c.id, *conditions)
    return found.correlate(study).exists()


def _totals(page: CTE, visibility: Visibility, dialect: str) -> CTE:
    """What is counted of each study on the page, from the series that the requester may see."""
    columns = (
        series.c.study.label("study"),
        func.count().label("series_count"),
        func.sum(series.c.instance_count).label("instances"),
        _distinct_modalities(dialect).label("modalities"),
    )
    counted = select(*columns).select_from(study.join(series, series.c.study == study.c.id))
    counted = counted.where(study.c.id.in_(select(page.c.study)), visible_series(visibility))
    return counted.group_by(series.c.study).cte("totals")


def _distinct_modalities(dialect: str) -> ColumnElement[Any]:
    """A JSON array, as text, in no particular order."""
    aggregate = func.json_agg if dialect == POSTGRESQL else func.json_group_array
    modalities = aggregate(series.c.modality.distinct()).filter(series.c.modality.is_not(None))
    return cast(modalities, Text)


def _order(level: Level) -> tuple[UnaryExpression[Any] | ColumnElement[Any], ...]:
    """Newest study first, then by number within it; the key decides last, so that pages never overlap."""
    more = {Level.STUDY: (), Level.SERIES: SERIES_ORDER, Level.INSTANCE: (*SERIES_ORDER, *INSTANCE_ORDER)}
    return (*_STUDY_ORDER, *more[level])


def _study_columns(form: Form) -> list[ColumnElement[Any]]:
    columns = [study.c.study_instance_uid, study.c.patient_id, study.c.issuer, study.c.timezone_offset]
    return [*columns, *([study.c.fragment.label("study_fragment")] if form.study_fragment else [])]


def _series_columns(form: Form) -> list[ColumnElement[Any]]:
    columns = [series.c.series_instance_uid, series.c.instance_count]
    return [*columns, *([series.c.fragment.label("series_fragment")] if form.series_fragment else [])]


def _instance_columns(form: Form) -> list[ColumnElement[Any]]:
    names = ("sop_instance_uid", "sop_class_uid", "transfer_syntax_uid", "instance_number", "number_of_frames")
    columns = [instance.c[name] for name in (*names, "rows", "columns", "bits_allocated")]
    return [*columns, *([instance.c.fragment.label("instance_fragment")] if form.instance_fragment else [])]
