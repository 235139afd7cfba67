"""What an outside facility runs: dicomweb-client, and the commands `token`, `search` and `fetch`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest
from dicomweb_client.web import DICOMwebClient

from consent import register
from tests.story.hospital import OPENPRIORS, Facility
from tests.story.images import MIB, PETER, PETER_STUDY, large_study, sample_files, study_uid
from tests.story.world import CANARY, MIXED, World, dataset_of, mixed_images, named_in

FILES = sample_files(PETER_STUDY)
MANY = 60


@pytest.fixture(scope="module")
def facility(world: World) -> Facility:
    """A facility that may have Peter's CT study, and the CT of the canary's mixed study."""
    facility = world.hospital.facility()
    world.hospital.consent(facility, PETER, studies=[PETER_STUDY])
    world.hospital.consent(facility, CANARY, studies=[MIXED], modalities=["CT"])
    return facility


def outside(world: World, facility: Facility, *words: str | Path) -> list[str]:
    """The words of an outside command; its data directory is not the hospital's."""
    home = world.hospital.home / "outside"
    own = ["--url", world.server.url, "--client-id", facility.client_id, "--key", str(facility.key), "--json"]
    return [str(word) for word in (OPENPRIORS, "--data", home, *words, *own)]


def run(world: World, facility: Facility, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(outside(world, facility, *words), capture_output=True, text=True, timeout=120, check=False)


def test_dicomweb_client_searches_and_retrieves(world: World, facility: Facility) -> None:
    session = facility.client(world.server.url).session
    session.token = {"access_token": facility.token(world.server.url), "token_type": "Bearer"}
    client = DICOMwebClient(f"{world.server.url}/dicom-web", session=session)
    [study] = client.search_for_studies(search_filters={"PatientID": PETER})
    assert study["0020000D"]["Value"] == [PETER_STUDY]
    assert len(client.search_for_series(PETER_STUDY)) == 2
    assert len(client.search_for_instances(PETER_STUDY)) == len(FILES)
    stored = {named_in(file).instance: dataset_of(file) for file in FILES}
    retrieved = {one.SOPInstanceUID: one for one in client.retrieve_study(PETER_STUDY)}
    assert retrieved == stored
    one = named_in(FILES[0])
    assert client.retrieve_instance(one.study, one.series, one.instance) == stored[one.instance]
    assert client.retrieve_instance_frames(one.study, one.series, one.instance, [1]) == [stored[one.instance].PixelData]
    described = client.retrieve_study_metadata(PETER_STUDY)
    assert {said["00080018"]["Value"][0] for said in described} == set(stored)


def test_search_prints_what_may_be_seen(world: World, facility: Facility) -> None:
    ended = run(world, facility, "search", "--patient", PETER)
    assert ended.returncode == 0, ended.stderr
    [study] = json.loads(ended.stdout)
    assert study["0020000D"]["Value"] == [PETER_STUDY]
    stranger = world.hospital.facility("Hilltop Imaging")
    assert json.loads(run(world, stranger, "search", "--patient", PETER).stdout) == []


def test_fetch_of_a_study_with_a_hidden_part_gets_the_visible_series_and_says_so(
    world: World, facility: Facility, tmp_path: Path
) -> None:
    ended = run(world, facility, "fetch", MIXED, "-o", tmp_path)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["part_hidden"] is True
    assert sorted(path.read_bytes() for path in tmp_path.rglob("*.dcm")) == sorted(mixed_images()[:2])


def test_fetch_of_a_forbidden_and_of_an_absent_study_end_alike(
    world: World, facility: Facility, tmp_path: Path
) -> None:
    stranger = world.hospital.facility("Hilltop Imaging")
    ended = [run(world, stranger, "fetch", study, "-o", tmp_path) for study in (PETER_STUDY, study_uid(404))]
    assert ended[0].returncode == ended[1].returncode == 1
    assert ended[0].stderr == ended[1].stderr
    assert not list(tmp_path.rglob("*.*"))


def test_a_fetch_that_was_killed_goes_on_where_it_stopped(world: World, tmp_path: Path) -> None:
    images = list(large_study("FETCH-1", 20, instances=MANY, instance_bytes=MIB))
    world.hospital.hold(images)
    facility = world.hospital.facility()
    world.hospital.consent(facility, "FETCH-1")
    words = outside(world, facility, "fetch", study_uid(20), "-o", tmp_path)
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.dcm"))) < 3 and time.monotonic() < until:
        time.sleep(0.002)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = len(list(tmp_path.rglob("*.dcm")))
    assert 3 <= before < MANY, "it was killed in the middle"
    ended = run(world, facility, "fetch", study_uid(20), "-o", tmp_path)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert (said["present"], said["instances"]) == (before, MANY - before)
    digests = sorted(sha256(path.read_bytes()).digest() for path in tmp_path.rglob("*.dcm"))
    assert digests == sorted(sha256(image).digest() for image in images)
    assert not list(tmp_path.rglob("*.part")), "nothing unfinished is left"


def test_a_fetch_that_a_revocation_ends_fails_and_keeps_only_whole_files(world: World, tmp_path: Path) -> None:
    images = list(large_study("FETCH-2", 21, instances=MANY, instance_bytes=MIB))
    world.hospital.hold(images)
    facility = world.hospital.facility()
    consent = world.hospital.consent(facility, "FETCH-2")
    words = outside(world, facility, "fetch", study_uid(21), "-o", tmp_path)
    fetching = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.dcm"))) < 3 and time.monotonic() < until:
        time.sleep(0.002)
    world.hospital.parts.database.write(
        register.revoke, world.hospital.parts.log, consent, world.hospital.provenance(), reason="a story"
    )
    said, complaint = fetching.communicate(timeout=60)
    assert fetching.returncode == 1, said
    assert len(complaint.splitlines()) == 1
    whole = {sha256(image).digest() for image in images}
    kept = [sha256(path.read_bytes()).digest() for path in tmp_path.rglob("*.dcm")]
    assert set(kept) < whole
