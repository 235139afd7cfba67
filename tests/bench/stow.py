"""Storing through STOW-RS (PS3.18 10.5): 20 instances a request, 2 requests at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .client import whole
from .peer import ServerFailed

CLIENTS, BATCH = 2, 20


def stow_body(files: Sequence[Path], boundary: str) -> bytes:
    """The files as one STOW-RS request (PS3.18 10.5.1)."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + path.read_bytes() + b"\r\n" for path in files) + f"--{boundary}--\r\n".encode()


def stow(url: str, headers: Mapping[str, str], files: Sequence[Path]) -> float:
    """Store files through STOW-RS, 20 a request, 2 clients; returns the seconds, the bodies being ready before."""
    boundary = "openpriors-bench"
    media = f'multipart/related; type="application/dicom"; boundary={boundary}'
    fields = {**headers, "Content-Type": media, "Accept": "application/dicom+json"}
    bodies = [stow_body(files[at : at + BATCH], boundary) for at in range(0, len(files), BATCH)]
    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda body: whole(f"{url}/studies", fields, "POST", body), bodies))
    seconds = time.perf_counter() - started
    refused = [answer.status for answer in answers if answer.status != 200]
    if refused:
        raise ServerFailed(f"STOW-RS to {url} answered {refused}")
    return seconds
