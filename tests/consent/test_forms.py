"""Signed forms: kept once, sealed, and read back as they were."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import select, update

from consent import forms
from consent.errors import ImproperConsent, UnknownForm
from consent.tables import signed_form
from storage.database import Database
from storage.sealing import KeyRing, NotSealedHere

from .conftest import NOW

FORM = b"%PDF-1.7 signed by Pat Made-Up"


def test_a_form_is_kept_once_sealed_and_read_back(database: Database, keys: KeyRing) -> None:
    digest = database.write(forms.keep, keys.sealer, FORM, NOW)
    assert digest == sha256(FORM).hexdigest()
    assert database.write(forms.keep, keys.sealer, FORM, NOW + 1) == digest
    (row,) = database.read(lambda tx: tx.execute(select(signed_form)).all())
    assert row.received_at == NOW
    assert b"Made-Up" not in row.sealed
    assert database.read(forms.read, keys.sealer, digest) == FORM


def test_a_form_opens_with_its_key_and_in_its_place_only(database: Database, keys: KeyRing, tmp_path: Path) -> None:
    digest = database.write(forms.keep, keys.sealer, FORM, NOW)
    other = database.write(forms.keep, keys.sealer, b"another form", NOW)
    stranger = KeyRing(tmp_path / "other-keys", data_dir=tmp_path / "held").sealer
    with pytest.raises(NotSealedHere):
        database.read(forms.read, stranger, digest)
    swapped = select(signed_form.c.sealed).where(signed_form.c.digest == digest).scalar_subquery()
    database.write(
        lambda tx: tx.execute(update(signed_form).where(signed_form.c.digest == other).values(sealed=swapped))
    )
    with pytest.raises(NotSealedHere):
        database.read(forms.read, keys.sealer, other)


def test_an_unknown_form_is_said_to_be_unknown(database: Database, keys: KeyRing) -> None:
    with pytest.raises(UnknownForm):
        database.read(forms.read, keys.sealer, "0" * 64)


@pytest.mark.parametrize("size", [0, forms.LARGEST_BYTES + 1])
def test_a_form_is_neither_empty_nor_endless(sqlite_database: Database, keys: KeyRing, size: int) -> None:
    with pytest.raises(ImproperConsent):
        sqlite_database.write(forms.keep, keys.sealer, bytes(size), NOW)
