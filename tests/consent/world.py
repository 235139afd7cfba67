"""A made-up hospital from a seed: facilities, patients, consents in every state, and images in every condition.

Values are drawn from small pools, so that they meet: the same PatientID from two issuers, permits and refusals that
overlap, instants that fall on the edges of a consent, attributes that are missing or cannot be read.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sqlalchemy import Connection, insert

from consent import chain
from consent.model import EVERY_ACTION, FOREVER, Action, Basis, Consent, Effect, Purpose, Scope, Sensitivity, State
from consent.tables import consent as consent_table
from consent.tables import consent_grant, facility
from storage.tables import patient, series, study

from .prose import Ask, Image, Party, readable_day

DAY = 86_400_000_000
START = 1_800_000_000_000_000
EDGES = [START + n * DAY for n in range(8)]
ISSUERS = ("NORTH", "SOUTH")
MODALITIES = ("CT", "MR", "US", "XA", "PT")
DATES = ("20240101", "20240228", "20240229", "20240301", "20241231", "20250101", "19991231", "20260615")
BAD_DATES = (
    None,
    "",
    "2024",
    "20240230",
    "20241301",
    "2024-1-1",
    "00000101",
    "unknown",
    "\uff12\uff10\uff12\uff140101",
)
BAD_MODALITIES = (None, "", "ct", "CT\\MR", "a modality of too many words", "MODALITY TOO LONG", "C-T", "\u0421T")
LABELS = tuple(Sensitivity)
PURPOSES = tuple(Purpose)
ORDINARY = (Purpose.TREAT, Purpose.HPAYMT, Purpose.HOPERAT, Purpose.PATRQT)


@dataclass(frozen=True)
class World:
    """What exists; `consents` by patient, `keys` the patients' keys."""

    parties: list[Party]
    images: list[Image]
    consents: dict[tuple[str, str], list[Consent]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[tuple[str, str], int] = field(default_factory=dict)
    suspended: set[tuple[str, str]] = field(default_factory=set)


def make(seed: int, *, consents: int, studies: int, patients: int) -> World:
    random = Random(seed)
    world = World(parties=_parties(random), images=[])
    for number in range(patients):
        # neighbours share a PatientID and differ in its issuer
        name = (f"MADE-UP-{number // 2}", ISSUERS[number % 2])
        world.keys[name] = number + 1
        if random.random() < 0.04:
            world.suspended.add(name)
    uids = [f"2.25.{1000 + number}" for number in range(studies)]
    _add_images(random, world, uids)
    owners = {image.study_instance_uid: (image.patient_id, image.issuer) for image in world.images}
    theirs = defaultdict(list)
    for uid, owner in owners.items():
        theirs[owner].append(uid)
    for number in range(consents):
        name = random.choice(list(world.keys))
        world.consents[name].append(_consent(random, world, name, theirs[name] or uids[:3], number))
    return world


def asks(seed: int, world: World, count: int) -> list[Ask]:
    """Requesters of every kind, mostly admitted ones, at instants on, just before and just after the edges."""
    random = Random(seed)
    admitted = [party for party in world.parties if party.state == "active"]
    others = [party for party in world.parties if party.state != "active"]
    made = []
    for number in range(count):
        party = random.choice(admitted) if number % 4 else others[number // 4 % len(others)]
        usual = [purpose for purpose in party.purposes if purpose in ORDINARY]
        if number % 6 == 5:  # an emergency, from somebody registered for it
            party, usual = world.parties[number % 3], [Purpose.BTG, Purpose.ETREAT]
        if number % 6 == 2:  # a purpose that the facility was not registered with
            party = world.parties[5]
            usual = [purpose for purpose in ORDINARY if purpose not in party.purposes]
        made.append(
            Ask(
                party=party,
                believed_affiliated=party.affiliated if number % 7 else not party.affiliated,
                purpose=random.choice(PURPOSES if number % 10 == 7 else usual or ORDINARY),
                action=random.choice([Action.SEARCH, Action.RETRIEVE, EVERY_ACTION, EVERY_ACTION]),
                at=random.choice(EDGES[2:7]) + random.choice([-1, 0, 0, 1, DAY // 2]),
                unlabelled_is_ordinary=number % 3 != 0,
            )
        )
    return made


def load(tx: Connection, world: World) -> None:
    """Put the world into the database, as register and index would have left it."""
    load_all_but_consents(tx, world)
    _load_consents(tx, world)


def load_all_but_consents(tx: Connection, world: World) -> None:
    """Facilities, patients and images."""
    tx.execute(insert(facility), [_facility_row(party) for party in world.parties if party.state is not None])
    rows = [
        {
            "id": key,
            "patient_id": name[0],
            "issuer": name[1],
            "state": "suspended" if name in world.suspended else "known",
        }
        for name, key in world.keys.items()
    ]
    tx.execute(insert(patient), rows)
    _load_images(tx, world)


def parameters(ask: Ask) -> dict[str, object]:
    """What a decision binds."""
    return {
        "facility": ask.party.client_id,
        "affiliated": ask.believed_affiliated,
        "purpose": ask.purpose.value,
        "action": int(ask.action),
        "at": ask.at,
        "unlabelled": 0 if ask.unlabelled_is_ordinary else None,
    }


def _parties(random: Random) -> list[Party]:
    kinds: list[tuple[str | None, bool]] = [
        ("active", False),
        ("active", False),
        ("active", True),
        ("suspended", False),
        ("pending", False),
        ("active", False),
        ("active", True),
        (None, False),
    ]
    return [
        Party(
            client_id=f"fac-{number}",
            state=state,
            affiliated=affiliated,
            purposes=PURPOSES if number < 3 else tuple(random.sample(PURPOSES, 3)),
        )
        for number, (state, affiliated) in enumerate(kinds)
    ]


def _add_images(random: Random, world: World, uids: list[str]) -> None:
    names = list(world.keys)
    for uid in uids:
        owner: tuple[str | None, str | None] = random.choice(names) if random.random() < 0.97 else (None, None)
        date = random.choice(DATES) if random.random() < 0.7 else random.choice(BAD_DATES)
        state = random.choice(("withdrawn", "tombstoned", "purged", "lost")) if random.random() < 0.08 else "online"
        for _ in range(random.choice((1, 1, 2))):
            modality = random.choice(MODALITIES) if random.random() < 0.7 else random.choice(BAD_MODALITIES)
            world.images.append(
                Image(
                    key=len(world.images) + 1,
                    patient_id=owner[0],
                    issuer=owner[1],
                    identity_in_doubt=owner in world.suspended,
                    study_state=state,
                    study_instance_uid=uid,
                    study_date=date,
                    modality=modality,
                    labels=_labels(random),
                )
            )


def _labels(random: Random) -> Sensitivity | None:
    drawn = random.random()
    if drawn < 0.25:
        return None
    if drawn < 0.6:
        return Sensitivity(0)
    return Sensitivity(sum(random.sample(LABELS, random.choice((1, 1, 2)))))


def _consent(random: Random, world: World, name: tuple[str, str], uids: list[str], number: int) -> Consent:
    effect = Effect.DENY if random.random() < 0.25 else Effect.PERMIT
    any_facility = random.random() < 0.3
    any_purpose = random.random() < 0.4
    allowed = PURPOSES if effect is Effect.DENY else ORDINARY
    state = State.ACTIVE if random.random() < 0.8 else random.choice(list(State))
    begins, ends = sorted(random.sample(EDGES, 2))
    until = FOREVER if random.random() < 0.5 else ends
    return Consent(
        consent_id=f"con-{random.getrandbits(40):010x}-{number}",
        version=random.choice((1, 1, 3)),
        patient_id=name[0],
        issuer=name[1],
        effect=effect,
        state=state,
        basis=Basis.POLICY,
        facilities=()
        if any_facility
        else tuple(party.client_id for party in random.sample(world.parties, random.choice((1, 2, 3)))),
        any_facility=any_facility,
        scope=_scope(random, uids, effect),
        purposes=() if any_purpose else tuple(random.sample(allowed, random.choice((1, 2)))),
        any_purpose=any_purpose,
        actions=Action(random.choice((1, 2, 3, 3))),
        signed_by="Made Up",
        signer_role="patient",
        authority="",
        signed_at=None,
        recorded_by="staff@hospital.example",
        recorded_at=random.choice((EDGES[0], EDGES[0], EDGES[3], EDGES[5])),
        effective_from=begins,
        effective_until=until,
        expiry_event="",
        information="",
        discloser="",
        form_digest=None,
        statements=frozenset(),
    )


def _scope(random: Random, uids: list[str], effect: Effect) -> Scope:
    narrowed = {
        name
        for name in ("studies", "modalities", "dates", "labels")
        if random.random() < (0.2 if effect is Effect.PERMIT else 0.4)
    }
    first, last = sorted(random.sample(DATES, 2))
    half = random.random()
    return Scope(
        studies=tuple(random.sample(uids, min(len(uids), random.choice((1, 2))))) if "studies" in narrowed else (),
        modalities=tuple(random.sample(MODALITIES, random.choice((1, 2)))) if "modalities" in narrowed else (),
        study_from=first if "dates" in narrowed and half < 0.7 else None,
        study_to=last if "dates" in narrowed and half > 0.3 else None,
        sensitivity=Sensitivity(sum(random.sample(LABELS, random.choice((0, 2, 5, 9)))))
        if "labels" in narrowed
        else None,
    )


def _facility_row(party: Party) -> dict[str, object]:
    return {
        "client_id": party.client_id,
        "name": party.client_id,
        "affiliated": party.affiliated,
        "state": party.state,
        "purposes": ",".join(purpose.value for purpose in party.purposes),
        "scopes": "system/ImagingStudy.rs",
        "jwks": '{"keys": []}',
        "registered_at": START,
        "changed_at": START,
    }


def _load_images(tx: Connection, world: World) -> None:
    studies: dict[str, dict[str, Any]] = {}
    rows = []
    for image in world.images:
        owner = (image.patient_id or "", image.issuer or "")
        row = studies.setdefault(
            image.study_instance_uid,
            {
                "id": len(studies) + 1,
                "study_instance_uid": image.study_instance_uid,
                "patient": world.keys.get(owner),
                "patient_id": image.patient_id,
                "issuer": image.issuer,
                # the index keeps what can be read, and NULL for all else
                "study_date": None if readable_day(image.study_date) is None else image.study_date,
                "fragment": b"",
                "received_at": START,
                "available_since": START,
                "guaranteed_until": START,
                "state": image.study_state,
            },
        )
        rows.append(
            {
                "id": image.key,
                "study": row["id"],
                "series_instance_uid": f"2.25.9{image.key:09d}",
                # what is no code is kept as it was written; the rules must not take it for one
                "modality": image.modality or None,
                "sensitivity": None if image.labels is None else int(image.labels),
                "fragment": b"",
                "changed_at": START,
            }
        )
    tx.execute(insert(study), list(studies.values()))
    tx.execute(insert(series), rows)


def _load_consents(tx: Connection, world: World) -> None:
    versions, grants = [], []
    for name, consents in world.consents.items():
        key = world.keys[name]
        for one in consents:
            versions.append(
                {
                    "consent_id": one.consent_id,
                    "version": one.version,
                    "patient": key,
                    "state": one.state.value,
                    "body": "{}",
                    "recorded_at": one.recorded_at,
                }
            )
            if one.state in (State.DRAFT, State.PENDING):
                continue  # never counted
            ended = None if one.state is State.ACTIVE else EDGES[1]
            grants.extend({**row, "patient": key, "revoked_at": ended} for row in chain.flattened(one))
    tx.execute(insert(consent_table), versions)
    tx.execute(insert(consent_grant), grants)
