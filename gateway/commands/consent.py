"""`consent grant|deny|revoke|suspend|resume|list|show`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from consent import forms, register
from consent.model import FOREVER, Basis, Consent, Draft, Effect, Purpose, Scope
from gateway import calendar
from gateway.commands.output import WRONG_INPUT, emit, stop, table
from gateway.commands.session import Session

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in a few words.")]
Number = Annotated[str, typer.Argument(metavar="CONSENT_ID")]
Patient = Annotated[str, typer.Option("--patient", help="Patient ID.")]
Issuer = Annotated[str | None, typer.Option("--issuer", help="Who issued the Patient ID; default: default_issuer.")]
Facilities = Annotated[list[str] | None, typer.Option("--facility", help="client_id of a facility; repeat for more.")]
AnyFacility = Annotated[bool, typer.Option("--any-facility", help="Every registered non-affiliated facility.")]
Studies = Annotated[list[str] | None, typer.Option("--study", help="Study Instance UID; default: all studies.")]
Modalities = Annotated[list[str] | None, typer.Option("--modality", help="For example CT; default: all.")]
Purposes = Annotated[list[str] | None, typer.Option("--purpose", help="Purpose of use; default TREAT.")]
From = Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD; default: now.")]
Until = Annotated[str | None, typer.Option("--until", help="Last day, the whole of it; default: no end.")]
Form = Annotated[Path | None, typer.Option("--form", help="The signed form, kept encrypted.")]


def add_to(app: typer.Typer, session: Session) -> None:
    """Add the consent commands."""
    group = typer.Typer(help="What patients allow.", no_args_is_help=True)
    app.add_typer(group, name="consent")
    _add_recording(group, session)
    _add_changes(group, session)
    _add_looks(group, session)


def _add_recording(group: typer.Typer, session: Session) -> None:
    def recording(effect: Effect) -> Callable[..., None]:
        record = register.grant if effect is Effect.PERMIT else register.deny

        def command(
            patient: Patient,
            issuer: Issuer = None,
            facility: Facilities = None,
            any_facility: AnyFacility = False,
            study: Studies = None,
            modality: Modalities = None,
            purpose: Purposes = None,
            start: From = None,
            until: Until = None,
            form: Form = None,
            as_json: AsJson = False,
        ) -> None:
            parts, zone = session.parts, ZoneInfo(session.settings.time_zone)
            draft = Draft(
                patient_id=patient,
                issuer=issuer or session.settings.default_issuer,
                basis=Basis.POLICY,
                facilities=tuple(_several(facility)),
                any_facility=any_facility,
                scope=Scope(studies=tuple(_several(study)), modalities=tuple(_several(modality))),
                purposes=tuple(_purposes(purpose, effect)),
                any_purpose=effect is Effect.DENY and not purpose,
                effective_from=calendar.begins(calendar.parse_day(start), zone) if start else None,
                effective_until=calendar.ends(calendar.parse_day(until), zone) if until else FOREVER,
                form_digest=_keep_form(session, form),
            )
            consent = parts.database.write(record, parts.log, draft, session.provenance())
            emit(_document(consent, zone), as_json=as_json, text=_sentences(consent, zone))

        return command

    grant = recording(Effect.PERMIT)
    group.command("grant", help="Record that a patient lets facilities search and retrieve.")(grant)
    group.command("deny", help="Record that a patient does not want this; a refusal beats every permit.")(
        recording(Effect.DENY)
    )


def _add_changes(group: typer.Typer, session: Session) -> None:
    changes = {
        "revoke": (register.revoke, "End a consent now; running downloads stop within a second."),
        "suspend": (register.suspend, "Stop a consent until it is resumed."),
        "resume": (register.resume, "Let a suspended consent count again."),
    }

    def changing(change: Callable[..., Consent]) -> Callable[..., None]:
        def command(consent_id: Number, reason: Reason, as_json: AsJson = False) -> None:
            parts = session.parts
            consent = parts.database.write(change, parts.log, consent_id, session.provenance(), reason=reason)
            zone = ZoneInfo(session.settings.time_zone)
            emit(_document(consent, zone), as_json=as_json, text=f"{consent.consent_id} is {consent.state.value}.")

        return command

    for name, (change, text) in changes.items():
        group.command(name, help=text)(changing(change))


def _add_looks(group: typer.Typer, session: Session) -> None:
    @group.command("list")
    def list_consents(
        patient: Annotated[str | None, typer.Option("--patient", help="Patient ID; default: the latest.")] = None,
        issuer: Issuer = None,
        as_json: AsJson = False,
    ) -> None:
        """The consents of a patient, or those changed last."""
        database, zone = session.parts.database, ZoneInfo(session.settings.time_zone)
        if patient is None:
            found = database.read(register.list_recent)
        else:
            found = database.read(register.list_for_patient, patient, issuer or session.settings.default_issuer)
        rows = [[c.consent_id, c.state.value, c.effect.value, _who(c), _until(c, zone)] for c in found]
        text = (
            list(table(["consent", "state", "effect", "facilities", "until"], rows))
            if rows
            else ["No consent is recorded."]
        )
        emit([_document(c, zone) for c in found], as_json=as_json, text=text)

    @group.command("show")
    def show(consent_id: Number, as_json: AsJson = False) -> None:
        """One consent, every version of it."""
        zone = ZoneInfo(session.settings.time_zone)
        versions = session.parts.database.read(register.history, consent_id)
        text = [line for version in versions for line in _sentences(version, zone)]
        document = {**_document(versions[-1], zone), "versions": [_document(v, zone) for v in versions]}
        emit(document, as_json=as_json, text=text)


def _several(values: list[str] | None) -> Iterator[str]:
    """Options may be repeated or comma-separated."""
    return (part.strip() for value in values or [] for part in value.split(",") if part.strip())


def _purposes(values: list[str] | None, effect: Effect) -> Iterator[Purpose]:
    named = list(_several(values))
    if not named and effect is Effect.PERMIT:
        yield Purpose.TREAT
    for name in named:
        if name not in Purpose.__members__:
            stop(f"{name!r} is no purpose of use; known are {', '.join(Purpose.__members__)}.", status=WRONG_INPUT)
        yield Purpose[name]


def _keep_form(session: Session, form: Path | None) -> str | None:
    if form is None:
        return None
    try:
        content = form.read_bytes()
    except OSError:
        stop(f"the form {form} cannot be read.", status=WRONG_INPUT)
    parts = session.parts
    return parts.database.write(forms.keep, parts.keys.sealer, content, session.clock())


def _until(consent: Consent, zone: ZoneInfo) -> str:
    return "no end" if consent.effective_until >= FOREVER else calendar.last_day(consent.effective_until, zone)


def _who(consent: Consent) -> str:
    return "every outside facility" if consent.any_facility else ", ".join(consent.facilities)


def _sentences(consent: Consent, zone: ZoneInfo) -> list[str]:
    verb = "may see" if consent.effect is Effect.PERMIT else "may not see"
    what = "all studies" if not consent.scope.studies else f"{len(consent.scope.studies)} named studies"
    if consent.scope.modalities:
        what += " of modality " + ", ".join(consent.scope.modalities)
    until = "" if consent.effective_until == FOREVER else f" until {calendar.last_day(consent.effective_until, zone)}"
    return [
        f"{consent.consent_id} version {consent.version}: {consent.state.value}.",
        f"  {_who(consent)} {verb} {what}{until} (basis: {consent.basis.value}).",
    ]


def _document(consent: Consent, zone: ZoneInfo) -> dict[str, object]:
    return {
        "consent_id": consent.consent_id,
        "version": consent.version,
        "state": consent.state.value,
        "effect": consent.effect.value,
        "basis": consent.basis.value,
        "patient": consent.patient_id,
        "issuer": consent.issuer,
        "facilities": ["*"] if consent.any_facility else list(consent.facilities),
        "studies": list(consent.scope.studies),
        "modalities": list(consent.scope.modalities),
        "purposes": ["*"] if consent.any_purpose else [purpose.value for purpose in consent.purposes],
        "from": calendar.as_day(consent.effective_from, zone),
        "until": None if consent.effective_until == FOREVER else calendar.last_day(consent.effective_until, zone),
        "recorded_by": consent.recorded_by,
        "reason": consent.reason,
        "form": consent.form_digest,
    }
