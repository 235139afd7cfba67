"""Who may see what, on whose word, until when.

model, errors: the values and what can go wrong
rules, predicate: one function is one rule is one SQL condition; how they are put together
decide: the only maker of what opens the catalog
register: grant, deny, suspend, resume, revoke, supersede: with its record, in one transaction
elements: what a consent must say and cannot say
chain, due: its versions and grants; what time alone changes
identities: merge, split and move: nothing opens until staff confirm
parties, keys: the outside facilities and their public keys
forms: signed forms, sealed
record, document: a change as the log has it; a consent as JSON
"""

from __future__ import annotations

from consent.errors import ConsentError
from consent.model import Action, Consent, Decision, Draft, Effect, Provenance, Purpose, Requester, Scope, State

__all__ = [
    "Action",
    "Consent",
    "ConsentError",
    "Decision",
    "Draft",
    "Effect",
    "Provenance",
    "Purpose",
    "Requester",
    "Scope",
    "State",
]
