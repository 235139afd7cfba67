"""Everything below a path is found, and whatever is refused is named with its reason."""

from __future__ import annotations

import os
import socket
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import pydicom

from storage.import_source import find
from storage.outcome import Outcome, Status
from storage.tables import instance, series, study
from tests.storage import made_up
from tests.storage.opened_store import Store


def by_name(outcomes: list[Outcome]) -> dict[str, Outcome]:
    found = {Path(outcome.name).name: outcome for outcome in outcomes}
    assert len(found) == len(outcomes)
    return found


def make_zip(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_a_real_study_is_imported_and_a_second_time_nothing_is_written(sqlite_store: Store, shared_data: Path) -> None:
    outcomes = sqlite_store.import_paths(shared_data / "ct-phantom")
    assert Counter(outcome.status for outcome in outcomes) == {Status.STORED: 35, Status.REJECTED: 4}
    refused = sorted((Path(o.name).name, o.reason) for o in outcomes if o.status is Status.REJECTED)
    assert [name for name, _ in refused] == ["DIRFILE", "DIRFILE", "DIRFILE", "LICENSE"]
    assert all("DICOMDIR" in reason for name, reason in refused if name == "DIRFILE")
    assert "not a DICOM file" in refused[3][1]
    before = sqlite_store.files()
    rows = [sqlite_store.rows(table) for table in (study, series, instance)]
    assert sorted(row["instance_count"] for row in rows[1]) == [1, 6, 28]
    again = sqlite_store.import_paths(shared_data / "ct-phantom")
    assert Counter(outcome.status for outcome in again) == {Status.DUPLICATE: 35, Status.REJECTED: 4}
    assert sqlite_store.files() == before
    assert [sqlite_store.rows(table) for table in (study, series, instance)] == rows
    assert sqlite_store.fsck().problems == []


def test_folders_files_and_archives_are_walked(sqlite_store: Store, tmp_path: Path) -> None:
    top = tmp_path / "media"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "one").write_bytes(made_up.instance(1))
    (top / "a" / "b" / "two.dcm").write_bytes(made_up.instance(2))
    make_zip(top / "three.zip", {"x/y/3": made_up.instance(3), "4": made_up.instance(4), "readme": b"hello"})
    make_zip(top / "empty.zip", {})
    outcomes = by_name(sqlite_store.import_paths(top))
    assert {name: one.status.value for name, one in outcomes.items()} == {
        "one": "stored",
        "two.dcm": "stored",
        "3": "stored",
        "4": "stored",
        "readme": "rejected",
    }
    assert outcomes["readme"].name == f"{top}/three.zip/readme"


def test_the_folder_of_a_media_index_is_walked_and_its_references_are_not_followed(
    sqlite_store: Store, tmp_path: Path
) -> None:
    top = tmp_path / "disc"
    top.mkdir()
    secret = tmp_path / "SECRET"
    secret.write_bytes(made_up.instance(5))
    (top / "IMAGE").write_bytes(made_up.instance(1))
    index = pydicom.dcmread(Path(pydicom.__file__).parent / "data/test_files/dicomdirtests/DICOMDIR")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such a reference is against PS3.5, which is the point
        for record in index.DirectoryRecordSequence:
            if "ReferencedFileID" in record:
                record.ReferencedFileID = ["..", "SECRET"]
        index.save_as(top / "DICOMDIR")
    outcomes = by_name(sqlite_store.import_paths(top / "DICOMDIR"))
    assert {name: one.status.value for name, one in outcomes.items()} == {"IMAGE": "stored", "DICOMDIR": "rejected"}
    assert "DICOMDIR" in outcomes["DICOMDIR"].reason


def test_links_pipes_and_what_is_not_there_are_named(sqlite_store: Store, tmp_path: Path) -> None:
    top = tmp_path / "odd"
    top.mkdir()
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(made_up.instance(1))
    (top / "link").symlink_to(outside)
    (top / "folder").symlink_to(tmp_path)
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "socket"))
        outcomes = by_name(sqlite_store.import_paths(top, tmp_path / "absent"))
    assert {one.status for one in outcomes.values()} == {Status.REJECTED}
    reasons = {name: one.reason for name, one in outcomes.items()}
    assert "symbolic link" in reasons["link"]
    assert "symbolic link" in reasons["folder"]
    assert "neither" in reasons["pipe"]
    assert "neither" in reasons["socket"]
    assert "No such file" in reasons["absent"]
    # named by the person who imports, a link is what it leads to
    assert [one.status for one in sqlite_store.import_paths(top / "link")] == [Status.STORED]


