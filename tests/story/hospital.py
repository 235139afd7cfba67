"""A whole gateway under test: a data directory, facilities with keys, consents, and `openpriors serve` in its process.

What a test is about goes through HTTP or the command line; what merely has to be there is put there in this process,
by the functions that the commands call.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from consent import parties, register
from consent.model import FOREVER, Basis, Draft, Effect, Provenance, Purpose, Scope
from consent.parties import FacilityState
from gateway.client import OutsideClient
from gateway.commands.keys import make_key
from gateway.parts import open_parts
from gateway.receiving import open_ingest
from gateway.settings import Settings
from storage.log.reading import OpenedEvent
from storage.model import Custody
from storage.outcome import Status
from storage.reception import Received
from tests.conftest import ROOT, free_port

OPENPRIORS = Path(sys.executable).with_name("openpriors")
COMMAND_S = 120
START_S = 60
STOP_S = 30
ISSUER = "LOCAL"
SECOND = 1_000_000  # of an Instant


class NotServing(Exception):
    """The gateway under test did not start, or a command failed."""


def now() -> int:
    """The present instant."""
    return time.time_ns() // 1000


@dataclass(frozen=True, kw_only=True)
class Facility:
    """An outside facility and the file of its private key."""

    client_id: str
    name: str
    key: Path

    def client(self, url: str, *, verify: Path | None = None, expired: bool = False) -> OutsideClient:
        """Its client of a gateway; `verify` is the certificate to trust."""

        def now_s() -> int:
            return int(time.time()) - (3600 if expired else 0)

        client = OutsideClient(url=url, client_id=self.client_id, key=json.loads(self.key.read_text()), now_s=now_s)
        if verify is not None:
            client.session.trust_env = False  # where a machine names its own authorities, they would win
            client.session.verify = str(verify)
        return client

    def token(self, url: str, *, verify: Path | None = None) -> str:
        """A fresh access token."""
        return str(self.client(url, verify=verify).token()["access_token"])

    def revoke(self, url: str, token: str, *, verify: Path | None = None) -> None:
        """Give an access token back (RFC 7009)."""
        session = self.client(url, verify=verify).session
        session.revocation_endpoint_auth_method = "private_key_jwt"
        session.revoke_token(f"{url}/oauth/revoke", token=token).raise_for_status()


class Server:
    """One `openpriors serve`, or another program that serves the same data directory, ended by its pid."""

    def __init__(self, words: Sequence[str | Path], port: int, log: Path, environment: Mapping[str, str]) -> None:
        self.port = port
        self.log = log
        self.url = f"http://127.0.0.1:{port}"
        self._words = [str(word) for word in words]
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None, "asked only while it runs"
        return self.process.pid

    def start(self) -> Server:
        """Serve; returns when it is ready."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self._words, stdout=out, stderr=out, env=self._environment, cwd=ROOT)
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            if self._is_ready():
                return self
            time.sleep(0.05)
        self.kill()
        raise NotServing(f"{self.url} did not become ready:\n{self.said()[-3000:]}")

    def stop(self) -> None:
        """End it in good order, or by force after half a minute."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def said(self) -> str:
        """Everything it has written to its output."""
        return self.log.read_text(errors="replace")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Hospital:
    """One installation below `home`; `database` is a URL where it is not to be the embedded one."""

    def __init__(self, home: Path, database: str | None = None) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.data = home / "data"
        self.parts = open_parts(Settings(data=self.data, database=database), now)
        self._environment = {"OPENPRIORS_DATABASE": database} if database is not None else {}
        self.servers: list[Server] = []
        self._made = 0

    def close(self) -> None:
        """Stop what was started, let go of the rest."""
        for server in self.servers:
            server.stop()
        self.parts.close()

    # -- what is there

    def hold(self, files: Iterable[Path | bytes]) -> None:
        """Store images, of which none may be refused."""
        ingest = open_ingest(self.parts, Custody(job="story", actor="a test"))
        received = [Received(name=f"image {number}", source=file) for number, file in enumerate(files)]
        try:
            outcomes = list(ingest.store_many(received, ingest.delivery("story")))
        finally:
            ingest.close()
        refused = [f"{o.name}: {o.reason}" for o in outcomes if o.status not in {Status.STORED, Status.DUPLICATE}]
        if refused:
            raise NotServing("\n".join(refused))

    def facility(self, name: str = "Lakeside Clinic") -> Facility:
        """Register an outside facility, active at once."""
        self._made += 1
        key = self.home / f"facility-{self._made}.jwk"
        public = make_key(key)
        added = self.parts.database.write(
            parties.add,
            self.parts.log,
            self.provenance(),
            name=name,
            jwks={"keys": [public]},
            state=FacilityState.ACTIVE,
        )
        return Facility(client_id=added.client_id, name=name, key=key)

    def consent(
        self,
        facility: Facility,
        patient: str,
        *,
        studies: Sequence[str] = (),
        modalities: Sequence[str] = (),
        effect: Effect = Effect.PERMIT,
        begins: int | None = None,
        ends: int = FOREVER,
    ) -> str:
        """Record an active consent or refusal; gives its number."""
        draft = Draft(
            patient_id=patient,
            issuer=ISSUER,
            basis=Basis.POLICY,
            facilities=(facility.client_id,),
            scope=Scope(studies=tuple(studies), modalities=tuple(modalities)),
            purposes=(Purpose.TREAT,) if effect is Effect.PERMIT else (),
            effective_from=begins,
            effective_until=ends,
        )
        record = register.grant if effect is Effect.PERMIT else register.deny
        return self.parts.database.write(record, self.parts.log, draft, self.provenance()).consent_id

    def provenance(self) -> Provenance:
        self._made += 1
        return Provenance(by="a test", at=now(), request=f"story-{self._made}")

    # -- what is done

    def serve(self, *, port: int | None = None, program: Sequence[str | Path] = (), **settings: object) -> Server:
        """Serve this data directory; `settings` are those of the gateway, by name."""
        port = port or free_port()
        words = program or (OPENPRIORS, "--data", self.data, "serve")
        own = {f"OPENPRIORS_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {**self._environment, **own}
        log = self.home / f"serve-{len(self.servers)}.log"
        server = Server([*words, "--port", str(port)], port, log, environment)
        self.servers.append(server)
        return server.start()

    def command(self, *words: str | Path) -> Any:
        """Run `openpriors …` on this data directory in a process of its own; gives what `--json` printed."""
        ended = self.run(*words, "--json")
        if ended.returncode:
            raise NotServing(f"openpriors {words[0]} ended with {ended.returncode}: {ended.stderr[-2000:]}")
        return json.loads(ended.stdout)

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `openpriors …`; gives how it ended."""
        whole = [str(word) for word in (OPENPRIORS, "--data", self.data, *words)]
        environment = {**os.environ, **self._environment}
        return subprocess.run(
            whole, capture_output=True, text=True, timeout=COMMAND_S, check=False, cwd=self.home, env=environment
        )

    # -- what was recorded

    def events(self, subject: str, identifier: str) -> list[OpenedEvent]:
        """The record about a facility, patient, study or consent, opened, in its order."""
        log = self.parts.log
        return self.parts.database.read(
            lambda tx: [log.read(tx, place) for place in log.find(tx, subject, identifier, at_most=10_000)]
        )

    def outcome_of(self, facility: Facility, request: str, *, within_s: float = 10.0) -> OpenedEvent:
        """The outcome of one retrieve, which is written a moment after its last byte."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            for event in self.events("facility", facility.client_id):
                if event.kind.value == "retrieve.outcome" and event.request == request:
                    return event
            time.sleep(0.05)
        raise NotServing(f"no outcome of request {request} was recorded")

    def object_of(self, file: bytes) -> Path:
        """Where the store keeps an image with these bytes."""
        digest = sha256(file).hexdigest()
        return self.data / "objects" / digest[:2] / digest[2:4] / digest
