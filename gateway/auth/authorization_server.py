"""The embedded authorization server: access tokens for registered facilities, and their early end.

Client credentials alone (RFC 6749 4.4), with private_key_jwt. Whatever a facility that proved itself asks for uses its
assertion up and is recorded, in one transaction; what nobody proved is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from consent.parties import Facility
from consent.record import Record
from gateway.auth.access_tokens import AccessTokens, Grant
from gateway.auth.client_assertion import ClientAuthentication, ProvenClient
from gateway.auth.compact_jws import Unreadable
from gateway.auth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    OAuthRefused,
    Reason,
    UnsupportedGrantType,
)
from gateway.auth.purpose_of_use import NOTHING_SAID, Statement, allowed_purpose, read_statement
from gateway.auth.replay import revoke_token, use_assertion
from storage.database import Database
from storage.log.event import AuditEvent, Kind, Plain
from storage.model import Instant

GRANT_TYPE: Final = "client_credentials"


class AuthorizationServer:
    """Issues and revokes access tokens.

    Parameters
    ----------
    log : written in the transaction of what it records
    revocation_url : the revocation endpoint, which assertions sent there may also name as their audience
    """

    def __init__(
        self,
        *,
        database: Database,
        log: Record,
        clients: ClientAuthentication,
        tokens: AccessTokens,
        revocation_url: str,
        clock: Callable[[], Instant],
    ) -> None:
        self._database = database
        self._log = log
        self._clients = clients
        self._tokens = tokens
        self._revocation_url = revocation_url
        self._clock = clock

    async def issue(self, form: Mapping[str, str], request: str) -> dict[str, object]:
        """An access token (RFC 6749 5.1) for the facility that sent this form; `request` is the request's id.

        Raises
        ------
        OAuthRefused : which of its kinds says why
        """
        if "grant_type" not in form:
            raise InvalidRequest("grant_type is missing.")
        if form["grant_type"] != GRANT_TYPE:
            raise UnsupportedGrantType
        client = await self._clients.authenticate(form)
        try:
            statement = read_statement(client.claims)
            grant = self._grant(client.facility, statement, form.get("scope"))
        except OAuthRefused as refusal:
            await self._database.commit(self._record_refusal, client, request, refusal)
            raise
        token = self._tokens.write(grant)
        await self._database.commit(self._record_issue, client, request, statement, grant)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self._tokens.life_s,
            "scope": " ".join(grant.scopes),
        }

    async def revoke(self, form: Mapping[str, str], request: str) -> None:
        """End a token of the facility that sent this form (RFC 7009); a token nobody knows is no error.

        Raises
        ------
        OAuthRefused : not authenticated, no token named, or the token of another facility
        """
        if "token" not in form:
            raise InvalidRequest("token is missing.")
        client = await self._clients.authenticate(form, also_for=self._revocation_url)
        try:
            grant: Grant | None = self._tokens.read(form["token"], self._clock())
        except Unreadable:
            grant = None
        if grant is not None and grant.client_id != client.facility.client_id:
            refusal = InvalidGrant("The token was issued to another client.")
            await self._database.commit(self._record_refusal, client, request, refusal)
            raise refusal
        await self._database.commit(self._record_revocation, client, request, grant)

    def _grant(self, facility: Facility, statement: Statement, requested: str | None) -> Grant:
        scopes = granted_scopes(requested, facility)
        return self._tokens.new_grant(
            self._clock(),
            client_id=facility.client_id,
            scopes=scopes,
            purpose=allowed_purpose(statement, facility),
            person=statement.person,
            person_name=statement.person_name,
            organization=statement.organization,
        )

    def _record_issue(
        self, tx: Connection, client: ProvenClient, request: str, statement: Statement, grant: Grant
    ) -> None:
        self._use_up(tx, client)
        plain: dict[str, Plain] = {
            "credential": grant.jti,
            "purpose": grant.purpose.value,
            "scopes": list(grant.scopes),
            "expires_at": grant.expires_at,
        }
        self._append(tx, self._event(Kind.TOKEN_ISSUED, client, request, plain), statement)

    def _record_refusal(self, tx: Connection, client: ProvenClient, request: str, refusal: OAuthRefused) -> None:
        self._use_up(tx, client)
        plain: dict[str, Plain] = {"why": type(refusal).__name__, "where": "token endpoint"}
        self._append(tx, self._event(Kind.REFUSED, client, request, plain))

    def _record_revocation(self, tx: Connection, client: ProvenClient, request: str, grant: Grant | None) -> None:
        self._use_up(tx, client)
        if grant is not None and revoke_token(tx, grant.jti, grant.expires_at):
            self._append(tx, self._event(Kind.TOKEN_REVOKED, client, request, {"credential": grant.jti}))

    def _use_up(self, tx: Connection, client: ProvenClient) -> None:
        if not use_assertion(tx, client.facility.client_id, client.jti, client.expires_at):
            raise InvalidClient(Reason.REPLAYED)

    def _event(self, kind: Kind, client: ProvenClient, request: str, plain: Mapping[str, Plain]) -> AuditEvent:
        facility = client.facility.client_id
        return AuditEvent(
            kind=kind,
            at=self._clock(),
            request=request,
            plain={"facility": facility, "algorithm": client.algorithm, **plain},
            subjects=[("facility", facility)],
        )

    def _append(self, tx: Connection, event: AuditEvent, statement: Statement = NOTHING_SAID) -> None:
        """Write an event, with what the facility said about who asks, sealed."""
        said = {
            "person": statement.person,
            "person_name": statement.person_name,
            "person_role": statement.person_role,
            "organization": statement.organization,
        }
        persons = [("person", statement.person)] if statement.person else []
        sealed = {name: value for name, value in said.items() if value}
        self._log.append(tx, replace(event, sealed=sealed, subjects=[*event.subjects, *persons]))


def granted_scopes(requested: str | None, facility: Facility) -> tuple[str, ...]:
    """The scopes asked for, or all that the facility has (RFC 6749 3.3).

    Raises
    ------
    InvalidScope : one that the facility does not have, or none at all
    """
    if requested is None:
        scopes = facility.scopes
    else:
        scopes = tuple(dict.fromkeys(scope for scope in requested.split(" ") if scope))
    if not scopes or not set(scopes) <= set(facility.scopes):
        raise InvalidScope
    return scopes
