"""A consent as a JSON document: what the database keeps of each version, and what the command line prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from consent.model import Action, Basis, Consent, Effect, Purpose, Scope, Sensitivity, State, Statement


def to_document(consent: Consent) -> dict[str, Any]:
    """Every word of a consent; instants are microseconds since the Unix epoch, flags are lists of names."""
    plain = {item.name: getattr(consent, item.name) for item in dataclasses.fields(consent)}
    scope = consent.scope
    return {
        **plain,
        "effect": consent.effect.value,
        "state": consent.state.value,
        "basis": consent.basis.value,
        "facilities": list(consent.facilities),
        "scope": {
            "studies": list(scope.studies),
            "modalities": list(scope.modalities),
            "study_from": scope.study_from,
            "study_to": scope.study_to,
            "sensitivity": None if scope.sensitivity is None else _names(scope.sensitivity),
        },
        "purposes": [purpose.value for purpose in consent.purposes],
        "actions": _names(consent.actions),
        "statements": sorted(statement.value for statement in consent.statements),
    }


def from_document(document: Mapping[str, Any]) -> Consent:
    """The consent that a document says."""
    scope = document["scope"]
    return Consent(
        **{
            **document,
            "effect": Effect(document["effect"]),
            "state": State(document["state"]),
            "basis": Basis(document["basis"]),
            "facilities": tuple(document["facilities"]),
            "scope": Scope(
                studies=tuple(scope["studies"]),
                modalities=tuple(scope["modalities"]),
                study_from=scope["study_from"],
                study_to=scope["study_to"],
                sensitivity=None if scope["sensitivity"] is None else _labels(scope["sensitivity"]),
            ),
            "purposes": tuple(map(Purpose, document["purposes"])),
            "actions": Action(sum(Action[name] for name in document["actions"])),
            "statements": frozenset(map(Statement, document["statements"])),
        }
    )


def _names(flags: Action | Sensitivity) -> list[str]:
    return [cast("str", flag.name) for flag in flags]


def _labels(names: list[str]) -> Sensitivity:
    return Sensitivity(sum(Sensitivity[name] for name in names))
