"""What every signer of checkpoints must do, whatever holds its key."""

from __future__ import annotations

import pytest

from storage.log.checkpoint import Checkpoint, Signer, VerifierKey, opened, signed
from storage.log.errors import CheckpointInvalid

HEAD = Checkpoint(origin="openpriors/contract", size=7, root=bytes(range(32)))


class SignerContract:
    """Derive from it and give the fixture `signer`."""

    @pytest.fixture
    def signer(self) -> Signer:
        raise NotImplementedError

    def test_its_public_key_has_32_bytes(self, signer: Signer) -> None:
        assert len(signer.public_key) == 32

    def test_its_checkpoints_open_with_its_public_key(self, signer: Signer) -> None:
        key = VerifierKey(name=HEAD.origin, public_key=signer.public_key)
        assert opened(signed(HEAD, signer), key) == HEAD

    def test_it_signs_the_same_text_alike(self, signer: Signer) -> None:
        # a checkpoint signed again after a crash must be the checkpoint that others hold
        assert signer.sign(b"text\n") == signer.sign(b"text\n")

    def test_its_signature_holds_for_its_text_only(self, signer: Signer) -> None:
        key = VerifierKey(name=HEAD.origin, public_key=signer.public_key)
        note = signed(HEAD, signer)
        with pytest.raises(CheckpointInvalid):
            opened(note.replace("\n7\n", "\n8\n"), key)
