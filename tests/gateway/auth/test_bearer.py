"""Access tokens at the resource server: which count, for how long, and what it costs to see one again."""

from __future__ import annotations

import json
import time

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from consent import parties
from consent.model import PERSON_NOT_STATED, Purpose
from consent.parties import READ_SCOPE, STORE_SCOPE
from gateway.auth.access_tokens import signing_key
from gateway.auth.bearer import BearerAuthenticator, is_revoked
from gateway.auth.credentials import Credentials
from gateway.auth.errors import NotAuthenticated, Reason
from gateway.auth.replay import revoke_token
from storage import epoch
from storage.log.event import Kind
from tests.gateway.auth.tokens import b64, sign_by_hand, unb64

REFUSAL = {"detail": "A valid access token, or the session of somebody who works here, is needed."}


async def assert_refused(gateway, reason: Reason, token: str | None = None, **sent) -> None:
    answer = await gateway.whoami(token=token, **sent)
    assert (answer.status_code, answer.json()) == (401, REFUSAL)
    assert answer.headers["www-authenticate"] == gateway.metadata.challenge()
    await gateway.refusals.flush()
    assert gateway.events(Kind.REFUSALS_COUNTED)[-1] == {f"request.{reason.value}": 1}


@pytest.fixture
def our_key(gateway) -> ECKey:
    return signing_key(gateway.log.keys)


def claims_of(token: str) -> dict:
    return json.loads(unb64(token.split(".")[1]))


def resign(token: str, key: ECKey, *, header: dict | None = None, **changed) -> str:
    """A genuine token of ours with other claims, as only a thief of our key could make."""
    claims = {name: value for name, value in (claims_of(token) | changed).items() if value is not None}
    full = {"typ": "at+jwt", "alg": "ES256", "kid": key.kid} | (header or {})
    return sign_by_hand(full, json.dumps(claims).encode(), key, "ES256")


