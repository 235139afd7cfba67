"""The `openpriors` command: reads the settings, opens the data directory, runs one command, and closes it again.

Exit status 0 when done, 1 when it failed, 2 for wrong input; an error is one line on stderr.
"""

from __future__ import annotations

import getpass
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from consent.errors import ConsentError
from gateway.auth.errors import AuthError
from gateway.commands.output import FAILED, WRONG_INPUT
from gateway.commands.session import Session
from gateway.errors import GatewayError
from gateway.parts import Parts, open_parts
from gateway.settings import Settings
from storage.errors import StorageError
from storage.model import Custody, Instant

if TYPE_CHECKING:
    from storage.ingest import Ingest

UsageError: Any = typer.BadParameter.__base__  # typer does not export the parent of its errors of usage
TRACEBACK = "--traceback"
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
FAMILIES = {
    "server": ("serve", "demo"),
    "store": ("import", "quarantine"),
    "keeping": ("fsck", "retention"),
    "facility": ("facility",),
    "staff": ("staff",),
    "consent": ("consent",),
    "outside": ("token", "search", "fetch"),
    "evidence_log": ("log",),
}


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
    traceback = TRACEBACK in rest
    session = Session(
        traceback=traceback,
        settings=settings,
        clock=clock,
        open_parts=lambda chosen: open_parts(chosen, clock),
        open_ingest=_open_ingest,
        custody=lambda job: Custody(job=job, actor=_actor()),
        run_server=_run_server,
        actor=_actor(),
    )
    try:
        return _run_command(session, [argument for argument in rest if argument != TRACEBACK])
    finally:
        session.close()


def clock() -> Instant:
    """Now."""
    return time.time_ns() // 1000


def _run_command(session: Session, arguments: list[str]) -> int:
    try:
        status: Any = _app(session, arguments)(arguments, standalone_mode=False, prog_name="openpriors")
    except typer.Exit as ended:
        return int(ended.exit_code)
    except (KeyboardInterrupt, *EXPECTED) as error:
        return _complain(*_explain(error))
    except Exception as error:
        if session.traceback:
            raise
        return _complain(f"an error that nobody foresaw ({type(error).__name__}); {TRACEBACK} shows where.", FAILED)
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


def _app(session: Session, arguments: list[str]) -> typer.Typer:
    app = typer.Typer(
        help="OpenPriors: earlier imaging studies for outside facilities, as far as the patient's consent allows.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        epilog=f"{DATA} DIR (or OPENPRIORS_DATA, default ./data) selects the data directory of any command.",
    )
    for module in _families(arguments):
        import_module(f"gateway.commands.{module}").add_to(app, session)
    return app


def _families(arguments: list[str]) -> list[str]:
    """The modules needed for these arguments: one, where they name a command. A revocation must not wait for codecs."""
    named = next((argument for argument in arguments if not argument.startswith("-")), None)
    return [module for module, commands in FAMILIES.items() if named in commands] or list(FAMILIES)


def _open_ingest(parts: Parts, custody: Custody) -> Ingest:
    from gateway.receiving import open_ingest  # noqa: PLC0415 - reads images, which most commands do not

    return open_ingest(parts, custody)


def _run_server(parts: Parts, host: str, port: int) -> None:
    from gateway.app import run_server  # noqa: PLC0415 - speaks HTTP, which most commands do not

    run_server(parts, host, port)


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
