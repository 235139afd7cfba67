"""OpenPriors with everything on: bearer tokens, consent per patient, durable audit; driven by its own command line."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .dataset import LARGE, SLOW, Bench
from .peer import ServerFailed, end, free_port, wait_ready

COMMAND_S = 900
RENEW_S = 90  # a token with less life left is renewed before the next measurement
GROWTH_TRIES, GROWTH_PAUSE_S = 10, 0.5


class Facility:
    """A registered outside facility and its current token."""

    def __init__(self, server: OpenPriors, name: str) -> None:
        self.server = server
        self.key = server.home / f"{name}.jwk"
        self.client_id = server.command("facility", "add", name, "--key-out", str(self.key))["client_id"]
        self._token, self._until = "", 0.0

    def renew(self) -> None:
        """Take a fresh token for the next request."""
        self._until = 0.0

    def headers(self) -> dict[str, str]:
        """Authorization with a token that lives at least 90 s more."""
        if time.monotonic() > self._until - RENEW_S:
            asked = time.monotonic()
            url = f"http://127.0.0.1:{self.server.port}"
            got = self.server.command("token", "--client-id", self.client_id, "--key", str(self.key), "--url", url)
            self._token, self._until = got["access_token"], asked + got["expires_in"]
        return {"Authorization": f"Bearer {self._token}"}


class OpenPriors:
    """One data directory, served, with a facility that the bench's patients consented to and one that they did not."""

    name = "openpriors"

    def __init__(self, home: Path, program: Path) -> None:
        self.home, self.program = home, program
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.facility: Facility | None = None
        self.stranger: Facility | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    @property
    def pid(self) -> int:
        assert self.process is not None, "asked only while it runs"
        return self.process.pid

    def command(self, *arguments: str) -> Any:
        """Run `openpriors … --json`; raises `ServerFailed` with its own words."""
        words = [str(self.program), "--data", str(self.home / "data"), *arguments, "--json"]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, check=False, cwd=self.home)
        if ended.returncode:
            raise ServerFailed(f"openpriors {arguments[0]} ended with {ended.returncode}: {ended.stderr[-2000:]}")
        return json.loads(ended.stdout)

    def start(self, bench: Bench) -> None:
        """Import, register, record the consents of the patients who are searched for, serve."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.load([bench.folder(bench.large), bench.folder(bench.small)], len(bench.large) + len(bench.small))
        self.facility, self.stranger = Facility(self, "Bench facility"), Facility(self, "Bench stranger")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self.consent, [*bench.searched, LARGE, SLOW]))
        log = self.home / "serve.log"
        words = [str(self.program), "--data", str(self.home / "data"), "serve", "--port", str(self.port)]
        with log.open("ab") as out:
            self.process = subprocess.Popen(words, stdout=out, stderr=out, cwd=self.home)
        wait_ready(f"http://127.0.0.1:{self.port}/readyz", self.process, log)

    def load_slow(self, bench: Bench) -> None:
        self.load([bench.folder(bench.slow)], len(bench.slow))

    def load(self, paths: Sequence[Path], count: int) -> None:
        """Import files that must all be new."""
        told = self.command("import", *map(str, paths))
        if told["stored"] != count:
            raise ServerFailed(f"import stored {told['stored']} of {count}: {str(told)[:1000]}")

    def consent(self, patient: str) -> None:
        assert self.facility is not None, "registered before the first consent"
        self.command("consent", "grant", "--patient", patient, "--facility", self.facility.client_id)

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)
            self.process = None

    def renew(self) -> None:
        assert self.facility is not None, "asked only while it runs"
        self.facility.renew()
        self.facility.headers()

    def headers(self) -> Mapping[str, str]:
        assert self.facility is not None, "asked only while it runs"
        return self.facility.headers()

    def store(self, files: Sequence[Path]) -> float:
        """Import the files beside the running server: from the start of the command to its durable end."""
        started = time.perf_counter()
        self.load(files, len(files))
        return time.perf_counter() - started

    def log_size(self, at_least: int = 0) -> int:
        """Size of the verified audit log, waiting a moment for what is on its way into the tree."""
        size = 0
        for _ in range(GROWTH_TRIES):
            told = self.command("log", "verify")
            if not told["ok"]:
                raise ServerFailed(f"log verify found problems: {told['problems']}")
            size = told["size"]
            if size >= at_least:
                break
            time.sleep(GROWTH_PAUSE_S)
        return size

    def settings(self) -> Mapping[str, object]:
        return {
            "authorization": "bearer token, one facility",
            "consent": "one active consent for each patient searched for",
            "audit": "on, durable before the first byte",
            "store": "as `openpriors import`, durable",
        }
