"""What every archive promises: the bytes that were stored, or an error, and never other bytes.

`held` stores a Part 10 file and gives the archive and its `InstanceRef`; `spoil` changes, shortens, lengthens or
removes the stored bytes behind the archive's back.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

import pytest

from storage.archive import Archive
from storage.errors import ObjectCorrupt, ObjectMissing
from storage.model import ByteSpan, InstanceRef
from tests.storage import made_up

MIB = 1 << 20
Held = Callable[[bytes], tuple[Archive, InstanceRef]]


class Spoiling(Enum):
    FLIP = "one bit is another"
    SHORTEN = "the last byte is gone"
    LENGTHEN = "a byte is added"
    REMOVE = "the object is gone"
    EMPTY = "nothing is left of it"


Spoil = Callable[[InstanceRef, Spoiling, int], None]


async def whole(archive: Archive, ref: InstanceRef, span: ByteSpan | None = None) -> bytes:
    pieces = [piece async for piece in archive.read(ref, span)]
    assert all(0 < len(piece) <= MIB for piece in pieces)
    return b"".join(pieces)


async def read_into(read: list[bytes], archive: Archive, ref: InstanceRef) -> None:
    async for piece in archive.read(ref):
        read.append(piece)  # noqa: PERF401 - what came before a failure counts


class ArchiveContract:
    """Derive from it and give the fixtures `held` and `spoil`."""

    @pytest.fixture
    def held(self) -> Held:
        raise NotImplementedError

    @pytest.fixture
    def spoil(self) -> Spoil:
        raise NotImplementedError

    @pytest.mark.parametrize("size", [32, MIB, 3 * MIB])
    async def test_a_file_is_read_back_byte_for_byte(self, held: Held, size: int) -> None:
        file = made_up.instance(size=size)
        archive, ref = held(file)
        assert await whole(archive, ref) == file

    async def test_any_part_is_read_as_it_stands_in_the_file(self, held: Held) -> None:
        file = made_up.instance(size=3 * MIB)
        archive, ref = held(file)
        chance = random.Random(7)
        edges = [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, len(file) - 1, len(file)]
        spans = [sorted(chance.choices(edges, k=2)) for _ in range(40)]
        spans += [sorted((chance.randrange(len(file)), chance.randrange(len(file)))) for _ in range(20)]
        for first, end in spans:
            assert await whole(archive, ref, ByteSpan(offset=first, length=end - first)) == file[first:end]
        joined = await archive.read_span(ref, [ByteSpan(offset=a, length=b - a) for a, b in spans])
        assert joined == b"".join(file[a:b] for a, b in spans)

    async def test_a_part_beyond_the_file_is_refused(self, held: Held) -> None:
        archive, ref = held(made_up.instance())
        for span in (ByteSpan(offset=ref.size_bytes, length=1), ByteSpan(offset=-1, length=1)):
            with pytest.raises(ObjectCorrupt):
                await archive.read_span(ref, [span])
            with pytest.raises(ObjectCorrupt):
                await whole(archive, ref, span)

    async def test_one_wrong_bit_is_never_sent(self, held: Held, spoil: Spoil) -> None:
        file = made_up.instance(size=2 * MIB)
        archive, ref = held(file)
        chance = random.Random(11)
        for place in [0, 127, MIB, len(file) - 1, *(chance.randrange(len(file)) for _ in range(20))]:
            spoil(ref, Spoiling.FLIP, place)
            read: list[bytes] = []
            with pytest.raises(ObjectCorrupt) as caught:
                await read_into(read, archive, ref)
            assert file.startswith(b"".join(read))
            assert caught.value.sop_instance_uid == ref.sop_instance_uid
            with pytest.raises(ObjectCorrupt):
                await archive.read_span(ref, [ByteSpan(offset=place, length=1)])
            spoil(ref, Spoiling.FLIP, place)  # and back
        assert await whole(archive, ref) == file

    @pytest.mark.parametrize("how", [Spoiling.SHORTEN, Spoiling.LENGTHEN, Spoiling.EMPTY])
    async def test_another_length_is_never_sent(self, held: Held, spoil: Spoil, how: Spoiling) -> None:
        archive, ref = held(made_up.instance(size=2 * MIB))
        archive.check_present([ref])
        spoil(ref, how, 0)
        with pytest.raises(ObjectCorrupt):
            archive.check_present([ref])
        with pytest.raises(ObjectCorrupt):
            await whole(archive, ref)
        with pytest.raises(ObjectCorrupt):
            await archive.read_span(ref, [ByteSpan(offset=0, length=4)])

    async def test_a_missing_object_is_told_before_the_first_byte(self, held: Held, spoil: Spoil) -> None:
        archive, first = held(made_up.instance(1))
        _, second = held(made_up.instance(2))
        archive.check_present([first, second])
        spoil(second, Spoiling.REMOVE, 0)
        with pytest.raises(ObjectMissing) as caught:
            archive.check_present([first, second])
        assert caught.value.sop_instance_uid == second.sop_instance_uid
        with pytest.raises(ObjectMissing):
            await whole(archive, second)
        assert await whole(archive, first) == made_up.instance(1)

    async def test_checksums_that_are_not_the_objects_are_believed_more_than_the_bytes(self, held: Held) -> None:
        archive, ref = held(made_up.instance())
        with pytest.raises(ObjectCorrupt):
            await whole(archive, replace(ref, chunk_crcs=b"\0\0\0\0"))
        with pytest.raises(ObjectCorrupt):
            await whole(archive, replace(ref, chunk_crcs=b""))

    async def test_frames_are_those_of_the_image(self, held: Held) -> None:
        pixels = bytes(range(96))
        file = made_up.instance(NumberOfFrames=3, PixelData=pixels)
        archive, ref = held(file)
        frames = [frame async for frame in archive.read_frames(ref, [3, 1])]
        assert frames == [pixels[64:], pixels[:32]]
        with pytest.raises(IndexError):
            _ = [frame async for frame in archive.read_frames(ref, [4])]
