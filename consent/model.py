"""Who asks, for what purpose, what a patient has allowed, and what was decided.

The words are those of FHIR Consent, IHE PCF and HL7 v3 PurposeOfUse.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

from storage.model import Instant, Visible

STAFF = "staff"  # the facility of a Requester who works here
FOREVER: Instant = (1 << 53) - 1  # in 2255, the last instant that canonical JSON can hold: no end of its own
ANY = "*"  # in a grant: every registered non-affiliated facility, or every purpose
PERSON_NOT_STATED = "person not stated"


class Purpose(enum.Enum):
    """Purpose of use (HL7 v3 PurposeOfUse)."""

    TREAT = "TREAT"
    HPAYMT = "HPAYMT"
    HOPERAT = "HOPERAT"
    PATRQT = "PATRQT"
    ETREAT = "ETREAT"
    BTG = "BTG"


EMERGENCY = frozenset({Purpose.ETREAT, Purpose.BTG})  # no grant reaches them, not even one for every purpose


class Action(enum.IntFlag):
    """What a grant allows to be done."""

    SEARCH = 1
    RETRIEVE = 2


class Sensitivity(enum.IntFlag):
    """Labels of material that a grant must name to reach (HL7 v3 ActCode; IHE PCF advanced)."""

    ETH = 1
    ETHUD = 2
    OPIOIDUD = 4
    PSY = 8
    SDV = 16
    HIV = 32
    PART2 = 64
    ADOLESCENT = 128
    VIP = 256


class Effect(enum.Enum):
    """Whether a consent opens or closes; closing wins."""

    PERMIT = "permit"
    DENY = "deny"


class State(enum.Enum):
    """The life of a consent; only `active` yields grants."""

    DRAFT = "draft"
    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    ENTERED_IN_ERROR = "entered-in-error"


class Statement(enum.Enum):
    """What the signed form must tell the signer (45 CFR 164.508(c)(2)), and that they were given a copy (c)(4)."""

    REVOCATION = "revocation"
    CONDITIONING = "conditioning"
    REDISCLOSURE = "redisclosure"
    COPY = "copy"


class Basis(enum.Enum):
    """On what ground a consent stands; `authorization` needs every element of 45 CFR 164.508(c)."""

    AUTHORIZATION = "authorization"
    POLICY = "policy"
    PART2 = "part2"
    COURT = "court"
    LEGAL_OVERRIDE = "legal_override"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Who asks (FHIR AuditEvent.agent): made by `gateway/auth` from a proven credential, by nothing else.

    `facility` is the client_id of an outside facility, or `staff` for the hospital's own people. `expires_at` is when
    the credential stops counting, `credential` a digest that names it in the record without being it. `scopes` are
    those of an access token, or `staff/` and the role of a member of staff.
    """

    facility: str
    facility_name: str
    affiliated: bool
    purpose: Purpose
    proven: str
    credential: str
    expires_at: Instant
    person: str = PERSON_NOT_STATED
    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a consent reaches. An empty tuple or None does not narrow; dates are DA text, both ends included.

    `sensitivity` are the labels a permit may reach beyond ordinary material (None: none), or the labels a refusal
    closes (None: every series).
    """

    studies: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    study_from: str | None = None
    study_to: str | None = None
    sensitivity: Sensitivity | None = None


EVERYTHING = Scope()
EVERY_ACTION = Action.SEARCH | Action.RETRIEVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Who makes a change, when, and in which request (FHIR Provenance)."""

    by: str
    at: Instant
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a form says, before it has a number, a version and a state.

    `information`, `discloser`, `expiry_event`, `authority` (of a representative) and `statements` are elements that
    45 CFR 164.508(c) asks of an authorization. `effective_from` left out is the moment of recording.
    """

    patient_id: str
    issuer: str
    basis: Basis
    facilities: tuple[str, ...] = ()
    any_facility: bool = False
    scope: Scope = EVERYTHING
    purposes: tuple[Purpose, ...] = ()
    any_purpose: bool = False
    actions: Action = EVERY_ACTION
    signed_by: str = ""
    signer_role: str = "patient"
    authority: str = ""
    signed_at: Instant | None = None
    effective_from: Instant | None = None
    effective_until: Instant = FOREVER
    expiry_event: str = ""
    information: str = ""
    discloser: str = ""
    form_digest: str | None = None
    statements: frozenset[Statement] = frozenset()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """One version of one consent: immutable, as is the chain it stands in.

    `facilities` are client_ids, registered or not yet; with `any_facility` it is every registered non-affiliated one,
    and for a refusal everybody. `any_purpose` is every purpose but the emergency ones. `effective_until` is exclusive.
    `supersedes` names the version this consent replaced, as `consent_id/version`.
    """

    consent_id: str
    version: int
    patient_id: str
    issuer: str
    effect: Effect
    state: State
    basis: Basis
    facilities: tuple[str, ...]
    any_facility: bool
    scope: Scope
    purposes: tuple[Purpose, ...]
    any_purpose: bool
    actions: Action
    signed_by: str
    signer_role: str
    authority: str
    signed_at: Instant | None
    recorded_by: str
    recorded_at: Instant
    effective_from: Instant
    effective_until: Instant
    expiry_event: str
    information: str
    discloser: str
    form_digest: str | None
    statements: frozenset[Statement]
    reason: str = ""
    supersedes: str | None = None

    @property
    def ends(self) -> bool:
        """Whether it has an end of its own."""
        return self.effective_until < FOREVER

    @property
    def grants(self) -> int:
        """How many single grants it comes to: every facility with every purpose, study and modality."""
        parts = (self.facilities, self.purposes, self.scope.studies, self.scope.modalities)
        return math.prod(max(1, len(part)) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided for one request: by whom it was asked, for which action, when, and what it opens."""

    requester: Requester
    action: Action
    at: Instant
    visible: Visible
    reasons: Sequence[str]
