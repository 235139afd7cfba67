"""Keys that a facility's own command made: the private half goes into one new file, once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey

from gateway.commands.output import WRONG_INPUT, stop


def make_key(path: Path) -> dict[str, Any]:
    """Make an ES384 key, write the private JWK to a new file that only its owner reads, give the public one."""
    key = ECKey.generate_key("P-384", {"use": "sig", "alg": "ES384"}, auto_kid=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        stop(f"{path} exists already; a private key is never overwritten.", status=WRONG_INPUT)
    except OSError:
        stop(f"{path} cannot be written.", status=WRONG_INPUT)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(key.as_dict(private=True), file)
    return dict(key.as_dict(private=False))
