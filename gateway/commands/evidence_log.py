"""`log verify|export|proof`: the record, checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.output import FAILED, WRONG_INPUT, emit, stop
from gateway.commands.session import Session

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="File to write; default: standard output.")]


def add_to(app: typer.Typer, session: Session) -> None:
    """Add the log commands."""
    group = typer.Typer(help="The record of what was done.", no_args_is_help=True)
    app.add_typer(group, name="log")

    @group.command("verify")
    def verify(
        checkpoint: Annotated[
            Path | None, typer.Option("--checkpoint", help="A checkpoint kept elsewhere, which the log must contain.")
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Check the whole log: every event, every opening, the tree, and what was signed."""
        log, database = session.parts.log, session.parts.database
        log.advance()
        found = database.read(log.verify, _read(checkpoint) if checkpoint else None)
        result = {
            "ok": found.ok,
            "size": found.size,
            "root": found.root.hex(),
            "waiting": found.waiting,
            "problems": list(found.problems),
        }
        summary = f"{found.size} events, root {found.root.hex()}: {'ok' if found.ok else 'NOT OK'}."
        emit(result, as_json=as_json, text=[*found.problems, summary])
        if not found.ok:
            raise typer.Exit(FAILED)

    @group.command("export")
    def export(
        output: Output = None,
        openings: Annotated[
            bool, typer.Option("--openings", help="Also what is sealed: identifies patients; handle as such.")
        ] = False,
    ) -> None:
        """Write the log for deploy/verify_log.py, which checks it without this program."""
        log, database = session.parts.log, session.parts.database
        log.advance()
        out = output.open("wb") if output else sys.stdout.buffer
        with out:
            database.read(lambda tx: out.writelines(log.export(tx, openings=openings)))

    @group.command("key")
    def key() -> None:
        """Print the public key that checkpoints are verified with."""
        sys.stdout.write(f"{session.parts.log.verifier_key}\n")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        stop(f"the checkpoint {path} cannot be read.", status=WRONG_INPUT)
