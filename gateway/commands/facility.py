"""`facility add|list|approve|suspend|rotate-key`: the outside facilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from consent import parties
from consent.model import Purpose
from consent.parties import Facility, FacilityState
from gateway.commands.keys import make_key
from gateway.commands.output import WRONG_INPUT, emit, stop, table
from gateway.commands.session import Session

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ClientId = Annotated[str, typer.Argument(metavar="CLIENT_ID")]
Jwks = Annotated[Path | None, typer.Option("--jwks", help="The facility's public keys, a JWK Set file.")]
JwksUri = Annotated[str | None, typer.Option("--jwks-uri", help="Where the facility publishes its keys (https).")]
KeyOut = Annotated[Path | None, typer.Option("--key-out", help="Make a key; write the private JWK here, once.")]


def add_to(app: typer.Typer, session: Session) -> None:
    """Add the facility commands."""
    group = typer.Typer(help="The outside facilities.", no_args_is_help=True)
    app.add_typer(group, name="facility")
    _add_registration(group, session)
    _add_changes(group, session)


def _add_registration(group: typer.Typer, session: Session) -> None:
    @group.command("add")
    def add(
        name: Annotated[str, typer.Argument(help="The facility's name.")],
        npi: Annotated[str | None, typer.Option("--npi", help="National Provider Identifier.")] = None,
        jwks: Jwks = None,
        jwks_uri: JwksUri = None,
        key_out: KeyOut = None,
        purpose: Annotated[
            list[str] | None, typer.Option("--purpose", help="Allowed purposes; the first is the default.")
        ] = None,
        affiliated: Annotated[
            bool, typer.Option("--affiliated", help="It belongs to this hospital's organisation.")
        ] = False,
        as_json: AsJson = False,
    ) -> None:
        """Register a facility and let it in."""
        keys = _keys(jwks, jwks_uri, key_out)
        facility = session.parts.database.write(
            parties.add,
            session.parts.log,
            session.provenance(),
            name=name,
            jwks=keys,
            jwks_uri=jwks_uri,
            npi=npi,
            purposes=_purposes(purpose),
            affiliated=affiliated,
            state=FacilityState.ACTIVE,
        )
        text = [f"{facility.name} is registered as {facility.client_id}."]
        if key_out is not None:
            text.append(f"Its private key is in {key_out}; it is kept nowhere else.")
        emit(_document(facility), as_json=as_json, text=text)

    @group.command("list")
    def list_facilities(as_json: AsJson = False) -> None:
        """Every registered facility."""
        found = session.parts.database.read(parties.list_all)
        rows = [[f.client_id, f.state.value, "affiliated" if f.affiliated else "outside", f.name] for f in found]
        text = list(table(["client_id", "state", "", "name"], rows)) if rows else ["No facility is registered."]
        emit([_document(f) for f in found], as_json=as_json, text=text)


def _add_changes(group: typer.Typer, session: Session) -> None:
    @group.command("approve")
    def approve(client_id: ClientId, as_json: AsJson = False) -> None:
        """Let a pending or suspended facility in."""
        parts = session.parts
        facility = parts.database.write(parties.approve, parts.log, client_id, session.provenance())
        emit(_document(facility), as_json=as_json, text=f"{facility.name} is active.")

    @group.command("suspend")
    def suspend(
        client_id: ClientId,
        reason: Annotated[str, typer.Option("--reason", help="Why, in a few words.")],
        as_json: AsJson = False,
    ) -> None:
        """Shut a facility out now; its running downloads stop within a second."""
        parts = session.parts
        facility = parts.database.write(parties.suspend, parts.log, client_id, session.provenance(), reason=reason)
        emit(_document(facility), as_json=as_json, text=f"{facility.name} is suspended.")

    @group.command("rotate-key")
    def rotate_key(
        client_id: ClientId,
        jwks: Jwks = None,
        jwks_uri: JwksUri = None,
        key_out: KeyOut = None,
        as_json: AsJson = False,
    ) -> None:
        """Replace a facility's keys; the old ones stop counting."""
        parts = session.parts
        keys = _keys(jwks, jwks_uri, key_out)
        facility = parts.database.write(
            parties.rotate_key, parts.log, client_id, session.provenance(), jwks=keys, jwks_uri=jwks_uri
        )
        emit(_document(facility), as_json=as_json, text=f"{facility.name} has new keys.")


def _keys(jwks: Path | None, jwks_uri: str | None, key_out: Path | None) -> dict[str, Any] | None:
    if sum(given is not None for given in (jwks, jwks_uri, key_out)) != 1:
        stop("name the facility's keys in one way: --jwks, --jwks-uri or --key-out.", status=WRONG_INPUT)
    if key_out is not None:
        return {"keys": [make_key(key_out)]}
    if jwks is None:
        return None
    try:
        document = json.loads(jwks.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stop(f"{jwks} is not a JWK Set that can be read.", status=WRONG_INPUT)
    return document if isinstance(document, dict) else {}


def _purposes(values: list[str] | None) -> tuple[Purpose, ...]:
    names = [name for value in values or ["TREAT"] for name in value.split(",")]
    unknown = [name for name in names if name not in Purpose.__members__]
    if unknown:
        stop(f"{unknown[0]!r} is no purpose of use; known are {', '.join(Purpose.__members__)}.", status=WRONG_INPUT)
    return tuple(Purpose[name] for name in names)


def _document(facility: Facility) -> dict[str, object]:
    return {
        "client_id": facility.client_id,
        "name": facility.name,
        "state": facility.state.value,
        "affiliated": facility.affiliated,
        "npi": facility.npi,
        "purposes": [purpose.value for purpose in facility.purposes],
        "scopes": list(facility.scopes),
    }
