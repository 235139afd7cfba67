"""The `openpriors` command: reads the settings, opens the data directory, runs one command, and closes it again.

Exit status 0 when done, 1 when it failed, 2 for wrong input; an error is one line on stderr.
"""

from __future__ import annotations

import getpass
import sys
import time
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from consent.errors import ConsentError
from gateway import app as composition
from gateway.auth.errors import AuthError
from gateway.commands import consent, evidence_log, facility, outside, server, staff, store
from gateway.commands.output import FAILED, WRONG_INPUT
from gateway.commands.session import Session
from gateway.errors import GatewayError
from gateway.settings import Settings
from storage.errors import StorageError
from storage.model import Custody, Instant

UsageError: Any = typer.BadParameter.__base__  # typer does not export the parent of its errors of usage
DATA = "--data"
EXPECTED = (
    UsageError,
    typer.Abort,
    ConsentError,
    GatewayError,
    AuthError,
    StorageError,
    SQLAlchemyError,
    OSError,
)
FAMILIES = (server, store, facility, staff, consent, outside, evidence_log)


def main() -> None:
    """Run the command line."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; gives its exit status."""
    try:
        given, rest = _take_data(arguments)
        settings = Settings(**given)
    except ValidationError as error:
        return _complain(_first_problem(error), WRONG_INPUT)
    except ValueError as error:
        return _complain(str(error), WRONG_INPUT)
    session = Session(
        settings=settings,
        clock=clock,
        open_parts=lambda chosen: composition.open_parts(chosen, clock),
        open_ingest=composition.open_ingest,
        custody=lambda job: Custody(job=job, actor=_actor()),
        run_server=composition.run_server,
        actor=_actor(),
    )
    try:
        return _run_command(session, rest)
    finally:
        session.close()


def clock() -> Instant:
    """Now."""
    return time.time_ns() // 1000


def _run_command(session: Session, arguments: list[str]) -> int:
    try:
        status: Any = _app(session)(arguments, standalone_mode=False, prog_name="openpriors")
    except typer.Exit as ended:
        return int(ended.exit_code)
    except (KeyboardInterrupt, *EXPECTED) as error:
        return _complain(*_explain(error))
    return int(status or 0)


def _explain(error: BaseException) -> tuple[str, int]:
    """An error as one sentence, and the exit status it stands for."""
    if isinstance(error, UsageError):
        return error.format_message(), WRONG_INPUT
    if isinstance(error, ConsentError | GatewayError | AuthError):
        return str(error), WRONG_INPUT
    if isinstance(error, StorageError):
        return str(error), FAILED
    if isinstance(error, SQLAlchemyError):
        return f"the database failed ({type(error).__name__}); is it there, and is there room?", FAILED
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror}.", FAILED
    return "stopped.", FAILED


def _app(session: Session) -> typer.Typer:
    app = typer.Typer(
        help="OpenPriors: earlier imaging studies for outside facilities, as far as the patient's consent allows.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        epilog=f"{DATA} DIR (or OPENPRIORS_DATA, default ./data) selects the data directory of any command.",
    )
    for family in FAMILIES:
        family.add_to(app, session)
    return app


def _take_data(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """`--data DIR` may stand anywhere; it is the same for every command."""
    rest = list(arguments)
    for place, argument in enumerate(rest):
        if argument == DATA:
            if place + 1 == len(rest):
                raise ValueError(f"{DATA} needs a directory.")
            del rest[place]
            return {"data": Path(rest.pop(place))}, rest
        if argument.startswith(DATA + "="):
            return {"data": Path(rest.pop(place).removeprefix(DATA + "="))}, rest
    return {}, rest


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"]).upper()
    return f"the setting OPENPRIORS_{name} cannot be used: {first['msg']}."


def _actor() -> str:
    try:
        return f"command line, {getpass.getuser()}"
    except (KeyError, OSError):
        return "command line"


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"openpriors: {message}\n")
    return status
