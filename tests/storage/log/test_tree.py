"""Sequencing, tiles, checkpoints and proofs."""

from __future__ import annotations

import base64
import itertools
import json
import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pysqlite3.dbapi2 as sqlite
import pytest
from sqlalchemy import select, text, update

from storage.database import Database
from storage.errors import WrongStore
from storage.log import files, merkle
from storage.log.audit_log import AuditLog
from storage.log.checkpoint import Checkpoint, VerifierKey, opened, origin_of, signed
from storage.log.errors import CheckpointInvalid, CheckpointRefused, LogDamaged, NotYetSigned, StillKept
from storage.log.event import AuditEvent, EventId, Kind
from storage.log.sequencer import tree_of
from storage.log.tiles import Tiles, tile_path
from storage.sealing import KeyRing
from storage.tables import log_event, log_node
from tests.storage.log.events import NOW, events
from tests.storage.log.test_merkle import leaf_hashes, mth, path, subproof

OpenLog = Callable[..., AuditLog]


_seeds = itertools.count()


def fill(log: AuditLog, count: int) -> list[EventId]:
    """Append events of all kinds, others each time."""
    return log.database.write(log.append_many, list(events(count, next(_seeds))))


def copy_of(database: Database, path: Path) -> Database:
    """A copy of a SQLite database as it is now."""
    with closing(sqlite.connect(database.url.database)) as connection:
        connection.execute(f"VACUUM INTO '{path}'")
    return Database(f"sqlite:///{path}")


def heartbeats(count: int) -> list[AuditEvent]:
    return [AuditEvent(kind=Kind.HEARTBEAT, at=NOW, request="") for _ in range(count)]


def bodies(log: AuditLog) -> list[bytes]:
    rows = log.database.read(lambda tx: tx.execute(select(log_event.c.body, log_event.c.leaf)).all())
    return [bytes(row.body) for row in sorted(rows, key=lambda row: row.leaf)]


# -- tiles


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0, 67, 256), "tile/0/067"),
        ((0, 1067, 256), "tile/0/x001/067"),
        ((1, 1234067, 256), "tile/1/x001/x234/067"),
        ((2, 0, 17), "tile/2/000.p/17"),
    ],
)
def test_tile_paths_are_those_of_tlog_tiles(place: tuple[int, int, int], expected: str) -> None:
    assert tile_path(*place) == expected


def test_a_tree_of_70000_leaves_has_the_tiles_the_specification_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # 275 tiles on a shared disk: durability is not asked here
    hashes = leaf_hashes(70_000)
    tiles = Tiles(tmp_path)
    tiles.extend(0, hashes[:300])
    tiles.extend(300, hashes[256:70_000])
    full = sorted(
        path for path in (tmp_path / "tile" / "0").rglob("*") if path.stat().st_size == 8192 and path.is_file()
    )
    assert len(full) == 273
    assert (tmp_path / "tile/0/273.p/112").stat().st_size == 112 * 32
    assert (tmp_path / "tile/1/000").stat().st_size == 8192
    assert (tmp_path / "tile/1/001.p/17").stat().st_size == 17 * 32
    assert (tmp_path / "tile/2/000.p/1").read_bytes() == mth(hashes[: 256 * 256])
    assert not (tmp_path / "tile/0/001.p").exists()
    assert tiles.root(70_000) == mth(hashes)


