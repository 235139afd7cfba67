"""Keys outside the data directory, and what is encrypted or signed with them.

Encryption is AES-256-GCM under a key derived for each message (C2SP XAES-256-GCM), because plain AES-GCM with random
nonces must stop after 2^32 messages and the log writes more than that in six years.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from storage.errors import StorageError
from storage.log.files import create_file, make_directories

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"  # the first byte of everything sealed, so that a later scheme can be told apart
_NONCE: Final = slice(1, 25)


class KeyRefused(StorageError):
    """A key cannot be used as it is kept; put the keys in a directory of their own that only this program can read."""


class NotSealedHere(StorageError):
    """What was encrypted cannot be opened with this key: it was altered, moved, or sealed with another key."""


class KeyRing:
    """A directory of key files, each made on first use, outside the data directory.

    Parameters
    ----------
    directory : made with mode 0700 when missing; KeyRefused when it lies inside the data directory
    data_dir : the data directory whose content the keys protect
    """

    def __init__(self, directory: Path, *, data_dir: Path) -> None:
        self.directory = directory.resolve()
        inside = data_dir.resolve()
        if self.directory == inside or inside in self.directory.parents:
            raise KeyRefused(f"The keys may not lie in {directory}, inside the data directory that they protect.")
        make_directories(self.directory, mode=0o700)

    def load_or_make(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Give the content of key file `name`, made by `make` when there is none; all processes get the same.

        Raises KeyRefused when others than the owner and group may read it, or anyone but the owner may write it.
        """
        path = self.directory / name
        if not path.exists():
            create_file(path, make())
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & (stat.S_IRWXO | stat.S_IWGRP):
                raise KeyRefused(f"The key file {path} is open to other accounts (mode {mode:04o}); make it 0600.")
            return file.read()

    @cached_property
    def sealer(self) -> Sealer:
        """What encrypts openings, signed forms and backups."""
        return Sealer(self._secret("sealing.key"))

    @cached_property
    def signer(self) -> FileSigner:
        """What signs checkpoints."""
        return FileSigner(self.load_or_make("log.key", _new_signing_key))

    def subject(self, kind: str, identifier: str) -> bytes:
        """Give the name under which the log finds events about a subject; nobody without the key can guess it."""
        return self._subject_hash(f"{kind}:{identifier}".encode())

    def fingerprint(self) -> bytes:
        """Give what tells this ring's secrets from another's, without saying anything about them."""
        return self._subject_hash(b"fingerprint" + keyed_hash(self._secret("sealing.key"))(b"openpriors"))

    @cached_property
    def _subject_hash(self) -> Callable[[bytes], bytes]:
        return keyed_hash(self._secret("subject.key"))

    def _secret(self, name: str) -> bytes:
        secret = self.load_or_make(name, lambda: os.urandom(KEY_BYTES))
        if len(secret) != KEY_BYTES:
            raise KeyRefused(f"The key file {self.directory / name} does not hold {KEY_BYTES} bytes.")
        return secret


class Sealer:
    """Encrypts so that only the holder of the key can read, and only where it was put.

    Parameters
    ----------
    key : 32 bytes
    """

    def __init__(self, key: bytes) -> None:
        # one block under this key derives the key of one message; no data is ever encrypted with it
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305
        self._subkey = _cmac_subkey(self._encrypt_blocks(bytes(16)))
        self._aead = lru_cache(maxsize=16)(self._derive)

    def seal(self, content: bytes, context: str) -> bytes:
        """Encrypt `content`; it opens again with the same `context` only."""
        return next(iter(self.seal_many([(content, context)])))

    def seal_many(self, items: Iterable[tuple[bytes, str]]) -> list[bytes]:
        """Encrypt many (content, context) pairs at once, which costs a third."""
        items = list(items)
        # drawn in one call: each would hand the interpreter to another thread, and the writer waits to get it back
        drawn = os.urandom(12 * (len(items) + 1))
        prefix, sealed = drawn[:12], []
        aead = self._derive(prefix)
        for at, (content, context) in enumerate(items, 1):
            nonce = drawn[12 * at : 12 * at + 12]
            sealed.append(_VERSION + prefix + nonce + aead.encrypt(nonce, content, context.encode()))
        return sealed

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt; NotSealedHere when a bit, the context or the key is not that of the sealing."""
        nonce = sealed[_NONCE]
        if sealed[:1] != _VERSION or len(nonce) != _NONCE.stop - _NONCE.start:
            raise NotSealedHere
        try:
            return self._aead(nonce[:12]).decrypt(nonce[12:], sealed[_NONCE.stop :], context.encode())
        except InvalidTag:
            raise NotSealedHere from None

    def _derive(self, prefix: bytes) -> AESGCM:
        """Derive the key of the messages whose nonce begins with `prefix` (XAES-256-GCM, detailed algorithm)."""
        blocks = (b"\x00\x01X\x00" + prefix, b"\x00\x02X\x00" + prefix)
        return AESGCM(self._encrypt_blocks(b"".join(_xor(block, self._subkey) for block in blocks)))

    def _encrypt_blocks(self, blocks: bytes) -> bytes:
        return self._cipher.encryptor().update(blocks)


class FileSigner:
    """Signs with an Ed25519 key from a PEM file (RFC 8032).

    Parameters
    ----------
    pem : PKCS #8, not encrypted
    """

    def __init__(self, pem: bytes) -> None:
        key = load_pem_private_key(pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyRefused("The key that signs checkpoints is not an Ed25519 key.")
        self._key = key
        self.public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, note: bytes) -> bytes:
        """Give the 64-byte signature over the text of a note."""
        return self._key.sign(note)


def keyed_hash(key: bytes) -> Callable[[bytes], bytes]:
    """Give HMAC-SHA-256 (RFC 2104) under `key`, at most 64 bytes, with its two first blocks hashed beforehand.

    A short message never leaves the interpreter's lock, as `hmac.digest` does: three of those for each event would
    hand it to the writer three times.
    """
    block = key.ljust(64, b"\0")
    inner, outer = sha256(bytes(byte ^ 0x36 for byte in block)), sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(message: bytes) -> bytes:
        first, second = inner.copy(), outer.copy()
        first.update(message)
        second.update(first.digest())
        return second.digest()

    return digest


def _new_signing_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _cmac_subkey(block: bytes) -> bytes:
    """Double in GF(2^128) (SP 800-38B section 6.1)."""
    doubled = int.from_bytes(block) << 1
    if block[0] & 0x80:
        doubled ^= (1 << 128) | 0x87
    return doubled.to_bytes(16)


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(len(left))
