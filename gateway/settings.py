"""All settings, read once. The only reader of the environment.

Every setting is `OPENPRIORS_` and its name in capitals; the command line's own flags win. No secret is a setting: keys
live in files of `keys`, a directory that must stand outside the data directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an installation decides. Frozen, so that no request can change it."""

    model_config = SettingsConfigDict(env_prefix="OPENPRIORS_", frozen=True, extra="forbid")

    data: Annotated[Path, Field(description="Data directory: objects, quarantine, log tiles, embedded database.")] = (
        Path("data")
    )
    keys: Annotated[
        Path | None,
        Field(description="Directory of the key files; outside `data`. Default: `<data>.keys` beside it."),
    ] = None
    database: Annotated[
        str | None,
        Field(description="SQLAlchemy URL, for example postgresql+psycopg://…; default: SQLite inside `data`."),
    ] = None
    public_url: Annotated[
        str,
        Field(
            description="Where outsiders reach the gateway; the only source of URLs. Default: where it listens.",
            pattern=r"^$|^https?://[^/\s]+(?:/[^/\s]+)*$",
        ),
    ] = ""
    trusted_proxy: Annotated[
        str | None,
        Field(description="Address of the TLS proxy in front; without it the gateway listens on loopback only."),
    ] = None
    facility_name: Annotated[str, Field(description="This hospital, as staff and outside facilities read it.")] = (
        "This hospital"
    )
    default_issuer: Annotated[
        str, Field(description="Who assigns a PatientID that names no issuer (0010,0021).", min_length=1)
    ] = "LOCAL"
    time_zone: Annotated[str, Field(description="IANA zone in which the dates of consents and studies are read.")] = (
        "UTC"
    )
    retention_months: Annotated[
        int, Field(description="Months that a study is kept available at least; below 12 is refused.", ge=12, le=1200)
    ] = 12
    unlabelled_is_ordinary: Annotated[
        bool,
        Field(description="Whether a series that nobody has labelled counts as not sensitive. False hides it."),
    ] = True
    search_limit: Annotated[int, Field(description="Most rows of one search answer.", ge=1, le=10_000)] = 1000
    access_token_s: Annotated[int, Field(description="Life of an access token, seconds.", ge=30, le=300)] = 300
    confirm_epoch_ms: Annotated[
        int, Field(description="How often running downloads confirm the epoch, milliseconds.", ge=50, le=500)
    ] = 200
    refusal_beat_ms: Annotated[
        int,
        Field(
            description="Refusals and empty answers leave on this beat, milliseconds, so that time tells nothing.",
            ge=1,
            le=1000,
        ),
    ] = 10
    object_limit_bytes: Annotated[int, Field(description="Largest instance that is accepted, bytes.", ge=1 << 20)] = (
        16 << 30
    )
    checkpoint_copy: Annotated[
        Path | None,
        Field(description="Directory, best on another machine's disk, to which every checkpoint is copied."),
    ] = None

    @property
    def key_directory(self) -> Path:
        """Where the key files are."""
        return self.keys or self.data.with_name(self.data.name + ".keys")
