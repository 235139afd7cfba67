"""Keys by address: a real HTTPS server that answers what a hostile or careless facility might. T6."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey

from consent import parties
from gateway.auth.compact_jws import Unreadable
from gateway.auth.errors import Reason
from gateway.auth.facility_keys import SET_LIMIT
from tests.gateway.auth.conftest import Watcher


class KeyServer:
    """A facility's HTTPS server: answers one response to everything, and counts the questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.head = "200 OK"
        self.headers: dict[str, str] = {}
        self.body = b""
        self.port = 0
        self.silent = False
        self.endless = False

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/jwks.json"

    def publish(self, *keys: ECKey, **headers: str) -> None:
        self.body = json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (line := await reader.readline()) not in {b"\r\n", b""}:
                if line.startswith(b"GET"):
                    self.asked += 1
            if self.silent:
                await asyncio.sleep(30)
            length = {} if self.endless else {"Content-Length": str(len(self.body))}
            lines = [f"HTTP/1.1 {self.head}", *(f"{k}: {v}" for k, v in {**length, **self.headers}.items())]
            writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode() + self.body)
            while self.endless:
                writer.write(b" " * 65536)
                await writer.drain()
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def certificate(directory: Path) -> Path:
    """A certificate for 127.0.0.1, with its key, that a test may choose to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "outside clinic")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "facility.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def server(pem: Path) -> AsyncIterator[KeyServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    made = KeyServer()
    listening = await asyncio.start_server(made.answer, "127.0.0.1", 0, ssl=context)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()


@pytest.fixture
async def gateway(make_gateway, sqlite_database, pem: Path) -> AsyncIterator[Any]:
    """A gateway that trusts the facility's certificate."""
    async with make_gateway(sqlite_database, tls=ssl.create_default_context(cafile=str(pem))) as made:
        yield made


@pytest.fixture
def partner(partner, gateway, server):
    server.publish(*partner.keys.values())
    gateway.register(partner, jwks_uri=server.url)
    return partner


async def test_keys_are_fetched_by_address_and_kept(gateway, partner, server) -> None:
    for _ in range(3):
        await gateway.token(partner)
    assert server.asked == 1


async def test_a_set_is_kept_no_longer_than_its_cache_control_says(gateway, partner, server) -> None:
    server.publish(partner.keys["P-384"], Cache_Control="public, max-age=120")
    await gateway.token(partner)
    gateway.clock.forward(119)
    await gateway.token(partner)
    assert server.asked == 1
    gateway.clock.forward(1)
    await gateway.token(partner)
    assert server.asked == 2


@pytest.mark.parametrize("said", ["max-age=999999999", "max-age=3600", "immutable, max-age=86400"])
async def test_a_set_is_kept_an_hour_at_most(gateway, partner, server, said) -> None:
    server.publish(partner.keys["P-384"], Cache_Control=said)
    await gateway.token(partner)
    gateway.clock.forward(3600)
    await gateway.token(partner)
    assert server.asked == 2


@pytest.mark.parametrize("headers", [{"Cache_Control": "no-store"}, {"Cache_Control": "max-age=0"}])
async def test_a_set_that_must_not_be_kept_is_not(gateway, partner, server, headers) -> None:
    server.publish(partner.keys["P-384"], **headers)
    await gateway.token(partner)
    await gateway.token(partner)
    assert server.asked == 2


async def test_a_set_that_is_old_already_is_kept_for_the_rest(gateway, partner, server) -> None:
    server.publish(partner.keys["P-384"], Cache_Control="max-age=300", Age="200")
    await gateway.token(partner)
    gateway.clock.forward(100)
    await gateway.token(partner)
    assert server.asked == 2


async def test_t6_a_key_that_was_rotated_out_is_refused(gateway, partner, server) -> None:
    await gateway.token(partner)
    server.publish(partner.keys["RSA"])
    gateway.clock.forward(301)
    assert (await gateway.ask_token(partner.assertion("ES384"))).status_code == 401
    assert (await gateway.ask_token(partner.assertion("RS384"))).status_code == 200


