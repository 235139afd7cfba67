"""What every command shares: the data directory it works on, opened once and only when needed."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consent.model import Provenance
from gateway.parts import Parts
from gateway.settings import Settings
from storage.model import Custody, Instant

if TYPE_CHECKING:
    from storage.ingest import Ingest
    from storage.steward import Task


@dataclass(slots=True, kw_only=True)
class Session:
    """One run of the command. `open_parts` and `custody` come from the composition root."""

    settings: Settings
    clock: Callable[[], Instant]
    open_parts: Callable[[Settings], Parts]
    open_ingest: Callable[[Parts, Custody], Ingest]
    custody: Callable[[str], Custody]
    run_server: Callable[[Parts, str, int], None]
    actor: str
    traceback: bool = False
    _parts: Parts | None = field(default=None)
    _request: str = field(default_factory=lambda: "cli-" + secrets.token_hex(8))

    @property
    def parts(self) -> Parts:
        """The opened data directory."""
        if self._parts is None:
            self._parts = self.open_parts(self.settings)
        return self._parts

    def provenance(self) -> Provenance:
        """Who changes something now, from the command line."""
        return Provenance(by=self.actor, at=self.clock(), request=self.request())

    def request(self) -> str:
        """A name for this run, which its audit records share."""
        return self._request

    def task(self, job: str) -> Task:
        """A change by a steward, from the command line."""
        from storage.steward import Task  # noqa: PLC0415 - few commands change what is kept

        return Task(
            custody=self.custody(job), append=self.parts.log.append_many, at=self.clock(), request=self.request()
        )

    def ingest(self, job: str) -> Ingest:
        """What stores images in the name of this job; to be closed."""
        return self.open_ingest(self.parts, self.custody(job))

    def serve(self, host: str, port: int) -> None:
        """Run the gateway until it is told to stop."""
        self.run_server(self.parts, host, port)

    def close(self) -> None:
        """Let go of what was opened; what is queued is committed first."""
        if self._parts is not None:
            self._parts.close()
            self._parts = None
