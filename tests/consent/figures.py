"""How fast the rules answer: `python -m tests.consent.figures [studies]`; printed, never asserted.

An embedded database with two series a study, five studies a patient, and consents for a third of the patients spread
over 200 facilities; one facility has a consent of every patient, one of none.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import quantiles

from sqlalchemy import Connection, func, insert, select

import gateway.auth.tables  # noqa: F401 - lays the facility's tables beside the catalog's
from consent.decide import CONSENT, decide, next_change, still_visible
from consent.model import FOREVER, Action, Decision, Purpose, Requester
from consent.tables import consent_grant, facility
from storage import schema
from storage.catalog_statement import Prepared
from storage.database import Database, sqlite_url
from storage.model import Instant
from storage.tables import patient, series, study

NOW: Instant = 1_800_000_000_000_000
FACILITIES = 200
BUSY, IDLE = "fac-busy", "fac-idle"


def fill(tx: Connection, studies: int) -> None:
    random = Random(1)
    people = studies // 5
    row = {"affiliated": False, "state": "active", "purposes": "TREAT", "scopes": "x"}
    names = [f"fac-{n}" for n in range(FACILITIES)] + [BUSY, IDLE]
    stamps = {"registered_at": NOW, "changed_at": NOW}
    tx.execute(insert(facility), [{**row, **stamps, "client_id": name, "name": name} for name in names])
    tx.execute(
        insert(patient), [{"id": n, "issuer": "X", "patient_id": f"N{n}", "state": "known"} for n in _to(people)]
    )
    held = {"fragment": b"", "received_at": NOW, "available_since": NOW, "guaranteed_until": NOW, "state": "online"}
    made = [
        {**held, "id": n, "study_instance_uid": f"2.25.{n}", "patient": n % people + 1, "study_date": _date(n)}
        for n in _to(studies)
    ]
    tx.execute(insert(study), made)
    both = [(2 * n + k, n, ("CT", "MR")[k]) for n in _to(studies) for k in (0, 1)]
    rows = [
        {
            "id": key,
            "study": n,
            "series_instance_uid": f"2.25.9{key}",
            "modality": m,
            "fragment": b"",
            "changed_at": NOW,
        }
        for key, n, m in both
    ]
    tx.execute(insert(series), rows)
    given = [(n, random.choice(names[:FACILITIES])) for n in _to(people) if n % 3 == 0]
    grants = [_grant(n, name) for n, name in [*given, *((n, BUSY) for n in _to(people))]]
    tx.execute(insert(consent_grant), grants)


def _to(last: int) -> range:
    return range(1, last + 1)


def _date(number: int) -> str:
    return f"{2005 + number % 20}{number % 12 + 1:02d}{number % 28 + 1:02d}"


def _grant(number: int, name: str) -> dict[str, object]:
    words = {"version": 1, "effect": "permit", "purpose": "TREAT", "actions": 3, "sensitivity": 0}
    return {
        **words,
        "consent_id": f"con-{number}-{name}",
        "patient": number,
        "facility": name,
        "valid_from": 0,
        "valid_until": FOREVER,
    }


def asked(name: str) -> Decision:
    who = Requester(
        facility=name,
        facility_name=name,
        affiliated=False,
        purpose=Purpose.TREAT,
        proven="figures",
        credential="none",
        expires_at=FOREVER,
    )
    return decide(who, Action.SEARCH, NOW, unlabelled_is_ordinary=True)


def show(what: str, work: Callable[[], object], times: int) -> None:
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        spent.append((time.perf_counter() - began) * 1000)
    cuts = quantiles(spent, n=100, method="inclusive")
    print(f"{what:58} p50 {cuts[49]:8.3f} ms   p99 {cuts[98]:8.3f} ms")


def measure(tx: Connection, studies: int) -> None:
    people = studies // 5
    joined = series.join(study, study.c.id == series.c.study)
    found = select(series.c.id, CONSENT.ground.label("ground")).select_from(joined).where(CONSENT.series)
    of_one = Prepared(found.where(study.c.patient == 3), tx.dialect)
    newest = found.order_by(study.c.study_date.desc(), study.c.id.desc()).limit(100)
    by_study = Prepared(newest, tx.dialect)
    by_grants = Prepared(newest.where(study.c.patient.in_(CONSENT.patients)), tx.dialect)
    counted = Prepared(select(func.count()).select_from(CONSENT.patients.limit(1000).subquery()), tx.dialect)
    random = Random(2)
    for name in (BUSY, IDLE, "fac-7"):
        decision = asked(name)
        given = decision.visible.parameters
        print(f"\n{name}")
        show("all series of one patient", lambda p=given: of_one.rows(tx, p), 500)
        show(
            "one series: still visible?", lambda d=decision: still_visible(tx, d, [random.randint(2, people)], NOW), 500
        )
        show("when does time change something?", lambda d=decision: next_change(tx, d, NOW), 500)
        show("its patients, counted up to 1,000", lambda p=given: counted.rows(tx, p), 50)
        show("newest 100 series, driven from its grants", lambda p=given: by_grants.rows(tx, p), 10)
        show("newest 100 series, driven from the studies", lambda p=given: by_study.rows(tx, p), 3)


def main(studies: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        database = Database(sqlite_url(Path(home)))
        database.write(schema.install, "figures")
        database.write(fill, studies)
        print(f"{studies} studies, {2 * studies} series, {studies // 5} patients, {studies // 5 * 4 // 3} grants")
        database.read(measure, studies)
        database.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
