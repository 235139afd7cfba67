"""Merkle hashing and proofs against the published vectors and against the definition, read aloud."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.log import merkle

# inputs and roots of the test suite that Certificate Transparency implementations share
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [bytes.fromhex(text) for text in (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)]  # fmt: skip
INCLUSION = {  # (index, size) -> path
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CONSISTENCY = {  # (old size, size) -> proof
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def mth(hashes: list[bytes]) -> bytes:
    """MTH of RFC 9162 2.1.1, word for word, over leaf hashes."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def path(m: int, hashes: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162 2.1.3.1."""
    if len(hashes) == 1:
        return []
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return [*path(m, hashes[:k]), mth(hashes[k:])] if m < k else [*path(m - k, hashes[k:]), mth(hashes[:k])]


def subproof(m: int, hashes: list[bytes], complete: bool) -> list[bytes]:
    """SUBPROOF of RFC 9162 2.1.4.1."""
    if m == len(hashes):
        return [] if complete else [mth(hashes)]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    if m <= k:
        return [*subproof(m, hashes[:k], complete), mth(hashes[k:])]
    return [*subproof(m - k, hashes[k:], False), mth(hashes[:k])]


def subtree_of(hashes: list[bytes]) -> merkle.Subtree:
    return lambda level, index: mth(hashes[index << level : (index + 1) << level])


def leaf_hashes(count: int) -> list[bytes]:
    return [merkle.leaf_hash(b"event %d" % at) for at in range(count)]


def frontier_of(hashes: list[bytes]) -> merkle.Frontier:
    frontier = merkle.Frontier()
    frontier.extend(hashes)
    return frontier


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert frontier_of([merkle.leaf_hash(leaf) for leaf in LEAVES[:size]]).root() == ROOTS[size]


@pytest.mark.parametrize(("place", "expected"), INCLUSION.items())
def test_inclusion_proofs_are_those_of_certificate_transparency(place: tuple[int, int], expected: list[str]) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    assert [node.hex() for node in merkle.inclusion_proof(*place, subtree_of(hashes))] == expected


@pytest.mark.parametrize(("sizes", "expected"), CONSISTENCY.items())
def test_consistency_proofs_are_those_of_certificate_transparency(sizes: tuple[int, int], expected: list[str]) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    assert [node.hex() for node in merkle.consistency_proof(*sizes, subtree_of(hashes))] == expected


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 600), st.data())
def test_every_root_and_proof_is_that_of_the_definition(size: int, data: st.DataObject) -> None:
    hashes = leaf_hashes(size)
    split = data.draw(st.integers(0, size))
    frontier = frontier_of(hashes[:split])
    frontier = merkle.Frontier(frontier.size, frontier.packed())
    frontier.extend(hashes[split:])
    root = frontier.root()
    assert root == mth(hashes) == merkle.range_root(0, size, subtree_of(hashes))
    if size:
        index = data.draw(st.integers(0, size - 1))
        proof = merkle.inclusion_proof(index, size, subtree_of(hashes))
        assert proof == path(index, hashes)
        assert merkle.verify_inclusion(index, size, hashes[index], proof, root)
    old = data.draw(st.integers(0, size))
    consistency = merkle.consistency_proof(old, size, subtree_of(hashes))
    assert consistency == (subproof(old, hashes, True) if old else [])
    assert merkle.verify_consistency(old, size, mth(hashes[:old]), root, consistency)


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 300), st.data())
def test_a_proof_with_one_thing_changed_is_refused(size: int, data: st.DataObject) -> None:
    hashes = leaf_hashes(size)
    root = mth(hashes)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, subtree_of(hashes))
    for wrong in [proof[:-1], [*proof, root], [bytes(32), *proof[1:]], [*proof[:-1], bytes(32)]]:
        assert not merkle.verify_inclusion(index, size, hashes[index], wrong, root)
    other = data.draw(st.integers(-2, size + 2).filter(lambda at: at != index))
    assert not merkle.verify_inclusion(other, size, hashes[index], proof, root)
    assert not merkle.verify_inclusion(index, size, bytes(32), proof, root)
    # the same path and root do not hold for a tree that claims to be larger
    assert not any(merkle.verify_inclusion(index, size << more, hashes[index], proof, root) for more in range(1, 5))
    assert not any(merkle.verify_consistency(size, size << more, root, root, []) for more in range(1, 5))
    old = data.draw(st.integers(1, size - 1))
    old_root, consistency = mth(hashes[:old]), merkle.consistency_proof(old, size, subtree_of(hashes))
    for wrong in [consistency[:-1], [*consistency, root], [bytes(32), *consistency[1:]]]:
        assert not merkle.verify_consistency(old, size, old_root, root, wrong)
    assert not merkle.verify_consistency(old, size, bytes(32), root, consistency)
    assert not merkle.verify_consistency(old, size, old_root, bytes(32), consistency)
    assert not merkle.verify_consistency(size + 1, size, old_root, root, consistency)


def test_nothing_is_proven_of_a_leaf_outside_the_tree() -> None:
    with pytest.raises(ValueError):
        merkle.inclusion_proof(3, 3, subtree_of(leaf_hashes(3)))
    with pytest.raises(ValueError):
        merkle.consistency_proof(4, 3, subtree_of(leaf_hashes(3)))
    with pytest.raises(ValueError):
        merkle.Frontier(3, bytes(32))
    assert merkle.verify_consistency(0, 3, merkle.EMPTY_ROOT, mth(leaf_hashes(3)), [])
    assert not merkle.verify_consistency(0, 3, bytes(32), mth(leaf_hashes(3)), [])
    assert not merkle.verify_consistency(3, 3, bytes(32), mth(leaf_hashes(3)), [])
