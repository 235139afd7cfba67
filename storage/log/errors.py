"""What can go wrong with the log, as branches of StorageError.

StorageError
├── EventRefused            an event that cannot be written down
├── LogDamaged              the log is not what was written
├── CheckpointInvalid       a checkpoint that this log did not sign
├── NotYetSigned            no signed checkpoint covers the event so far
├── StillKept               openings that may not be erased yet
└── CheckpointRefused       signing would contradict what was signed before
"""

from __future__ import annotations

from storage.errors import StorageError


class EventRefused(StorageError):
    """The event cannot be recorded as it stands: a name or a value has no place in the log."""


class LogDamaged(StorageError):
    """The audit log is not what was written; run `openpriors log verify` to see where."""


class CheckpointInvalid(StorageError):
    """The checkpoint is not one that this log signed."""


class NotYetSigned(StorageError):
    """No signed checkpoint covers the event yet; one is published within seconds, so ask again."""


class StillKept(StorageError):
    """What opens an audit event is kept for at least six years and cannot be erased before."""


class CheckpointRefused(StorageError):
    """The log's state contradicts what was signed before, so nothing is signed; restore the newest database."""
