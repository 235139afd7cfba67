"""Metadata documents: kept compressed, joined without compressing again, and never older than their series."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Iterable

from sqlalchemy import Connection, select

from storage import document
from storage.database import Database
from storage.dicom_json import encode_lines
from storage.document import Document, gzip_stream, identity_stream
from storage.model import SeriesRef
from storage.scan import scan
from storage.tables import series, series_document, study
from tests.storage import made_up, sample_files
from tests.storage.opened_store import NOON, Store

BASE = "https://images.example/gw"
OTHER = "1.2.826.0.1.3680043.8.498.7"


def refs(database: Database) -> list[SeriesRef]:
    def read(tx: Connection) -> list[SeriesRef]:
        statement = select(series, study.c.study_instance_uid).select_from(series.join(study)).order_by(series.c.id)
        return [
            SeriesRef(
                study_instance_uid=row.study_instance_uid,
                series_instance_uid=row.series_instance_uid,
                series=row.id,
                revision=row.revision,
                instance_count=row.instance_count,
                ground="test",
            )
            for row in tx.execute(statement)
        ]

    return database.read(read)


def expected_object(file: bytes, base: str = BASE) -> dict:
    scanned = scan(file)
    url = (
        f"{base}/dicom-web/studies/{scanned.study_instance_uid}/series/{scanned.series_instance_uid}"
        f"/instances/{scanned.sop_instance_uid}/"
    )
    return json.loads(b"{" + b",".join(encode_lines(scanned, file)).replace(b"\x01", url.encode()) + b"}")


async def fetch(store: Store, base: str = BASE) -> list[Document]:
    found = await document.get_documents(store.database, refs(store.database), base)
    await store.database.commit(lambda _tx: None)  # what was handed to the writer before is written now
    return found


def text_of(documents: Iterable[Document]) -> bytes:
    return b"".join(identity_stream(documents))


async def test_a_document_holds_every_instance_in_the_order_of_the_series(store: Store) -> None:
    files = [made_up.instance(number) for number in (3, 1, 20, 2)]
    files.append(made_up.instance(9, InstanceNumber=None))
    store.store(*files)
    documents = await fetch(store)
    assert json.loads(text_of(documents)) == [expected_object(files[at]) for at in (1, 3, 0, 2, 4)]


async def test_several_series_are_one_array_and_one_gzip_member(store: Store) -> None:
    files = [made_up.instance(n, SeriesInstanceUID=f"{made_up.SERIES}.{n % 3}") for n in range(1, 20)]
    store.store(*files)
    documents = await fetch(store)
    assert len(documents) == 3
    plain, compressed = text_of(documents), b"".join(gzip_stream(documents))
    assert gzip.decompress(compressed) == plain
    inflater = zlib.decompressobj(wbits=31)
    assert inflater.decompress(compressed) == plain
    assert inflater.eof
    assert inflater.unused_data == b""
    found = {one["00080018"]["Value"][0]: one for one in json.loads(plain)}
    assert found == {one["00080018"]["Value"][0]: one for one in map(expected_object, files)}


def test_no_series_and_empty_series_are_valid_too() -> None:
    empty = Document(series=1, revision=1, body=_full(b""), crc32=0, size_bytes=0)
    one = Document(series=2, revision=1, body=_full(b"{}"), crc32=zlib.crc32(b"{}"), size_bytes=2)
    for documents, text in (([], b"[]"), ([empty], b"[]"), ([empty, one, empty, one], b"[{},{}]")):
        assert text_of(documents) == text
        assert gzip.decompress(b"".join(gzip_stream(documents))) == text


def _full(text: bytes) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    return compressor.compress(text) + compressor.flush(zlib.Z_FULL_FLUSH)


async def test_a_document_is_built_once_and_kept(store: Store) -> None:
    store.store(made_up.instance(1), made_up.instance(2))
    first = await fetch(store)
    kept = store.rows(series_document)
    assert [row["base"] for row in kept] == [BASE]
    assert kept[0]["body"] == first[0].body
    assert await fetch(store) == first
    assert store.rows(series_document) == kept


async def test_a_document_is_never_older_than_its_series(store: Store) -> None:
    store.store(made_up.instance(1))
    await fetch(store)
    store.store(made_up.instance(2))
    assert len(json.loads(text_of(await fetch(store)))) == 2
    (kept,) = store.rows(series_document)
    assert kept["revision"] == store.rows(series)[0]["revision"]
    assert store.fsck().problems == []


async def test_each_public_address_has_its_own_links(store: Store) -> None:
    file = made_up.instance(1)
    store.store(file)
    for base in (BASE, 'https://odd.example/"quoted"\\path'):
        assert json.loads(text_of(await fetch(store, base))) == [expected_object(file, BASE)] or base != BASE
        uri = json.loads(text_of(await fetch(store, base)))[0]["7FE00010"]["BulkDataURI"]
        assert uri.startswith(f"{base}/dicom-web/studies/{made_up.STUDY}/series/{made_up.SERIES}/instances/")
        assert uri.endswith("/bulkdata/7FE00010")
    assert len(store.rows(series_document)) == 2
    # no host name is kept anywhere else
    for table in (study, series):
        assert all(
            b"example" not in value for row in store.rows(table) for value in row.values() if type(value) is bytes
        )


async def test_quiet_series_are_built_before_anybody_asks(store: Store) -> None:
    store.store(made_up.instance(1))
    build_quiet = asyncio.to_thread
    assert await build_quiet(document.build_quiet, store.database, BASE, quiet_since=NOON) == 0
    assert await build_quiet(document.build_quiet, store.database, BASE, quiet_since=NOON + 1) == 1
    assert await build_quiet(document.build_quiet, store.database, BASE, quiet_since=NOON + 1) == 0
    assert len(store.rows(series_document)) == 1


async def test_documents_of_real_studies_say_what_their_files_say(sqlite_store: Store) -> None:
    files = [path.read_bytes() for path in sample_files.everything()]
    stored = {}
    for outcome, file in zip(sqlite_store.store(*files), files, strict=True):
        if outcome.status.value == "stored":
            stored[outcome.sop_instance_uid] = expected_object(file)
    found = {one["00080018"]["Value"][0]: one for one in json.loads(text_of(await fetch(sqlite_store)))}
    assert found == stored
    assert sqlite_store.fsck().problems == []
