"""`token`, `search`, `fetch`: what an outside facility runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from gateway.client import ClientError, OutsideClient
from gateway.commands.output import WRONG_INPUT, emit, progress, stop
from gateway.commands.session import Session

ClientId = Annotated[str, typer.Option("--client-id", help="The facility's client_id.")]
KeyFile = Annotated[Path, typer.Option("--key", help="The facility's private key, a JWK file.")]
Url = Annotated[str, typer.Option("--url", help="The gateway's public URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Purpose = Annotated[str | None, typer.Option("--purpose", help="Purpose of use, for example TREAT.")]
DEFAULT_URL = "http://127.0.0.1:8042"


def _read_key(path: Path) -> dict[str, Any]:
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        stop(f"the key file {path} cannot be read.", status=WRONG_INPUT)
    except ValueError:
        stop(f"the key file {path} is not a JWK document.", status=WRONG_INPUT)
    if not isinstance(key, dict) or "d" not in key:
        stop(f"the key file {path} holds no private key.", status=WRONG_INPUT)
    return key


class Connect(Protocol):
    """How a command reaches the gateway as a facility."""

    def __call__(
        self, url: str, client_id: str, key: Path, scope: str | None = None, purpose: str | None = None
    ) -> OutsideClient:
        """The client of that facility; ends the command with one line when the key cannot be used."""


def add_to(app: typer.Typer, session: Session) -> None:
    """Add the outside facility's commands."""

    def connect(
        url: str, client_id: str, key: Path, scope: str | None = None, purpose: str | None = None
    ) -> OutsideClient:
        def now_s() -> int:
            return session.clock() // 1_000_000

        try:
            return OutsideClient(
                url=url, client_id=client_id, key=_read_key(key), scope=scope, purpose=purpose, now_s=now_s
            )
        except ClientError as error:
            stop(str(error), status=WRONG_INPUT)

    _add_token(app, connect)
    _add_search(app, connect)
    _add_fetch(app, connect)


def _add_token(app: typer.Typer, connect: Connect) -> None:
    @app.command()
    def token(
        client_id: ClientId,
        key: KeyFile,
        url: Url = DEFAULT_URL,
        scope: Annotated[str | None, typer.Option("--scope", help="Scopes, space separated.")] = None,
        purpose: Purpose = None,
        as_json: AsJson = False,
    ) -> None:
        """Get an access token for a facility."""
        try:
            issued = connect(url, client_id, key, scope, purpose).token()
        except ClientError as error:
            stop(str(error))
        result = {
            name: issued[name] for name in ("access_token", "expires_in", "token_type", "scope") if name in issued
        }
        emit(result, as_json=as_json, text=str(issued["access_token"]))


def _add_search(app: typer.Typer, connect: Connect) -> None:
    @app.command()
    def search(
        client_id: ClientId,
        key: KeyFile,
        url: Url = DEFAULT_URL,
        patient: Annotated[str | None, typer.Option("--patient", help="Patient ID.")] = None,
        issuer: Annotated[str | None, typer.Option("--issuer", help="Who issued the Patient ID.")] = None,
        name: Annotated[str | None, typer.Option("--name", help="Patient name; * and ? are wildcards.")] = None,
        birth_date: Annotated[str | None, typer.Option("--birth-date", help="YYYYMMDD.")] = None,
        study_date: Annotated[str | None, typer.Option("--study-date", help="YYYYMMDD or YYYYMMDD-YYYYMMDD.")] = None,
        modality: Annotated[str | None, typer.Option("--modality", help="For example CT.")] = None,
        accession: Annotated[str | None, typer.Option("--accession", help="Accession number.")] = None,
        study: Annotated[str | None, typer.Option("--study", help="Study Instance UID.")] = None,
        purpose: Purpose = None,
        as_json: AsJson = False,
    ) -> None:
        """Search the studies that this facility may see."""
        keys = {
            "PatientID": patient,
            "IssuerOfPatientID": issuer,
            "PatientName": name,
            "PatientBirthDate": birth_date,
            "StudyDate": study_date,
            "ModalitiesInStudy": modality,
            "AccessionNumber": accession,
            "StudyInstanceUID": study,
        }
        found = _answer(
            lambda: connect(url, client_id, key, None, purpose).search({k: v for k, v in keys.items() if v})
        )
        emit(found, as_json=as_json, text=_describe(found))


def _add_fetch(app: typer.Typer, connect: Connect) -> None:
    @app.command()
    def fetch(
        study_uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
        client_id: ClientId,
        key: KeyFile,
        output: Annotated[Path, typer.Option("-o", "--output", help="Directory for the files.")],
        url: Url = DEFAULT_URL,
        purpose: Purpose = None,
        as_json: AsJson = False,
    ) -> None:
        """Download a study as stored; run again, it goes on where it stopped."""
        outside = connect(url, client_id, key, None, purpose)
        with progress("instances", quiet=as_json) as advance:

            def show(done: int, total: int, size: int) -> None:
                advance(done, total, f"{size / 1e6:.0f} MB")

            download = _answer(lambda: outside.fetch(study_uid, output, show))
        result = {
            "instances": download.instances,
            "present": download.present,
            "bytes": download.bytes,
            "part_hidden": download.part_hidden,
        }
        text = [f"{download.instances} instances, {download.bytes:,} bytes written below {output / study_uid}."]
        if download.present:
            text.append(f"{download.present} were there already.")
        if download.part_hidden:
            text.append("A part of this study is not visible to this facility; the visible series were fetched.")
        emit(result, as_json=as_json, text=text)


def _answer(ask: Any) -> Any:
    try:
        return ask()
    except ClientError as error:
        stop(str(error))
    except OSError as error:  # requests' errors are OSErrors, and so are those of the disk
        stop(f"the gateway or the disk failed: {_reason(error)}")


def _reason(error: OSError) -> str:
    answer = getattr(error, "response", None)
    return f"the gateway answered {answer.status_code}." if answer is not None else type(error).__name__


def _describe(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return ["Nothing that this facility may see matches."]
    return [_line(study) for study in found] + [f"{len(found)} {'study' if len(found) == 1 else 'studies'}."]


def _line(study: dict[str, Any]) -> str:
    def text(tag: str) -> str:
        values = study.get(tag, {}).get("Value", [])
        return "/".join(v.get("Alphabetic", "") if isinstance(v, dict) else str(v) for v in values)

    return "  ".join(text(tag) for tag in ("00080020", "00080061", "00100010", "00100020", "00081030", "0020000D"))
