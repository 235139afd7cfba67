"""Instances made by hand, byte by byte: sound ones, and ones that an attacker or a broken device would send."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from storage.unusable import (
    DirectoryNotInstance,
    IdentityUnusable,
    Malformed,
    NotDicom,
    OverLimit,
    TagsOutOfOrder,
    TransferSyntaxUnknown,
    UnusableInstance,
)

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPIP_DEFLATED, HTJ2K_JPIP_DEFLATED = f"{EXPLICIT}.99", f"{IMPLICIT}.4.95", f"{IMPLICIT}.4.205"
JPEG_BASELINE, RLE = f"{IMPLICIT}.4.50", f"{IMPLICIT}.5"

UNDEFINED = 0xFFFFFFFF
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
PATIENT_ID, COMMENTS, ROWS, PIXEL_DATA = 0x00100020, 0x00104000, 0x00280010, 0x7FE00010
REFERENCED_IMAGES, LAST_SEQUENCE = 0x00081140, 0x00400275  # one before, one behind the UIDs
UIDS = {SOP_CLASS: b"1.2.840.10008.5.1.4.1.1.7", SOP_INSTANCE: b"2.25.1", STUDY: b"2.25.2", SERIES: b"2.25.3"}


def even(value: bytes, pad: bytes = b"\0") -> bytes:
    return value + pad * (len(value) % 2)


def element(tag: int, vr: bytes, value: bytes = b"", *, length: int | None = None, order: str = "<") -> bytes:
    """One element in explicit VR; `length` may lie."""
    stated = len(value) if length is None else length
    head = struct.pack(f"{order}HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack(f"{order}HI", 0, stated) if vr in LONG else struct.pack(f"{order}H", stated)) + value


def implicit(tag: int, value: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes = b"", *, length: int | None = None) -> bytes:
    return implicit(0xFFFEE000, content, length=length)


UNLISTED = 0x0F000000  # no element of this group is in the dictionary
ITEM_END, SEQUENCE_END = implicit(0xFFFEE00D), implicit(0xFFFEE0DD)


def open_item(content: bytes) -> bytes:
    return item(content, length=UNDEFINED) + ITEM_END


def open_sequence(tag: int, content: bytes, vr: bytes = b"SQ") -> bytes:
    return element(tag, vr, content, length=UNDEFINED) + SEQUENCE_END


def meta(
    transfer_syntax: str = EXPLICIT, *, sop_class: bytes = UIDS[SOP_CLASS], group_length: int | None = None
) -> bytes:
    content = element(0x00020002, b"UI", even(sop_class)) + element(0x00020003, b"UI", even(UIDS[SOP_INSTANCE]))
    if transfer_syntax:
        content += element(0x00020010, b"UI", even(transfer_syntax.encode()))
    stated = len(content) if group_length is None else group_length
    return element(0x00020000, b"UL", struct.pack("<I", stated)) + content


def part10(data_set: bytes, transfer_syntax: str = EXPLICIT, *, preamble: bytes = b"") -> bytes:
    """A PS3.10 file around the bytes of a data set."""
    return preamble.ljust(128, b"\0") + b"DICM" + meta(transfer_syntax) + data_set


def data_set(*extra: bytes, order: str = "<", **uids: bytes) -> bytes:
    """The four UIDs and `extra` elements in order of their tags; `uid_…` replaces a UID, None leaves it out."""
    values = {**UIDS, **{int(name.removeprefix("uid_"), 16): value for name, value in uids.items()}}
    identity = [element(tag, b"UI", even(uid), order=order) for tag, uid in values.items() if uid is not None]
    return b"".join(sorted((*identity, *extra), key=lambda one: struct.unpack(f"{order}HH", one[:4])))


def instance(*extra: bytes, transfer_syntax: str = EXPLICIT, **uids: bytes) -> bytes:
    return part10(data_set(*extra, **uids), transfer_syntax)


def implicit_instance(*extra: bytes) -> bytes:
    identity = [implicit(tag, even(uid)) for tag, uid in UIDS.items()]
    ordered = sorted((*identity, *extra), key=lambda one: struct.unpack("<HH", one[:4]))
    return part10(b"".join(ordered), IMPLICIT)


def deflated(content: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return even(deflater.compress(content) + deflater.flush())


def nested(depth: int, *, undefined: bool) -> bytes:
    """Sequences in sequences, `depth` of them."""
    if undefined:
        opening = element(REFERENCED_IMAGES, b"SQ", length=UNDEFINED) + item(length=UNDEFINED)
        return opening * depth + (ITEM_END + SEQUENCE_END) * depth
    content = b""
    for _ in range(depth):
        content = element(REFERENCED_IMAGES, b"SQ", item(content))
    return content


def encapsulated(*fragments: bytes, table: bytes = b"", vr: bytes = b"OB") -> bytes:
    return open_sequence(PIXEL_DATA, item(table) + b"".join(item(fragment) for fragment in fragments), vr)


def bomb(size: int) -> bytes:
    """Pixel data of `size` zeros, deflated about a thousandfold."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [deflater.compress(data_set(element(PIXEL_DATA, b"OB", length=size)))]
    parts += [deflater.compress(bytes(2**20)) for _ in range(size // 2**20)]
    return b"".join((*parts, deflater.flush()))


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[], bytes]
    refusal: type[UnusableInstance]


def _no_dicom() -> Iterator[Case]:
    sound = instance()
    yield Case("nothing", lambda: b"", NotDicom)
    yield Case("ten bytes", lambda: b"DICOM file", NotDicom)
    yield Case("no preamble", lambda: sound[128:], NotDicom)
    yield Case("no file meta information", lambda: sound[:132] + data_set(), NotDicom)
    yield Case("no transfer syntax", lambda: part10(data_set(), ""), NotDicom)
    yield Case("gzip", lambda: gzip.compress(sound), NotDicom)
    yield Case("only the prefix", lambda: sound[:132], NotDicom)
    yield Case("transfer syntax that is no UID", lambda: part10(data_set(), "../../x"), TransferSyntaxUnknown)
    yield Case("transfer syntax of 66 bytes", lambda: part10(data_set(), "1." + "2" * 64), TransferSyntaxUnknown)
    yield Case("GE big endian pixels", lambda: part10(data_set(), "1.2.840.113619.5.2"), TransferSyntaxUnknown)
    directory = b"\0" * 128 + b"DICM" + meta(sop_class=b"1.2.840.10008.1.3.10")
    yield Case("DICOMDIR", lambda: directory, DirectoryNotInstance)
    for name, lie in (("short", 4), ("long", 4000), ("longest", UNDEFINED)):
        lying = b"\0" * 128 + b"DICM" + meta(group_length=lie) + data_set()
        yield Case(f"file meta information with a {name} group length", lambda lying=lying: lying, Malformed)
    cut = b"\0" * 128 + b"DICM" + element(0x00020001, b"OB", length=UNDEFINED)
    yield Case("file meta information longer than the file", lambda: cut, Malformed)
    yield Case("file meta information of an unknown VR", lambda: sound[:136] + b"XX" + sound[138:], Malformed)


def _identity() -> Iterator[Case]:
    wrong = {
        "empty": b"",
        "with a NUL inside": b"1.2\x003.4",
        "with a path": b"../../../../etc/passwd",
        "of 66 bytes": b"1." + b"2" * 64,
        "with a letter": b"1.2.a",
        "with a leading zero": b"1.02.3",
        "with an empty component": b"1..2",
        "ending in a dot": b"1.2.",
        "with two values": b"1.2\\3.4",
        "padded with three bytes": b"1.2\0\0\0",
        "beginning with a space": b" 1.2.3",
    }
    for tag in UIDS:
        yield Case(f"{tag:08X} missing", lambda tag=tag: instance(**{f"uid_{tag:x}": None}), IdentityUnusable)
        for name, uid in wrong.items():
            yield Case(
                f"{tag:08X} {name}", lambda tag=tag, uid=uid: instance(**{f"uid_{tag:x}": uid}), IdentityUnusable
            )
        twice = element(tag, b"UI", even(b"2.25.9"))
        yield Case(f"{tag:08X} twice", lambda twice=twice: instance(twice), IdentityUnusable)
        text = element(tag, b"LO", b"2.25.9")
        yield Case(
            f"{tag:08X} as text", lambda tag=tag, text=text: instance(text, **{f"uid_{tag:x}": None}), IdentityUnusable
        )
    patients = element(PATIENT_ID, b"LO", b"A1") + element(PATIENT_ID, b"LO", b"B2")
    yield Case("PatientID twice", lambda: instance(patients), IdentityUnusable)
    late = element(ROWS, b"US", b"\1\0") + element(PATIENT_ID, b"LO", b"B2")
    yield Case("PatientID late", lambda: instance(late), IdentityUnusable)


def _order() -> Iterator[Case]:
    rows = element(ROWS, b"US", b"\1\0")
    yield Case("Rows twice", lambda: instance(rows + rows), TagsOutOfOrder)
    yield Case("Columns before Rows", lambda: instance(element(0x00280011, b"US", b"\1\0") + rows), TagsOutOfOrder)
    in_item = element(REFERENCED_IMAGES, b"SQ", item(rows + rows))
    yield Case("Rows twice in an item", lambda: instance(in_item), TagsOutOfOrder)
    again = element(0x00020010, b"UI", even(BIG_ENDIAN.encode()))
    command = element(0x00000002, b"UI", b"1.2\0")
    yield Case("second transfer syntax", lambda: part10(rows + again), TagsOutOfOrder)
    yield Case("command group", lambda: part10(command + data_set()), TagsOutOfOrder)


def _lengths() -> Iterator[Case]:
    whole = instance(element(PIXEL_DATA, b"OB", bytes(64)))
    for cut in (1, 2, 63, 64, 65, 70, 72, 75):
        yield Case(f"{cut} bytes cut off", lambda cut=cut: whole[:-cut], Malformed)
    for name, length in (("2^32-2", 0xFFFFFFFE), ("2^31", 2**31), ("2 too long", 66)):
        pixels = element(PIXEL_DATA, b"OW", bytes(64), length=length)
        yield Case(f"pixel data of length {name}", lambda pixels=pixels: instance(pixels), Malformed)
        yield Case(
            f"implicit pixel data of length {name}",
            lambda length=length: implicit_instance(implicit(PIXEL_DATA, bytes(64), length=length)),
            Malformed,
        )
    yield Case("odd length", lambda: instance(element(COMMENTS, b"LT", b"abc")), Malformed)
    yield Case("odd implicit length", lambda: implicit_instance(implicit(COMMENTS, b"abc")), Malformed)
    yield Case("short VR beyond the end", lambda: instance(element(0x7FE10010, b"LO", length=0xFFFE)), Malformed)
    yield Case("text of undefined length", lambda: instance(element(COMMENTS, b"UT", length=UNDEFINED)), Malformed)
    yield Case(
        "implicit text of undefined length",
        lambda: implicit_instance(implicit(COMMENTS, item(), length=UNDEFINED) + SEQUENCE_END),
        Malformed,
    )
    for vr in (b"ZZ", b"\0\0", b"us", b"??", b"OX"):
        yield Case(f"unknown VR {vr!r}", lambda vr=vr: instance(element(ROWS, vr, b"\1\0")), Malformed)
    yield Case("big endian sent as little endian", lambda: part10(data_set(order=">")), Malformed)
    ambiguous = part10(implicit(0x00080005, b" " * 0x4142) + data_set(), IMPLICIT)
    yield Case("implicit that looks explicit", lambda: ambiguous, Malformed)
    unknown = element(REFERENCED_IMAGES, b"UN", item(implicit(0x00081150, b"1" * 0x4142)))
    yield Case("unknown sequence that looks explicit", lambda: instance(unknown), Malformed)
    yield Case("implicit sent as explicit", lambda: part10(implicit_instance()[-80:]), Malformed)


def _sequences() -> Iterator[Case]:
    yield Case("33 sequences deep", lambda: instance(nested(33, undefined=False)), OverLimit)
    yield Case("33 open sequences deep", lambda: instance(nested(33, undefined=True)), OverLimit)
    yield Case("200 open sequences deep", lambda: instance(nested(200, undefined=True)), OverLimit)
    yield Case("100,000 open sequences deep", lambda: instance(nested(100_000, undefined=True)), OverLimit)
    deep = (implicit(REFERENCED_IMAGES, length=UNDEFINED) + item(length=UNDEFINED)) * 100_000
    yield Case("100,000 implicit sequences deep", lambda: implicit_instance(deep), OverLimit)
    unknown = (element(0x00091001, b"UN", length=UNDEFINED) + item(length=UNDEFINED)) * 200
    yield Case("200 unknown sequences deep", lambda: instance(unknown), Malformed)
    never = element(LAST_SEQUENCE, b"SQ", item(), length=UNDEFINED)
    broken = {
        "sequence never closed": never,
        "item never closed": element(LAST_SEQUENCE, b"SQ", item(length=UNDEFINED), length=UNDEFINED),
        "item closed, sequence not": element(LAST_SEQUENCE, b"SQ", open_item(b""), length=UNDEFINED),
        "item longer than its sequence": element(LAST_SEQUENCE, b"SQ", item(length=100)),
        "element longer than its item": element(LAST_SEQUENCE, b"SQ", item(element(0x00081150, b"UI", length=100))),
        "sequence longer than the file": element(LAST_SEQUENCE, b"SQ", item(), length=2**31),
        "half an item header": element(LAST_SEQUENCE, b"SQ", item()[:4]),
        "element where an item should be": element(LAST_SEQUENCE, b"SQ", element(0x00081150, b"UI", b"1.2\0")),
        "sequence delimiter in a sequence of known length": element(LAST_SEQUENCE, b"SQ", item() + SEQUENCE_END),
        "item delimiter in an item of known length": element(LAST_SEQUENCE, b"SQ", item(ITEM_END)),
        "item delimiter between items": open_sequence(LAST_SEQUENCE, item() + ITEM_END),
        "item delimiter with a length": open_sequence(
            LAST_SEQUENCE, item(length=UNDEFINED) + implicit(0xFFFEE00D, length=8)
        ),
        "sequence delimiter with a length": element(LAST_SEQUENCE, b"SQ", item(), length=UNDEFINED)
        + implicit(0xFFFEE0DD, length=8),
        "sequence delimiter closing an item": open_sequence(LAST_SEQUENCE, item(length=UNDEFINED) + SEQUENCE_END),
        "item whose length spells a VR": element(
            LAST_SEQUENCE, b"SQ", item(length=UNDEFINED) + implicit(0xFFFEE00D, length=0x00045355) + bytes(4) + ITEM_END
        ),
        "item outside a sequence": item(),
        "item delimiter outside a sequence": ITEM_END,
        "sequence delimiter outside a sequence": SEQUENCE_END,
        "unknown element that should be a sequence": element(LAST_SEQUENCE, b"UN", b"no items"),
    }
    for name, content in broken.items():
        yield Case(name, lambda content=content: part10(data_set() + content), Malformed)
        behind = instance(element(REFERENCED_IMAGES, b"SQ", item(content)))
        yield Case(f"{name}, in an item", lambda behind=behind: behind, Malformed)


def _fragments() -> Iterator[Case]:
    opening = element(PIXEL_DATA, b"OB", length=UNDEFINED)
    broken = {
        "pixel data without items": opening + SEQUENCE_END,
        "pixel data that ends at once": opening,
        "fragments never closed": opening + item() + item(b"ab"),
        "fragment beyond the end": opening + item() + item(b"ab", length=100) + SEQUENCE_END,
        "fragment of undefined length": opening + item() + item(b"ab", length=UNDEFINED) + SEQUENCE_END,
        "fragment of odd length": opening + item() + item(b"abc") + SEQUENCE_END,
        "item delimiter among fragments": opening + item() + ITEM_END + SEQUENCE_END,
        "sequence delimiter with a length": opening + item() + implicit(0xFFFEE0DD, length=2),
        "element among fragments": opening + item() + element(0x7FE10010, b"OB", b"ab"),
        "pixel data of a text VR": open_sequence(PIXEL_DATA, item(), b"UT"),
        "other element in fragments": open_sequence(0x00420011, item(), b"OB"),
    }
    for name, content in broken.items():
        yield Case(name, lambda content=content: part10(data_set() + content, JPEG_BASELINE), Malformed)


def _too_much() -> Iterator[Case]:
    many = b"".join(element(UNLISTED + number, b"US", b"\1\0") for number in range(1, 57_001))
    yield Case("57,000 elements", lambda: instance(many), OverLimit)
    implicit_many = b"".join(implicit(UNLISTED + number, b"\1\0") for number in range(1, 57_001))
    yield Case("57,000 implicit elements", lambda: implicit_instance(implicit_many), OverLimit)
    items = element(REFERENCED_IMAGES, b"SQ", item() * 100_000)
    yield Case("100,000 empty items", lambda: instance(items), OverLimit)
    private = b"".join(element(0x00090010 + number, b"LO", b"X ") for number in range(6_000))
    yield Case("6,000 private elements", lambda: instance(private), OverLimit)
    private_implicit = b"".join(implicit(0x00090010 + number, b"X ") for number in range(6_000))
    yield Case("6,000 implicit private elements", lambda: implicit_instance(private_implicit), OverLimit)
    yield Case("2 MiB of text", lambda: instance(element(0x00189074, b"UT", b" " * 2**21)), OverLimit)
    yield Case("2 MiB of implicit text", lambda: implicit_instance(implicit(COMMENTS, b" " * 2**21)), OverLimit)


def _deflate() -> Iterator[Case]:
    content = deflated(data_set(element(COMMENTS, b"LT", b"comment ")))
    for transfer_syntax in (DEFLATED, JPIP_DEFLATED, HTJ2K_JPIP_DEFLATED):
        yield Case(f"bomb in {transfer_syntax}", lambda ts=transfer_syntax: part10(bomb(80 * 2**20), ts), OverLimit)
    yield Case("deflated data set cut off", lambda: part10(content[:-9], DEFLATED), Malformed)
    yield Case("nothing deflated", lambda: part10(b"", DEFLATED), Malformed)
    yield Case("not deflated", lambda: part10(data_set(), DEFLATED), Malformed)
    yield Case("second data set behind", lambda: part10(content + content, DEFLATED), Malformed)
    yield Case("broken inside", lambda: part10(deflated(data_set()[:-1]), DEFLATED), Malformed)


def cases() -> list[Case]:
    """Every hostile instance with the refusal it deserves."""
    groups = (_no_dicom, _identity, _order, _lengths, _sequences, _fragments, _too_much, _deflate)
    return [case for group in groups for case in group()]
