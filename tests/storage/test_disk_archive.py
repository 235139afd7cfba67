"""The disk keeps the promises of an archive."""

from __future__ import annotations

import io
import os
import resource
from pathlib import Path

import pydicom
import pytest

from storage.archive import Archive
from storage.errors import ArchiveAway, ObjectCorrupt
from storage.model import ByteSpan, InstanceRef
from storage.outcome import Status
from tests.contracts.archive import ArchiveContract, Held, Spoil, Spoiling, whole
from tests.storage import made_up, sample_files
from tests.storage.opened_store import Store


def keeper(store: Store) -> Held:
    def keep(file: bytes) -> tuple[Archive, InstanceRef]:
        (outcome,) = store.store(file)
        assert outcome.status is Status.STORED
        return store.archive, store.ref(outcome.sop_instance_uid)

    return keep


@pytest.fixture
def held(sqlite_store: Store) -> Held:
    return keeper(sqlite_store)


class TestDiskArchive(ArchiveContract):
    @pytest.fixture
    def held(self, sqlite_store: Store) -> Held:
        return keeper(sqlite_store)

    @pytest.fixture
    def spoil(self, sqlite_store: Store) -> Spoil:
        def change(ref: InstanceRef, how: Spoiling, place: int) -> None:
            path = sqlite_store.directory.objects.path_of(ref.digest)
            data = bytearray(path.read_bytes())
            if how is Spoiling.REMOVE:
                path.unlink()
                return
            if how is Spoiling.FLIP:
                data[place] ^= 1
            elif how is Spoiling.SHORTEN:
                del data[-1]
            elif how is Spoiling.LENGTHEN:
                data.append(0)
            else:
                data.clear()
            path.write_bytes(data)

        return change


def test_what_stands_in_the_place_of_an_object_is_not_followed(sqlite_store: Store, tmp_path: Path) -> None:
    (outcome,) = sqlite_store.store(made_up.instance())
    ref = sqlite_store.ref(outcome.sop_instance_uid)
    path = sqlite_store.directory.objects.path_of(ref.digest)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(ObjectCorrupt):
        next(sqlite_store.archive.read_chunks(ref))
    path.unlink()
    path.mkdir()
    with pytest.raises(ObjectCorrupt):
        next(sqlite_store.archive.read_chunks(ref))


def test_a_name_from_a_file_never_becomes_a_path(sqlite_store: Store) -> None:
    sqlite_store.store(made_up.instance())
    names = [path.name for path in sqlite_store.directory.objects.root.rglob("*")]
    assert len(names) == 3
    assert all(set(name) <= set("0123456789abcdef") for name in names)


def test_objects_are_for_their_owner_alone(sqlite_store: Store) -> None:
    sqlite_store.store(made_up.instance())
    for path in sqlite_store.root.rglob("*"):
        if path.name != "store-id" and not path.name.startswith("openpriors.db"):
            assert path.stat().st_mode & 0o077 == 0, path


async def test_reading_does_not_depend_on_what_the_page_cache_has(sqlite_store: Store, held: Held) -> None:
    file = made_up.instance(size=3 << 20)
    archive, ref = held(file)
    path = sqlite_store.directory.objects.path_of(ref.digest)
    for dropped in (False, True, True):
        if dropped:
            drop_from_page_cache(path)
        assert await whole(archive, ref) == file
        if dropped:
            drop_from_page_cache(path)
        assert await archive.read_span(ref, [ByteSpan(offset=5, length=2 << 20)]) == file[5 : 5 + (2 << 20)]


def drop_from_page_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_running_out_of_files_is_not_taken_for_damage(sqlite_store: Store) -> None:
    (outcome,) = sqlite_store.store(made_up.instance())
    ref = sqlite_store.ref(outcome.sop_instance_uid)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(ArchiveAway):
            next(sqlite_store.archive.read_chunks(ref))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_frames_of_real_images_are_those_that_pydicom_finds(held: Held) -> None:
    for name in ("emri_small.dcm", "emri_small_RLE.dcm", "color3d_jpeg_baseline.dcm", "image_dfl.dcm", "liver.dcm"):
        file = sample_files.named(name)
        archive, ref = held_again(held, file)
        expected = frames_of(file)
        numbers = list(range(1, len(expected) + 1))
        frames = [frame async for frame in archive.read_frames(ref, numbers)]
        assert [frame.rstrip(b"\0") for frame in frames] == [frame.rstrip(b"\0") for frame in expected], name


def held_again(held: Held, file: bytes) -> tuple[Archive, InstanceRef]:
    """Stored under a UID of its own: some of pydicom's files share one."""
    data_set = pydicom.dcmread(io.BytesIO(file))
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data_set.SeriesInstanceUID, data_set.StudyInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    stream = io.BytesIO()
    data_set.save_as(stream)
    return held(stream.getvalue())


def frames_of(file: bytes) -> list[bytes]:
    data_set = pydicom.dcmread(io.BytesIO(file))
    count = int(data_set.get("NumberOfFrames", 1))
    if data_set.file_meta.TransferSyntaxUID.is_encapsulated:
        return list(pydicom.encaps.generate_frames(data_set.PixelData, number_of_frames=count))
    bits = data_set.Rows * data_set.Columns * data_set.SamplesPerPixel * data_set.BitsAllocated
    number = int.from_bytes(data_set.PixelData, "little")
    return [(number >> bits * at & (1 << bits) - 1).to_bytes((bits + 7) // 8, "little") for at in range(count)]
