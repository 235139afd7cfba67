"""Who may see a series, as SQL: one function is one rule is one condition over study, series and consent_grant.

How they are put together stands in `consent/predicate.py`. A comparison with NULL is not true, so an attribute that is
missing or did not parse fits no permit that is narrowed on it; rules of refusals name NULL themselves, so that it fits
them all (law 3). Search and retrieve differ only in the parameter `action`.

`study` and `series` are named here, not joined: a statement that forgets one of them is refused by the database,
where a joined table would quietly let every row of it stand in for the one asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Exists,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
)

from consent.model import ANY, EMERGENCY
from consent.tables import facility
from storage.tables import Key, patient, series, study

T = TypeVar("T")
CODE_STRING: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _"
CODE_STRING_LENGTH: Final = 16
Rule = Callable[[FromClause], ColumnElement[bool]]
StudyRule = Callable[[], ColumnElement[bool]]

FACILITY: Final = bindparam("facility", type_=Text)
AFFILIATED: Final = bindparam("affiliated", type_=Boolean)
PURPOSE: Final = bindparam("purpose", type_=Text)
ACTION: Final = bindparam("action", type_=Integer)
AT: Final = bindparam("at", type_=BigInteger)
UNLABELLED: Final = bindparam("unlabelled", type_=Integer)  # 0: such a series is ordinary; None: nothing reaches it
PATIENT: Final = bindparam("patient", type_=Key)
SOUGHT_NAME: Final = bindparam("sought_name", type_=Text)
SOUGHT_NAME_PATTERN: Final = bindparam("sought_name_pattern", type_=Text)
SOUGHT_BIRTH_DATE: Final = bindparam("sought_birth_date", type_=Text)
LIKE_ESCAPE: Final = "!"
SERIES_KEYS: Final = bindparam("series_keys", type_=Key, expanding=True)


def _named(column: Column[T]) -> ColumnElement[T]:
    """This column of the row that the enclosing statement calls `study` or `series`."""
    return literal_column(f"{column.table.name}.{column.name}", column.type)


def word(text: str) -> ColumnElement[str]:
    """A constant of the rules themselves, written into the statement."""
    return literal_column(f"'{text}'", Text)


EVERYBODY: Final = word(ANY)
EVERY_PURPOSE: Final = word(ANY)
study_patient: Final = _named(study.c.patient)
study_uid: Final = _named(study.c.study_instance_uid)
study_date: Final = _named(study.c.study_date)
study_name_key: Final = _named(study.c.patient_name_key)
study_birth_date: Final = _named(study.c.patient_birth_date)
study_state: Final = _named(study.c.state)
series_modality: Final = _named(series.c.modality)
series_labels: Final = _named(series.c.sensitivity)


# What a study must be, whatever a consent says


def only_online() -> ColumnElement[bool]:
    """The study is here: not withdrawn, tombstoned, purged or lost."""
    return study_state == word("online")


def of_a_known_patient() -> ColumnElement[bool]:
    """Whose images they are is not in doubt: no unconfirmed merge, split or move."""
    return rows_exist(patient, patient.c.id == study_patient, patient.c.state == word("known"))


# What a permit and a refusal must both be


def of_the_patient(grant: FromClause) -> ColumnElement[bool]:
    """It is this patient's: identifier and issuer, as one key."""
    return grant.c.patient == study_patient


def in_force(grant: FromClause) -> ColumnElement[bool]:
    """It has begun, has not ended, and was not taken back."""
    return and_(grant.c.valid_from <= AT, grant.c.valid_until > AT, grant.c.revoked_at.is_(None))


def of_the_study(grant: FromClause) -> ColumnElement[bool]:
    """It names this study, or none."""
    return or_(grant.c.study_instance_uid.is_(None), grant.c.study_instance_uid == study_uid)


# What a permit must be


def opens(grant: FromClause) -> ColumnElement[bool]:
    """It is a permit."""
    return grant.c.effect == word("permit")


def to_the_facility(grant: FromClause) -> ColumnElement[bool]:
    """It names the facility, or is for every registered facility that is not affiliated, and this is one."""
    outsider = rows_exist(
        facility, facility.c.client_id == FACILITY, facility.c.affiliated.is_(false()), AFFILIATED.is_(false())
    )
    return and_(grant.c.facility.in_([FACILITY, EVERYBODY]), or_(grant.c.facility != EVERYBODY, outsider))


def to_an_admitted_facility(_grant: FromClause) -> ColumnElement[bool]:
    """The facility is registered, active now, and this purpose is one of those it was registered with."""
    purposes = word(",").concat(facility.c.purposes).concat(word(","))
    asked = word("%,").concat(PURPOSE).concat(word(",%"))
    return rows_exist(
        facility, facility.c.client_id == FACILITY, facility.c.state == word("active"), purposes.like(asked)
    )


def for_the_purpose(grant: FromClause) -> ColumnElement[bool]:
    """It names the purpose or allows every one."""
    return grant.c.purpose.in_([PURPOSE, EVERY_PURPOSE])


