"""deploy/nginx.conf in front of the gateway: the same story through TLS, and nothing of it in its logs."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tests.conftest import free_port, require
from tests.story.front import Front
from tests.story.hospital import Server
from tests.story.images import ARCHIBALD_STUDY, PETER, PETER_STUDY, sample_files
from tests.story.wire import Line, parts_of
from tests.story.world import AS_STORED, BASE, CANARY, CANARY_NAME, JSON, World

pytestmark = pytest.mark.needs("nginx")


@dataclass(frozen=True, kw_only=True)
class Behind:
    """A node of the world behind nginx, and a connection of a facility that may have Peter's CT study."""

    front: Front
    node: Server
    token: str

    def open(self) -> Line:
        return Line(port=self.front.port, token=self.token, tls=self.front.tls)


@pytest.fixture(scope="module")
def behind(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    port = free_port()
    front = Front(tmp_path_factory.mktemp("front") / "nginx", require("nginx"), port)
    try:
        node = world.hospital.serve(port=port, public_url=front.url, trusted_proxy="127.0.0.1")
        facility = world.hospital.facility()
        world.hospital.consent(facility, PETER, studies=[PETER_STUDY])
        token = facility.token(front.url, verify=front.certificate)
        yield Behind(front=front, node=node, token=token)
    finally:
        front.stop()


@pytest.fixture
def line(behind: Behind) -> Iterator[Line]:
    with behind.open() as opened:
        yield opened


def test_the_story_is_the_same_through_nginx(behind: Behind, line: Line) -> None:
    [study] = json.loads(line.get(f"{BASE}/studies", JSON).body)
    assert study["0020000D"]["Value"] == [PETER_STUDY]
    assert study["00081190"]["Value"] == [f"{behind.front.url}{BASE}/studies/{PETER_STUDY}"]
    parts = parts_of(line.get(f"{BASE}/studies/{PETER_STUDY}", AS_STORED))
    assert sorted(body for _, body in parts) == sorted(path.read_bytes() for path in sample_files(PETER_STUDY))


def test_forbidden_is_absent_through_nginx_too(line: Line) -> None:
    for path in (f"{BASE}/studies/{{}}", f"{BASE}/studies/{{}}/metadata", f"{BASE}/studies?StudyInstanceUID={{}}"):
        one, other = (line.get(path.format(uid)) for uid in (ARCHIBALD_STUDY, f"2{ARCHIBALD_STUDY[1:]}"))
        assert one.features == other.features


def test_every_answer_asks_for_tls_from_now_on(line: Line) -> None:
    for path in (f"{BASE}/studies", f"{BASE}/studies/1.2.3", "/nothing", "/livez", "/%"):
        assert "max-age=63072000" in line.get(path).header("strict-transport-security"), path


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_old_tls_and_plain_text_are_refused(behind: Behind) -> None:
    old = ssl.create_default_context(cafile=str(behind.front.certificate))
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match=r"(?i)alert|version|protocol"):
        Line(port=behind.front.port, tls=old)
    with Line(port=behind.front.plain_port, token=behind.token) as line:
        assert line.get(f"{BASE}/studies?PatientID={PETER}").status == 403
    with Line(port=behind.front.plain_port) as line:
        answer = line.get("/")
        assert (answer.status, answer.header("location")) == (308, "https://priors.hospital.example/")


def test_no_log_of_nginx_names_a_patient_also_when_the_gateway_fails(behind: Behind) -> None:
    question = f"{BASE}/studies?PatientName={quote(CANARY_NAME)}&PatientID={CANARY}"
    with behind.open() as line:
        answered = line.get(question, JSON, Referer=f"https://localhost{question}")
        assert answered.status == 200
        behind.node.stop()
        try:
            assert line.get(question, JSON).status == 502
            with suppress(OSError):  # refused before it was all sent
                assert line.get(question + "x" * 40_000, JSON).status in {400, 414}
        finally:
            behind.node.start()
    with socket.create_connection(("127.0.0.1", behind.front.port)) as plain:
        plain.sendall(f"GET {question} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 400 " in plain.recv(1000), "plain text on the port of TLS"
    said = behind.front.said() + behind.node.said()
    for word in (CANARY, "Zyxwvut", quote(CANARY_NAME), "PatientID", behind.token):
        assert word not in said
    assert answered.header("x-request-id") in said, "what is written leads to the gateway's own record"


def test_what_a_client_says_of_where_it_comes_from_is_not_believed(behind: Behind, line: Line) -> None:
    """Its X-Forwarded-* fields are replaced: no answer and no URL follows them."""
    answer = line.get(
        f"{BASE}/studies",
        JSON,
        X_Forwarded_For="10.1.2.3",
        X_Forwarded_Proto="http",
        X_Forwarded_Host="attacker.example",
        Forwarded="host=attacker.example",
    )
    assert b"attacker" not in answer.body
    assert json.loads(answer.body)[0]["00081190"]["Value"] == [f"{behind.front.url}{BASE}/studies/{PETER_STUDY}"]
