"""The tables of consent: facilities, immutable consent versions, and the flat grants that the predicate reads."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text

from storage.tables import Key, metadata

facility = Table(
    "facility",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("npi", Text),
    Column("affiliated", Boolean, nullable=False),
    Column("state", Text, nullable=False),  # pending | active | suspended
    Column("purposes", Text, nullable=False),  # allowed PurposeOfUse codes, comma separated; the first is the default
    Column("scopes", Text, nullable=False),  # what its tokens may carry, space separated (RFC 6749 3.3)
    Column("jwks", Text),  # public keys by value (RFC 7517), or
    Column("jwks_uri", Text),  # by address
    Column("registered_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

consent = Table(
    "consent",
    metadata,
    Column("consent_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("patient", Key, ForeignKey("patient.id"), nullable=False, index=True),
    Column("state", Text, nullable=False),
    Column("body", Text, nullable=False),  # the whole Consent as JSON; what it grants is flattened below
    Column("recorded_at", BigInteger, nullable=False, index=True),
)

consent_grant = Table(
    "consent_grant",
    metadata,
    Column("id", Key, primary_key=True),
    Column("consent_id", Text, nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("patient", Key, ForeignKey("patient.id"), nullable=False),
    Column("effect", Text, nullable=False),  # permit | deny
    Column("facility", Text, nullable=False),  # client_id, or * for every registered non-affiliated facility
    Column("purpose", Text, nullable=False),  # PurposeOfUse code, or *
    Column("actions", Integer, nullable=False),  # bits of Action
    Column("study_instance_uid", Text),  # NULL: not narrowed on it; likewise below
    Column("modality", Text),
    Column("study_from", Text),  # DA text, both ends included
    Column("study_to", Text),
    # permit: the labels it may reach (never NULL); deny: the labels it closes, NULL for every series
    Column("sensitivity", Integer),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_until", BigInteger, nullable=False),  # exclusive
    Column("revoked_at", BigInteger),  # kept after the end: grants are evidence
    Index("ix_consent_grant_patient_facility", "patient", "facility"),
    Index("ix_consent_grant_facility_patient", "facility", "patient"),
)

consent_time = Table(
    "consent_time",
    metadata,
    # the instants at which time alone changes what a facility may see; gone once the consent is over. Not indexes of
    # consent_grant: the rules would be planned over them, which costs a thousand times as much
    Column("consent_id", Text, primary_key=True),
    Column("facility", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("ends", Boolean, nullable=False),  # the consent ends; else a refusal begins
    Index(None, "facility", "at"),
    Index(None, "ends", "at"),
)

signed_form = Table(
    "signed_form",
    metadata,
    Column("digest", Text, primary_key=True),  # SHA-256 of the form, hex
    Column("sealed", LargeBinary, nullable=False),  # encrypted with a key outside the data directory
    Column("received_at", BigInteger, nullable=False),
)
