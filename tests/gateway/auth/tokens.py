"""Tokens made by hand: any header and payload, with a genuine signature."""

from __future__ import annotations

import base64
import json
from typing import Any

from joserfc import jws


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_by_hand(header: dict[str, Any] | bytes, payload: bytes, key: Any, alg: str | None = None) -> str:
    """A compact JWS of exactly this header and payload, with a genuine signature of `alg`."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    alg = alg or json.loads(raw)["alg"]
    signing_input = f"{b64(raw)}.{b64(payload)}"
    signature = jws.JWSRegistry.algorithms[alg].sign(signing_input.encode(), key)
    return f"{signing_input}.{b64(signature)}"


def unb64(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