async def test_a_new_key_is_found_at_once_and_asked_for_once_a_minute(gateway, partner, server) -> None:
    server.publish(partner.keys["P-384"])
    await gateway.token(partner)
    gateway.clock.forward(60)
    server.publish(*partner.keys.values())
    assert (await gateway.ask_token(partner.assertion("RS384"))).status_code == 200
    assert server.asked == 2
    for n in range(20):
        assert (await gateway.ask_token(partner.assertion(header={"kid": f"made-up-{n}"}))).status_code == 401
    assert server.asked == 2
    gateway.clock.forward(60)
    await asyncio.gather(*(gateway.ask_token(partner.assertion(header={"kid": f"new-{n}"})) for n in range(20)))
    assert server.asked == 3


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_t6_a_redirect_is_not_followed(gateway, partner, server, watcher, status) -> None:
    server.head, server.headers = status, {"Location": watcher.url}
    assert (await gateway.ask_token(partner.assertion())).status_code == 401
    assert watcher.connections == 0
    server.headers = {"Location": "https://169.254.169.254/latest/meta-data"}
    gateway.clock.forward(11)
    assert (await gateway.ask_token(partner.assertion())).status_code == 401


async def test_t6_a_set_that_is_too_large_is_given_up(gateway, partner, server) -> None:
    server.body += b" " * SET_LIMIT
    assert (await gateway.ask_token(partner.assertion())).status_code == 401
    server.endless = True
    gateway.clock.forward(11)
    assert (await asyncio.wait_for(gateway.ask_token(partner.assertion()), 20)).status_code == 401


async def test_t6_a_server_that_never_answers_is_given_up(make_gateway, sqlite_database, partner, server, pem) -> None:
    server.silent = True
    tls = ssl.create_default_context(cafile=str(pem))
    async with make_gateway(sqlite_database, tls=tls, fetch_s=0.3) as impatient:
        answers = await asyncio.gather(*(impatient.ask_token(partner.assertion()) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {401}
        assert server.asked == 1  # whoever waited takes the first one's failure
        assert (await impatient.ask_token(partner.assertion())).status_code == 401
        assert server.asked == 1  # and it is not asked again at once
        server.silent = False
        impatient.clock.forward(11)
        assert (await impatient.ask_token(partner.assertion())).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b'{"keys": 1}', b'{"keys": []}', b'{"keys": [1, {}, "x"]}', b'{"keys": [' + b"{}," * 99],
)
async def test_t6_what_is_no_key_set_opens_nothing(gateway, partner, server, body) -> None:
    server.body = body
    assert (await gateway.ask_token(partner.assertion())).status_code == 401


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_t6_a_compressed_set_is_not_inflated(gateway, partner, server, encoding) -> None:
    server.headers = {"Content-Encoding": encoding}
    assert (await gateway.ask_token(partner.assertion())).status_code == 401


async def test_t6_a_server_without_the_right_certificate_is_not_believed(
    make_gateway, sqlite_database, partner, server
) -> None:
    async with make_gateway(sqlite_database) as distrusting:
        assert (await distrusting.ask_token(partner.assertion())).status_code == 401
    assert server.asked == 0


async def test_t6_an_outage_ends_the_keys_no_later_than_their_own_life(gateway, partner, server) -> None:
    server.publish(partner.keys["P-384"], Cache_Control="max-age=200")
    await gateway.token(partner)
    server.head = "503 Unavailable"
    gateway.clock.forward(61)
    assert (await gateway.ask_token(partner.assertion(header={"kid": "new"}))).status_code == 401
    assert (await gateway.ask_token(partner.assertion())).status_code == 200  # still fresh
    gateway.clock.forward(139)
    assert (await gateway.ask_token(partner.assertion())).status_code == 401  # and now no longer
    server.head = "200 OK"
    gateway.clock.forward(11)
    assert (await gateway.ask_token(partner.assertion())).status_code == 200


async def test_a_jku_that_is_the_registered_address_is_allowed(gateway, partner, server) -> None:
    """SMART client-confidential-asymmetric: it must match; it is not what is fetched."""
    assert (await gateway.ask_token(partner.assertion(header={"jku": server.url}))).status_code == 200
    other = server.url.replace("jwks.json", "other.json")
    assert (await gateway.ask_token(partner.assertion(header={"jku": other}))).status_code == 401


async def test_only_https_is_asked_whatever_the_register_holds(gateway, partner) -> None:
    facility = gateway.database.read(parties.get, partner.client_id)
    async with Watcher().listening("127.0.0.2") as elsewhere:  # not this machine's own name, so it must be https
        for address in (elsewhere.url, elsewhere.url.replace("//", "//user@"), "file:///etc/passwd", "https:///x"):
            with pytest.raises(Unreadable) as refused:
                await gateway.facility_keys.find(replace(facility, jwks_uri=address), "p384-1", "ES384")
            assert refused.value.reason is Reason.KEYS_AWAY
        assert elsewhere.connections == 0
