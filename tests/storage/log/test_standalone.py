"""The one-file verifier, run as an auditor runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from storage.database import Database
from storage.log.audit_log import AuditLog
from storage.log.checkpoint import Checkpoint, VerifierKey, signed
from storage.log.errors import NotYetSigned
from storage.log.event import EventId
from storage.sealing import FileSigner
from tests.storage.log import tampering
from tests.storage.log.events import NOW
from tests.storage.log.tampering import Filled

VERIFIER = Path(__file__).resolve().parents[3] / "deploy" / "verify_log.py"
Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def filled(database: Database, open_log: Callable[..., AuditLog]) -> Filled:
    return tampering.fill(open_log(database), 280, waiting=5)


@pytest.fixture
def check(filled: Filled, tmp_path: Path) -> Check:
    """Run the verifier in a directory of its own, without the project on its path."""
    (tmp_path / "auditor").mkdir()
    (tmp_path / "auditor" / "verify_log.py").write_bytes(VERIFIER.read_bytes())
    (tmp_path / "auditor" / "key").write_text(filled.log.verifier_key.text() + "\n")

    def run(lines: list[bytes], *options: str, **files: str) -> subprocess.CompletedProcess[str]:
        for name, content in files.items():
            (tmp_path / "auditor" / name).write_text(content)
        (tmp_path / "auditor" / "export").write_bytes(b"".join(lines))
        command = [sys.executable, "-I", "verify_log.py", "export", "--key", "key", *options]
        return subprocess.run(command, cwd=tmp_path / "auditor", capture_output=True, text=True, timeout=120)

    return run


def export(filled: Filled, *, openings: bool = True) -> list[bytes]:
    return filled.log.database.read(lambda tx: list(filled.log.export(tx, openings=openings)))


def part(filled: Filled, *seqs: int, openings: bool = True) -> list[bytes]:
    places = [EventId(node=filled.log.node, seq=seq) for seq in seqs]
    return filled.log.database.read(lambda tx: list(filled.log.export_events(tx, places, openings=openings)))


def test_an_export_is_confirmed_without_the_program(filled: Filled, check: Check) -> None:
    told = check(
        export(filled), "--checkpoint", "kept", "--checkpoint", "first", kept=filled.kept, first=filled.earliest
    )
    assert (told.returncode, told.stdout, told.stderr) == (
        0,
        "OK: 285 events, 280 of them under a signed checkpoint.\n",
        "",
    )
    found = json.loads(check(export(filled), "--json").stdout)
    assert found["ok"]
    assert (found["size"], found["root"]) == (280, filled.log.publisher.published()[0].root.hex())


def test_an_export_without_openings_names_nobody_and_is_confirmed(filled: Filled, check: Check) -> None:
    lines = export(filled, openings=False)
    assert b"MRN" not in b"".join(lines)
    assert b"Example" not in b"".join(lines)
    assert check(lines).returncode == 0


def test_a_part_is_confirmed_by_its_proofs(filled: Filled, check: Check) -> None:
    lines = part(filled, 1, 77, 280)
    assert check(lines).returncode == 0
    with pytest.raises(NotYetSigned):
        part(filled, 281)
    told = check([lines[0], lines[1].replace(b'"proof"', b'"roof"'), *lines[2:]])
    assert told.returncode == 1
    assert "event 1 of node" in told.stdout
    swapped = json.loads(lines[1]) | {"proof": json.loads(lines[2])["proof"]}
    assert check([lines[0], json.dumps(swapped).encode() + b"\n", *lines[2:]]).returncode == 1


def test_a_proof_file_is_checked(filled: Filled, check: Check) -> None:
    proof = filled.log.prove_inclusion(41).text()
    assert check(export(filled), "--proof", "p", p=proof).returncode == 0
    assert check(export(filled), "--proof", "p", p=proof.replace("index 41", "index 42")).returncode == 1
    assert check(export(filled), "--proof", "p", p=proof.replace("index 41", "index 4100")).returncode == 1
    lines = proof.split("\n")
    assert check(export(filled), "--proof", "p", p="\n".join([*lines[:3], *lines[4:]])).returncode == 1


def test_a_key_in_pem_serves_too(filled: Filled, check: Check) -> None:
    public = Ed25519PublicKey.from_public_bytes(filled.log.signer.public_key)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert check(export(filled), "--key", "pem", pem=pem).returncode == 0
    other = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    told = check(export(filled), "--key", "pem", pem=other.decode())
    assert told.returncode == 1
    assert "not signed with the given key" in told.stdout


def test_an_export_that_brings_its_own_key_is_not_believed(filled: Filled, check: Check) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes_raw()
    forger = FileSigner(_pem(key))
    assert len(pem) == 32
    head = filled.log.publisher.published()[0]
    note = signed(Checkpoint(origin=head.origin, size=head.size, root=head.root), forger)
    own = VerifierKey(name=head.origin, public_key=forger.public_key).text()
    first = json.loads(export(filled)[0]) | {"key": own, "checkpoint": note}
    told = check([json.dumps(first).encode() + b"\n", *export(filled)[1:]])
    assert told.returncode == 1
    assert "No valid signed checkpoint" in told.stdout


def _pem(key: Ed25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_cut_or_reordered_export_is_told(filled: Filled, check: Check) -> None:
    lines = export(filled)
    for wrong, said in [
        (lines[:-1], "The export was cut"),
        ([*lines[:100], *lines[101:]], "does not follow event 99"),
        ([*lines[:100], lines[101], lines[100], *lines[102:]], "does not follow"),
        ([*lines, lines[5]], "comes after the last line"),
        ([*lines[:-6], lines[-1]], "is not the one that the node remembers"),
        ([*lines[:200], json.dumps({"events": 199}).encode()], "counts 280 events"),
    ]:
        told = check(wrong)
        assert told.returncode == 1
        assert said in told.stdout
        assert "NOT OK" in told.stdout


def changed(line: bytes, field: str, **opening: object) -> bytes:
    event = json.loads(line)
    event["openings"][field] |= opening
    return json.dumps(event).encode() + b"\n"


def test_a_changed_opening_is_told(filled: Filled, check: Check) -> None:
    lines = export(filled)
    at = next(at for at, line in enumerate(lines) if b'"patient":{' in line)
    salt = json.loads(lines[at])["openings"]["patient"]["salt"]
    for opening in ({"value": "HOSPITAL|SOMEBODY-ELSE"}, {"salt": "00" * 32}, {"salt": salt[:-2]}, {"value": None}):
        told = check([*lines[:at], changed(lines[at], "patient", **opening), *lines[at + 1 :]])
        assert (told.returncode, told.stdout.count("\n")) == (1, 2)
        assert f"The opening of 'patient' of event {at} of node" in told.stdout
    extra = json.loads(lines[at])
    extra["openings"]["invented"] = {"salt": salt, "value": "x"}
    told = check([*lines[:at], json.dumps(extra).encode() + b"\n", *lines[at + 1 :]])
    assert "The opening of 'invented'" in told.stdout


@pytest.mark.parametrize(
    "junk", [b"", b"x\n", b"[]\n", b'{"format":"other"}\n', b'{"format":"openpriors-log/1"}\n', b"\xff\n"]
)
def test_what_is_no_export_is_refused_in_one_line(junk: bytes, filled: Filled, check: Check) -> None:
    told = check([junk])
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.count("\n") == 1


def test_erased_openings_are_no_fault(filled: Filled, check: Check, open_log: Callable[..., AuditLog]) -> None:
    later = open_log(filled.log.database, clock=lambda: NOW + 2193 * 86_400_000_000)
    filled.log.database.write(later.erase, EventId(node=filled.log.node, seq=2), ["patient", "subjects"])
    assert check(export(filled)).returncode == 0
    told = check([line.replace(rb"\"event_seq\":2", rb"\"event_seq\":3") for line in export(filled)])
    assert "The opening of 'patient' of event 2 of node" in told.stdout
