"""Signed tree heads (C2SP tlog-checkpoint) as signed notes (C2SP signed-note, Ed25519).

openpriors/<store>          origin
20852163                    size of the tree
CsUYapGGPo4dkMgIAU…         its root hash, base64
                            (an empty line)
— openpriors/<store> Az3g…  signature: base64(key id || Ed25519 over the lines above the empty one)
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from storage.log.errors import CheckpointInvalid
from storage.log.merkle import HASH_SIZE

ED25519: Final = b"\x01"  # signature type (C2SP signed-note)
KEY_ID_BYTES: Final = 4
NOTE_LIMIT: Final = 1 << 20
_NAME: Final = re.compile(r"[^\s+\x00-\x1f]+")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class Signer(Protocol):
    """Signs notes: a key file, a key management service. `public_key` is the 32-byte Ed25519 key (RFC 8032)."""

    @property
    def public_key(self) -> bytes: ...  # noqa: D102

    def sign(self, note: bytes) -> bytes: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The head of a tree: which log, how many leaves, their root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Give the note text, which is what is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A named public key that signatures on notes are checked with."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of the key's hash, which signature lines carry."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public_key).digest()[:KEY_ID_BYTES]

    def text(self) -> str:
        """Give the key as one line, `name+id+key`, as tools that check notes take it."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(ED25519 + self.public_key).decode()}"

    def checks(self, text: bytes, signature: bytes) -> bool:
        """Say whether `signature` is this key's over `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text)
        except InvalidSignature:
            return False
        return True


def origin_of(store: str) -> str:
    """Give the origin of a store's log, which is also the name of its key."""
    origin = f"openpriors/{store}"
    if not _NAME.fullmatch(origin):
        raise CheckpointInvalid("The store's name has a space, a plus or a control character and cannot name a log.")
    return origin


def signed(checkpoint: Checkpoint, signer: Signer) -> str:
    """Give the checkpoint as a note signed by the log's key."""
    key = VerifierKey(name=checkpoint.origin, public_key=signer.public_key)
    text = checkpoint.text()
    signature = signer.sign(text.encode())
    if not key.checks(text.encode(), signature):
        raise CheckpointInvalid("The signer gave a signature that its own public key does not confirm.")
    return f"{text}\n— {key.name} {b64encode(key.key_id + signature).decode()}\n"


def opened(note: str, key: VerifierKey) -> Checkpoint:
    """Read a signed checkpoint; CheckpointInvalid unless `key` signed it and it names the key's log."""
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or len(note) > NOTE_LIMIT or re.search(r"[\x00-\x09\x0b-\x1f]", note):
        raise CheckpointInvalid("The checkpoint is not a signed note.")
    text += "\n"
    known = [
        blob for name, blob in _signature_lines(signatures) if (name, blob[:KEY_ID_BYTES]) == (key.name, key.key_id)
    ]
    if not known:
        raise CheckpointInvalid(f"The checkpoint is not signed by {key.name} with this key.")
    if not all(key.checks(text.encode(), blob[KEY_ID_BYTES:]) for blob in known):
        raise CheckpointInvalid("The checkpoint was altered after it was signed.")
    checkpoint = _parsed(text)
    if checkpoint.origin != key.name:
        raise CheckpointInvalid(f"The checkpoint is that of another log, {checkpoint.origin}.")
    return checkpoint


def _parsed(text: str) -> Checkpoint:
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):  # noqa: PLR2004 - origin, size, root
        raise CheckpointInvalid("The checkpoint does not consist of origin, size and root.")
    root = _from_base64(lines[2])
    if len(root) != HASH_SIZE:
        raise CheckpointInvalid("The checkpoint's root is not a SHA-256 hash.")
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=root)


def _signature_lines(signatures: str) -> Iterator[tuple[str, bytes]]:
    if not signatures.endswith("\n"):
        raise CheckpointInvalid("The checkpoint is not a signed note.")
    for line in signatures[:-1].split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—" or not _NAME.fullmatch(parts[1]):  # noqa: PLR2004 - dash, name, blob
            raise CheckpointInvalid("A signature line of the checkpoint cannot be read.")
        yield parts[1], _from_base64(parts[2])


def _from_base64(text: str) -> bytes:
    try:
        decoded = b64decode(text, validate=True)
    except ValueError as error:
        raise CheckpointInvalid("The checkpoint holds something that is not base64.") from error
    if b64encode(decoded).decode() != text:
        raise CheckpointInvalid("The checkpoint holds base64 that is not in its one proper form.")
    return decoded
