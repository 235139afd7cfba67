"""The tree as static files (C2SP tlog-tiles): 256 hashes a tile, under `tile/<level>/<index>[.p/<width>]`.

Only hashes are published, never entries. A tile's bytes never change; a partial tile is kept until its full tile is
there. Tiles are derived from the events and can be made again from them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Final

from storage.log.errors import LogDamaged
from storage.log.files import make_directories, replace_file
from storage.log.merkle import HASH_SIZE, Frontier, Subtree, node_hash, range_root

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
_DIGITS: Final = 1000


class Tiles:
    """The hash tiles below a directory.

    Parameters
    ----------
    directory : holds `tile/`
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self, level: int, index: int, width: int) -> bytes:
        """Give the first `width` hashes of a tile; LogDamaged when they are not there."""
        partial = self.directory / tile_path(level, index, width)
        full = self.directory / tile_path(level, index, WIDTH)
        for path in dict.fromkeys((partial, full)):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            if len(content) == HASH_SIZE * (width if path == partial else WIDTH):
                return content[: HASH_SIZE * width]
        raise LogDamaged(f"The tile {tile_path(level, index, width)} is missing or has the wrong size.")

    def extend(self, old_size: int, leaves: Iterable[bytes]) -> None:
        """Write the tiles of a longer tree.

        Parameters
        ----------
        old_size : size of the tree that the present tiles stand for
        leaves : leaf hashes from the last multiple of 256 at or before `old_size` on, to the end of the new tree
        """
        level, index = 0, old_size // WIDTH
        entries: Iterator[bytes] = iter(leaves)
        while True:
            roots = self._write_level(level, index, entries)
            if not roots:
                return
            level += 1
            kept = (old_size >> HEIGHT * level) % WIDTH
            index = old_size >> HEIGHT * (level + 1)
            entries = chain(hashes(self.read(level, index, kept)) if kept else (), roots)

    def subtree(self, size: int) -> Subtree:
        """Give the function that proofs in the tree of `size` leaves are made from."""
        read = lru_cache(maxsize=64)(self.read)

        def root_of(level: int, index: int) -> bytes:
            height = level % HEIGHT
            first = index << height
            tile = first // WIDTH
            width = min(WIDTH, (size >> (level - height)) - tile * WIDTH)
            at = first % WIDTH * HASH_SIZE
            return _folded(list(hashes(read(level // HEIGHT, tile, width)[at : at + (HASH_SIZE << height)])))

        return root_of

    def frontier(self, start: int, size: int) -> Frontier:
        """Give the frontier of the first `start` leaves from the tiles of the tree of `size`."""
        subtree, before, roots = self.subtree(size), 0, []
        for level in reversed(range(start.bit_length())):
            if start >> level & 1:
                roots.append(subtree(level, before >> level))
                before += 1 << level
        return Frontier(start, b"".join(roots))

    def root(self, size: int) -> bytes:
        """Compute the root of the tree of `size` leaves from its tiles."""
        return range_root(0, size, self.subtree(size))

    def _write_level(self, level: int, index: int, entries: Iterator[bytes]) -> list[bytes]:
        """Write one level's tiles from `index` on; gives the roots of the full ones."""
        roots = []
        while tile := list(islice(entries, WIDTH)):
            self._write(level, index, tile)
            if len(tile) == WIDTH:
                roots.append(_folded(tile))
            index += 1
        return roots

    def _write(self, level: int, index: int, tile: list[bytes]) -> None:
        path, content = self.directory / tile_path(level, index, len(tile)), b"".join(tile)
        if not path.is_file() or path.read_bytes() != content:
            make_directories(path.parent)
            replace_file(path, content)
        if len(tile) == WIDTH:
            shutil.rmtree(path.with_name(path.name + ".p"), ignore_errors=True)


def tile_path(level: int, index: int, width: int) -> str:
    """Give the path of a tile (C2SP tlog-tiles, Merkle Tree): index 1234067 of level 0 is `tile/0/x001/x234/067`."""
    groups = [f"{index % _DIGITS:03}"]
    while index := index // _DIGITS:
        groups.append(f"x{index % _DIGITS:03}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"


def hashes(content: bytes) -> Iterator[bytes]:
    """Give the hashes that a tile consists of."""
    return (content[at : at + HASH_SIZE] for at in range(0, len(content), HASH_SIZE))


def _folded(nodes: list[bytes]) -> bytes:
    """Give the root over a power of two of nodes."""
    while len(nodes) > 1:
        nodes = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    if not nodes:
        raise LogDamaged("A tile is shorter than the tree needs.")
    return nodes[0]
