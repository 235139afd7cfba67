"""Keys and what is encrypted with them."""

from __future__ import annotations

import hmac
import os
import subprocess
import sys
from hashlib import shake_128
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.log.checkpoint import Signer
from storage.sealing import KeyRefused, KeyRing, NotSealedHere, Sealer, keyed_hash
from tests.contracts.log import SignerContract


class TestFileSigner(SignerContract):
    @pytest.fixture
    def signer(self, keys: KeyRing) -> Signer:
        return keys.signer


@pytest.mark.parametrize(
    ("key", "context", "sealed"),
    [
        ("01" * 32, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        ("03" * 32, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ],
)
def test_it_opens_what_the_specification_sealed(key: str, context: str, sealed: str) -> None:
    message = b"\x01" + b"ABCDEFGHIJKLMNOPQRSTUVWX" + bytes.fromhex(sealed)
    assert Sealer(bytes.fromhex(key)).open(message, context) == b"XAES-256-GCM"


def test_it_opens_ten_thousand_random_messages_of_the_specification() -> None:
    # the stream and the digest over the ciphertexts are those of C2SP XAES-256-GCM, "Accumulated randomized tests"
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    stream, at, digest = shake_128().digest(10_000 * (56 + 2 + 510)), 0, shake_128()

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        return stream[at - count : at]

    for _ in range(10_000):
        sealer, nonce = Sealer(take(32)), take(24)
        plaintext = take(take(1)[0])
        extra = take(take(1)[0])
        aead: AESGCM = sealer._derive(nonce[:12])
        digest.update(aead.encrypt(nonce[12:], plaintext, extra))
    assert digest.hexdigest(32) == "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


def test_what_was_sealed_opens_at_its_place_only(keys: KeyRing) -> None:
    sealed = keys.sealer.seal(b"MRN-1", "opening/local/1/patient")
    assert b"MRN-1" not in sealed
    assert keys.sealer.open(sealed, "opening/local/1/patient") == b"MRN-1"
    for wrong in (
        sealed[:-1],
        sealed[:20],
        b"",
        b"\x02" + sealed[1:],
        sealed[:30] + bytes([sealed[30] ^ 1]) + sealed[31:],
    ):
        with pytest.raises(NotSealedHere):
            keys.sealer.open(wrong, "opening/local/1/patient")
    with pytest.raises(NotSealedHere):
        keys.sealer.open(sealed, "opening/local/2/patient")
    with pytest.raises(NotSealedHere):
        Sealer(os.urandom(32)).open(sealed, "opening/local/1/patient")


def test_equal_content_is_sealed_differently(keys: KeyRing) -> None:
    many = keys.sealer.seal_many([(b"x", "c")] * 100)
    assert len({message[1:25] for message in many}) == 100
    assert keys.sealer.seal(b"x", "c") != keys.sealer.seal(b"x", "c")


@settings(deadline=None)
@given(st.binary(max_size=64), st.binary(max_size=3000))
def test_the_keyed_hash_is_hmac_sha_256(key: bytes, message: bytes) -> None:
    assert keyed_hash(key)(message) == hmac.digest(key, message, "sha256")


def test_keys_inside_the_data_directory_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "way").symlink_to(data)
    for inside in (data, data / "keys", data / "a" / ".." / "keys", tmp_path / "way" / "keys"):
        with pytest.raises(KeyRefused):
            KeyRing(inside, data_dir=data)
    assert list(data.iterdir()) == []


def test_key_files_are_private_and_stay_the_same(keys: KeyRing, tmp_path: Path) -> None:
    name = keys.subject("patient", "H|1")
    assert keys.directory.stat().st_mode & 0o777 == 0o700
    again = KeyRing(keys.directory, data_dir=tmp_path / "data")
    assert again.subject("patient", "H|1") == name
    assert again.signer.public_key == keys.signer.public_key
    assert again.fingerprint() == keys.fingerprint()
    assert {path.name for path in keys.directory.iterdir()} == {"log.key", "sealing.key", "subject.key"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys.directory.iterdir())


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys", data_dir=tmp_path / "data")
    ring.load_or_make("access.key", lambda: b"secret")
    (tmp_path / "keys" / "access.key").chmod(0o644)
    with pytest.raises(KeyRefused, match=r"access\.key"):
        ring.load_or_make("access.key", lambda: b"other")


def test_a_truncated_key_is_refused(keys: KeyRing) -> None:
    keys.load_or_make("sealing.key", lambda: b"short")
    with pytest.raises(KeyRefused):
        keys.sealer.seal(b"x", "c")


def test_processes_that_start_together_get_the_same_key(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from storage.sealing import KeyRing;"
        "ring = KeyRing(Path(sys.argv[1]) / 'keys', data_dir=Path(sys.argv[1]) / 'data'); sys.stdin.read();"
        "print(ring.load_or_make('k', lambda: os.urandom(32)).hex())"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in running:
        process.stdin.close()  # all at once
        process.stdin = None
    assert len({process.communicate(timeout=60)[0] for process in running}) == 1
