"""Hold the published tiles against the events, while the events are walked."""

from __future__ import annotations

from collections.abc import Callable

from storage.log.errors import LogDamaged
from storage.log.merkle import HASH_SIZE, node_hash
from storage.log.tiles import WIDTH, Tiles, tile_path

Say = Callable[[str], None]


class TileCheck:
    """Compares the tiles of the tree of `size` leaves with leaf hashes as they come.

    Parameters
    ----------
    tiles : as published
    size : of the published tree; later leaves are in no tile that anybody may ask for
    """

    def __init__(self, tiles: Tiles, size: int) -> None:
        self._tiles = tiles
        self._size = size
        self._seen = 0
        self._levels: list[list[bytes]] = []
        self._written: list[int] = []

    def add(self, leaf: bytes, say: Say) -> None:
        """Take the next leaf's hash."""
        if self._seen < self._size:
            self._seen += 1
            self._add(0, leaf, say)

    def finish(self, say: Say) -> None:
        """Compare the partial tiles at the right edge."""
        if self._seen < self._size:
            return  # the tree is shorter than what was published, which is told elsewhere
        for level, entries in enumerate(self._levels):
            if entries:
                self._compare(level, entries, say)

    def _add(self, level: int, entry: bytes, say: Say) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._written.append(0)
        entries = self._levels[level]
        entries.append(entry)
        if len(entries) < WIDTH:
            return
        self._compare(level, entries, say)
        self._written[level] += 1
        self._levels[level] = []
        self._add(level + 1, _root(entries), say)

    def _compare(self, level: int, entries: list[bytes], say: Say) -> None:
        index, width = self._written[level], len(entries)
        name = tile_path(level, index, width)
        try:
            content = self._tiles.read(level, index, width)
        except LogDamaged as damage:
            say(str(damage))
            return
        if content != b"".join(entries):
            first = next(at for at in range(width) if content[at * HASH_SIZE : (at + 1) * HASH_SIZE] != entries[at])
            leaf = (index * WIDTH + first) << (8 * level)
            say(f"The tile {name} is not that of the events: it differs from leaf {leaf} on.")


def _root(nodes: list[bytes]) -> bytes:
    while len(nodes) > 1:
        nodes = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    return nodes[0]
