"""Check the whole log against itself, its checkpoints and its tiles; every problem says where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, func, select

from storage.log.entry import FIRST_CHAIN, SUBJECTS, Body, chained, parse, subject_pairs, value_of
from storage.log.errors import LogDamaged
from storage.log.event import EventId, Kind
from storage.log.index_check import IndexCheck
from storage.log.merkle import Frontier, leaf_hash
from storage.log.pages import Entry, entries, snapshot
from storage.log.publisher import Publisher, Witness
from storage.log.reading import opening_of
from storage.log.sequencer import Tree, tree_of
from storage.log.tile_check import TileCheck
from storage.sealing import KeyRing
from storage.tables import log_node, log_opening

PROBLEMS_KEPT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a check of the whole log found.

    `size` counts the events in the tree, `waiting` those not yet in it; `root` is the root of the events as they are.
    """

    size: int
    root: bytes
    waiting: int
    problems: Sequence[str]

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


def verify(tx: Connection, keys: KeyRing, publisher: Publisher, note: str | None) -> Verification:
    """Check the whole log in one state of it, also against the signed checkpoint `note`.

    The files are read first: what is signed was committed before, so this state of the log holds all of it.
    """
    problems: list[str] = []
    witnesses = publisher.witnesses(problems.append)
    here = publisher.published()
    if note is not None:
        witnesses += publisher.witness("the checkpoint given", note, problems.append)
    snapshot(tx)
    tree = tree_of(tx)
    if tree.checkpoint:
        witnesses += publisher.witness("the checkpoint in the database", tree.checkpoint, problems.append)
    tiles = TileCheck(publisher.tiles, here[0].size) if here else None
    walk = Walk(keys=keys, witnesses=witnesses, tiles=tiles, problems=problems)
    if tree.checkpoint and tx.dialect.name == "sqlite" and publisher.published() is None:
        # the nodes of a PostgreSQL database may each publish, or leave it to another
        walk.say("The checkpoint that was signed is not published here.")
    return walk.run(tx, tree)


@dataclass(slots=True)
class _Chain:
    """How far a node's events were followed."""

    seq: int = 0
    chain: bytes = FIRST_CHAIN


