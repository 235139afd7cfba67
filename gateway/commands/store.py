"""`import`, `fsck`, `quarantine`, `retention`: what is held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.output import FAILED, WRONG_INPUT, emit, progress, stop, table
from gateway.commands.session import Session
from storage import import_source, quarantine
from storage.outcome import Outcome, Status
from storage.reception import Received

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SHOWN = 20  # refused files named on a terminal; --json names all


def add_to(app: typer.Typer, session: Session) -> None:
    """Add the commands of the store."""
    _add_import(app, session)
    _add_quarantine(app, session)


def _add_import(app: typer.Typer, session: Session) -> None:
    @app.command("import")
    def import_images(
        paths: Annotated[list[Path], typer.Argument(help="Files, folders, ZIP archives, DICOMDIR media.")],
        issuer: Annotated[
            str | None, typer.Option("--issuer", help="Who issued PatientIDs that name no issuer.")
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Store images; what is here already is left alone, what contradicts it goes to quarantine."""
        missing = [path for path in paths if not path.exists()]
        if missing:
            stop(f"{missing[0]} does not exist.", status=WRONG_INPUT)
        outcomes = list(_import(session, paths, issuer, quiet=as_json))
        counts = Counter(outcome.status for outcome in outcomes)
        unkept = [o for o in outcomes if o.status not in {Status.STORED, Status.DUPLICATE}]
        result = {
            "stored": counts[Status.STORED],
            "duplicate": counts[Status.DUPLICATE],
            "rejected": [{"path": o.name, "reason": o.reason} for o in unkept],
        }
        emit(result, as_json=as_json, text=_report(counts, unkept))
        if counts[Status.FAILED]:
            raise typer.Exit(FAILED)


def _import(session: Session, paths: list[Path], issuer: str | None, *, quiet: bool) -> list[Outcome]:
    ingest = session.ingest("import")
    outcomes: list[Outcome] = []
    unread: list[Outcome] = []
    try:
        with progress("images", quiet=quiet) as advance:

            def readable() -> Iterator[Received]:
                for found in import_source.find(paths):
                    if isinstance(found, Received):
                        yield found
                    else:
                        unread.append(found)

            for outcome in ingest.store_many(readable(), ingest.delivery(session.request(), issuer)):
                outcomes.append(outcome)
                advance(len(outcomes), None)
    finally:
        ingest.close()
    return outcomes + unread


def _report(counts: Counter[Status], unkept: list[Outcome]) -> list[str]:
    lines = [f"{counts[Status.STORED]} stored, {counts[Status.DUPLICATE]} there already, {len(unkept)} not kept."]
    lines += [f"  {outcome.name}: {outcome.reason}" for outcome in unkept[:SHOWN]]
    if len(unkept) > SHOWN:
        lines.append(f"  and {len(unkept) - SHOWN} more; --json names them all.")
    return lines


def _add_quarantine(app: typer.Typer, session: Session) -> None:
    group = typer.Typer(help="Images that contradict what is held.", no_args_is_help=True)
    app.add_typer(group, name="quarantine")

    @group.command("list")
    def list_held(as_json: AsJson = False) -> None:
        """What is in quarantine, and why."""
        held = session.parts.database.read(quarantine.list_held)
        documents = [
            {"id": one.key, "reason": one.reason, "source": one.source, "bytes": one.size_bytes} for one in held
        ]
        rows = [[str(one.key), f"{one.size_bytes:,}", one.reason] for one in held]
        text = list(table(["number", "bytes", "reason"], rows)) if rows else ["Nothing is in quarantine."]
        emit(documents, as_json=as_json, text=text)

    @group.command("release")
    def release(number: Annotated[int, typer.Argument(metavar="NUMBER")], as_json: AsJson = False) -> None:
        """Store an image from quarantine after all; what still contradicts the catalog stays where it is."""
        ingest = session.ingest("quarantine release")
        try:
            outcome = ingest.release(number, ingest.delivery(session.request()))
        except KeyError:
            stop(f"there is nothing in quarantine under number {number}.", status=WRONG_INPUT)
        finally:
            ingest.close()
        text = outcome.reason or f"Number {number} is {outcome.status.value}."
        emit({"status": outcome.status.value, "reason": outcome.reason}, as_json=as_json, text=text)