def not_in_an_emergency(_grant: FromClause) -> ColumnElement[bool]:
    """Emergency access is off: no permit reaches it, whatever purpose it names."""
    return and_(*(word(purpose) != PURPOSE for purpose in sorted(purpose.value for purpose in EMERGENCY)))


def allows_the_action(grant: FromClause) -> ColumnElement[bool]:
    """It allows all that is about to be done."""
    return grant.c.actions.bitwise_and(ACTION) == ACTION


def reaches_the_modality(grant: FromClause) -> ColumnElement[bool]:
    """It names the series' modality, or none."""
    return or_(grant.c.modality.is_(None), grant.c.modality == series_modality)


def reaches_the_date(grant: FromClause) -> ColumnElement[bool]:
    """The study date lies in its range, either end included or open (DA text compares as dates do)."""
    return and_(
        or_(grant.c.study_from.is_(None), study_date >= grant.c.study_from),
        or_(grant.c.study_to.is_(None), study_date <= grant.c.study_to),
    )


def reaches_the_labels(grant: FromClause) -> ColumnElement[bool]:
    """It names every label that the series carries."""
    labels = func.coalesce(series_labels, UNLABELLED, type_=Integer)
    return labels.bitwise_and(grant.c.sensitivity) == labels


# What a refusal must be


def closes(grant: FromClause) -> ColumnElement[bool]:
    """It is a refusal."""
    return grant.c.effect == word("deny")


def against_the_facility(grant: FromClause) -> ColumnElement[bool]:
    """It names the facility, or is against everybody, affiliated or not."""
    return grant.c.facility.in_([FACILITY, EVERYBODY])


def against_the_purpose(grant: FromClause) -> ColumnElement[bool]:
    """It names the purpose, or is against every one."""
    return grant.c.purpose.in_([PURPOSE, EVERY_PURPOSE])


def against_the_action(grant: FromClause) -> ColumnElement[bool]:
    """It is against some of what is about to be done."""
    return grant.c.actions.bitwise_and(ACTION) != 0


def closes_the_modality(grant: FromClause) -> ColumnElement[bool]:
    """It names the series' modality or none, or the series has none that can be read (CS, PS3.5 6.2)."""
    left_over = func.ltrim(series_modality, word(CODE_STRING), type_=Text)
    readable = and_(
        series_modality != word(""), left_over == word(""), func.length(series_modality) <= CODE_STRING_LENGTH
    )
    named = grant.c.modality == series_modality
    return or_(grant.c.modality.is_(None), series_modality.is_(None), named, not_(readable))


def closes_the_date(grant: FromClause) -> ColumnElement[bool]:
    """The study date lies in its range, or the study has none."""
    return or_(study_date.is_(None), reaches_the_date(grant))


def closes_the_labels(grant: FromClause) -> ColumnElement[bool]:
    """It is against every series, or one of its labels is on this one, or nobody has labelled this one."""
    return or_(
        grant.c.sensitivity.is_(None),
        grant.c.sensitivity == 0,
        series_labels.is_(None),
        series_labels.bitwise_and(grant.c.sensitivity) != 0,
    )


def of_one_patient() -> ColumnElement[bool]:
    """The staff desk's rule: the studies that are here of the one patient whose file is open."""
    return and_(only_online(), or_(false(), study_patient == PATIENT))


def that_patient() -> Select[tuple[int]]:
    """The key of the patient whose file is open, if there is such a patient."""
    return select(patient.c.id).where(patient.c.id == PATIENT)


def of_patients_sought() -> ColumnElement[bool]:
    """The staff desk's way to find a patient: the studies that are here and bear both the name and the birth date."""
    return and_(only_online(), or_(false(), _bears(study_name_key, study_birth_date)))


def those_sought() -> Select[tuple[int]]:
    """Keys of the patients of whom some study bears both the name and the birth date; a key may come more than once."""
    sought = study.alias("sought")
    bears = _bears(sought.c.patient_name_key, sought.c.patient_birth_date)
    return select(sought.c.patient).where(sought.c.patient.is_not(None), bears)


def literally(text: str) -> str:
    """Text as a LIKE pattern that matches it alone."""
    for special in (LIKE_ESCAPE, "%", "_"):
        text = text.replace(special, LIKE_ESCAPE + special)
    return text


def _bears(name_key: ColumnElement[Any], birth_date: ColumnElement[Any]) -> ColumnElement[bool]:
    named = or_(name_key == SOUGHT_NAME, name_key.like(SOUGHT_NAME_PATTERN, escape=LIKE_ESCAPE))
    return and_(birth_date == SOUGHT_BIRTH_DATE, named)


def still_visible_among(condition: ColumnElement[bool]) -> Select[tuple[int]]:
    """Which of the series `series_keys` the condition lets through."""
    joined = series.join(study, study.c.id == series.c.study)
    return select(series.c.id).select_from(joined).where(series.c.id.in_(SERIES_KEYS), condition)


def rows_exist(table: FromClause, *conditions: ColumnElement[bool]) -> Exists:
    """Whether some row of `table` meets all conditions; `study` and `series` are those of the statement around it."""
    return select(literal_column("1")).select_from(table).where(*conditions).exists()
