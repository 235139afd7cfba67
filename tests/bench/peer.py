"""What the bench asks of a server under test."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from .client import BrokenAnswer, whole
from .dataset import Bench

START_S = 60
STOP_S = 30


class ServerFailed(Exception):
    """A server under test, or one of its commands, did not do what it was started for."""


class Peer(Protocol):
    """One server: loaded with the bench's studies, then serving DICOMweb on a loopback port."""

    name: str

    def start(self, bench: Bench) -> None:
        """Load the studies and serve them; returns when it answers."""

    def stop(self) -> None:
        """End it and everything that it started."""

    @property
    def url(self) -> str:
        """The DICOMweb service root, without a slash at its end."""

    @property
    def pid(self) -> int:
        """The process at the top of the server's tree."""

    def headers(self) -> Mapping[str, str]:
        """The header fields that every request needs, good for at least the next minute."""

    def load_slow(self, bench: Bench) -> None:
        """Load the study for slow clients, too."""

    def store(self, files: Sequence[Path]) -> float:
        """Store files that it does not hold; returns the seconds that it took."""

    def settings(self) -> Mapping[str, object]:
        """Version and settings, to stand beside the figures."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when `url` answers 200; raises `ServerFailed` with the end of the server's log when it does not."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if whole(url, {}).status == 200:
                return
        except (OSError, BrokenAnswer):
            pass  # not listening yet
        time.sleep(0.1)
    raise ServerFailed(f"{url} did not answer 200: {log.read_text(errors='replace')[-2000:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
