"""What the catalog promises on every database: it finds what is visible, and of the rest nothing can be noticed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import delete

from storage import catalog
from storage.errors import BadQuery, ObjectMissing
from storage.fragment import merge
from storage.model import Level, Located
from storage.tables import instance
from tests.storage.catalog_world import OTHER, ROOT, World, query_of, read_object, statements_of, uid

STUDY_KEYS = {
    ("StudyDate", "20250131"): ["1"],
    ("StudyDate", "20250201-"): ["2"],
    ("StudyDate", "-20250131"): ["1"],
    ("StudyDate", "20250131-20250201"): ["2", "1"],
    ("StudyTime", "1015"): ["1"],
    ("StudyTime", "101459-101500"): ["1"],
    ("StudyTime", "-09"): ["2"],
    ("AccessionNumber", "A-2"): ["2"],
    ("AccessionNumber", "a-2"): [],
    ("AccessionNumber", "?-2"): ["2"],
    ("ModalitiesInStudy", "MR"): ["2"],
    ("ModalitiesInStudy", "CT"): ["2", "1"],
    ("ModalitiesInStudy", "MR\\US"): ["2"],
    ("ModalitiesInStudy", "US"): [],
    ("ReferringPhysicianName", "doe*"): ["2"],
    ("PatientName", "CITIZEN^JANE"): ["1"],
    ("PatientName", "citizen^j*"): ["2", "1"],
    ("PatientName", "citizen"): [],
    ("PatientName", "citizen^*^*"): ["2", "1"],
    ("PatientName", "citizen^jane^*"): ["1"],
    ("PatientName", "citizen^jane^?"): [],
    ("PatientName", "*Jos\u00e9*"): ["2"],
    ("PatientName", "jane"): [],
    ("PatientID", "CITIZEN-1"): ["1"],
    ("PatientID", "citizen-1"): [],
    ("PatientID", "CITIZEN*"): ["2", "1"],
    ("PatientID", "*"): ["2", "1"],
    ("PatientID", ""): ["2", "1"],
    ("IssuerOfPatientID", "LOCAL"): ["2", "1"],
    ("IssuerOfPatientID", "ELSEWHERE"): [],
    ("PatientBirthDate", "19700101"): ["1"],
    ("PatientBirthDate", "1980010"): None,
    ("PatientSex", "M"): ["2"],
    ("StudyInstanceUID", uid(2)): ["2"],
    ("StudyInstanceUID", f"{uid(1)},{uid(2)}"): ["2", "1"],
    ("StudyInstanceUID", f"{uid(1)}\\{uid(3)}"): ["1"],
    ("StudyInstanceUID", f"{uid(1)}*"): None,
    ("StudyID", "S-?"): ["2", "1"],
    ("StudyDescription", "100% [x]_*"): ["2"],
    ("StudyDescription", "100%"): [],
    ("StudyDescription", "1*%*_z"): ["2"],
    ("StudyDescription", "1_0*"): [],
    ("StudyDescription", "1%_z*"): [],
    ("StudyDescription", "100% ?x?_z"): ["2"],
}
SERIES_KEYS = {
    ("Modality", "MR"): ["1.2"],
    ("SeriesInstanceUID", uid(1, 1)): ["1.1"],
    ("SeriesNumber", "2"): ["1.2"],
    ("SeriesNumber", "02"): ["1.2"],
    ("SeriesNumber", "x"): None,
    ("SeriesDescription", "Sag*"): ["1.2"],
    ("PerformedProcedureStepStartDate", "20250131"): ["1.2"],
    ("PerformedProcedureStepStartTime", "10-11"): ["1.2"],
    ("RequestAttributesSequence__ScheduledProcedureStepID", "STEP-1"): ["1.2"],
    ("RequestAttributesSequence__RequestedProcedureID", "PROC*"): ["1.2"],
    ("PatientID", "CITIZEN-1"): ["1.1", "1.2"],
    ("ModalitiesInStudy", "MR"): ["1.1", "1.2"],
}
INSTANCE_KEYS = {
    ("SOPInstanceUID", uid(1, 1, 2)): ["1.1.2"],
    ("SOPInstanceUID", f"{uid(1, 1, 3)},{uid(1, 1, 1)}"): ["1.1.1", "1.1.3"],
    ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"): ["1.1.1", "1.1.2", "1.1.3"],
    ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.4"): [],
    ("InstanceNumber", "3"): ["1.1.3"],
    ("Modality", "CT"): ["1.1.1", "1.1.2", "1.1.3"],
}


def answers_of(world: World, level: Level, key: str, text: str, **under: str) -> list[str] | None:
    """What the key finds, None when it is refused."""
    try:
        return world.numbers(level, **{key: text}, **under)
    except BadQuery:
        return None


def walk(world: World, level: Level, between: Callable[[int], None]) -> list[str]:
    """Page after page from where the last one ended."""
    met: list[str] = []
    after, page = None, 0
    while True:
        found = world.find(query_of(level, limit=3, offset=len(met), after=after))
        if not found.objects:
            return met
        met += [uids[-1].removeprefix(ROOT + ".") for uids in found.uids]
        after, page = found.last, page + 1
        between(page)


class CatalogContract:
    """Derive from it and give the fixture `world`, on an empty store."""

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    # Search: what is told

    def test_a_study_is_told_with_the_required_attributes(self, world: World) -> None:
        world.add(1, instances=2, ReferringPhysicianName="Doe^Jo", StudyDescription="Head")
        world.add(1, 2, Modality="MR")
        world.grant("CITIZEN-1")
        (row,) = world.search()
        assert row.StudyDate == "20250131"
        assert row.StudyTime == "101500"
        assert row.AccessionNumber == "A-1"
        assert row.InstanceAvailability == "ONLINE"
        assert row.ModalitiesInStudy == ["CT", "MR"]
        assert row.ReferringPhysicianName == "Doe^Jo"
        assert row.PatientName == "Citizen^Jane"
        assert (row.PatientID, row.PatientBirthDate, row.PatientSex) == ("CITIZEN-1", "19700101", "F")
        assert (row.StudyInstanceUID, row.StudyID) == (uid(1), "S-1")
        assert (row.NumberOfStudyRelatedSeries, row.NumberOfStudyRelatedInstances) == (2, 3)
        assert "StudyDescription" not in row

    def test_a_required_attribute_without_value_is_present_and_empty(self, world: World) -> None:
        world.add(1, StudyTime=None, AccessionNumber="", PatientSex=None, StudyID=None)
        world.grant("CITIZEN-1")
        loaded = json.loads(world.find(query_of(Level.STUDY)).objects[0])
        empty = {"00080030": "TM", "00080050": "SH", "00080090": "PN", "00100040": "CS", "00200010": "SH"}
        assert {tag: loaded[tag] for tag in empty} == {tag: {"vr": vr} for tag, vr in empty.items()}

    def test_modalities_are_left_out_rather_than_empty(self, world: World) -> None:
        world.add(1, Modality=None)
        world.grant("CITIZEN-1")
        (row,) = world.search()
        assert "ModalitiesInStudy" not in row

    def test_a_series_is_told_with_the_required_attributes(self, world: World) -> None:
        world.add(1, instances=3, SeriesDescription="Axial", PerformedProcedureStepStartDate="20250131")
        world.grant("CITIZEN-1")
        (row,) = world.search(Level.SERIES, study_instance_uid=uid(1))
        assert (row.Modality, row.SeriesDescription, row.SeriesNumber) == ("CT", "Axial", 1)
        assert (row.StudyInstanceUID, row.SeriesInstanceUID) == (uid(1), uid(1, 1))
        assert row.NumberOfSeriesRelatedInstances == 3
        assert row.PerformedProcedureStepStartDate == "20250131"
        assert row.PerformedProcedureStepStartTime == ""
        assert row.RequestAttributesSequence == []
        assert "PatientName" not in row

    def test_an_instance_is_told_with_the_required_attributes(self, world: World) -> None:
        world.add(1, NumberOfFrames=1)
        world.grant("CITIZEN-1")
        asked = {"study_instance_uid": uid(1), "series_instance_uid": uid(1, 1)}
        (row,) = world.search(Level.INSTANCE, **asked)
        assert (row.SOPClassUID, row.SOPInstanceUID) == ("1.2.840.10008.5.1.4.1.1.2", uid(1, 1, 1))
        assert row.InstanceAvailability == "ONLINE"
        assert row.InstanceNumber == 1
        assert (row.Rows, row.Columns, row.BitsAllocated, row.NumberOfFrames) == (4, 4, 16, 1)
        assert row.AvailableTransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert "PatientName" not in row
        assert "Modality" not in row

    def test_a_relational_search_tells_of_the_parents_too(self, world: World) -> None:
        world.add(1, instances=2)
        world.grant("CITIZEN-1")
        (of_series,) = world.search(Level.SERIES)
        assert (of_series.PatientName, of_series.NumberOfStudyRelatedInstances) == ("Citizen^Jane", 2)
        first, second = world.search(Level.INSTANCE)
        assert (first.PatientName, first.Modality, first.NumberOfSeriesRelatedInstances) == ("Citizen^Jane", "CT", 2)
        assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
        of_study = world.search(Level.INSTANCE, study_instance_uid=uid(1))[0]
        assert of_study.Modality == "CT"
        assert "PatientName" not in of_study

    def test_fields_that_are_asked_for_are_told(self, world: World) -> None:
        world.add(1, StudyDescription="Head", SeriesDescription="Axial", KVP="120", PatientComments="none")
        world.grant("CITIZEN-1")
        (row,) = world.search(include=("00081030", "0008103E", "00104000"))
        assert (row.StudyDescription, row.PatientComments) == ("Head", "none")
        assert "SeriesDescription" not in row
        (row,) = world.search(Level.SERIES, study_instance_uid=uid(1), include=("00100020", "00180060"))
        assert row.PatientID == "CITIZEN-1"
        assert "KVP" not in row
        (row,) = world.search(Level.INSTANCE, study_instance_uid=uid(1), include=("00180060", "00080020"))
        assert (row.KVP, row.StudyDate) == (120, "20250131")

    def test_an_attribute_that_was_matched_is_told(self, world: World) -> None:
        world.add(1, StudyDescription="Head")
        world.grant("CITIZEN-1")
        (row,) = world.search(StudyDescription="H*", IssuerOfPatientID="LOCAL")
        assert (row.StudyDescription, row.IssuerOfPatientID) == ("Head", "LOCAL")

    def test_all_fields_of_a_level_are_its_own(self, world: World) -> None:
        world.add(1, StudyDescription="Head", SeriesDescription="Axial", KVP="120")
        world.grant("CITIZEN-1")
        (row,) = world.search(include_all=True)
        assert "StudyDescription" in row
        assert "SeriesDescription" not in row
        (row,) = world.search(Level.SERIES, study_instance_uid=uid(1), include_all=True)
        assert "SeriesDescription" in row
        assert "StudyDescription" not in row
        (row,) = world.search(
            Level.INSTANCE, study_instance_uid=uid(1), series_instance_uid=uid(1, 1), include_all=True
        )
        assert "KVP" in row
        assert "PixelData" not in row
        assert "StudyDescription" not in row

    def test_a_private_field_comes_with_its_creator(self, world: World) -> None:
        world.add(1)
        world.grant("CITIZEN-1")
        plain = world.find(query_of(Level.INSTANCE, include=("00091002",)))
        assert len(plain.objects) == 1  # asked for, not there, no error

    # Search: what is matched

    def test_a_key_finds_its_studies(self, world: World) -> None:
        world.add(1)
        world.add(
            2,
            StudyDate="20250201",
            StudyTime="0959",
            AccessionNumber="A-2",
            PatientName="Citizen^Jos\u00e9",
            PatientBirthDate="19800101",
            PatientSex="M",
            ReferringPhysicianName="Doe^Jo",
            StudyDescription="100% [x]_z",
            StudyID="S-2",
            SpecificCharacterSet="ISO_IR 192",
        )
        world.add(
            2, 2, Modality="MR", PatientName="Citizen^Jos\u00e9", StudyDate="20250201", PatientBirthDate="19800101"
        )
        world.grant("CITIZEN-1")
        world.grant("CITIZEN-2")
        assert {key: answers_of(world, Level.STUDY, *key) for key in STUDY_KEYS} == STUDY_KEYS

    def test_a_key_finds_its_series(self, world: World) -> None:
        request = Dataset()
        request.ScheduledProcedureStepID, request.RequestedProcedureID = "STEP-1", "PROC-1"
        world.add(1)
        more = {"PerformedProcedureStepStartDate": "20250131", "PerformedProcedureStepStartTime": "103000.5"}
        world.add(1, 2, Modality="MR", SeriesDescription="Sagittal", RequestAttributesSequence=[request], **more)
        world.grant("CITIZEN-1")
        for under in ({}, {"study_instance_uid": uid(1)}):
            assert {key: answers_of(world, Level.SERIES, *key, **under) for key in SERIES_KEYS} == SERIES_KEYS

    def test_keys_of_a_sequence_match_in_one_item(self, world: World) -> None:
        items = [Dataset(), Dataset()]
        for number, item in enumerate(items):
            item.ScheduledProcedureStepID, item.RequestedProcedureID = f"STEP-{number}", f"PROC-{number}"
        world.add(1, RequestAttributesSequence=items)
        world.grant("CITIZEN-1")
        step, procedure = (
            f"RequestAttributesSequence__{name}" for name in ("ScheduledProcedureStepID", "RequestedProcedureID")
        )
        assert world.numbers(Level.SERIES, **{step: "STEP-1", procedure: "PROC-1"}) == ["1.1"]
        assert world.numbers(Level.SERIES, **{step: "STEP-1", procedure: "PROC-0"}) == []

    def test_a_key_finds_its_instances(self, world: World) -> None:
        world.add(1, instances=3)
        world.grant("CITIZEN-1")
        for under in ({}, {"study_instance_uid": uid(1)}, {"series_instance_uid": uid(1, 1)}):
            assert {key: answers_of(world, Level.INSTANCE, *key, **under) for key in INSTANCE_KEYS} == INSTANCE_KEYS

    def test_names_match_in_every_component_group(self, world: World) -> None:
        name = "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046"
        world.add(1, PatientName=name, SpecificCharacterSet="ISO_IR 192")
        world.grant("CITIZEN-1")
        for text in (
            "yamada^tarou",
            "Yamada*",
            "*TAROU",
            "\u5c71\u7530*",
            "=\u5c71\u7530^\u592a\u90ce",
            "==\u3084\u307e*",
            "yamada^tarou=\u5c71?^*",
            "Yamada^Tarou^^^",
        ):
            assert world.numbers(PatientName=text) == ["1"], text
        for text in ("yamada", "tarou", "=yamada*", "\u592a\u90ce*", "yamada^tarou=\u7530*", "==\u5c71\u7530*"):
            assert world.numbers(PatientName=text) == [], text

    def test_a_key_without_a_level_is_refused(self, world: World) -> None:
        for level, keys in (
            (Level.STUDY, {"Modality": "CT"}),
            (Level.STUDY, {"SOPInstanceUID": uid(1)}),
            (Level.SERIES, {"InstanceNumber": "1"}),
            (Level.STUDY, {"PatientComments": "x"}),
        ):
            with pytest.raises(BadQuery):
                world.search(level, **keys)

    # Search: order and pages

    def test_rows_come_newest_first_and_in_their_own_order(self, world: World) -> None:
        for number, date in ((1, "20240101"), (2, None), (3, "20250601"), (4, "20240101")):
            world.add(number, StudyDate=date)
            world.grant(f"CITIZEN-{number}")
        for number in (9, 7, None):
            world.add(3, 20 + (number or 0), StudyDate="20250601", SeriesNumber=number)
        assert world.numbers() == ["3", "4", "1", "2"]
        assert world.numbers(Level.SERIES, study_instance_uid=uid(3)) == ["3.1", "3.27", "3.29", "3.20"]

    def test_pages_hold_every_row_once(self, world: World) -> None:
        for number in range(1, 8):
            world.add(number, StudyDate=f"202501{number // 2 + 1:02}")
            world.grant(f"CITIZEN-{number}")
        whole = world.numbers()
        assert [one for offset in range(0, 9, 2) for one in world.numbers(limit=2, offset=offset)] == whole
        assert [world.find(query_of(Level.STUDY, limit=limit)).more for limit in (0, 6, 7, 8)] == [
            True,
            True,
            False,
            False,
        ]
        assert world.numbers(limit=0) == []

    def test_a_walk_meets_every_row_that_stays_once_whatever_else_changes(self, world: World) -> None:
        dates = ["20250105", "20250104", None, "20250103", "20250103", "20250102", None, "20250101"]
        for number, date in enumerate(dates, 1):
            for series_number in (2, None, 1):
                world.add(number, series_number or 9, 2, StudyDate=date, SeriesNumber=series_number)
            world.grant(f"CITIZEN-{number}")
        for level in Level:
            whole = world.numbers(level)
            assert walk(world, level, lambda _page: None) == whole

        def disturb(page: int) -> None:
            # newer and older studies come, and one that was already told is hidden
            world.add(100 + page, StudyDate=f"202506{page + 1:02}")
            world.add(200 + page, StudyDate=f"201906{page + 1:02}")
            for number in (100 + page, 200 + page):
                world.grant(f"CITIZEN-{number}")
            world.set_study(uid(1), state="withdrawn")

        before = world.numbers()
        met = walk(world, Level.STUDY, disturb)
        assert [number for number in met if number in before] == before
        assert len(set(met)) == len(met)

    # What is hidden leaves no trace (T15 to T18)

    def test_nothing_granted_is_nothing_found(self, world: World) -> None:
        world.add(1)
        world.grant("CITIZEN-1", facility=OTHER)
        for level in Level:
            for keys in ({}, {"PatientID": "CITIZEN-1"}, {"PatientID": "*"}, {"StudyInstanceUID": uid(1)}):
                found = world.find(query_of(level, **keys))
                assert (list(found.objects), list(found.patients), found.more) == ([], [], False)

    def test_the_same_identifier_from_another_issuer_is_another_patient(self, world: World) -> None:
        world.add(1, PatientID="SAME", IssuerOfPatientID="NORTH")
        world.add(2, PatientID="SAME", IssuerOfPatientID="SOUTH")
        world.grant("SAME", issuer="SOUTH")
        assert world.numbers(PatientID="SAME") == ["2"]
        assert world.locate(uid(1)) == Located()

    def test_a_study_without_patient_is_never_found(self, world: World) -> None:
        world.add(1, PatientID="")
        world.grant("CITIZEN-1")
        assert world.numbers() == []

    def test_a_hidden_series_is_not_counted(self, world: World) -> None:
        world.add(1, instances=2)
        world.add(1, 2, instances=3, Modality="MR")
        world.grant("CITIZEN-1", modality="CT")
        for row in (world.search()[0], world.search(Level.SERIES)[0], world.search(Level.INSTANCE)[0]):
            assert row.ModalitiesInStudy == "CT"
            assert (row.NumberOfStudyRelatedSeries, row.NumberOfStudyRelatedInstances) == (1, 2)
        assert world.numbers(ModalitiesInStudy="MR") == []
        assert world.numbers(Level.SERIES) == ["1.1"]
        assert world.numbers(Level.INSTANCE) == ["1.1.1", "1.1.2"]
        assert world.numbers(Level.SERIES, ModalitiesInStudy="MR") == []

    def test_numbers_that_a_file_carries_are_not_told(self, world: World) -> None:
        told = {
            "NumberOfStudyRelatedInstances": 9977,
            "NumberOfStudyRelatedSeries": 9877,
            "ModalitiesInStudy": ["CT", "PT"],
        }
        told |= {
            "NumberOfPatientRelatedStudies": 9777,
            "NumberOfSeriesRelatedInstances": 9677,
            "RetrieveAETitle": "INNER",
        }
        world.add(1, **told)
        world.grant("CITIZEN-1")
        for level in Level:
            for row in (
                world.search(level, include_all=True)[0],
                world.search(level, include=("00201200", "00080054", "00080061", "00201209"))[0],
            ):
                text = row.to_json()
                assert not any(str(number) in text for number in (9977, 9877, 9777, 9677)), text
                assert "INNER" not in text
                assert '"PT"' not in text

    def test_a_withdrawn_study_is_gone(self, world: World) -> None:
        world.add(1)
        world.grant("CITIZEN-1")
        world.set_study(uid(1), state="withdrawn")
        assert world.numbers() == []
        assert world.locate(uid(1)) == Located()

    def test_absent_and_forbidden_run_the_same_statements(self, world: World) -> None:
        world.add(1)
        world.add(2)
        world.grant("CITIZEN-2")
        runs = []
        for number in (1, 404):
            with statements_of(world) as ran:
                for level in Level:
                    assert world.numbers(level, StudyInstanceUID=uid(number)) == []
                    assert world.numbers(level, PatientID=f"CITIZEN-{number}") == []
                    assert world.numbers(level, PatientName="nobody", StudyInstanceUID=uid(number)) == []
                assert world.locate(uid(number)) == Located()
                assert world.locate(uid(number), uid(number, 1)) == Located()
                assert world.locate(uid(number), uid(number, 1), uid(number, 1, 1)) == Located()
                assert world.locate_series(uid(number)) == Located()
            runs.append(ran)
        assert runs[0] == runs[1]
        assert runs[0]

    # Locate

    def test_instances_are_located_by_series_and_number(self, world: World) -> None:
        world.add(1, 2, instances=2, SeriesNumber=5)
        world.add(1, 1, instances=3, SeriesNumber=3)
        world.grant("CITIZEN-1")
        located = world.locate(uid(1))
        assert [ref.sop_instance_uid.removeprefix(uid(1) + ".") for ref in located.instances] == [
            *("1.1", "1.2", "1.3", "2.1", "2.2")
        ]
        assert (located.patient, located.part_hidden) == ("CITIZEN-1^^^LOCAL", False)
        assert {ref.ground for ref in located.instances} == {"permit-CITIZEN-1/1"}
        ref = located.instances[0]
        assert (ref.state, ref.frames, ref.bulk, ref.bits_allocated) == ("online", None, None, 16)
        assert ref == world.locate(uid(1), uid(1, 1)).instances[0]
        assert ref == world.locate(uid(1), uid(1, 1), uid(1, 1, 1)).instances[0]
        (framed,) = world.locate(uid(1), uid(1, 1), uid(1, 1, 1), with_frames=True).instances
        assert framed.frames is not None
        assert framed.bulk is not None

    def test_a_path_of_two_studies_leads_nowhere(self, world: World) -> None:
        world.add(1)
        world.add(2)
        world.grant("CITIZEN-1")
        world.grant("CITIZEN-2")
        assert world.locate(uid(1), uid(2, 1)) == Located()
        assert world.locate(uid(1), uid(1, 1), uid(2, 1, 1)) == Located()
        assert world.locate_series(uid(1), uid(2, 1)) == Located()

    def test_a_part_that_is_hidden_is_said_of_the_study_only(self, world: World) -> None:
        world.add(1)
        world.add(1, 2, Modality="MR")
        world.grant("CITIZEN-1")
        world.deny("CITIZEN-1", modality="MR")
        for whole in (world.locate(uid(1)), world.locate_series(uid(1))):
            assert whole.part_hidden
            assert [ref.series_instance_uid for ref in (*whole.instances, *whole.series)] == [uid(1, 1)]
        assert not world.locate(uid(1), uid(1, 1)).part_hidden
        assert world.locate(uid(1), uid(1, 2)) == Located()
        world.deny("CITIZEN-1")
        assert world.locate(uid(1)) == Located()
        assert world.locate_series(uid(1)) == Located()

    def test_a_series_without_modality_counts_as_hidden_when_a_modality_is_denied(self, world: World) -> None:
        world.add(1)
        world.add(1, 2, Modality=None)
        world.grant("CITIZEN-1")
        world.deny("CITIZEN-1", modality="MR")
        assert world.locate(uid(1)).part_hidden

    def test_series_are_located_with_their_revisions(self, world: World) -> None:
        world.add(1, instances=2)
        world.add(1, 2)
        world.grant("CITIZEN-1")
        located = world.locate_series(uid(1))
        assert [(ref.series_instance_uid, ref.instance_count) for ref in located.series] == [
            (uid(1, 1), 2),
            (uid(1, 2), 1),
        ]
        assert all(ref.revision >= 1 and ref.ground == "permit-CITIZEN-1/1" for ref in located.series)
        assert not located.instances
        (one,) = world.locate_series(uid(1), uid(1, 2)).series
        assert one == located.series[1]
        (same,) = world.locate_series(uid(1), uid(1, 2), uid(1, 2, 1)).series
        assert same == one
        assert world.locate_series(uid(1), uid(1, 2), uid(1, 1, 1)) == Located()

    def test_search_and_retrieve_agree(self, world: World) -> None:
        for number in (1, 2, 3):
            world.add(number)
            world.add(number, 2, Modality="MR")
        world.grant("CITIZEN-1")
        world.grant("CITIZEN-2", modality="MR")
        found = set(world.find(query_of(Level.INSTANCE)).uids)
        located = {
            (ref.study_instance_uid, ref.series_instance_uid, ref.sop_instance_uid)
            for number in (1, 2, 3)
            for ref in world.locate(uid(number)).instances
        }
        assert found == located

    def test_metadata_and_bulk_places_are_read_of_a_located_instance(self, world: World) -> None:
        world.add(1, KVP="120")
        world.grant("CITIZEN-1")
        (ref,) = world.locate(uid(1)).instances
        lines = merge(*world.store.database.read(catalog.instance_metadata, ref))
        data_set = read_object(b"{" + b",".join(line for line in lines if b"\x01" not in line) + b"}")
        assert (data_set.PatientName, data_set.KVP) == ("Citizen^Jane", 120)
        assert (world.store.database.read(catalog.bulk_table, ref) or b"").startswith(b"7FE00010 ")

    def test_an_instance_that_was_removed_meanwhile_is_missing(self, world: World) -> None:
        world.add(1)
        world.grant("CITIZEN-1")
        (ref,) = world.locate(uid(1)).instances
        world.store.database.write(lambda tx: tx.execute(delete(instance)) and None)
        with pytest.raises(ObjectMissing):
            world.store.database.read(catalog.instance_metadata, ref)
