"""`staff add|list|close|set-password`: the people who work here."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

import typer

from gateway.auth import staff as accounts
from gateway.auth.passwords import Passwords
from gateway.auth.staff import Role
from gateway.commands.output import WRONG_INPUT, emit, stop, table
from gateway.commands.session import Session

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Email = Annotated[str, typer.Argument(metavar="EMAIL")]
FromInput = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


def add_to(app: typer.Typer, session: Session) -> None:
    """Add the staff commands."""
    group = typer.Typer(help="The people who work here.", no_args_is_help=True)
    app.add_typer(group, name="staff")

    @group.command("add")
    def add(
        email: Email,
        role: Annotated[str, typer.Option("--role", help="consent, records, admin or auditor.")] = "consent",
        password_stdin: FromInput = False,
        as_json: AsJson = False,
    ) -> None:
        """Make an account; the password is asked for."""
        hashed = Passwords().hash(_password(from_input=password_stdin))
        parts = session.parts
        account = parts.database.write(
            accounts.add, parts.log, session.provenance(), email=email, role=_role(role), password_hash=hashed
        )
        result = {"id": account.id, "email": account.email, "role": account.role.value}
        emit(result, as_json=as_json, text=f"{account.email} can sign in as {account.role.value}.")

    @group.command("list")
    def list_accounts(as_json: AsJson = False) -> None:
        """Every account."""
        found = session.parts.database.read(accounts.list_all)
        rows = [[a.email, a.role.value, "active" if a.active else "closed"] for a in found]
        text = list(table(["account", "role", "state"], rows)) if rows else ["There is no account."]
        documents = [{"id": a.id, "email": a.email, "role": a.role.value, "active": a.active} for a in found]
        emit(documents, as_json=as_json, text=text)

    @group.command("close")
    def close(email: Email) -> None:
        """Close an account; its sessions end now."""
        parts = session.parts
        parts.database.write(accounts.close, parts.log, session.provenance(), email=email)
        emit({}, as_json=False, text=f"{email} can no longer sign in.")

    @group.command("set-password")
    def set_password(email: Email, password_stdin: FromInput = False) -> None:
        """Give an account another password; its sessions end now."""
        hashed = Passwords().hash(_password(from_input=password_stdin))
        parts = session.parts
        parts.database.write(accounts.set_password, parts.log, session.provenance(), email=email, password_hash=hashed)
        emit({}, as_json=False, text=f"{email} has a new password.")


def _password(*, from_input: bool) -> str:
    if from_input:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        stop("there is no terminal to ask for the password; use --password-stdin.", status=WRONG_INPUT)
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Again: "):
        stop("the two passwords differ.", status=WRONG_INPUT)
    return password


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        stop(f"{name!r} is no role; known are {', '.join(role.value for role in Role)}.", status=WRONG_INPUT)
