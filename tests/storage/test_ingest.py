"""What is answered as stored is in the catalog, on record, and byte for byte on the disk."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from storage import steward
from storage.database import Database
from storage.log.event import Kind
from storage.outcome import Status
from storage.settlement import IngestPolicy
from storage.tables import hold, instance, patient, quarantine, request_attribute, series, study
from tests.storage import made_up, sample_files
from tests.storage.opened_store import NOON, Store

DAY = 86_400_000_000


def statuses(outcomes) -> list[str]:
    return [outcome.status.value for outcome in outcomes]


def test_every_real_instance_is_kept_byte_for_byte(sqlite_store: Store) -> None:
    files = [path.read_bytes() for path in sample_files.everything()]
    outcomes = sqlite_store.store(*files)
    assert len(outcomes) == len(files)
    stored = [(outcome, file) for outcome, file in zip(outcomes, files, strict=True) if outcome.status is Status.STORED]
    assert len(stored) > 120
    for outcome, file in stored:
        assert sqlite_store.read_back(outcome.sop_instance_uid) == file
    for outcome in outcomes:
        assert (outcome.failure_reason is None) == (outcome.status in {Status.STORED, Status.DUPLICATE})
        assert bool(outcome.reason) == (outcome.failure_reason is not None)
        assert "gateway failed" not in outcome.reason
    assert sqlite_store.fsck().problems == []


def test_what_arrives_twice_is_stored_once(store: Store) -> None:
    files = [made_up.instance(number) for number in range(1, 8)]
    assert statuses(store.store(*files)) == ["stored"] * 7
    before, rows = store.files(), (store.rows(study), store.rows(series), store.rows(instance))
    assert statuses(store.store(*files)) == ["duplicate"] * 7
    assert store.files() == before
    assert (store.rows(study), store.rows(series), store.rows(instance)) == rows
    events = store.events(Kind.INGESTED)
    assert (sum(e.plain["stored"] for e in events), sum(e.plain["duplicate"] for e in events)) == (7, 7)


def test_twice_in_one_delivery_is_stored_once(store: Store) -> None:
    file = made_up.instance()
    assert Counter(statuses(store.store(file, file, file))) == {"stored": 1, "duplicate": 2}
    assert len(store.rows(instance)) == 1
    assert store.fsck().problems == []


def test_the_same_data_set_under_another_file_header_is_a_duplicate(store: Store) -> None:
    assert statuses(store.store(made_up.instance(source_ae="ONE"))) == ["stored"]
    before = store.files()
    (outcome,) = store.store(made_up.instance(source_ae="TWO"))
    assert outcome.status is Status.DUPLICATE
    assert store.files() == before


def test_another_data_set_under_a_known_uid_is_quarantined_and_the_first_stays(store: Store) -> None:
    first, second = made_up.instance(PatientSex="F"), made_up.instance(PatientSex="M")
    store.store(first)
    (outcome,) = store.store(second)
    assert (outcome.status, outcome.failure_reason) == (Status.CONFLICT, 0x0111)
    assert store.read_back(outcome.sop_instance_uid) == first
    (held,) = store.rows(quarantine)
    assert held["state"] == "held"
    assert store.directory.quarantine.path_of(held["digest"]).read_bytes() == second
    assert not store.directory.objects.path_of(held["digest"]).exists()
    (event,) = store.events(Kind.QUARANTINED)
    assert event.plain["kept"] is True
    assert event.sealed["instance"] == outcome.sop_instance_uid
    assert store.fsck().problems == []


UID = "1.2.826.0.1.3680043.8.498.7"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"SeriesInstanceUID": f"{UID}.1", "SOPInstanceUID": f"{made_up.SERIES}.1"}, "another series or study"),
        ({"StudyInstanceUID": UID, "SOPInstanceUID": f"{made_up.SERIES}.1"}, "another series or study"),
        ({"StudyInstanceUID": UID}, "belongs to another study"),
        ({"Modality": "SR"}, "modality"),
        ({"Modality": None}, "modality"),
        ({"Modality": ["CT", "SR"]}, "modality"),
        ({"PatientID": "CITIZEN-2"}, "Patient, issuer or study date"),
        ({"PatientID": None}, "Patient, issuer or study date"),
        ({"IssuerOfPatientID": "ELSEWHERE"}, "Patient, issuer or study date"),
        ({"StudyDate": "20250201"}, "Patient, issuer or study date"),
        ({"StudyDate": None}, "Patient, issuer or study date"),
        ({"SeriesInstanceUID": f"{UID}.1", "PatientID": "CITIZEN-2"}, "Patient, issuer or study date"),
    ],
)
def test_what_contradicts_its_series_or_study_is_quarantined(sqlite_store: Store, change: dict, reason: str) -> None:
    sqlite_store.store(made_up.instance(1))
    for file in (made_up.instance(2, **change), made_up.instance(3)):
        (outcome,) = sqlite_store.store(file)
        if file == made_up.instance(3):
            assert outcome.status is Status.STORED
        else:
            assert outcome.status is Status.CONFLICT
            assert reason in outcome.reason
    assert len(sqlite_store.rows(instance)) == 2
    assert sqlite_store.fsck().problems == []


def test_a_contradiction_inside_one_batch_is_found_too(store: Store) -> None:
    files = [made_up.instance(1), made_up.instance(2, Modality="SR"), made_up.instance(3)]
    assert statuses(store.store(*files)) == ["stored", "conflict", "stored"]
    assert store.rows(series)[0]["instance_count"] == 2


def test_a_file_that_could_run_as_a_program_waits_for_an_operator(store: Store) -> None:
    file = made_up.instance(preamble=b"MZ\x90\x00")
    (outcome,) = store.store(file)
    assert outcome.status is Status.CONFLICT
    assert "Windows program" in outcome.reason
    assert store.rows(instance) == []
    (held,) = store.rows(quarantine)
    released = store.ingest.release(held["id"], store.ingest.delivery("request-9"))
    assert released.status is Status.STORED
    assert store.read_back(released.sop_instance_uid) == file
    assert store.rows(quarantine)[0]["state"] == "released"
    assert not store.directory.quarantine.path_of(held["digest"]).exists()
    with pytest.raises(KeyError):
        store.ingest.release(held["id"], store.ingest.delivery("request-9"))


def test_what_an_operator_discards_is_gone_and_on_record(store: Store) -> None:
    first, second = made_up.instance(PatientSex="F"), made_up.instance(PatientSex="M")
    store.store(first, second)
    (held,) = store.rows(quarantine)
    store.ingest.discard(held["id"], store.ingest.delivery("request-9"))
    assert not store.directory.quarantine.path_of(held["digest"]).exists()
    assert [event.plain["change"] for event in store.events(Kind.QUARANTINED)] == ["held", "discarded"]
    with pytest.raises(KeyError):
        store.ingest.discard(held["id"], store.ingest.delivery("request-9"))
    # the same bytes again wait again
    assert statuses(store.store(second)) == ["conflict"]
    assert store.rows(quarantine)[0]["state"] == "held"
    assert store.fsck().problems == []


def test_a_release_that_still_contradicts_stays_in_quarantine(store: Store) -> None:
    store.store(made_up.instance(PatientSex="F"))
    store.store(made_up.instance(PatientSex="M"))
    (held,) = store.rows(quarantine)
    assert store.ingest.release(held["id"], store.ingest.delivery("request-9")).status is Status.CONFLICT
    assert store.rows(quarantine)[0]["state"] == "held"
    assert store.fsck().problems == []


def test_a_full_quarantine_keeps_nothing_more_and_says_so(
    sqlite_database: Database, new_store: Callable[..., Store]
) -> None:
    store = new_store(sqlite_database, policy=IngestPolicy(quarantine_bytes=1500))
    store.store(made_up.instance(1))
    outcomes = store.store(made_up.instance(1, PatientSex="M"), made_up.instance(1, PatientSex="O"))
    assert statuses(outcomes) == ["conflict", "conflict"]
    assert "not kept" in outcomes[1].reason
    assert len(store.rows(quarantine)) == 1
    assert [event.plain["kept"] for event in store.events(Kind.QUARANTINED)] == [True, False]


def test_the_catalog_says_what_the_instance_says(store: Store) -> None:
    request = made_up.Dataset()
    request.ScheduledProcedureStepID, request.RequestedProcedureID = "STEP-1", "PROC-1"
    file = made_up.instance(
        4,
        PatientName="M\u00fcller^J\u00fcrgen",
        SpecificCharacterSet="ISO_IR 192",
        IssuerOfPatientID="HOSPITAL",
        ReferringPhysicianName="House^Gregory",
        StudyDescription="Head CT",
        TimezoneOffsetFromUTC="+0100",
        SeriesDescription="Brain",
        PerformedProcedureStepStartDate="20250131",
        PerformedProcedureStepStartTime="1016",
        RequestAttributesSequence=[request],
    )
    (outcome,) = store.store(file)
    (person,), (exam,), (run,), (image,) = (store.rows(table) for table in (patient, study, series, instance))
    assert (person["patient_id"], person["issuer"]) == ("CITIZEN-1", "HOSPITAL")
    expected = {
        "study_instance_uid": made_up.STUDY,
        "patient": person["id"],
        "patient_id": "CITIZEN-1",
        "issuer": "HOSPITAL",
        "patient_name": "M\u00fcller^J\u00fcrgen",
        "patient_name_key": "muller^jurgen",
        "patient_birth_date": "19700101",
        "patient_sex": "F",
        "study_date": "20250131",
        "study_time": "101500",
        "accession_number": "A-1",
        "referring_physician_name_key": "house^gregory",
        "study_id": "S-1",
        "study_description": "Head CT",
        "timezone_offset": "+0100",
        "received_at": NOON,
        "available_since": NOON,
        "purge_after": None,
        "state": "online",
        "revision": 1,
    }
    assert {name: exam[name] for name in expected} == expected
    assert (run["modality"], run["series_number"], run["series_description"]) == ("CT", 1, "Brain")
    assert (run["performed_procedure_step_start_time"], run["instance_count"], run["revision"]) == ("1016", 1, 1)
    (asked,) = store.rows(request_attribute)
    assert (asked["scheduled_procedure_step_id"], asked["requested_procedure_id"]) == ("STEP-1", "PROC-1")
    assert (image["instance_number"], image["rows"], image["columns"], image["bits_allocated"]) == (4, 4, 4, 16)
    assert (image["archive_id"], image["size_bytes"], image["state"]) == ("disk", len(file), "online")
    assert (outcome.sop_instance_uid, outcome.sop_class_uid) == (image["sop_instance_uid"], made_up.CT)


def test_who_has_no_identifier_is_nobody(store: Store) -> None:
    store.store(made_up.instance(PatientID=None))
    (exam,) = store.rows(study)
    assert (exam["patient"], exam["patient_id"], exam["issuer"]) == (None, None, None)
    assert store.rows(patient) == []
    assert store.fsck().problems == []


def test_the_issuer_of_an_import_is_for_those_who_name_none(store: Store) -> None:
    other = made_up.instance(2, StudyInstanceUID=UID, SeriesInstanceUID=f"{UID}.1", IssuerOfPatientID="NAMED")
    store.store(made_up.instance(1), other, issuer="GIVEN")
    assert {row["issuer"] for row in store.rows(patient)} == {"GIVEN", "NAMED"}


def test_series_and_study_grow_with_later_arrivals(store: Store) -> None:
    store.store(made_up.instance(1), made_up.instance(2))
    (run,), (exam,) = store.rows(series), store.rows(study)
    promised, revisions = exam["guaranteed_until"], (run["revision"], exam["revision"])
    store.now[0] += 40 * DAY
    store.store(made_up.instance(3))
    (run,), (exam,) = store.rows(series), store.rows(study)
    assert (run["instance_count"], run["changed_at"], exam["received_at"]) == (3, NOON + 40 * DAY, NOON)
    assert (run["revision"], exam["revision"]) == (revisions[0] + 1, revisions[1] + 1)
    assert exam["guaranteed_until"] == promised + 40 * DAY
    store.now[0] -= 20 * DAY
    store.store(made_up.instance(4))
    assert store.rows(study)[0]["guaranteed_until"] == promised + 40 * DAY  # a promise never becomes shorter


def test_a_study_from_the_future_is_held(store: Store) -> None:
    store.store(made_up.instance(StudyDate="20270101"))
    (held,) = store.rows(hold)
    assert "future" in held["reason"]


def test_every_stored_instance_is_on_record_without_a_patient_in_the_open(store: Store) -> None:
    other = made_up.instance(2, StudyInstanceUID=UID, SeriesInstanceUID=f"{UID}.1")
    outcomes = store.store(made_up.instance(1), other)
    events = store.events(Kind.INGESTED)
    assert {event.sealed["study"] for event in events} == {made_up.STUDY, UID}
    recorded = [uid for event in events for uid in event.sealed["instances"]]
    assert sorted(recorded) == sorted(outcome.sop_instance_uid for outcome in outcomes)
    for event in events:
        assert ("patient", "CITIZEN-1^^^LOCAL") in event.subjects
        assert event.plain == {
            "job": "test import",
            "stored": 1,
            "repaired": 0,
            "duplicate": 0,
            "bytes": event.plain["bytes"],
        }


def test_at_most_64_instances_share_a_transaction(sqlite_store: Store) -> None:
    outcomes = sqlite_store.store(*[made_up.instance(number) for number in range(1, 301)])
    assert set(statuses(outcomes)) == {"stored"}
    counts = [event.plain["stored"] for event in sqlite_store.events(Kind.INGESTED)]
    assert sum(counts) == 300
    assert max(counts) <= 64
    assert sqlite_store.rows(series)[0]["instance_count"] == 300


def test_a_request_that_names_a_study_gets_only_instances_of_it(store: Store) -> None:
    files = [made_up.instance(1), made_up.instance(2, StudyInstanceUID=UID, SeriesInstanceUID=f"{UID}.1")]
    outcomes = store.store(*files, study_instance_uid=made_up.STUDY)
    assert statuses(outcomes) == ["stored", "rejected"]
    assert outcomes[1].failure_reason == 0xA900
    assert len(store.rows(study)) == 1


def test_an_instance_that_arrives_in_pieces_is_stored_like_any_other(store: Store) -> None:
    file = made_up.instance(size=3 << 20)
    staged = store.ingest.stage()
    for start in range(0, len(file), 70_000):
        staged.write(file[start : start + 70_000])
    outcome = store.ingest.store(staged, store.ingest.delivery("request-1"), name="part 1")
    assert (outcome.status, outcome.name) == (Status.STORED, "part 1")
    assert store.read_back(outcome.sop_instance_uid) == file
    assert list((store.root / "tmp").rglob("*/*")) == []


def test_a_large_instance_is_stored_from_a_file(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    path.write_bytes(made_up.instance(size=9 << 20))
    (outcome,) = store.import_paths(path)
    assert outcome.status is Status.STORED
    assert store.read_back(outcome.sop_instance_uid) == path.read_bytes()
    assert len(store.rows(instance)[0]["chunk_crcs"]) == 4 * 10
    assert statuses(store.import_paths(path)) == ["duplicate"]
    assert list((store.root / "tmp").rglob("*/*")) == []


def test_a_lost_object_is_replaced_when_the_same_instance_arrives_again(store: Store) -> None:
    file = made_up.instance()
    (outcome,) = store.store(file)
    store.directory.objects.path_of(store.rows(instance)[0]["digest"]).unlink()
    assert store.fsck().damaged == {outcome.sop_instance_uid: "missing"}
    assert statuses(store.store(file)) == ["stored"]
    assert store.read_back(outcome.sop_instance_uid) == file
    assert [event.plain["repaired"] for event in store.events(Kind.INGESTED)] == [0, 1]
    assert store.fsck().problems == []


def test_a_damaged_object_is_replaced_when_the_same_instance_arrives_again(store: Store) -> None:
    file = made_up.instance()
    (outcome,) = store.store(file)
    path = store.directory.objects.path_of(store.rows(instance)[0]["digest"])
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    assert store.fsck(full=False).ok
    assert store.fsck().damaged == {outcome.sop_instance_uid: "corrupt"}
    store.database.write(steward.mark, store.task(), outcome.sop_instance_uid, "corrupt")
    assert statuses(store.store(made_up.instance(source_ae="OTHER"))) == ["conflict"]
    assert statuses(store.store(file)) == ["stored"]
    assert store.read_back(outcome.sop_instance_uid) == file
    assert store.fsck().problems == []


@pytest.mark.parametrize("state", ["withdrawn", "tombstoned", "purging", "purged", "lost"])
def test_nothing_is_added_to_a_study_that_is_not_served(sqlite_store: Store, state: str) -> None:
    first = made_up.instance(1)
    sqlite_store.store(first)
    sqlite_store.database.write(lambda tx: tx.execute(update(study).values(state=state)))
    assert statuses(sqlite_store.store(made_up.instance(2))) == ["conflict"]
    again = "duplicate" if state in {"withdrawn", "tombstoned"} else "conflict"
    assert statuses(sqlite_store.store(made_up.instance(1, source_ae="X"))) == [again]
    assert statuses(sqlite_store.store(first)) == [again]


def test_one_bad_file_does_not_stop_the_others(store: Store) -> None:
    files = [made_up.instance(1), b"", b"not an image", made_up.instance(2)[:-1], made_up.instance(3)]
    outcomes = store.store(*files)
    assert statuses(outcomes) == ["stored", "rejected", "rejected", "rejected", "stored"]
    assert all(outcome.reason.endswith(".") for outcome in outcomes[1:4])


def test_odd_values_become_null_and_the_instance_is_kept(store: Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = made_up.instance(
            StudyDate="99999999",
            StudyTime="2561",
            PatientBirthDate="19700230",
            PatientName="X" * 2000,
            AccessionNumber="A" * 2000,
            InstanceNumber=None,
        )
    assert statuses(store.store(file)) == ["stored"]
    (exam,) = store.rows(study)
    odd = ("study_date", "study_time", "patient_birth_date", "patient_name", "accession_number")
    assert {exam[name] for name in odd} == {None}
    assert store.fsck().problems == []