@dataclass(slots=True, kw_only=True)
class Walk:
    """One pass over the log, and what it has found so far."""

    keys: KeyRing
    witnesses: Sequence[Witness]
    tiles: TileCheck | None
    problems: list[str] = field(default_factory=list)
    waiting: int = 0
    openings: int = 0
    _found: int = 0
    _tree: Frontier = field(default_factory=Frontier)
    _nodes: dict[str, _Chain] = field(default_factory=dict)
    _unopened: set[tuple[str, int, str]] = field(default_factory=set)
    _erased: set[tuple[str, int, str]] = field(default_factory=set)
    _index: IndexCheck = field(init=False)
    _agreed: int = 0

    def __post_init__(self) -> None:
        self._index = IndexCheck(self.keys)

    def run(self, tx: Connection, tree: Tree) -> Verification:
        """Check everything; `tx` sees one state of the log throughout."""
        self._compare_witnesses()
        for entry in entries(tx):
            self._check(entry)
        self._finish_tree(tree)
        self._finish_nodes(tx)
        self._finish_openings(tx)
        self._index.finish(tx, self.say)
        return self._result()

    def say(self, problem: str) -> None:
        """Note a problem; beyond a thousand they are only counted."""
        self._found += 1
        if self._found <= PROBLEMS_KEPT:
            self.problems.append(problem)

    def _result(self) -> Verification:
        if self._found > PROBLEMS_KEPT:
            self.problems.append(f"{self._found - PROBLEMS_KEPT} further problems are not listed.")
        return Verification(
            size=self._tree.size, root=self._tree.root(), waiting=self.waiting, problems=tuple(self.problems)
        )

    def _check(self, entry: Entry) -> None:
        leaf = leaf_hash(entry.body)
        self._follow_chain(entry, leaf)
        if entry.leaf is None:
            self.waiting += 1
        else:
            self._grow(entry, leaf)
        self.openings += len(entry.openings)
        try:
            facts = parse(entry.body)
        except LogDamaged:
            self.say(f"The body of {entry.where} is not the canonical form of an event.")
            return
        if (facts.node, facts.seq) != (entry.node, entry.seq):
            self.say(f"The body of {entry.where} says that it is event {facts.seq} of node {facts.node}.")
        self._open(entry, facts)

    def _follow_chain(self, entry: Entry, leaf: bytes) -> None:
        """Demand that the event follows its node's last one, in number and in chain."""
        state = self._nodes.setdefault(entry.node, _Chain())
        expected = state.seq + 1
        if entry.seq > expected:
            missing = f"{expected}" if entry.seq == expected + 1 else f"{expected} to {entry.seq - 1}"
            self.say(f"Before {entry.where}, event {missing} of that node is missing or out of order.")
        elif entry.seq < expected:
            self.say(f"The {entry.where} stands after event {state.seq} of that node, which it must precede.")
        elif chained(state.chain, leaf) != entry.chain:
            self.say(f"The body or the chain value of {entry.where} was altered.")
        state.seq, state.chain = max(entry.seq, state.seq), entry.chain

    def _grow(self, entry: Entry, leaf: bytes) -> None:
        if entry.leaf != self._tree.size:
            self.say(f"The tree has no event at leaf {self._tree.size}: {entry.where} comes there.")
        self._tree.append(leaf)
        if self.tiles is not None:
            self.tiles.add(leaf, self.say)
        self._compare_witnesses()

    def _compare_witnesses(self) -> None:
        for witness in self.witnesses:
            head = witness.checkpoint
            if head.size == self._tree.size and head.root != self._tree.root():
                since = f"after the first {self._agreed}, " if self._agreed else ""
                self.say(
                    f"The first {head.size} events are not those of {witness.where}: {since}one was altered, removed "
                    f"or moved before leaf {head.size}."
                )
            elif head.size == self._tree.size:
                self._agreed = head.size

    def _open(self, entry: Entry, facts: Body) -> None:
        """Recompute every commitment from its opening."""
        place = EventId(node=entry.node, seq=entry.seq)
        for name in facts.sealed.keys() - entry.openings.keys():
            self._unopened.add((entry.node, entry.seq, name))
        for name, sealed in entry.openings.items():
            try:
                opening = opening_of(self.keys, place, name, sealed, facts.sealed.get(name))
                pairs = subject_pairs(value_of(opening)) if name == SUBJECTS else []
            except LogDamaged:
                self.say(f"The opening of {name!r} of {entry.where} was altered, or is not that of its commitment.")
                continue
            self._index.add(place, pairs)
        if facts.kind is Kind.ERASED:
            self._note_erasure(facts.plain)

    def _note_erasure(self, plain: Mapping[str, Any]) -> None:
        self._erased.update((plain["event_node"], plain["event_seq"], name) for name in plain["fields"])

    def _finish_tree(self, tree: Tree) -> None:
        """Hold the events against the tree's row, the checkpoints, and the tiles."""
        if tree.size != self._tree.size:
            self.say(f"The tree counts {tree.size} events, but {self._tree.size} have a place in it.")
        if tree.root != self._tree.root() or tree.frontier != self._tree.packed():
            self.say("The tree's root in the database is not that of the events.")
        for witness in self.witnesses:
            size = witness.checkpoint.size
            if size > self._tree.size:
                self.say(
                    f"The end was cut off: {witness.where} counts {size} events, the tree holds {self._tree.size}."
                )
        if self.tiles is not None:
            self.tiles.finish(self.say)

    def _finish_nodes(self, tx: Connection) -> None:
        """Demand that each node's last event is the one its row remembers."""
        remembered = {row.node: row for row in tx.execute(select(log_node))}
        for node in sorted(self._nodes.keys() | remembered.keys()):
            state, row = self._nodes.get(node, _Chain()), remembered.get(node)
            if row is None:
                self.say(f"Node {node} has events, but its row is missing.")
            elif row.seq != state.seq:
                self.say(f"Node {node} wrote {row.seq} events, but its last one here is event {state.seq}.")
            elif bytes(row.head) != state.chain:
                self.say(f"Node {node} remembers another chain value than that of its last event, {state.seq}.")

    def _finish_openings(self, tx: Connection) -> None:
        for node, seq, name in sorted(self._unopened - self._erased):
            self.say(
                f"The opening of {name!r} of event {seq} of node {node} is missing, and no event says it was erased."
            )
        for node, seq, name in sorted(self._erased - self._unopened):
            self.say(f"The opening of {name!r} of event {seq} of node {node} was erased, but is here again.")
        stored = tx.execute(select(func.count()).select_from(log_opening)).scalar_one()
        if stored != self.openings:
            self.say(f"{stored - self.openings} openings belong to no event.")