@pytest.mark.parametrize("seed", range(4))
def test_tiles_grow_to_the_same_whatever_the_steps(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)
    rng, tiles, size, hashes = random.Random(seed), Tiles(tmp_path), 0, leaf_hashes(1400)
    while size < len(hashes):
        grown = min(len(hashes), size + rng.choice([1, 2, 255, 256, 257, rng.randrange(1, 600)]))
        tiles.extend(size, hashes[size // 256 * 256 : grown])
        size = grown
        root, subtree = mth(hashes[:size]), tiles.subtree(size)
        assert tiles.root(size) == root
        index, old = rng.randrange(size), rng.randrange(1, size + 1)
        assert merkle.inclusion_proof(index, size, subtree) == path(index, hashes[:size])
        assert merkle.consistency_proof(old, size, subtree) == subproof(old, hashes[:size], True)


# -- checkpoints


def test_a_signature_of_the_note_format_by_others_is_confirmed() -> None:
    # key and note from the documentation of Go's golang.org/x/mod/sumdb/note
    key = VerifierKey(
        name="PeterNeumann", public_key=base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:]
    )
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    blob = base64.b64decode(
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )
    assert key.text() == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert blob[:4] == key.key_id
    assert key.checks(text, blob[4:])
    assert not key.checks(text + b"\n", blob[4:])


@pytest.fixture
def key(keys: KeyRing) -> VerifierKey:
    return VerifierKey(name="openpriors/test", public_key=keys.signer.public_key)


HEAD = Checkpoint(origin="openpriors/test", size=70_000, root=bytes(range(32)))


def test_signatures_of_others_are_passed_over(keys: KeyRing, key: VerifierKey) -> None:
    note = signed(HEAD, keys.signer)
    witness = "— witness.example/w1 " + base64.b64encode(b"abcd" + bytes(72)).decode() + "\n"
    assert opened(note + witness, key) == HEAD
    text, _, mine = note.rpartition("\n\n")
    assert opened(f"{text}\n\n{witness}{mine}", key) == HEAD


def test_a_checkpoint_with_one_thing_changed_is_refused(keys: KeyRing, key: VerifierKey) -> None:
    note = signed(HEAD, keys.signer)
    forged = [note[:at] + chr(ord(note[at]) ^ 1) + note[at + 1 :] for at in range(len(note))]
    assert len(note) > 150
    for wrong in [*forged, note[:-1], note + "\n", note + "— x\n", note.replace("\n\n", "\n"), "", "\n\n"]:
        with pytest.raises(CheckpointInvalid):
            opened(wrong, key)


@pytest.mark.parametrize("size", ["070000", "-1", "1e3", "", " 7", "7\r"])
def test_a_size_is_written_in_one_way(size: str, keys: KeyRing, key: VerifierKey) -> None:
    text = f"openpriors/test\n{size}\n{base64.b64encode(bytes(32)).decode()}\n"
    blob = base64.b64encode(key.key_id + keys.signer.sign(text.encode())).decode()
    with pytest.raises(CheckpointInvalid):
        opened(f"{text}\n— openpriors/test {blob}\n", key)


def test_the_checkpoint_of_another_log_with_this_key_is_refused(keys: KeyRing, key: VerifierKey) -> None:
    text = Checkpoint(origin="openpriors/other", size=1, root=bytes(32)).text()
    blob = base64.b64encode(key.key_id + keys.signer.sign(text.encode())).decode()
    with pytest.raises(CheckpointInvalid, match="another log"):
        opened(f"{text}\n— openpriors/test {blob}\n", key)
    with pytest.raises(CheckpointInvalid):
        origin_of("a store")


# -- sequencing


def test_events_get_their_places_and_a_signed_root(log: AuditLog, tmp_path: Path) -> None:
    fill(log, 700)
    head = log.advance()
    assert head is not None
    hashes = [merkle.leaf_hash(body) for body in bodies(log)]
    assert (head.size, head.root) == (700, mth(hashes))
    published = (tmp_path / "data/log/checkpoint").read_text()
    assert opened(published, log.verifier_key) == head
    assert (tmp_path / "data/log/key").read_text().strip() == log.verifier_key.text()
    assert (tmp_path / "keys/log.checkpoint").read_text() == published
    assert log.database.read(tree_of).checkpoint == published
    assert log.database.read(log.verify).ok


def test_nothing_but_hashes_and_checkpoints_is_published(log: AuditLog, tmp_path: Path) -> None:
    fill(log, 300)
    log.advance()
    below = {path.relative_to(tmp_path / "data/log").parts[0] for path in (tmp_path / "data/log").rglob("*")}
    assert below == {"checkpoint", "key", "tile"}
    tiles = b"".join(path.read_bytes() for path in (tmp_path / "data/log/tile").rglob("*") if path.is_file())
    assert len(tiles) % 32 == 0
    assert b"MRN" not in tiles


def test_a_round_without_news_signs_nothing(log: AuditLog, tmp_path: Path) -> None:
    assert log.advance() is None
    fill(log, 3)
    head = log.advance()
    published = tmp_path / "data/log/checkpoint"
    before = published.stat().st_ino
    assert log.advance() == head
    assert published.stat().st_ino == before


def test_nodes_are_merged_each_in_its_order(new_database: Callable[[str], Database], open_log: OpenLog) -> None:
    database = new_database("postgresql")
    logs = [open_log(database, f"n{at}") for at in range(3)]
    rng = random.Random(3)
    for round_ in range(30):
        database.write(rng.choice(logs).append_many, list(events(rng.randrange(1, 60), round_)))
        if round_ % 7 == 0:
            rng.choice(logs).advance()
    logs[0].advance()
    rows = database.read(
        lambda tx: tx.execute(
            select(log_event.c.node, log_event.c.seq, log_event.c.leaf).order_by(log_event.c.leaf)
        ).all()
    )
    assert [row.leaf for row in rows] == list(range(len(rows)))
    for log in logs:
        mine = [row.seq for row in rows if row.node == log.node]
        assert mine == list(range(1, len(mine) + 1))
    assert database.read(logs[1].verify).ok


def test_a_gap_is_not_passed_and_the_other_nodes_go_on(
    new_database: Callable[[str], Database], open_log: OpenLog
) -> None:
    database = new_database("postgresql")
    sick, well = open_log(database, "sick"), open_log(database, "well")
    fill(sick, 10)
    fill(well, 10)
    database.write(lambda tx: tx.execute(text("DELETE FROM log_event WHERE node = 'sick' AND seq = 4")))
    with pytest.raises(LogDamaged, match="Event 4 of node sick is missing"):
        well.advance()
    placed = database.read(
        lambda tx: tx.execute(select(log_event.c.node, log_event.c.seq).where(log_event.c.leaf.is_not(None))).all()
    )
    assert sorted(placed) == [("sick", 1), ("sick", 2), ("sick", 3)] + [("well", at) for at in range(1, 11)]
    assert well.publisher.published()[0].size == 13


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("UPDATE log_event SET body = :junk WHERE seq = 5", "Event 5 of node .* body or chain"),
        ("UPDATE log_event SET chain = :junk WHERE seq = 5", "Event 5 of node .* body or chain"),
        ("DELETE FROM log_event WHERE seq = 10", "Event 10 of node .* missing"),
        ("UPDATE log_node SET head = :junk", "remembers another chain"),
        ("UPDATE log_event SET leaf = NULL WHERE seq = 2", "Event 3 of node .* already"),
        ("UPDATE log_event SET leaf = 77 WHERE seq = 6", "Event 6 of node .* not reach"),
    ],
)
def test_what_was_altered_before_it_was_sequenced_is_not_signed(damage: str, complaint: str, log: AuditLog) -> None:
    fill(log, 3)
    log.advance()
    fill(log, 7)
    log.database.write(lambda tx: tx.execute(text(damage), {"junk": bytes(32)} if ":junk" in damage else {}))
    with pytest.raises(LogDamaged, match=complaint):
        log.advance()
    assert log.publisher.published()[0].size < 10


