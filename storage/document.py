"""Metadata documents: the DICOM JSON objects of a whole series, kept compressed so that they need only be joined.

A document is the objects of a series' instances, by InstanceNumber and UID, with commas between them and without
brackets: raw deflate that ends with a full flush. Such documents, one behind the other with the punctuation of an
array between them, are one gzip member (RFC 1951 3.2.4, RFC 1952 2.3).

They are derived: a document is valid while its revision is that of its series, and built again when it is not.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import orjson
from isal import isal_zlib
from sqlalchemy import Connection, bindparam, delete, exists, insert, select

from storage.database import Database
from storage.dicom_json import BASE_MARK
from storage.fragment import RAW, merge
from storage.model import Instant, SeriesRef
from storage.tables import instance, series, series_document, study

LEVEL: Final = 6  # written once, sent many times
ROWS: Final = 200  # instances in memory while a document is built: it may have any number of them
_PIECE_BYTES: Final = 1 << 20

_GZIP_START: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # without a time: the same document, the same bytes
_GZIP_END: Final = struct.Struct("<II")  # CRC-32 and size
_AS_IT_IS: Final = struct.Struct("<BHH")  # the head of a deflate block of plain bytes: last or not, length, complement

_KEPT: Final = select(series_document).where(
    series_document.c.series.in_(bindparam("keys", expanding=True)), series_document.c.base == bindparam("at_base")
)
_REVISION: Final = select(series.c.revision).where(series.c.id == bindparam("key"))
_INSTANCES: Final = (
    select(
        study.c.study_instance_uid,
        series.c.series_instance_uid,
        instance.c.sop_instance_uid,
        study.c.fragment.label("study_fragment"),
        instance.c.fragment,
    )
    .select_from(instance.join(series).join(study))
    .where(series.c.id == bindparam("key"))
    .order_by(instance.c.instance_number.nulls_last(), instance.c.sop_instance_uid)
)
_FORGET: Final = delete(series_document).where(
    series_document.c.series == bindparam("key"), series_document.c.revision < bindparam("new_revision")
)
_STALE: Final = (
    select(series.c.id)
    .where(
        series.c.changed_at < bindparam("quiet_since"),
        ~exists().where(
            series_document.c.series == series.c.id,
            series_document.c.base == bindparam("at_base"),
            series_document.c.revision == series.c.revision,
        ),
    )
    .order_by(series.c.id)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The objects of one series: `body` deflated, CRC-32 and size in bytes of the text, the revision it tells of."""

    series: int
    revision: int
    body: bytes
    crc32: int
    size_bytes: int


async def get_documents(database: Database, refs: Sequence[SeriesRef], base: str) -> list[Document]:
    """The documents of these series, in their order; what was not kept is built now and kept for the next reader.

    `base` is the public URL of the gateway, without a slash at its end: BulkDataURIs begin with it.
    """
    documents, built = await database.fetch(_read_or_build, refs, base)
    for document in built:
        database.submit(keep, document, base)  # nobody waits for it: without it, the next reader builds again
    return documents


def build(tx: Connection, key: int, base: str) -> Document:
    """The document of the series with this key, as it is now."""
    revision = int(tx.execute(_REVISION, {"key": key}).scalar_one())
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, RAW)
    crc32, size, parts = 0, 0, []
    with closing(_objects(tx, key, base)) as objects:
        for text in objects:
            crc32, size = zlib.crc32(text, crc32), size + len(text)
            parts.append(compressor.compress(text))
    parts.append(compressor.flush(zlib.Z_FULL_FLUSH))
    return Document(series=key, revision=revision, body=b"".join(parts), crc32=crc32, size_bytes=size)


def keep(tx: Connection, document: Document, base: str) -> None:
    """Keep a document, unless a newer one is kept already; older ones of the same series are forgotten."""
    tx.execute(_FORGET, {"key": document.series, "new_revision": document.revision})
    if tx.execute(_KEPT, {"keys": [document.series], "at_base": base}).first() is None:
        row = {name: getattr(document, name) for name in Document.__slots__}
        tx.execute(insert(series_document).values(**row, base=base))


def build_quiet(database: Database, base: str, *, quiet_since: Instant, most: int = 100) -> int:
    """Build and keep documents of series that have not changed since then; gives how many were built."""
    keys = database.read(_find_stale, base, quiet_since, most)
    for key in keys:
        database.write(keep, database.read(build, key, base), base)
    return len(keys)


def instance_object(study_fragment: bytes, fragment: bytes, instance_url: str) -> bytes:
    """The DICOM JSON object of one instance; its BulkDataURIs begin with `instance_url`, which ends with a slash."""
    text = b"{%b}" % b",".join(merge(study_fragment, fragment))
    # the URL comes from a setting: written as the inside of a JSON string
    return text.replace(BASE_MARK, orjson.dumps(instance_url)[1:-1])


def gzip_stream(documents: Iterable[Document]) -> Iterator[bytes]:
    """The JSON array of all objects as one gzip member, without compressing anything again."""
    crc32, size = zlib.crc32(b"["), 1
    yield _GZIP_START + _plain(b"[")
    for number, document in enumerate(one for one in documents if one.size_bytes):
        if number:
            crc32, size = zlib.crc32(b",", crc32), size + 1
            yield _plain(b",")
        crc32 = isal_zlib.crc32_combine(crc32, document.crc32, document.size_bytes)
        size += document.size_bytes
        yield document.body
    yield _plain(b"]", last=True) + _GZIP_END.pack(zlib.crc32(b"]", crc32), size + 1 & 0xFFFFFFFF)


def identity_stream(documents: Iterable[Document]) -> Iterator[bytes]:
    """The JSON array of all objects, in pieces of at most 1 MiB."""
    yield b"["
    for number, document in enumerate(one for one in documents if one.size_bytes):
        if number:
            yield b","
        inflater, feed = isal_zlib.decompressobj(RAW), document.body
        while piece := inflater.decompress(feed, _PIECE_BYTES):
            yield piece
            feed = inflater.unconsumed_tail
    yield b"]"


def _plain(text: bytes, *, last: bool = False) -> bytes:
    """`text` as a deflate block of plain bytes, which begins and ends on a byte after a full flush (RFC 1951 3.2.4)."""
    return _AS_IT_IS.pack(last, len(text), len(text) ^ 0xFFFF) + text


def _read_or_build(tx: Connection, refs: Sequence[SeriesRef], base: str) -> tuple[list[Document], list[Document]]:
    kept = {}
    for row in tx.execute(_KEPT, {"keys": [ref.series for ref in refs], "at_base": base}):
        kept[row.series] = Document(**{name: getattr(row, name) for name in Document.__slots__})
    built = [
        build(tx, ref.series, base)
        for ref in refs
        if ref.series not in kept or kept[ref.series].revision < ref.revision
    ]
    kept.update((document.series, document) for document in built)
    return [kept[ref.series] for ref in refs], built


def _find_stale(tx: Connection, base: str, quiet_since: Instant, most: int) -> list[int]:
    parameters = {"quiet_since": quiet_since, "at_base": base, "most": most}
    return list(tx.execute(_STALE, parameters).scalars())


def _objects(tx: Connection, key: int, base: str) -> Generator[bytes]:
    with tx.execute(_INSTANCES, {"key": key}, execution_options={"yield_per": ROWS}) as rows:
        for number, row in enumerate(rows):
            url = (
                f"{base}/dicom-web/studies/{row.study_instance_uid}/series/{row.series_instance_uid}"
                f"/instances/{row.sop_instance_uid}/"
            )
            text = instance_object(row.study_fragment, row.fragment, url)
            yield b"," + text if number else text
