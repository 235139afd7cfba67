"""A large study to four slow clients: a server that streams needs no more memory for it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .client import connect, read_head, request_bytes
from .dataset import Bench
from .items import STUDY
from .memory import Memory, Watch
from .peer import Peer
from .profile import MIB, Profile

CLIENTS = 4
RECEIVE_BUFFER, PIECE = 256 << 10, 128 << 10
FLAT = 64 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """What the clients got, and what the server held meanwhile."""

    peer: str
    study_bytes: int
    statuses: list[int]
    received: list[int]
    seconds: float
    memory: Memory

    @property
    def flat(self) -> bool:
        """All were served, and resident memory never grew by more than 64 MiB."""
        served = set(self.statuses) == {200} and all(self.received)
        return served and self.memory.peak - self.memory.before <= FLAT


def trickle(peer: Peer, study: str, seconds: int, rate: int) -> tuple[int, int]:
    """Receive the study at no more than `rate` bytes/s, for at most `seconds`; returns status and bytes received."""
    url = f"{peer.url}/studies/{study}"
    with connect(url, RECEIVE_BUFFER) as sock:
        sock.sendall(request_bytes("GET", url, {**STUDY, **peer.headers()}))
        head = read_head(sock)
        started, received = time.monotonic(), len(head.rest)
        while (passed := time.monotonic() - started) < seconds:
            if received > passed * rate:
                time.sleep(min(received / rate - passed, seconds - passed))
            piece = sock.recv(PIECE)
            if not piece:
                break
            received += len(piece)
    return head.status, received


def stream(peer: Peer, bench: Bench, profile: Profile) -> Slow:
    """Four clients at once, on a server that holds the study; memory is sampled all the while."""
    peer.headers()  # renewed before, so that four threads do not renew it at once
    started = time.monotonic()
    study = bench.slow[0].study
    with Watch(peer.pid) as watch, ThreadPoolExecutor(CLIENTS) as pool:
        jobs = [pool.submit(trickle, peer, study, profile.slow_s, profile.slow_rate) for _ in range(CLIENTS)]
        got = [job.result() for job in jobs]
    return Slow(
        peer=peer.name,
        study_bytes=sum(one.size for one in bench.slow),
        statuses=[status for status, _ in got],
        received=[received for _, received in got],
        seconds=time.monotonic() - started,
        memory=watch.memory,
    )
