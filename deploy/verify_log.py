# noqa: INP001 - one file, to be copied to wherever the check is to run
"""Check an export of an OpenPriors audit log, without OpenPriors.

    python verify_log.py EXPORT --key FILE [--checkpoint FILE]... [--proof FILE]... [--json]

EXPORT       what `openpriors log export` wrote; `-` reads standard input
--key        the log's public key: its `name+id+key` line (published as /log/key), or an Ed25519 public key in PEM
--checkpoint a signed checkpoint kept from earlier: the export must contain every event that it counts, unchanged
--proof      a .tlog-proof file (C2SP tlog-proof@v1) for an event of the export

Exit status 0: everything holds. 1: something does not, and one line each says what and where. 2: the files cannot be
read. Needs Python 3.11 and the package `cryptography`, and shares no code with the program that wrote the log.

What is checked: every event is in canonical form (RFC 8785) and numbered without a gap; each node's hash chain; every
commitment that is opened; the Merkle root (RFC 9162) under each signed checkpoint (C2SP tlog-checkpoint, Ed25519).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

FORMAT = "openpriors-log/1"
PROOF = "c2sp.org/tlog-proof@v1"
BODY = {"at", "kind", "node", "plain", "request", "sealed", "seq", "v"}
KEY_BYTES = HASH_BYTES = 32
LISTED = 1000  # problems named one by one


class Unreadable(Exception):
    """A file is not what it should be."""


class Invalid(Exception):
    """A signature, a proof or a checkpoint does not hold."""


def sha256(*parts: bytes) -> bytes:
    """Hash the parts joined."""
    return hashlib.sha256(b"".join(parts)).digest()


def canonical(value: Any) -> bytes:
    """RFC 8785 for what a log holds: text, whole numbers, true, false, null, lists and objects of them."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def load(text: str | bytes) -> Any:
    """Read JSON of text, whole numbers, true, false and null, in which no name stands twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        named = dict(pairs)
        if len(named) != len(pairs) or not all(name.isascii() for name in named):
            raise ValueError("a name stands twice or is not ASCII")
        return named

    def whole(digits: str) -> int:
        if abs(int(digits)) >= 1 << 53 or digits == "-0":
            raise ValueError("a number is out of range")
        return int(digits)

    def refuse(text: str) -> Any:
        raise ValueError(f"{text} is not a whole number")

    return json.loads(text, object_pairs_hook=unique, parse_int=whole, parse_float=refuse, parse_constant=refuse)


# -- the tree (RFC 9162 section 2.1)


class Tree:
    """Roots of the perfect trees that the leaves so far make up, largest first, as (leaves, root)."""

    def __init__(self) -> None:
        self.size = 0
        self.parts: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        """Add the next leaf's hash."""
        self.size += 1
        part = (1, leaf)
        while self.parts and self.parts[-1][0] == part[0]:
            count, left = self.parts.pop()
            part = (count * 2, sha256(b"\x01", left, part[1]))
        self.parts.append(part)

    def root(self) -> bytes:
        """Give the root of all leaves so far."""
        if not self.parts:
            return sha256()
        right = self.parts[-1][1]
        for _, left in self.parts[-2::-1]:
            right = sha256(b"\x01", left, right)
        return right