def test_what_was_altered_after_it_was_sequenced_is_not_signed(log: AuditLog) -> None:
    fill(log, 10)
    while log.database.write(log.sequence):
        pass
    log.database.write(lambda tx: tx.execute(update(log_event).where(log_event.c.seq == 5).values(body=b"{}")))
    with pytest.raises(LogDamaged):
        log.advance()
    assert log.publisher.published() is None


def test_an_altered_tree_row_is_not_built_upon(log: AuditLog) -> None:
    fill(log, 10)
    log.advance()
    log.database.write(lambda tx: tx.execute(text("UPDATE log_tree SET root = :junk"), {"junk": bytes(32)}))
    fill(log, 1)
    with pytest.raises(LogDamaged):
        log.advance()


def test_a_long_backlog_is_sequenced_in_small_transactions(log: AuditLog) -> None:
    log.database.write(log.append_many, heartbeats(330))
    assert [log.database.write(log.sequence) for _ in range(4)] == [128, 128, 74, 0]
    log.database.write(log.append_many, heartbeats(1))
    assert log.advance().size == 331


def test_the_last_place_is_found_however_long_the_backlog(log: AuditLog) -> None:
    for count in [1, 2, 3, 5, 8, 13, 200, 600]:
        log.database.write(log.append_many, heartbeats(count))
        log.database.write(log.sequence)
        log.advance()
    assert log.database.read(log.verify).ok


