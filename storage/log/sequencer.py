"""Give events their place in the tree: each node's in the order of its numbers, never past a gap.

Every body is hashed again, and its node's chain checked, before its hash enters the tree. A node whose events do not
add up stays where it is and is reported; the other nodes go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, select, text, update

from storage.log.entry import FIRST_CHAIN, chained, parse
from storage.log.errors import LogDamaged
from storage.log.merkle import Frontier, leaf_hash
from storage.tables import log_event, log_node, log_tree

AT_MOST: Final = 128  # events placed in one transaction: what is recorded meanwhile waits 4 ms for it at most

_TREE: Final = select(log_tree).where(log_tree.c.id == 1).with_for_update()
_WAITING: Final = (
    select(log_node.c.node, log_node.c.seq, log_node.c.head)
    .outerjoin(log_event, and_(log_event.c.node == log_node.c.node, log_event.c.seq == log_node.c.seq))
    .where(log_node.c.seq > 0, log_event.c.leaf.is_(None))
    .order_by(log_node.c.node)
)
_LEAF: Final = select(log_event.c.leaf, log_event.c.chain).where(
    log_event.c.node == bindparam("node"), log_event.c.seq == bindparam("seq")
)
_LAY: Final = text(
    "INSERT INTO log_tree (id, size, root, frontier, checkpoint, fence) VALUES (1, 0, :root, :empty, '', 0)"
    " ON CONFLICT DO NOTHING"
)
_FOLLOWING: Final = (
    select(log_event.c.seq, log_event.c.body, log_event.c.chain, log_event.c.leaf)
    .where(log_event.c.node == bindparam("node"), log_event.c.seq.between(bindparam("after") + 1, bindparam("last")))
    .order_by(log_event.c.seq)
    .limit(bindparam("room"))
)
_PLACE: Final = (
    update(log_event)
    .where(log_event.c.node == bindparam("at_node"), log_event.c.seq == bindparam("at_seq"))
    .where(log_event.c.leaf.is_(None))
    .values(leaf=bindparam("new_leaf"))
)
_GROW: Final = (
    update(log_tree)
    .where(log_tree.c.id == 1, log_tree.c.fence == bindparam("old_fence"))
    .values(
        size=bindparam("new_size"), root=bindparam("new_root"), frontier=bindparam("packed"), fence=bindparam("new")
    )
)
_SIGN: Final = (
    update(log_tree)
    .where(log_tree.c.id == 1, log_tree.c.fence == bindparam("at_fence"))
    .values(checkpoint=bindparam("note"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The tree's row: its head, the last signed note about it (empty: none), and the fence of its last change."""

    size: int
    root: bytes
    frontier: bytes
    checkpoint: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequenced:
    """What one sequencing did: events placed, the fence it holds, and which nodes are stuck, as sentences."""

    placed: int
    fence: int
    stuck: Sequence[str]


def tree_of(tx: Connection) -> Tree:
    """Read the tree's row; an empty tree where none was laid yet."""
    row = tx.execute(select(log_tree).where(log_tree.c.id == 1)).first()
    return _tree(row) if row is not None else Tree(size=0, root=Frontier().root(), frontier=b"", checkpoint="", fence=0)


def sequence(tx: Connection, at_most: int = AT_MOST) -> Sequenced:
    """Place up to `at_most` waiting events; LogDamaged when the tree's own row does not add up."""
    tree = _locked_tree(tx)
    frontier = Frontier(tree.size, tree.frontier)
    if frontier.root() != tree.root:
        raise LogDamaged("The tree's root in the database is not that of its subtrees.")
    places: list[dict[str, Any]] = []
    stuck: list[str] = []
    for waiting in tx.execute(_WAITING).all():
        try:
            for seq, leaf in _following(tx, waiting, tree.size, at_most - len(places)):
                places.append({"at_node": waiting.node, "at_seq": seq, "new_leaf": frontier.size})
                frontier.append(leaf)
        except LogDamaged as damage:
            stuck.append(str(damage))
        if len(places) >= at_most:
            break
    if places:
        _grow(tx, tree, frontier, places)
    return Sequenced(placed=len(places), fence=tree.fence + bool(places), stuck=stuck)


