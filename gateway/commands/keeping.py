"""`fsck` and `retention`: whether what is held is whole, and how long it is kept."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from gateway import calendar
from gateway.commands.output import FAILED, emit
from gateway.commands.session import Session
from storage import fsck, steward
from storage.model import Availability

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
StudyUid = Annotated[str, typer.Argument(metavar="STUDY_UID")]
SHOWN = 50  # problems named on a terminal; --json names all


def add_to(app: typer.Typer, session: Session) -> None:
    """Add the commands of keeping."""
    _add_fsck(app, session)
    group = typer.Typer(help="How long studies are kept available.", no_args_is_help=True)
    app.add_typer(group, name="retention")
    _add_retention(group, session)


def _add_fsck(app: typer.Typer, session: Session) -> None:
    @app.command("fsck")
    def check(
        full: Annotated[bool, typer.Option("--full", help="Read every object and build every document again.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Check store, catalog and record against each other; changes nothing."""
        parts = session.parts
        report = fsck.check(parts.database, parts.directory, parts.log, session.custody("fsck"), full=full)
        result = {"ok": report.ok, **report.counts, "problems": report.problems, "orphans": report.orphans}
        counts = ", ".join(f"{number} {name}" for name, number in report.counts.items())
        text = [*report.problems[:SHOWN], f"{counts}: {'ok' if report.ok else 'NOT OK'}."]
        emit(result, as_json=as_json, text=text)
        if not report.ok:
            raise typer.Exit(FAILED)


def _add_retention(group: typer.Typer, session: Session) -> None:
    @group.command("show")
    def show(study_uid: StudyUid, as_json: AsJson = False) -> None:
        """The promise on one study."""
        custody = session.custody("retention")
        promise = session.parts.database.read(steward.availability, custody, study_uid)
        emit(_document(session, promise), as_json=as_json, text=_sentences(session, promise))

    @group.command("hold")
    def place(
        study_uid: StudyUid,
        reason: Annotated[str, typer.Option("--reason", help="Why it must be kept.")],
        as_json: AsJson = False,
    ) -> None:
        """Keep a study from being deleted, whatever its age."""
        key = session.parts.database.write(steward.place_hold, session.task("retention"), study_uid, reason)
        emit({"hold": key}, as_json=as_json, text=f"The study is held under number {key}.")

    @group.command("lift")
    def lift(study_uid: StudyUid, number: Annotated[int, typer.Argument(metavar="NUMBER")]) -> None:
        """Lift a hold."""
        session.parts.database.write(steward.lift_hold, session.task("retention"), study_uid, number)
        emit({}, as_json=False, text="The hold is lifted.")


def _document(session: Session, promise: Availability) -> dict[str, object]:
    zone = ZoneInfo(session.settings.time_zone)
    return {
        "state": promise.state,
        "available_since": calendar.as_day(promise.available_since, zone),
        "guaranteed_until": calendar.as_day(promise.guaranteed_until, zone),
        "purge_after": None if promise.purge_after is None else calendar.as_day(promise.purge_after, zone),
        "holds": list(promise.holds),
    }


def _sentences(session: Session, promise: Availability) -> list[str]:
    document = _document(session, promise)
    ends = document["purge_after"] or "never, by policy"
    return [
        f"The study is {document['state']}, available since {document['available_since']}.",
        f"It is guaranteed until {document['guaranteed_until']}; it may be deleted after: {ends}.",
        *(f"Held: {reason}." for reason in promise.holds),
    ]
