"""A permission that ends takes the running downloads with it, whoever ends it and however it is read (law 8)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from tests.conftest import require
from tests.story.conftest import RUNNING
from tests.story.hospital import Facility
from tests.story.revocation import (
    STUDY,
    Ending,
    PausedReader,
    Place,
    Reader,
    SlowReader,
    consents,
    end_while_reading,
    open_place,
    readers,
    trial,
)
from tests.story.wire import Line
from tests.story.world import AS_STORED, BASE

pytestmark = pytest.mark.needs("nginx")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with open_place(tmp_path_factory.mktemp("revocation"), require("nginx"), instances=32) as opened:
        RUNNING.append(opened.hospital)
        yield opened
        RUNNING.remove(opened.hospital)


@pytest.fixture
def facility(place: Place) -> Facility:
    return place.hospital.facility()


def check(ending: Ending) -> None:
    print(*ending.lines(), sep="\n")
    assert list(ending.problems()) == []


def test_the_command_revoke_in_another_process_cuts_every_kind_of_reader(
    place: Place, facility: Facility, tmp_path: Path
) -> None:
    given = consents(place, facility)

    def revoke() -> None:
        for consent in given:
            place.hospital.command("consent", "revoke", consent, "--reason", "the patient changed their mind")

    tokens = place.tokens(facility)
    check(end_while_reading(place, facility, readers(place, tokens, tmp_path), revoke))
    for line in (
        Line(port=place.direct.port, token=tokens[0]),
        Line(port=place.front.port, token=tokens[1], tls=place.front.tls),
    ):
        with line:
            assert line.get(f"{BASE}/studies").body == b"[]"
            assert line.get(f"{BASE}/studies/{STUDY}", AS_STORED).status == 404


@pytest.mark.parametrize("cause", ["expiry", "facility", "token"])
def test_so_do_the_end_of_its_time_a_suspension_and_a_token_that_is_given_back(
    place: Place, cause: str, tmp_path: Path
) -> None:
    check(trial(place, cause, tmp_path))


def test_what_ends_something_else_leaves_a_download_alone(place: Place, facility: Facility) -> None:
    """The epoch moves, the streams are decided again, and those that may go on do."""
    consents(place, facility)
    other = place.hospital.facility("Hilltop Imaging")
    given, token = consents(place, other)[0], place.tokens(facility)[0]
    reader = SlowReader("undisturbed", Line(port=place.direct.port, token=token), f"{BASE}/studies/{STUDY}", AS_STORED)
    reader.start()
    assert reader.flows.wait(60)
    place.hospital.command("consent", "revoke", given, "--reason", "another facility's")
    reader.rest_s = 0
    reader.join(90)
    assert reader.reading.is_whole
    assert place.hospital.outcome_of(facility, reader.reading.request).plain["outcome"] == "complete"


def test_downloads_end_when_consent_can_no_longer_be_confirmed(place: Place, facility: Facility) -> None:
    """A database that does not answer for a second confirms nothing."""
    consents(place, facility)
    token = place.tokens(facility)[0]
    kinds: list[tuple[str, type[Reader]]] = [("slow", SlowReader), ("paused", PausedReader)]
    started = [
        kind(name, Line(port=place.direct.port, token=token), f"{BASE}/studies/{STUDY}", AS_STORED)
        for name, kind in kinds
    ]
    database = sqlite3.connect(place.hospital.data / "openpriors.db", timeout=10, isolation_level=None)

    def lose() -> None:
        database.execute("ALTER TABLE epoch RENAME TO epoch_away")

    def find() -> None:
        database.execute("ALTER TABLE epoch_away RENAME TO epoch")

    try:
        for reader in started:
            reader.start()
        for reader in started:
            assert reader.flows.wait(60)
        lose()
        for reader in started:
            reader.note_end()
        for reader in started:
            reader.join(30)
    finally:
        find()
        database.close()
    assert not any(reader.reading.is_whole for reader in started)
    for reader in started:
        assert place.hospital.outcome_of(facility, reader.reading.request).plain["outcome"] == "revoked"
