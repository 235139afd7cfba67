"""Merkle tree hashing and proofs (RFC 6962 section 2.1, RFC 9162 section 2.1), on the standard library alone.

A tree of `size` leaves is never held: it is summed up by its frontier, the roots of its full subtrees from left to
right. Proofs are made from a function that gives the root of a full subtree:
`subtree(level, index)` covers the leaves from `index << level` up to, not including, `(index + 1) << level`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final

Subtree = Callable[[int, int], bytes]

EMPTY_ROOT: Final = sha256(b"").digest()
HASH_SIZE: Final = 32


def leaf_hash(entry: bytes) -> bytes:
    """Hash one entry (RFC 9162 2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent (RFC 9162 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing tree, summed up: its size and the roots of its full subtrees, left to right.

    Parameters
    ----------
    size : number of leaves
    packed : the roots, 32 bytes each; as many as `size` has bits set
    """

    def __init__(self, size: int = 0, packed: bytes = b"") -> None:
        if size < 0 or len(packed) != HASH_SIZE * size.bit_count():
            raise ValueError("a frontier has one root for each bit of its size")
        self.size = size
        self._roots = [packed[at : at + HASH_SIZE] for at in range(0, len(packed), HASH_SIZE)]

    def append(self, leaf: bytes) -> None:
        """Add the leaf with hash `leaf` at index `size`."""
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self._roots.pop(), node)
            size >>= 1
        self._roots.append(node)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add many leaf hashes."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """Give the root of the whole tree, ragged edge included."""
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root

    def packed(self) -> bytes:
        """Give the roots as bytes, to make the same frontier again."""
        return b"".join(self._roots)


def range_root(start: int, end: int, subtree: Subtree) -> bytes:
    """Give the root over the leaves `start` to `end`, where `start` is where such a subtree begins in the tree."""
    count = end - start
    if count == 0:
        return EMPTY_ROOT
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return subtree(level, start >> level)
    middle = start + _split(count)
    return node_hash(range_root(start, middle, subtree), range_root(middle, end, subtree))


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Make the audit path of leaf `index` in the tree of `size` leaves (RFC 9162 2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size} leaves")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(range_root(middle, end, subtree))
            end = middle
        else:
            proof.append(range_root(start, middle, subtree))
            start = middle
    proof.reverse()
    return proof


def consistency_proof(old_size: int, size: int, subtree: Subtree) -> list[bytes]:
    """Prove that the tree of `old_size` leaves is the beginning of that of `size` leaves (RFC 9162 2.1.4.1)."""
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree of {old_size} leaves is not the beginning of one of {size}")
    if old_size in {0, size}:
        return []
    proof: list[bytes] = []
    start, end = 0, size
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(range_root(middle, end, subtree))
            end = middle
        else:
            proof.append(range_root(start, middle, subtree))
            start = middle
    # a verifier knows the old root: it is left out when the old tree is itself a full subtree from the left edge
    if start:
        proof.append(range_root(start, end, subtree))
    proof.reverse()
    return proof


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Check an audit path (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, node = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and node == root


def verify_consistency(old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Check that the old tree is the beginning of the new one (RFC 9162 2.1.4.2)."""
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    if old_size == size:
        return not proof and old_root == root
    if not 0 < old_size < size or not proof:
        return False
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_node = node = path[0]
    for sibling in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old_node, node = node_hash(sibling, old_node), node_hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old_node == old_root and node == root


def _split(count: int) -> int:
    """Give the largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)
