"""The half of the check that looks at files: objects against their digests, and what nobody has catalogued."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from sqlalchemy import Connection

from storage import quarantine, steward
from storage.checksums import CHUNK_BYTES, Checksums
from storage.data_directory import DataDirectory
from storage.database import Database
from storage.model import Custody
from storage.object_folder import READ_FLAGS, ObjectFolder
from storage.spool import left_over

PAGE: Final = 500
LISTED: Final = 1000  # problems and orphans that are listed; all are counted
ARCHIVE_ID: Final = "disk"


@dataclass(slots=True, kw_only=True)
class Report:
    """What a check found: how much of everything, and what is wrong, in sentences without patient data.

    `damaged` gives the state that instances should be marked with, by SOP Instance UID. `orphans` are the digests of
    objects that no instance has.
    """

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts.get("problems")

    def add(self, what: str, number: int = 1) -> None:
        """Count."""
        self.counts[what] = self.counts.get(what, 0) + number

    def say(self, problem: str) -> None:
        """Note a problem."""
        self.add("problems")
        if len(self.problems) < LISTED:
            self.problems.append(problem)


def check_objects(database: Database, objects: ObjectFolder, custody: Custody, report: Report, *, full: bool) -> None:
    """I1: every instance has an object of its size; with `full`, of its digest and chunk checksums."""
    after = 0
    while page := database.read(steward.list_objects, custody, after=after, most=PAGE):
        after = page[-1].key
        report.add("instances", len(page))
        for one in page:
            if one.archive_id != ARCHIVE_ID:
                report.add("elsewhere")
                continue
            state = _state_of(objects, one, full=full)
            if state != "online":
                report.damaged[one.sop_instance_uid] = state
                report.say(f"The object {one.digest.hex()} of instance {one.key} is {state}.")
            elif one.state != "online":
                report.say(f"Instance {one.key} is marked {one.state} although its object is there.")


def check_orphans(database: Database, directory: DataDirectory, custody: Custody, report: Report) -> None:
    """I7: objects that no instance has, files that are no objects, and what dead processes left in `tmp`."""
    walk = directory.objects.walk()
    while page := list(islice(walk, PAGE)):
        report.add("objects", len(page))
        known = database.read(steward.have, custody, [digest for digest, _ in page])
        for digest, _ in page:
            if digest not in known:
                report.add("orphans")
                report.orphans += [digest.hex()] if len(report.orphans) < LISTED else []
    for path in directory.objects.strangers():
        report.say(f"{path.relative_to(directory.root)} is no object.")
    report.add("left over", left_over(directory.root / "tmp"))


def check_quarantine(tx: Connection, directory: DataDirectory, report: Report) -> None:
    """I7: what is held in quarantine is there; a file more is only counted, it may just be arriving."""
    held = {one.digest: one.size_bytes for one in quarantine.list_held(tx)}
    report.add("quarantine", len(held))
    files = dict(directory.quarantine.walk())
    for digest, size in held.items():
        if files.get(digest) != size:
            report.say(f"The bytes {digest.hex()} are not in quarantine, although they are held there.")
    report.add("quarantine orphans", len(files.keys() - held.keys()))


def _state_of(objects: ObjectFolder, one: steward.StoredObject, *, full: bool) -> str:
    path = objects.path_of(one.digest)
    try:
        if path.lstat().st_size != one.size_bytes:
            return "corrupt"
        if not full:
            return "online"
        found = Checksums()
        with os.fdopen(os.open(path, READ_FLAGS), "rb", buffering=0) as file:
            for piece in iter(lambda: file.read(CHUNK_BYTES), b""):
                found.update(piece)
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "corrupt"
    same = (found.digest, found.chunk_crcs) == (one.digest, one.chunk_crcs)
    return "online" if same else "corrupt"