async def test_t1_and_t3_forged_headers_are_refused(gateway, partner, registered, our_key) -> None:
    token = await gateway.token(partner)
    payload = token.split(".")[1]
    for alg in ("none", "None", "", "HS256", "RS256", "ES384", None, 5):
        forged = b64(json.dumps({"typ": "at+jwt", "alg": alg, "kid": our_key.kid}).encode())
        await assert_refused(gateway, Reason.ALGORITHM, f"{forged}.{payload}.AAAA")
    public = our_key.as_pem(private=False)
    confused = sign_by_hand(
        {"typ": "at+jwt", "alg": "HS256", "kid": our_key.kid}, unb64(payload), OctKey.import_key(b64(public)), "HS256"
    )
    await assert_refused(gateway, Reason.ALGORITHM, confused)
    for critical in ({"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"b64": False}):
        await assert_refused(gateway, Reason.CRITICAL_HEADER, resign(token, our_key, header=critical))


async def test_t2_only_our_own_key_signs_access_tokens(gateway, partner, registered, our_key, watcher) -> None:
    token = await gateway.token(partner)
    other = ECKey.generate_key("P-256", parameters={"kid": our_key.kid})
    for header in ({}, {"jwk": other.as_dict(private=False)}, {"jku": watcher.url}, {"x5u": watcher.url}):
        await assert_refused(gateway, Reason.SIGNATURE, resign(token, other, header=header))
    assert watcher.connections == 0
    for kid in ("../../dev/null", "' OR 1=1", None, 5, "k" * 2000):
        await assert_refused(gateway, Reason.UNKNOWN_KEY, resign(token, our_key, header={"kid": kid}))
    partner_key = partner.keys["P-256"]
    await assert_refused(gateway, Reason.UNKNOWN_KEY, resign(token, partner_key))


async def test_t4_other_tokens_are_no_access_tokens(gateway, partner, registered, our_key) -> None:
    token = await gateway.token(partner)
    await assert_refused(gateway, Reason.ALGORITHM, partner.assertion())
    await assert_refused(gateway, Reason.TYPE, partner.assertion("ES256"))
    for typ in ("JWT", "jwt", "id_token+jwt", "", None, 5):
        await assert_refused(gateway, Reason.TYPE, resign(token, our_key, header={"typ": typ}))
    await assert_refused(gateway, Reason.TYPE, sign_by_hand({"alg": "ES256"}, b"{}", our_key))
    assert (await gateway.whoami(token=resign(token, our_key, header={"typ": "application/AT+JWT"}))).status_code == 200


async def test_t5_wrong_claims_are_refused(gateway, partner, registered, our_key) -> None:
    token = await gateway.token(partner)
    now = gateway.clock.seconds
    wrong = [
        (Reason.ISSUER, {"iss": "https://other.example"}),
        (Reason.ISSUER, {"iss": None}),
        (Reason.AUDIENCE, {"aud": "https://other.example"}),
        (Reason.AUDIENCE, {"aud": [gateway.public_url]}),
        (Reason.AUDIENCE, {"aud": None}),
        (Reason.EXPIRED, {"exp": now}),
        (Reason.EXPIRED, {"exp": now - 1}),
        (Reason.TIME, {"exp": None}),
        (Reason.TIME, {"iat": None}),
        (Reason.CLAIMS, {"exp": str(now + 100)}),
        (Reason.CLAIMS, {"client_id": None}),
        (Reason.CLAIMS, {"client_id": 5}),
        (Reason.CLAIMS, {"sub": "somebody-else"}),
        (Reason.CLAIMS, {"jti": None}),
        (Reason.CLAIMS, {"scope": None}),
        (Reason.CLAIMS, {"scope": [READ_SCOPE]}),
        (Reason.CLAIMS, {"purpose_of_use": None}),
        (Reason.CLAIMS, {"purpose_of_use": "MARKETING"}),
        (Reason.UNKNOWN_CLIENT, {"client_id": "nobody", "sub": "nobody"}),
        (Reason.NO_LONGER_ALLOWED, {"scope": f"{READ_SCOPE} {STORE_SCOPE}"}),
        (Reason.NO_LONGER_ALLOWED, {"purpose_of_use": "HOPERAT"}),
    ]
    for reason, changed in wrong:
        await assert_refused(gateway, reason, resign(token, our_key, **changed))


@pytest.mark.parametrize("cnf", [{"jkt": "thumbprint"}, {"x5t#S256": "thumbprint"}, {}, "text"])
async def test_t7_a_bound_token_is_never_good_as_a_bearer_token(gateway, partner, registered, our_key, cnf) -> None:
    token = await gateway.token(partner)
    await assert_refused(gateway, Reason.BOUND, resign(token, our_key, cnf=cnf))


async def test_t7_no_other_scheme_is_taken(gateway, partner, registered) -> None:
    token = await gateway.token(partner)
    for value in (
        f"DPoP {token}",
        f"Basic {token}",
        token,
        "Bearer",
        "Bearer ",
        "",
        f"Bearer {token} {token}",
        f"Bearer {token},Bearer {token}",
        f"Bearer\t{token}",
        "Bearer §",
        f'Bearer "{token}"',
    ):
        await assert_refused(gateway, Reason.SCHEME, headers={"Authorization": value.encode("latin-1")})
    for value in (f"bearer {token}", f"BEARER  {token}"):
        assert (await gateway.whoami(headers={"Authorization": value})).status_code == 200


async def test_exactly_one_credential_decides(gateway, partner, registered) -> None:
    token = await gateway.token(partner)
    good = ("Authorization", f"Bearer {token}")
    cookie = ("Cookie", f"{gateway.cookie.name}={'a' * 43}")
    for headers in ([good, good], [good, ("Authorization", "Basic eDp5")], [good, cookie], [cookie, cookie]):
        await assert_refused(gateway, Reason.SEVERAL, headers=headers)
    await assert_refused(gateway, Reason.NONE_SHOWN)
    assert (await gateway.whoami(headers=[good, ("Cookie", "other=1")])).status_code == 200


async def test_a_token_in_the_address_is_refused_even_beside_a_good_one(gateway, partner, registered) -> None:
    token = await gateway.token(partner)
    headers = {"Authorization": f"Bearer {token}"}
    for query in (
        f"access_token={token}",
        f"PatientID=1&access_token={token}",
        "access%5Ftoken=x",
        "%61ccess_token=x",
        "a=1;access_token=x",
        "access_token",
        "Access_Token=x",
    ):
        await assert_refused(gateway, Reason.IN_QUERY, headers=headers, path=f"/whoami?{query}")
    assert (await gateway.whoami(headers=headers, path="/whoami?PatientID=access_token")).status_code == 200


async def test_a_token_ends_at_its_hour_although_it_is_remembered(gateway, partner, registered) -> None:
    token = await gateway.token(partner)
    assert (await gateway.whoami(token=token)).status_code == 200
    gateway.clock.forward(299.9)
    assert (await gateway.whoami(token=token)).status_code == 200
    gateway.clock.forward(0.1)
    await assert_refused(gateway, Reason.EXPIRED, token)
    await assert_refused(gateway, Reason.EXPIRED, token)


async def test_a_suspended_facility_is_shut_out_with_the_next_epoch(gateway_on_both, partner) -> None:
    gateway = gateway_on_both
    facility = gateway.register(partner)
    token = await gateway.token(partner)
    assert (await gateway.whoami(token=token)).status_code == 200
    gateway.database.write(parties.suspend, gateway.log, facility.client_id, gateway.provenance(), reason="test")
    gateway.confirm_epoch()
    await assert_refused(gateway, Reason.INACTIVE, token)


async def test_tokens_from_before_a_suspension_or_a_new_key_stay_void(gateway, partner, registered) -> None:
    client_id, log = registered.client_id, gateway.log
    before = await gateway.token(partner)
    gateway.clock.forward(1)
    gateway.database.write(parties.suspend, log, client_id, gateway.provenance(), reason="key stolen")
    gateway.database.write(parties.rotate_key, log, client_id, gateway.provenance(), jwks=partner.jwks("P-384"))
    gateway.database.write(parties.approve, log, client_id, gateway.provenance())
    gateway.confirm_epoch()
    await assert_refused(gateway, Reason.NO_LONGER_ALLOWED, before)
    assert (await gateway.ask_token(partner.assertion("RS384"))).status_code == 401  # the old key
    assert (await gateway.whoami(token=await gateway.token(partner))).status_code == 200


async def test_a_revoked_token_is_shut_out_on_every_node_with_the_next_epoch(
    make_gateway, new_database, partner, database
) -> None:
    async with make_gateway(database, node="n1") as one, make_gateway(database, node="n2") as two:
        one.register(partner)
        token = await one.token(partner)
        for node in (one, two):
            node.confirm_epoch()
            assert (await node.whoami(token=token)).status_code == 200
        jti, expires = claims_of(token)["jti"], claims_of(token)["exp"] * 1_000_000
        assert one.database.write(revoke_token, jti, expires)
        two.confirm_epoch()
        await assert_refused(two, Reason.REVOKED, token)
        assert not two.database.write(revoke_token, jti, expires)


async def test_a_change_elsewhere_leaves_other_tokens_as_they_are(gateway, partner, registered) -> None:
    token = await gateway.token(partner)
    first = (await gateway.whoami(token=token)).json()
    gateway.database.write(epoch.bump)
    gateway.confirm_epoch()
    assert (await gateway.whoami(token=token)).json() == first


async def test_what_a_running_download_rests_on_can_be_asked_again(gateway, partner, registered) -> None:
    token = await gateway.token(partner)
    requester = await gateway.bearer.authenticate(Credentials(token=token))
    assert not gateway.database.read(is_revoked, requester)
    gateway.database.write(revoke_token, requester.credential, requester.expires_at)
    assert gateway.database.read(is_revoked, requester)
    second = await gateway.bearer.authenticate(Credentials(token=await gateway.token(partner)))
    assert not gateway.database.read(is_revoked, second)
    gateway.database.write(parties.suspend, gateway.log, registered.client_id, gateway.provenance(), reason="test")
    assert gateway.database.read(is_revoked, second)


async def test_who_asks_is_what_the_token_and_the_register_say(gateway, partner) -> None:
    facility = gateway.register(partner, name="Outside clinic", affiliated=True, purposes=(Purpose.PATRQT,))
    token = await gateway.token(partner)
    requester = await gateway.bearer.authenticate(Credentials(token=token))
    assert (requester.facility, requester.facility_name) == (facility.client_id, "Outside clinic")
    assert (requester.affiliated, requester.purpose) == (True, Purpose.PATRQT)
    assert (requester.proven, requester.person) == ("bearer", PERSON_NOT_STATED)
    assert requester.credential == claims_of(token)["jti"]
    assert token not in repr(requester)
    assert await gateway.bearer.authenticate(Credentials(token=token)) is requester


async def test_what_is_remembered_is_bounded_and_forgets_what_is_over(gateway, partner, registered) -> None:
    small = BearerAuthenticator(gateway.tokens, gateway.database, epoch=lambda: 1, clock=gateway.clock, limit=3)
    tokens = [await gateway.token(partner) for _ in range(5)]
    for token in tokens:
        assert await small.authenticate(Credentials(token=token)) is not None
    assert len(small._known) == 3
    assert await small.authenticate(Credentials(token=tokens[0])) is not None  # checked again, and good
    gateway.clock.forward(301)
    late = await gateway.token(partner)
    await small.authenticate(Credentials(token=late))
    assert len(small._known) == 1


async def test_a_token_is_verified_once_and_then_found(gateway, partner, registered) -> None:
    """The hot path: no signature, no database. The figure is printed, not asserted."""
    token = await gateway.token(partner)
    credentials = Credentials(token=token)
    first = await gateway.bearer.authenticate(credentials)
    gateway.database.close()  # nothing but the memory can answer from here on
    began = time.perf_counter()
    for _ in range(2000):
        assert await gateway.bearer.authenticate(credentials) is first
    print(f"a remembered token: {(time.perf_counter() - began) / 2000 * 1e6:.1f} us")


async def test_an_epoch_that_cannot_be_confirmed_lets_nobody_in(gateway, partner, registered) -> None:
    def lost() -> int:
        raise NotAuthenticated(Reason.NONE_SHOWN)  # stands for whatever the keeper of the epoch raises

    token = await gateway.token(partner)
    shut = BearerAuthenticator(gateway.tokens, gateway.database, epoch=lost, clock=gateway.clock)
    with pytest.raises(NotAuthenticated):
        await shut.authenticate(Credentials(token=token))


async def test_the_published_keys_verify_our_tokens_and_hold_no_secret(gateway, partner, registered) -> None:
    async with gateway.browser() as browser:
        [key] = (await browser.get("/oauth/jwks.json")).json()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    from joserfc import jws

    token = await gateway.token(partner)
    assert jws.deserialize_compact(token, ECKey.import_key(key), algorithms=["ES256"])
    assert not isinstance(key, RSAKey)
