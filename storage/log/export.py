"""The log as JSON lines, which deploy/verify_log.py checks without this program.

first line   {"format": "openpriors-log/1", "key": verifier key, "checkpoint": signed note or "", "whole": true or
             false, "openings": true or false, …}
then         {"body": canonical JSON as text, "chain": hex, "leaf": index or null, "node": …, "seq": …,
             "openings": {field: {"salt": hex, "value": …}}, "proof": .tlog-proof text where `whole` is false}
last line    {"events": how many}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, select

from storage.log.canonical import encode
from storage.log.checkpoint import VerifierKey
from storage.log.entry import SALT_BYTES, parse, value_of
from storage.log.errors import LogDamaged, NotYetSigned
from storage.log.event import EventId
from storage.log.pages import Entry, entries, entry_at, snapshot
from storage.log.proofs import InclusionProof
from storage.log.reading import opening_of
from storage.log.sequencer import tree_of
from storage.sealing import KeyRing
from storage.tables import log_node

FORMAT: Final = "openpriors-log/1"


def whole(tx: Connection, keys: KeyRing, key: VerifierKey, *, openings: bool) -> Iterator[bytes]:
    """Give every event of one state of the log, those not yet in the tree last."""
    snapshot(tx)
    tree = tree_of(tx)
    nodes = {row.node: [row.seq, bytes(row.head).hex()] for row in tx.execute(select(log_node))}
    yield _line({**_head(key, whole=True, openings=openings), "checkpoint": tree.checkpoint, "nodes": nodes})
    count = 0
    for entry in entries(tx):
        yield _line(_event(entry, keys if openings else None))
        count += 1
    yield _line({"events": count})


def some(
    tx: Connection,
    keys: KeyRing,
    key: VerifierKey,
    places: Sequence[EventId],
    prove: Callable[[int], InclusionProof],
    *,
    openings: bool,
) -> Iterator[bytes]:
    """Give the events at `places`, each with a proof; NotYetSigned when one is not in the published tree."""
    yield _line({**_head(key, whole=False, openings=openings), "checkpoint": "", "nodes": {}})
    for place in places:
        entry = entry_at(tx, place)
        if entry.leaf is None:
            raise NotYetSigned
        yield _line({**_event(entry, keys if openings else None), "proof": prove(entry.leaf).text()})
    yield _line({"events": len(places)})


def _head(key: VerifierKey, *, whole: bool, openings: bool) -> dict[str, Any]:
    return {"format": FORMAT, "key": key.text(), "whole": whole, "openings": openings}


def _event(entry: Entry, keys: KeyRing | None) -> dict[str, Any]:
    line: dict[str, Any] = {
        "body": entry.body.decode(errors="replace"),
        "chain": entry.chain.hex(),
        "leaf": entry.leaf,
        "node": entry.node,
        "seq": entry.seq,
    }
    return line if keys is None else {**line, "openings": dict(_opened(entry, keys))}


def _opened(entry: Entry, keys: KeyRing) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Open what can be opened: what was altered is left out, and the verifier misses it."""
    try:
        committed = parse(entry.body).sealed
    except LogDamaged:
        return
    place = EventId(node=entry.node, seq=entry.seq)
    for name, sealed in sorted(entry.openings.items()):
        try:
            opening = opening_of(keys, place, name, sealed, committed.get(name))
            yield name, {"salt": opening[:SALT_BYTES].hex(), "value": value_of(opening)}
        except LogDamaged:
            continue


def _line(value: Mapping[str, Any]) -> bytes:
    return encode(value) + b"\n"
