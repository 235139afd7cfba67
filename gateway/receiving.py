"""What stores images into an installation: the part of the composition root that an import needs, without a server."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from gateway.parts import Parts
from storage.archive.disk import DiskArchive
from storage.ingest import Ingest
from storage.model import Custody
from storage.settlement import IngestPolicy


def open_ingest(parts: Parts, custody: Custody) -> Ingest:
    """What stores images into the opened parts, in the name of a job."""
    settings = parts.settings
    policy = IngestPolicy(
        default_issuer=settings.default_issuer,
        months=settings.retention_months,
        zone=ZoneInfo(settings.time_zone),
    )
    return Ingest(
        database=parts.database,
        archive=DiskArchive(parts.directory),
        directory=parts.directory,
        append=parts.log.append_many,
        policy=policy,
        clock=parts.clock,
        custody=custody,
    )