def test_lost_tiles_are_made_again(log: AuditLog, tmp_path: Path) -> None:
    fill(log, 600)
    log.advance()
    shutil.rmtree(tmp_path / "data/log/tile")
    fill(log, 10)
    assert log.advance().size == 610
    shutil.rmtree(tmp_path / "data/log/tile")
    assert merkle.verify_inclusion(
        3, 610, merkle.leaf_hash(bodies(log)[3]), log.prove_inclusion(3).hashes, log.advance().root
    )
    assert log.database.read(log.verify).ok


def test_a_forged_public_checkpoint_is_replaced(log: AuditLog, tmp_path: Path) -> None:
    fill(log, 5)
    head = log.advance()
    (tmp_path / "data/log/checkpoint").write_text("openpriors/test-store\n9\nAAAA\n\n— x y\n")
    assert not log.database.read(log.verify).ok
    assert log.advance() == head
    assert log.database.read(log.verify).ok


# -- order of publication


def test_a_checkpoint_that_cannot_be_copied_is_not_published(
    database: Database, open_log: OpenLog, tmp_path: Path
) -> None:
    copy = tmp_path / "off-machine"
    log = open_log(database, checkpoint_copy=copy)
    fill(log, 5)
    log.advance()
    assert (copy / "log.checkpoint").read_text() == (tmp_path / "data/log/checkpoint").read_text()
    shutil.rmtree(copy)
    copy.write_text("the disk is gone")
    fill(log, 5)
    with pytest.raises(OSError):
        log.advance()
    assert log.publisher.published()[0].size == 5
    copy.unlink()
    assert log.advance().size == 10
    assert (copy / "log.checkpoint").read_text() == (tmp_path / "data/log/checkpoint").read_text()


def test_an_overtaken_sequencer_publishes_nothing(log: AuditLog) -> None:
    fill(log, 5)
    log.database.write(log.sequence)
    stale = log.database.read(tree_of).fence
    fill(log, 5)
    log.database.write(log.sequence)
    with pytest.raises(CheckpointRefused, match="Another sequencer"):
        log.publisher.sign(stale)
    assert log.publisher.published() is None
    assert log.advance().size == 10


def test_a_node_publishes_what_another_signed(
    new_database: Callable[[str], Database], open_log: OpenLog, tmp_path: Path
) -> None:
    database = new_database("postgresql")
    first = open_log(database, "n1")
    fill(first, 300)
    head = first.advance()
    keys = KeyRing(tmp_path / "keys", data_dir=tmp_path / "elsewhere")
    second = AuditLog(database, keys, tmp_path / "elsewhere", node="n2", process="p", clock=lambda: NOW)
    assert second.publisher.follow() == head
    assert (tmp_path / "elsewhere/log/checkpoint").read_text() == (tmp_path / "data/log/checkpoint").read_text()
    assert second.prove_inclusion(7) == first.prove_inclusion(7)


# -- restored databases


def test_a_restored_older_database_signs_nothing(
    sqlite_database: Database, open_log: OpenLog, keys: KeyRing, tmp_path: Path
) -> None:
    log = open_log(sqlite_database)
    fill(log, 20)
    log.advance()
    copy = copy_of(sqlite_database, tmp_path / "older.db")
    fill(log, 20)
    newest = log.advance()
    restored = open_log(copy)
    with pytest.raises(CheckpointRefused, match=r"20 sequenced events, but .* shows that 40 were signed"):
        restored.advance()
    # it grows past the signed size with other events: still not the tree that was signed
    fill(restored, 30)
    with pytest.raises(CheckpointRefused):
        restored.advance()
    assert copy.read(tree_of).size == 20
    while copy.write(restored.sequence):
        pass
    with pytest.raises(CheckpointRefused, match="The first 40 events are not those that were signed"):
        restored.advance()
    assert log.publisher.published()[0] == newest
    found = copy.read(restored.verify)
    assert any("The first 40 events are not those of the checkpoint in" in problem for problem in found.problems)
    copy.close()


def test_a_restored_data_directory_is_noticed_by_what_lies_beside_the_keys(
    sqlite_database: Database, open_log: OpenLog, tmp_path: Path
) -> None:
    log = open_log(sqlite_database)
    fill(log, 20)
    log.advance()
    copy = copy_of(sqlite_database, tmp_path / "older.db")
    shutil.copytree(tmp_path / "data", tmp_path / "data-older")
    fill(log, 20)
    log.advance()
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data-older").rename(tmp_path / "data")
    with pytest.raises(CheckpointRefused):
        open_log(copy).advance()
    copy.close()


