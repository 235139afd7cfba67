"""The tables of authentication: what was used once, what was revoked, who works here."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text

from storage.tables import Key, metadata

assertion_used = Table(
    "assertion_used",
    metadata,
    # RFC 7523: an assertion's jti counts once per issuer, on every node, also after a restart
    Column("issuer", Text, primary_key=True),
    Column("jti", Text, primary_key=True),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

token_revoked = Table(
    "token_revoked",
    metadata,
    Column("jti", Text, primary_key=True),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

staff = Table(
    "staff",
    metadata,
    Column("id", Key, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),  # consent | records | admin | auditor
    Column("password", Text, nullable=False),  # argon2id
    Column("state", Text, nullable=False),  # active | closed
    Column("created_at", BigInteger, nullable=False),
)

staff_session = Table(
    "staff_session",
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # SHA-256 of the cookie; the cookie itself is not kept
    Column("staff", Key, nullable=False),
    Column("csrf", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger, nullable=False),
)

sign_in_failure = Table(
    "sign_in_failure",
    metadata,
    Column("id", Key, primary_key=True),
    Column("email", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("count", Integer, nullable=False, default=1),
    Index(None, "email", "at"),
)