def test_names_inside_an_archive_lead_nowhere(sqlite_store: Store, tmp_path: Path) -> None:
    names = ["../../up.dcm", "/abs.dcm", "a/../../b.dcm", "C:\\x.dcm", "nul\x07bell.dcm"]
    path = make_zip(tmp_path / "evil.zip", {name: made_up.instance(n) for n, name in enumerate(names, 1)})
    outcomes = sqlite_store.import_paths(path)
    assert {one.status for one in outcomes} == {Status.STORED}
    assert all(one.name.isprintable() for one in outcomes)
    assert list(tmp_path.rglob("*.dcm")) == []
    assert not any((folder / "up.dcm").exists() for folder in tmp_path.parents)
    assert not Path("/abs.dcm").exists()


def test_an_archive_inside_an_archive_is_not_opened(sqlite_store: Store, tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"x": made_up.instance(1)})
    outer = make_zip(tmp_path / "outer.zip", {"inner.zip": inner.read_bytes(), "y": made_up.instance(2)})
    outcomes = by_name(sqlite_store.import_paths(outer))
    assert "inside another" in outcomes["inner.zip"].reason
    assert outcomes["y"].status is Status.STORED


def test_a_bomb_costs_nothing(sqlite_store: Store, tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "bomb.zip", {"bomb": bytes(300 << 20), "y": made_up.instance(2)})
    outcomes = by_name(sqlite_store.import_paths(bomb))
    assert "inflate to far more" in outcomes["bomb"].reason
    assert outcomes["y"].status is Status.STORED


def test_a_bomb_that_lies_about_its_size_is_stopped_on_the_way(sqlite_store: Store, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "liar.zip", {"bomb": bytes(64 << 20)})
    data = path.read_bytes()
    true, told = (64 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    path.write_bytes(data.replace(true, told))
    (outcome,) = sqlite_store.import_paths(path)
    assert outcome.status is Status.REJECTED
    assert list((sqlite_store.root / "tmp").rglob("*/*")) == []


def test_damaged_encrypted_and_exotic_archives_are_named(sqlite_store: Store, tmp_path: Path) -> None:
    good = make_zip(tmp_path / "good.zip", {"x": made_up.instance(1)}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(good[: len(good) // 2])
    flipped = bytearray(good)
    flipped[80] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(flipped)
    encrypted = bytearray(good)
    for at in (encrypted.index(b"PK\x03\x04") + 6, encrypted.index(b"PK\x01\x02") + 8):
        encrypted[at] |= 1
    (tmp_path / "encrypted.zip").write_bytes(encrypted)
    make_zip(tmp_path / "lzma.zip", {"x": made_up.instance(1)}, zipfile.ZIP_LZMA)
    outcomes = {
        name: sqlite_store.import_paths(tmp_path / name)
        for name in ("cut.zip", "flipped.zip", "encrypted.zip", "lzma.zip")
    }
    assert all(one.status is Status.REJECTED for found in outcomes.values() for one in found)
    assert all(len(found) == 1 for found in outcomes.values())
    assert "encrypted" in outcomes["encrypted.zip"][0].reason
    assert "not read here" in outcomes["lzma.zip"][0].reason
    assert sqlite_store.rows(instance) == []


def test_an_image_with_the_beginning_of_an_archive_is_an_image(sqlite_store: Store, tmp_path: Path) -> None:
    path = tmp_path / "polyglot"
    path.write_bytes(made_up.instance(preamble=b"PK\x03\x04"))
    (outcome,) = sqlite_store.import_paths(path)
    assert outcome.status is Status.CONFLICT
    assert "ZIP" in outcome.reason


def test_too_many_files_are_not_listed(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "many.zip", {str(n): b"" for n in range(11)})
    (outcome,) = find([path], entries=10)
    assert isinstance(outcome, Outcome)
    assert "more than 10 files" in outcome.reason


def test_a_name_that_is_no_text_can_still_be_told(sqlite_store: Store, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe\x1b[31m.dcm"))
    path.write_bytes(made_up.instance())
    (outcome,) = sqlite_store.import_paths(path)
    assert outcome.status is Status.STORED
    outcome.name.encode()
    assert outcome.name.isprintable()


def test_an_import_that_is_given_up_leaves_nothing_open(sqlite_store: Store, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "some.zip", {str(n): made_up.instance(n) for n in range(1, 200)})
    outcomes = sqlite_store.ingest.import_all(find([path]), sqlite_store.ingest.delivery("request-1"))
    assert next(outcomes).status is Status.STORED
    outcomes.close()
    assert list((sqlite_store.root / "tmp").rglob("*/*")) == []
    assert sqlite_store.fsck().problems == []
