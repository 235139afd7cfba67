"""Every way in which the log may be tampered with, each done on a transaction that is undone afterwards."""

from __future__ import annotations

import importlib.util
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import Connection, select, text

from storage.log import merkle
from storage.log.audit_log import AuditLog
from storage.log.checkpoint import Checkpoint, signed
from storage.log.entry import FIRST_CHAIN, chained, opening_context
from storage.log.event import AuditEvent, EventId
from storage.sealing import FileSigner
from storage.tables import log_event, log_opening
from tests.storage.log.events import events

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Filled:
    """A log with a sequenced and a waiting part, and a checkpoint that somebody kept from earlier."""

    log: AuditLog
    earliest: str
    kept: str
    size: int
    total: int

    def path(self, name: str) -> Path:
        return self.log.data_dir / "log" / name


def fill(log: AuditLog, count: int, waiting: int = 24) -> Filled:
    """Append `count` events of all kinds in three signed parts, and `waiting` more that are not sequenced."""
    notes = []
    made = events(count + waiting)
    for part in (count // 4, count // 2, count - count // 2 - count // 4):
        _append(log, made, part)
        log.advance()
        notes.append(log.publisher.published()[1])
    _append(log, made, waiting)
    return Filled(log=log, earliest=notes[0], kept=notes[1], size=count, total=count + waiting)


def _append(log: AuditLog, made: Iterator[AuditEvent], count: int) -> None:
    for _ in range(0, count, 500):
        log.database.write(log.append_many, list(islice(made, min(count, 500))))
        count -= 500


class _Undone(Exception):
    pass


Tamper = Callable[[Connection, Filled, random.Random], str]
FileTamper = Callable[[Filled, random.Random], str]


def undone(filled: Filled, work: Callable[[Connection], Any]) -> Any:
    """Run `work` in a transaction that sees one state of the log, and undo it."""
    result: list[Any] = []

    def run(tx: Connection) -> None:
        if tx.dialect.name != "sqlite":
            tx.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        result.append(work(tx))
        raise _Undone

    try:
        filled.log.database.write(run)
    except _Undone:
        return result[0]


def some_event(tx: Connection, rng: random.Random, condition: str = "leaf IS NOT NULL") -> Any:
    count = tx.execute(text(f"SELECT count(*) FROM log_event WHERE {condition}")).scalar_one()
    at = rng.randrange(count)
    rows = f"SELECT node, seq, leaf, body, chain FROM log_event WHERE {condition} ORDER BY seq LIMIT 1 OFFSET {at}"
    return tx.execute(text(rows)).one()


def some_opening(tx: Connection, rng: random.Random, field: str = "patient") -> Any:
    rows = select(log_opening).where(log_opening.c.field == field).order_by(log_opening.c.seq)
    return rng.choice(tx.execute(rows).all())


def flipped(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]


def change(tx: Connection, table: str, values: dict[str, Any], where: dict[str, Any]) -> None:
    names = ", ".join(f"{name} = :{name}" for name in values)
    conditions = " AND ".join(f"{name} = :at_{name}" for name in where)
    parameters = {**values, **{f"at_{name}": value for name, value in where.items()}}
    done = tx.execute(text(f"UPDATE {table} SET {names} WHERE {conditions}"), parameters)
    assert done.rowcount == 1


def place(row: Any) -> dict[str, Any]:
    return {"node": row.node, "seq": row.seq}


def at(row: Any) -> str:
    return rf"event {row.seq} of (node {row.node}|that node)\b"


# -- in the database, seen by the standalone verifier too


def a_bit_of_a_body(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng)
    change(tx, "log_event", {"body": flipped(bytes(row.body), rng)}, place(row))
    return at(row)


def a_fact_of_a_body(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng, "leaf IS NOT NULL AND seq % 25 = 1")
    body = re.sub(rb'"at":(\d+)', lambda match: b'"at":%d' % (int(match[1]) + 1), bytes(row.body))
    change(tx, "log_event", {"body": body}, place(row))
    return at(row)


def a_fact_of_a_waiting_body(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng, "leaf IS NULL")
    body = re.sub(rb'"at":(\d+)', lambda match: b'"at":%d' % (int(match[1]) + 1), bytes(row.body))
    change(tx, "log_event", {"body": body}, place(row))
    return at(row)


def a_chain_value(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng)
    change(tx, "log_event", {"chain": flipped(bytes(row.chain), rng)}, place(row))
    return at(row)


def a_bit_of_an_opening(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_opening(tx, rng, rng.choice(["patient", "study", "person", "instances", "subjects"]))
    change(tx, "log_opening", {"sealed": flipped(bytes(row.sealed), rng)}, {**place(row), "field": row.field})
    return rf"opening of '{row.field}' of {at(row)}"


def an_opening_put_in_place_of_another(tx: Connection, filled: Filled, rng: random.Random) -> str:
    one, other = some_opening(tx, rng), some_opening(tx, rng, "study")
    change(tx, "log_opening", {"sealed": bytes(other.sealed)}, {**place(one), "field": "patient"})
    return rf"opening of 'patient' of {at(one)}"


def an_opening_sealed_anew_with_another_value(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_opening(tx, rng)
    sealed = filled.log.keys.sealer.seal(
        bytes(32) + b'"HOSPITAL|SOMEBODY-ELSE"', opening_context(row.node, row.seq, row.field)
    )
    change(tx, "log_opening", {"sealed": sealed}, {**place(row), "field": row.field})
    return rf"opening of 'patient' of {at(row)}"


def an_opening_removed(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_opening(tx, rng, "person")
    tx.execute(text("DELETE FROM log_opening WHERE node=:node AND seq=:seq AND field='person'"), place(row))
    return rf"opening of 'person' of {at(row)} is missing"


def a_record_deleted(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng, "leaf IS NOT NULL AND leaf > 0")
    for table in ("log_event", "log_opening", "log_subject"):
        tx.execute(text(f"DELETE FROM {table} WHERE node=:node AND seq=:seq"), place(row))
    return rf"{row.seq + 1} of node {row.node}|leaf {row.leaf}\b"


def a_record_deleted_and_the_gap_closed(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng, "leaf IS NOT NULL AND leaf > 0")
    for table in ("log_event", "log_opening", "log_subject"):
        tx.execute(text(f"DELETE FROM {table} WHERE node=:node AND seq=:seq"), place(row))
    for column, above in (("leaf", row.leaf), ("seq", row.seq)):
        # by way of negative numbers, so that no two rows have one place in between
        tx.execute(text(f"UPDATE log_event SET {column} = -{column} WHERE {column} > :above"), {"above": above})
        tx.execute(text(f"UPDATE log_event SET {column} = -{column} - 1 WHERE {column} < 0"))
    tx.execute(text("UPDATE log_node SET seq = seq - 1"))
    tx.execute(text("UPDATE log_tree SET size = size - 1"))
    return rf"event {row.seq} of node {row.node}\b"


def two_bodies_swapped(tx: Connection, filled: Filled, rng: random.Random) -> str:
    one, other = (
        some_event(tx, rng, "leaf IS NOT NULL AND seq % 2 = 0"),
        some_event(tx, rng, "leaf > 0 AND seq % 2 = 1"),
    )
    change(tx, "log_event", {"body": bytes(one.body)}, place(other))
    change(tx, "log_event", {"body": bytes(other.body)}, place(one))
    return at(one)


def two_places_swapped(tx: Connection, filled: Filled, rng: random.Random) -> str:
    one, other = (
        some_event(tx, rng, "leaf IS NOT NULL AND seq % 2 = 0"),
        some_event(tx, rng, "leaf > 0 AND seq % 2 = 1"),
    )
    change(tx, "log_event", {"leaf": None}, place(one))
    change(tx, "log_event", {"leaf": one.leaf}, place(other))
    change(tx, "log_event", {"leaf": other.leaf}, place(one))
    return at(one)


def a_place_taken_away(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng, "leaf > 0")
    change(tx, "log_event", {"leaf": None}, place(row))
    return rf"leaf {row.leaf}\b"


def a_place_before_all(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng, "leaf > 0")
    change(tx, "log_event", {"leaf": -7}, place(row))
    return at(row)


def a_waiting_record_removed(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng, f"leaf IS NULL AND seq < {filled.total}")
    for table in ("log_event", "log_opening", "log_subject"):
        tx.execute(text(f"DELETE FROM {table} WHERE node=:node AND seq=:seq"), place(row))
    return rf"event {row.seq + 1} of node {row.node}\b"


def the_last_waiting_record_removed(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng, f"seq = {filled.total}")
    for table in ("log_event", "log_opening", "log_subject"):
        tx.execute(text(f"DELETE FROM {table} WHERE node=:node AND seq=:seq"), place(row))
    return rf"event {row.seq - 1}\b|[Nn]ode {row.node}"


def all_waiting_records_removed(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng, "leaf IS NULL")
    for table in ("log_opening", "log_subject", "log_event"):
        tx.execute(text(f"DELETE FROM {table} WHERE seq > :size"), {"size": filled.size})
    return rf"[Nn]ode {row.node}"


def a_record_added(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng, f"seq = {filled.total}")
    body = bytes(row.body).replace(b'"seq":%d' % row.seq, b'"seq":%d' % (row.seq + 1))
    body = re.sub(rb'"sealed":\{[^}]*\}', b'"sealed":{}', body)
    chain = chained(bytes(row.chain), merkle.leaf_hash(body))
    values = {"node": row.node, "seq": row.seq + 1, "body": body, "chain": chain}
    tx.execute(log_event.insert(), values)
    return rf"[Nn]ode {row.node}"


def a_node_forgotten(tx: Connection, filled: Filled, rng: random.Random) -> str:
    tx.execute(text("DELETE FROM log_node"))
    return rf"[Nn]ode {filled.log.node}"


def a_node_set_back(tx: Connection, filled: Filled, rng: random.Random) -> str:
    tx.execute(text("UPDATE log_node SET seq = seq - 1"))
    return rf"[Nn]ode {filled.log.node}"


def history_rewritten_without_a_seam(tx: Connection, filled: Filled, rng: random.Random) -> str:
    """One fact changed, and every chain value, the tree and the node made to fit: only signatures tell."""
    row = some_event(tx, rng, f"leaf >= 0 AND leaf < {filled.size // 4}")
    body = re.sub(rb'"at":(\d+)', lambda match: b'"at":%d' % (int(match[1]) + 1), bytes(row.body))
    change(tx, "log_event", {"body": body}, place(row))
    _make_consistent(tx)
    return r"first \d+ events are not those of the (checkpoint|export)"


# -- in the database, in what an export does not hold


def a_subject_row_removed(tx: Connection, filled: Filled, rng: random.Random) -> str:
    (row,) = tx.execute(text("SELECT subject, node, seq FROM log_subject ORDER BY subject, seq LIMIT 1")).all()
    where = {"subject": row.subject, **place(row)}
    tx.execute(text("DELETE FROM log_subject WHERE subject=:subject AND node=:node AND seq=:seq"), where)
    return rf"index of subjects.*{at(row)}"


def a_subject_row_added(tx: Connection, filled: Filled, rng: random.Random) -> str:
    row = some_event(tx, rng)
    values = {"subject": rng.randbytes(32), **place(row)}
    tx.execute(text("INSERT INTO log_subject (subject, node, seq) VALUES (:subject, :node, :seq)"), values)
    return "1 rows? .*index of subjects"


def an_opening_added(tx: Connection, filled: Filled, rng: random.Random) -> str:
    values = {"node": filled.log.node, "seq": 10**9, "field": "patient", "sealed": b"x"}
    tx.execute(text("INSERT INTO log_opening (node, seq, field, sealed) VALUES (:node, :seq, :field, :sealed)"), values)
    return "1 openings? belong"


def the_root_in_the_database(tx: Connection, filled: Filled, rng: random.Random) -> str:
    tx.execute(text("UPDATE log_tree SET root = :junk"), {"junk": rng.randbytes(32)})
    return "root in the database"


def the_subtrees_in_the_database(tx: Connection, filled: Filled, rng: random.Random) -> str:
    packed = tx.execute(text("SELECT frontier FROM log_tree")).scalar_one()
    tx.execute(text("UPDATE log_tree SET frontier = :junk"), {"junk": flipped(bytes(packed), rng)})
    return "root in the database"


def the_size_in_the_database(tx: Connection, filled: Filled, rng: random.Random) -> str:
    tx.execute(text("UPDATE log_tree SET size = size + 1"))
    return rf"counts {filled.size + 1} events, but {filled.size}"


SEEN_OUTSIDE: list[Tamper] = [
    a_bit_of_a_body,
    a_fact_of_a_body,
    a_fact_of_a_waiting_body,
    a_chain_value,
    a_bit_of_an_opening,
    an_opening_put_in_place_of_another,
    an_opening_sealed_anew_with_another_value,
    an_opening_removed,
    a_record_deleted,
    a_record_deleted_and_the_gap_closed,
    two_bodies_swapped,
    two_places_swapped,
    a_place_taken_away,
    a_place_before_all,
    a_waiting_record_removed,
    the_last_waiting_record_removed,
    all_waiting_records_removed,
    a_record_added,
    a_node_forgotten,
    a_node_set_back,
    history_rewritten_without_a_seam,
]
SEEN_INSIDE: list[Tamper] = [
    a_subject_row_removed,
    a_subject_row_added,
    an_opening_added,
    the_root_in_the_database,
    the_subtrees_in_the_database,
    the_size_in_the_database,
]


# -- in the files


def a_bit_of_a_leaf_tile(filled: Filled, rng: random.Random) -> str:
    index = rng.randrange(filled.size // 256)
    name = f"tile/0/{index:03}"
    _rewrite(filled.path(name), flipped(filled.path(name).read_bytes(), rng))
    return rf"{name} .* leaf \d+"


def a_bit_of_the_partial_tile(filled: Filled, rng: random.Random) -> str:
    (path,) = _partial(filled, level=0)
    _rewrite(path, flipped(path.read_bytes(), rng))
    return rf"{path.relative_to(filled.path('')).as_posix()} .* leaf \d+"


def a_bit_of_an_upper_tile(filled: Filled, rng: random.Random) -> str:
    (path,) = _partial(filled, level=1)
    _rewrite(path, flipped(path.read_bytes(), rng))
    return r"tile/1/.* leaf \d+"


def a_tile_cut_short(filled: Filled, rng: random.Random) -> str:
    _rewrite(filled.path("tile/0/000"), filled.path("tile/0/000").read_bytes()[:-1])
    return "tile/0/000 is missing or has the wrong size"


def a_tile_removed(filled: Filled, rng: random.Random) -> str:
    filled.path("tile/0/000").unlink()
    return "tile/0/000 is missing"


def a_checkpoint_signed_with_another_key(filled: Filled, rng: random.Random) -> str:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    head = filled.log.publisher.published()[0]
    _rewrite(filled.path("checkpoint"), signed(head, FileSigner(key)).encode())
    return "not signed by .* with this key"


def a_checkpoint_with_another_root(filled: Filled, rng: random.Random) -> str:
    head, note = filled.log.publisher.published()
    forged = Checkpoint(origin=head.origin, size=head.size, root=rng.randbytes(32))
    _rewrite(filled.path("checkpoint"), note.replace(head.text(), forged.text()).encode())
    return "altered after it was signed"


def the_checkpoint_removed(filled: Filled, rng: random.Random) -> str:
    filled.path("checkpoint").unlink()
    return "not published here"


def the_remembered_checkpoint_forged(filled: Filled, rng: random.Random) -> str:
    path = filled.log.keys.directory / "log.checkpoint"
    _rewrite(path, path.read_bytes().replace(b"\n%d\n" % filled.size, b"\n%d\n" % (filled.size - 1)))
    return "log.checkpoint.*altered after it was signed"


IN_FILES: list[FileTamper] = [
    a_bit_of_a_leaf_tile,
    a_bit_of_the_partial_tile,
    a_bit_of_an_upper_tile,
    a_tile_cut_short,
    a_tile_removed,
    a_checkpoint_signed_with_another_key,
    a_checkpoint_with_another_root,
    the_checkpoint_removed,
    the_remembered_checkpoint_forged,
]


@contextmanager
def files_restored(filled: Filled) -> Iterator[None]:
    """Put every published and remembered file back as it was."""
    watched = [
        *(path for path in filled.path("").rglob("*") if path.is_file()),
        filled.log.keys.directory / "log.checkpoint",
    ]
    before = {path: path.read_bytes() for path in watched}
    try:
        yield
    finally:
        for path, content in before.items():
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)


def cut_off(tx: Connection, filled: Filled, note: str, size: int) -> None:
    """Go back to the state in which `note` was signed, in database and files: nothing inside tells."""
    for table in ("log_opening", "log_subject", "log_event"):
        tx.execute(text(f"DELETE FROM {table} WHERE seq > :size"), {"size": size})
    tx.execute(text("UPDATE log_tree SET size = :size, checkpoint = :note"), {"size": size, "note": note})
    _make_consistent(tx)
    for path in (filled.path("checkpoint"), filled.log.keys.directory / "log.checkpoint"):
        _rewrite(path, note.encode())


def flips(tx: Connection, filled: Filled, rng: random.Random, count: int) -> list[tuple[str, EventId]]:
    """Flip one bit in each of `count` events: in the body, the chain value or an opening."""
    chosen = rng.sample(range(1, filled.total + 1), count)
    done = []
    for seq in chosen:
        row = some_event(tx, rng, f"node = '{filled.log.node}' AND seq = {seq}")
        kind = rng.choice(["body", "chain", "opening"])
        where = place(row)
        openings = tx.execute(select(log_opening).where(log_opening.c.node == row.node, log_opening.c.seq == seq)).all()
        if kind == "opening" and openings:
            opening = rng.choice(openings)
            change(
                tx, "log_opening", {"sealed": flipped(bytes(opening.sealed), rng)}, {**where, "field": opening.field}
            )
        else:
            column = "chain" if kind == "chain" else "body"
            change(tx, "log_event", {column: flipped(bytes(getattr(row, column)), rng)}, where)
        done.append((kind, EventId(node=row.node, seq=seq)))
    return done


def standalone() -> Any:
    """The verifier that is copied elsewhere, loaded from its one file."""
    spec = importlib.util.spec_from_file_location("verify_log", ROOT / "deploy" / "verify_log.py")
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["verify_log"] = module
    spec.loader.exec_module(module)
    return module


def checked_outside(tx: Connection, filled: Filled, verifier: Any) -> list[str]:
    """What the standalone verifier says of an export."""
    lines = (line.decode() for line in filled.log.export(tx, openings=True))
    key = filled.log.verifier_key.text()
    try:
        return list(verifier.check_export(lines, key, [("the checkpoint kept", filled.kept)], []).problems)
    except (verifier.Unreadable, ValueError, KeyError, TypeError) as error:
        return [f"unreadable: {error}"]


def _partial(filled: Filled, level: int) -> list[Path]:
    width = (filled.size >> 8 * level) % 256
    return list((filled.path("tile") / str(level)).rglob(f"*.p/{width}"))


def _rewrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _make_consistent(tx: Connection) -> None:
    """Compute every chain value, the node's head and the tree anew from the bodies as they are."""
    frontier, chain, seq = merkle.Frontier(), FIRST_CHAIN, 0
    for row in tx.execute(text("SELECT node, seq, body, chain, leaf FROM log_event ORDER BY seq")).all():
        leaf = merkle.leaf_hash(bytes(row.body))
        chain, seq = chained(chain, leaf), row.seq
        if chain != bytes(row.chain):
            change(tx, "log_event", {"chain": chain}, place(row))
        if row.leaf is not None:
            frontier.append(leaf)
    tx.execute(text("UPDATE log_node SET seq = :seq, head = :chain"), {"seq": seq, "chain": chain})
    grown = {"size": frontier.size, "root": frontier.root(), "frontier": frontier.packed()}
    tx.execute(text("UPDATE log_tree SET size = :size, root = :root, frontier = :frontier"), grown)