def keep_note(tx: Connection, note: str, fence: int) -> bool:
    """Keep a signed note beside the tree; false when another sequencer has moved the tree since."""
    return tx.execute(_SIGN, {"note": note, "at_fence": fence}).rowcount == 1


def _locked_tree(tx: Connection) -> Tree:
    row = tx.execute(_TREE).first()
    if row is None:
        tx.execute(_LAY, {"root": Frontier().root(), "empty": b""})
        row = tx.execute(_TREE).one()
    return _tree(row)


def _tree(row: Any) -> Tree:
    return Tree(
        size=row.size,
        root=bytes(row.root),
        frontier=bytes(row.frontier),
        checkpoint=row.checkpoint,
        fence=row.fence,
    )


def _grow(tx: Connection, tree: Tree, frontier: Frontier, places: list[dict[str, Any]]) -> None:
    if tx.execute(_PLACE, places).rowcount != len(places):
        raise LogDamaged("An event changed its place while it was being given one.")
    grown = {"new_size": frontier.size, "new_root": frontier.root(), "packed": frontier.packed()}
    if tx.execute(_GROW, {**grown, "old_fence": tree.fence, "new": tree.fence + 1}).rowcount != 1:
        raise LogDamaged("The tree was moved by another sequencer.")


def _following(tx: Connection, waiting: Any, size: int, room: int) -> Iterator[tuple[int, bytes]]:
    """Give the node's waiting events as (seq, leaf hash), each checked; LogDamaged at the first that is not right."""
    node = waiting.node
    seq = _last_placed(tx, node, waiting.seq)
    chain = FIRST_CHAIN
    if seq:
        last = tx.execute(_LEAF, {"node": node, "seq": seq}).one()
        if last.leaf >= size:
            raise LogDamaged(f"Event {seq} of node {node} has a place that the tree does not reach.")
        chain = bytes(last.chain)
    rows = tx.execute(_FOLLOWING, {"node": node, "after": seq, "last": waiting.seq, "room": room}).all()
    if placed := [row.seq for row in rows if row.leaf is not None]:
        raise LogDamaged(f"Event {placed[0]} of node {node} is in the tree already, before event {seq + 1}.")
    for row in rows:
        seq += 1
        if row.seq != seq:
            raise LogDamaged(f"Event {seq} of node {node} is missing.")
        body = bytes(row.body)
        leaf = leaf_hash(body)
        chain = _checked_chain(node, seq, body, chained(chain, leaf), bytes(row.chain))
        if seq == waiting.seq and chain != bytes(waiting.head):
            raise LogDamaged(f"Node {node} remembers another chain value than that of its last event, {seq}.")
        yield seq, leaf
        room -= 1
    if room > 0 and seq < waiting.seq:
        raise LogDamaged(f"Event {seq + 1} of node {node} is missing.")


def _checked_chain(node: str, seq: int, body: bytes, chain: bytes, stored: bytes) -> bytes:
    if chain != stored:
        raise LogDamaged(f"Event {seq} of node {node} is not what was chained: its body or chain value was altered.")
    facts = parse(body)
    if (facts.node, facts.seq) != (node, seq):
        raise LogDamaged(f"Event {seq} of node {node} says that it is event {facts.seq} of node {facts.node}.")
    return chain


def _last_placed(tx: Connection, node: str, last: int) -> int:
    """Give the number of the node's last event in the tree, 0 for none: looked up, since memory may be behind."""

    def placed(seq: int) -> bool:
        row = tx.execute(_LEAF, {"node": node, "seq": seq}).first()
        return row is not None and row.leaf is not None

    step = 1
    while last - step > 0 and not placed(last - step):
        step *= 2
    low, high = max(last - step, 0), last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if placed(middle) else (low, middle)
    return low