def root_by_path(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """The root that an audit path (leaf's sibling first) leads to, by the recursive definition of the path."""
    if size == 1:
        if path:
            raise Invalid("the proof has too many hashes")
        return leaf
    if not path:
        raise Invalid("the proof has too few hashes")
    left = 1 << ((size - 1).bit_length() - 1)
    *lower, sibling = path
    if index < left:
        return sha256(b"\x01", root_by_path(index, left, leaf, lower), sibling)
    return sha256(b"\x01", sibling, root_by_path(index - left, size - left, leaf, lower))


# -- signed checkpoints


@dataclass(frozen=True)
class Key:
    """The log's name and Ed25519 public key."""

    name: str
    public: bytes

    def id(self) -> bytes:
        """Give the four bytes by which signature lines name the key."""
        return sha256(self.name.encode(), b"\n\x01", self.public)[:4]


@dataclass(frozen=True)
class Head:
    """What a checkpoint says: so many events, this root."""

    size: int
    root: bytes


def read_key(text: str, name: str) -> Key:
    """Read a key file; a PEM file has no name and takes that of the export."""
    if text.startswith("-----BEGIN"):
        public = load_pem_public_key(text.encode())
        if not isinstance(public, Ed25519PublicKey):
            raise Unreadable("the key is not an Ed25519 public key")
        return Key(name, public.public_bytes(Encoding.Raw, PublicFormat.Raw))
    name, separator, rest = text.strip().partition("+")
    key_id, separator, encoded = rest.partition("+")
    blob = base64.b64decode(encoded, validate=True) if separator else b""
    key = Key(name, blob[1:])
    if len(blob) != 1 + KEY_BYTES or blob[0] != 1 or key.id().hex() != key_id:
        raise Unreadable("the key is not a `name+id+key` line of an Ed25519 key")
    return key


def read_checkpoint(note: str, key: Key) -> Head:
    """Read a signed checkpoint; Invalid unless the key signed it."""
    text, found, signatures = note.rpartition("\n\n")
    text += "\n"
    if not found:
        raise Invalid("it is not a signed note")
    mine = 0
    for line in signatures.split("\n")[:-1]:
        dash, name, blob = [*line.split(" "), "", ""][:3]
        signature = base64.b64decode(blob)
        if dash == "—" and name == key.name and signature[:4] == key.id():
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(signature[4:], text.encode())
            except InvalidSignature:
                raise Invalid("its signature does not hold") from None
            mine += 1
    if not mine:
        raise Invalid("it is not signed with the given key")
    origin, size, root = [*text.split("\n"), "", ""][:3]
    if origin != key.name or not size.isdecimal() or (size[0] == "0" and size != "0"):
        raise Invalid("it is not a checkpoint of this log")
    head = Head(int(size), base64.b64decode(root, validate=True))
    if len(head.root) != HASH_BYTES:
        raise Invalid("its root is not a SHA-256 hash")
    return head


def check_proof(text: str, key: Key, index: int, leaf: bytes) -> None:
    """Check that a .tlog-proof shows `leaf` at `index` of a signed tree."""
    top, _, note = text.partition("\n\n")
    lines = top.split("\n")
    if lines[0] != PROOF:
        raise Invalid("it is not a tlog-proof")
    lines = [line for line in lines[1:] if not line.startswith("extra ")]
    if lines[:1] != [f"index {index}"]:
        raise Invalid(f"it is not about index {index}")
    head = read_checkpoint(note, key)
    if index >= head.size:
        raise Invalid("its checkpoint does not reach the event")
    path = [base64.b64decode(line, validate=True) for line in lines[1:]]
    if root_by_path(index, head.size, leaf, path) != head.root:
        raise Invalid("its hashes do not lead from the event to the signed root")


def index_of(proof: str) -> int:
    """Give the index that a proof is about."""
    for line in proof.split("\n"):
        if line.startswith("index ") and line[6:].isdecimal():
            return int(line[6:])
    raise Unreadable("a proof names no index")


# -- the export


@dataclass
class Checked:
    """What was found so far."""

    key: Key
    heads: list[tuple[str, Head]]
    proofs: dict[int, list[tuple[str, str]]]
    problems: list[str] = field(default_factory=list)
    events: int = 0
    waiting: int = 0
    tree: Tree = field(default_factory=Tree)
    chains: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    unopened: set[tuple[str, int, str]] = field(default_factory=set)
    erased: set[tuple[str, int, str]] = field(default_factory=set)

    def say(self, problem: str) -> None:
        """Note a problem."""
        self.problems.append(problem)


def check_export(
    lines: Iterable[str], key_text: str, notes: list[tuple[str, str]], proofs: list[tuple[str, str]]
) -> Checked:
    """Check a whole or partial export against a key, older checkpoints and proofs, all given as (name, text)."""
    rows = numbered(lines)
    first = next(rows, None)
    if first is None or first[1].get("format") != FORMAT:
        raise Unreadable(f"the export does not begin with a line of the format {FORMAT}")
    head = first[1]
    checked = Checked(read_key(key_text, str(head["key"]).partition("+")[0]), [], {})
    if head["checkpoint"]:
        notes = [("the export's own checkpoint", head["checkpoint"]), *notes]
    read_heads(checked, notes)
    for name, text in proofs:
        checked.proofs.setdefault(index_of(text), []).append((name, text))
    compare_heads(checked)
    last = None
    for number, row in rows:
        if last is not None:
            checked.say(f"Line {number} comes after the last line.")
        elif "events" in row:
            last = row["events"]
        else:
            check_event(checked, row, whole=head["whole"], opened=head["openings"])
    if last != checked.events:
        checked.say(f"The export was cut: it has {checked.events} events, its last line says {last}.")
    finish(checked, head)
    return checked


def numbered(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the lines as objects."""
    for number, line in enumerate(lines, 1):
        try:
            row = load(line)
        except ValueError as error:
            raise Unreadable(f"line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise Unreadable(f"line {number} is not an object")
        yield number, row


def read_heads(checked: Checked, notes: list[tuple[str, str]]) -> None:
    """Read the checkpoints that the export must agree with."""
    for name, note in notes:
        try:
            checked.heads.append((name, read_checkpoint(note, checked.key)))
        except (Invalid, ValueError) as error:
            checked.say(f"{name} is not valid: {error}.")


def check_event(checked: Checked, row: dict[str, Any], *, whole: bool, opened: bool) -> None:
    """Check one line: its body, its place, its openings."""
    node, seq, leaf = row["node"], row["seq"], row["leaf"]
    body = row["body"].encode()
    where = f"event {seq} of node {node} ({'not yet in the tree' if leaf is None else f'leaf {leaf}'})"
    hashed = sha256(b"\x00", body)
    checked.events += 1
    facts = check_body(checked, body, node, seq, where)
    if whole:
        check_chain(checked, row, hashed, where)
        check_leaf(checked, leaf, hashed, where)
    elif "proof" in row:
        checked.proofs.setdefault(leaf, []).append((f"the proof of {where}", row["proof"]))
    else:
        checked.say(f"The {where} comes without a proof.")
    for name, proof in checked.proofs.pop(leaf, []) if leaf is not None else []:
        try:
            check_proof(proof, checked.key, leaf, hashed)
        except (Invalid, ValueError) as error:
            checked.say(f"{name} does not hold for {where}: {error}.")
    if facts is not None:
        check_openings(checked, facts, row.get("openings", {}), where, opened=opened)


def check_body(checked: Checked, body: bytes, node: str, seq: int, where: str) -> dict[str, Any] | None:
    """Demand canonical form, and that the body names its own place."""
    facts = facts_of(body)
    if facts is None:
        checked.say(f"The body of {where} is not the canonical form of an event.")
    elif (facts["node"], facts["seq"]) != (node, seq):
        checked.say(f"The body of {where} says that it is event {facts['seq']} of node {facts['node']}.")
    return facts


def facts_of(body: bytes) -> dict[str, Any] | None:
    """Read a body; None when it is not an event in canonical form."""
    try:
        facts = load(body)
        good = isinstance(facts, dict) and canonical(facts) == body and facts.keys() == BODY and facts["v"] == 1
        return facts if good and isinstance(facts["sealed"], dict) else None
    except ValueError:
        return None


def check_chain(checked: Checked, row: dict[str, Any], hashed: bytes, where: str) -> None:
    """Demand that the event follows its node's last one, in number and in chain."""
    before, chain = checked.chains.get(row["node"], (0, bytes(32)))
    stored = bytes.fromhex(row["chain"])
    if row["seq"] != before + 1:
        checked.say(f"The {where} does not follow event {before} of its node: one is missing or out of order.")
    elif sha256(b"\x03", chain, hashed) != stored:
        checked.say(f"The body or the chain value of {where} was altered.")
    checked.chains[row["node"]] = (max(row["seq"], before), stored)


def check_leaf(checked: Checked, leaf: int | None, hashed: bytes, where: str) -> None:
    """Demand that leaves have no gap, and grow the tree."""
    if leaf is None:
        checked.waiting += 1
        return
    if checked.waiting or leaf != checked.tree.size:
        checked.say(f"The tree has no event at leaf {checked.tree.size}: {where} comes there.")
    checked.tree.add(hashed)
    compare_heads(checked)


def compare_heads(checked: Checked) -> None:
    """Hold the tree, at the size it has now, against the checkpoints of that size."""
    for name, head in checked.heads:
        if head.size == checked.tree.size and head.root != checked.tree.root():
            checked.say(f"The first {head.size} events are not those of {name}.")


def check_openings(
    checked: Checked, facts: dict[str, Any], openings: dict[str, Any], where: str, *, opened: bool
) -> None:
    """Recompute each commitment that is opened."""
    node, seq = facts["node"], facts["seq"]
    for name, opening in openings.items():
        salt = bytes.fromhex(opening["salt"])
        digest = sha256(b"\x02", salt, canonical([name, opening["value"]])).hex()
        if len(salt) != HASH_BYTES or facts["sealed"].get(name) != digest:
            checked.say(f"The opening of {name!r} of {where} is not that of its commitment.")
    if opened:
        checked.unopened.update((node, seq, name) for name in facts["sealed"].keys() - openings.keys())
    if facts["kind"] == "log.erased":
        plain = facts["plain"]
        checked.erased.update((plain["event_node"], plain["event_seq"], name) for name in plain["fields"])


def finish(checked: Checked, head: dict[str, Any]) -> None:
    """Check what only the end can tell."""
    if head["whole"]:
        finish_whole(checked, head["nodes"])
        for node, seq, name in sorted(checked.unopened - checked.erased):
            checked.say(f"The opening of {name!r} of event {seq} of node {node} is missing, and no event erased it.")
    elif checked.heads:
        checked.say("A part of a log cannot be held against a checkpoint; export the whole log.")
    for left in checked.proofs.values():
        checked.problems.extend(f"{name} is about an event that the export does not have." for name, _ in left)


def finish_whole(checked: Checked, nodes: dict[str, list[Any]]) -> None:
    """Demand that nothing is missing at the end."""
    for name, head in checked.heads:
        if head.size > checked.tree.size:
            checked.say(f"The end was cut off: {name} counts {head.size} events, the export has {checked.tree.size}.")
    if not checked.heads:
        checked.say("No valid signed checkpoint was given, so nothing vouches for this export.")
    written = {node: [seq, chain.hex()] for node, (seq, chain) in checked.chains.items()}
    for node in sorted(written.keys() | nodes.keys()):
        if written.get(node, [0, bytes(32).hex()]) != nodes.get(node):
            checked.say(f"The last event of node {node} is not the one that the node remembers.")


# -- the command


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives its exit status."""
    parser = argparse.ArgumentParser(description="Check an export of an OpenPriors audit log, without OpenPriors.")
    parser.add_argument("export", help="what `openpriors log export` wrote, or - for standard input")
    parser.add_argument("--key", required=True, help="file with the log's public key")
    parser.add_argument("--checkpoint", action="append", default=[], help="an earlier signed checkpoint")
    parser.add_argument("--proof", action="append", default=[], help="a .tlog-proof file")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    try:
        checked = check_files(given)
    except (OSError, Unreadable, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.stderr.write(f"verify_log: cannot read this: {error}\n")
        return 2
    show(checked, as_json=given.json)
    return 1 if checked.problems else 0


def check_files(given: argparse.Namespace) -> Checked:
    """Read the files and check the export."""
    named = [
        [(name, Path(name).read_text(encoding="utf-8")) for name in names] for names in (given.checkpoint, given.proof)
    ]
    key = Path(given.key).read_text(encoding="utf-8")
    if given.export == "-":
        return check_export(sys.stdin, key, *named)
    with Path(given.export).open(encoding="utf-8", newline="\n") as lines:
        return check_export(lines, key, *named)


def show(checked: Checked, *, as_json: bool) -> None:
    """Say what was found."""
    signed = max((head.size for _, head in checked.heads), default=0)
    problems = checked.problems[:LISTED]
    if as_json:
        result = {"events": checked.events, "size": checked.tree.size, "root": checked.tree.root().hex()}
        sys.stdout.write(json.dumps({**result, "signed": signed, "ok": not problems, "problems": problems}) + "\n")
        return
    if len(checked.problems) > LISTED:
        problems.append(f"{len(checked.problems) - LISTED} further problems are not listed.")
    verdict = "NOT OK" if problems else "OK"
    summary = f"{verdict}: {checked.events} events, {signed} of them under a signed checkpoint."
    sys.stdout.write("\n".join([*problems, summary]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