def test_another_signing_key_is_noticed(log: AuditLog, open_log: OpenLog, tmp_path: Path) -> None:
    log.database.write(log.demand_own_keys)
    log.database.write(log.demand_own_keys)
    fill(log, 2)
    log.advance()
    (tmp_path / "keys/log.key").unlink()
    keys = KeyRing(tmp_path / "keys", data_dir=tmp_path / "data")
    other = AuditLog(log.database, keys, tmp_path / "data", node="n1", process="p", clock=lambda: NOW)
    with pytest.raises(WrongStore):
        log.database.write(other.demand_own_keys)
    with pytest.raises(CheckpointRefused, match="not hold a checkpoint signed with this log's key"):
        other.advance()


# -- proofs


def test_a_proof_is_a_tlog_proof_that_verifies(log: AuditLog) -> None:
    fill(log, 300)
    with pytest.raises(NotYetSigned):
        log.prove_inclusion(0)
    head = log.advance()
    hashes = [merkle.leaf_hash(body) for body in bodies(log)]
    for leaf in (0, 1, 255, 256, 299):
        lines = log.prove_inclusion(leaf).text().split("\n")
        assert lines[:2] == ["c2sp.org/tlog-proof@v1", f"index {leaf}"]
        end = lines.index("")
        assert [base64.b64decode(line) for line in lines[2:end]] == path(leaf, hashes)
        assert opened("\n".join(lines[end + 1 :]), log.verifier_key) == head
    with pytest.raises(NotYetSigned):
        log.prove_inclusion(300)


def test_consistency_is_proven_from_every_older_size(log: AuditLog) -> None:
    fill(log, 270)
    head = log.advance()
    hashes = [merkle.leaf_hash(body) for body in bodies(log)]
    for old in (0, 1, 2, 255, 256, 257, 270):
        proof = log.prove_consistency(old)
        assert proof.old_root == mth(hashes[:old])
        assert merkle.verify_consistency(old, 270, mth(hashes[:old]), head.root, proof.hashes)
    with pytest.raises(NotYetSigned):
        log.prove_consistency(271)


def test_no_proof_is_given_of_an_altered_event(log: AuditLog) -> None:
    fill(log, 30)
    log.advance()
    log.database.write(lambda tx: tx.execute(update(log_event).where(log_event.c.leaf == 7).values(body=b"{}")))
    with pytest.raises(LogDamaged):
        log.prove_inclusion(7)
    # of its neighbour the tiles still give one, and they cannot be made again
    assert log.prove_inclusion(8).index == 8
    assert not log.publisher.repair()


# -- reading and erasing


def test_events_are_found_by_subject_and_opened(log: AuditLog) -> None:
    log.database.write(log.append_many, list(events(200, -1)))
    wanted = [event for event in events(200, -1) if ("facility", "facility-3") in event.subjects]
    places = log.database.read(log.find, "facility", "facility-3")
    read = [log.database.read(log.read, place) for place in places]
    assert [(event.kind, event.request, dict(event.sealed)) for event in read] == [
        (event.kind, event.request, json.loads(json.dumps(dict(event.sealed)))) for event in wanted
    ]
    half = log.database.read(log.find, "facility", "facility-3", at_most=4)
    rest = log.database.read(lambda tx: log.find(tx, "facility", "facility-3", after=half[-1]))
    assert [*half, *rest] == places


def test_erased_openings_leave_every_proof_valid(database: Database, open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(database)
    (place,) = fill(log, 1)
    head = log.advance()
    with pytest.raises(StillKept):
        database.write(log.erase, place, ["patient", "subjects"])
    later = open_log(database, clock=lambda: NOW + 2193 * 86_400_000_000)
    database.write(later.erase, place, ["patient", "subjects"])
    event = database.read(log.read, place)
    assert event.unopened == ["patient", "subjects"]
    assert "patient" not in event.sealed
    assert event.sealed["person"] == "Dr. Example"
    assert log.advance().size == 2
    assert merkle.verify_inclusion(0, 1, merkle.leaf_hash(bodies(log)[0]), [], head.root)
    assert database.read(log.verify).problems == ()
    assert database.read(lambda tx: tx.execute(select(log_node.c.seq)).scalar()) == 2
