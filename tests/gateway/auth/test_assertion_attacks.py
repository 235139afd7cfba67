"""Attacks on the client assertion: one answer for all of them, and nothing is ever fetched that a token names.

T1 to T5 and T7 of the list of attacks that this gateway is held against.
"""

from __future__ import annotations

import hmac
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from joserfc.jwk import ECKey

from consent.parties import READ_SCOPE
from gateway.auth.errors import Reason
from gateway.auth.registered_keys import read_key_set
from storage.log.event import Kind
from tests.gateway.auth.tokens import b64, sign_by_hand

REFUSAL = {"error": "invalid_client", "error_description": "The client could not be authenticated."}


async def assert_refused(gateway, assertion: str, reason: Reason | None = None, **fields: str) -> None:
    """The one answer to everything that proves nothing, counted under its reason and recorded as a count alone."""
    answer = await gateway.ask_token(assertion, **fields)
    assert (answer.status_code, answer.json()) == (401, REFUSAL)
    assert answer.headers["www-authenticate"] == gateway.metadata.challenge()
    assert answer.headers["cache-control"] == "no-store"
    assert gateway.events(Kind.TOKEN_ISSUED) == []
    await gateway.refusals.flush()
    counted = gateway.events(Kind.REFUSALS_COUNTED)[-1]
    assert list(counted.values()) == [1]
    if reason is not None:
        assert list(counted) == [f"token.{reason.value}"]


async def test_t1_a_token_without_a_real_algorithm_is_refused(gateway, partner, registered) -> None:
    for alg in ("none", "None", "NONE", "nOnE", "", None, 5, ["ES384"], {"a": 1}, "ES384 ", "HS1"):
        header = {"alg": alg, "kid": "p384-1"}
        head = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(partner.claims()).encode())}"
        await assert_refused(gateway, f"{head}.", Reason.MALFORMED)
        await assert_refused(gateway, f"{head}.AA", Reason.ALGORITHM)


async def test_t1_no_secret_key_is_made_of_a_public_one(gateway, partner, registered, partner_keys) -> None:
    public = partner_keys["RSA"]
    pem = public.as_pem(private=False)
    secrets = [
        pem,
        pem.strip(),
        b"\n" + pem,
        public.as_der(private=False),
        json.dumps(public.as_dict(private=False)).encode(),
        public.as_dict(private=False)["n"].encode(),
        b"",
    ]
    for alg, kid in (("HS256", "rsa-1"), ("HS384", "p384-1"), ("HS512", "rsa-1")):
        for secret in secrets:
            head = f"{b64(json.dumps({'alg': alg, 'kid': kid}).encode())}.{b64(json.dumps(partner.claims()).encode())}"
            digest = hmac.digest(secret, head.encode(), {"HS256": "sha256", "HS384": "sha384"}.get(alg, "sha512"))
            await assert_refused(gateway, f"{head}.{b64(digest)}", Reason.ALGORITHM)


@pytest.mark.parametrize(("alg", "kind"), [("RS256", "RSA"), ("RS512", "RSA"), ("PS512", "RSA"), ("ES256K", "P-256")])
async def test_t1_algorithms_that_are_not_listed_are_refused(gateway, partner, registered, alg, kind) -> None:
    key = partner.keys[kind]
    genuine = "ES256" if alg == "ES256K" else alg
    token = sign_by_hand({"alg": alg, "kid": key.kid}, json.dumps(partner.claims()).encode(), key, genuine)
    await assert_refused(gateway, token, Reason.ALGORITHM)


@pytest.mark.parametrize(("alg", "kid"), [("RS384", "p384-1"), ("ES384", "rsa-1"), ("ES256", "p384-1")])
async def test_t1_a_key_serves_the_algorithms_of_its_own_kind_alone(gateway, partner, registered, alg, kid) -> None:
    await assert_refused(gateway, partner.assertion(alg, header={"kid": kid}), Reason.UNKNOWN_KEY)


async def test_t1_a_key_registered_for_one_algorithm_serves_no_other(gateway, partner, partner_keys) -> None:
    jwks = {"keys": [{**partner_keys["RSA"].as_dict(private=False), "alg": "PS384"}]}
    gateway.register(partner, jwks=jwks)
    await assert_refused(gateway, partner.assertion("RS384"), Reason.UNKNOWN_KEY)
    assert (await gateway.ask_token(partner.assertion("PS384"))).status_code == 200


async def test_t2_a_key_in_the_header_is_never_used(gateway, partner, registered) -> None:
    own = ECKey.generate_key("P-384", parameters={"kid": "p384-1"})
    payload = json.dumps(partner.claims()).encode()
    for extra in ({"jwk": own.as_dict(private=False)}, {"x5c": [b64(own.as_der(private=False))]}, {}):
        token = sign_by_hand({"alg": "ES384", "kid": "p384-1", **extra}, payload, own)
        await assert_refused(gateway, token, Reason.SIGNATURE)


@pytest.mark.parametrize("name", ["jku", "x5u"])
async def test_t2_no_address_in_a_token_is_requested(gateway, partner, registered, name, watcher) -> None:
    own = ECKey.generate_key("P-384", parameters={"kid": "attacker"})
    header = {"alg": "ES384", "kid": "attacker", name: watcher.url}
    await assert_refused(gateway, sign_by_hand(header, json.dumps(partner.claims()).encode(), own), Reason.UNKNOWN_KEY)
    assert watcher.connections == 0


async def test_t2_a_jku_that_is_not_the_registered_address_voids_the_signature(gateway, partner, registered) -> None:
    """SMART client-confidential-asymmetric: a jku that is not whitelisted fails the verification."""
    token = partner.assertion(header={"jku": "https://elsewhere.example/jwks.json"})
    await assert_refused(gateway, token, Reason.UNKNOWN_KEY)


@pytest.mark.parametrize("header", [{"jwk": {"kty": "oct", "k": "AA"}}, {"x5u": "https://elsewhere.example/"}])
async def test_t2_what_must_not_count_changes_nothing_for_a_genuine_token(gateway, partner, registered, header) -> None:
    assert (await gateway.ask_token(partner.assertion(header=header))).status_code == 200


async def test_t2_a_name_that_is_no_registered_key_s_is_refused(gateway, partner, registered) -> None:
    key = partner.keys["P-384"]
    paths = ["../../dev/null", "/dev/null", "p384-1' OR '1'='1", "p384-1; DROP TABLE facility"]
    for kid in (*paths, "P384-1", "p384-1 ", "p384-1\x00", "", None, 7, ["p384-1"], {"kid": "p384-1"}, True):
        token = sign_by_hand({"alg": "ES384", "kid": kid}, json.dumps(partner.claims()).encode(), key)
        await assert_refused(gateway, token, Reason.UNKNOWN_KEY)


async def test_t2_a_token_must_name_its_key(gateway, partner, registered) -> None:
    token = sign_by_hand({"alg": "ES384"}, json.dumps(partner.claims()).encode(), partner.keys["P-384"])
    await assert_refused(gateway, token, Reason.UNKNOWN_KEY)


async def test_t2_a_token_over_16_kib_is_refused_before_it_is_decoded(gateway, partner, registered) -> None:
    await assert_refused(gateway, partner.assertion(header={"kid": "k" * 20_000}), Reason.TOO_LARGE)
    await assert_refused(gateway, "!" * 20_000, Reason.TOO_LARGE)  # not even base64url
    answer = await gateway.ask_token(partner.assertion(header={"kid": "k" * (1 << 20)}))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")  # the form itself is too large


async def test_t3_critical_and_unencoded_payloads_are_refused(gateway, partner, registered) -> None:
    private = "https://example.org/ext"
    for header in (
        {"crit": ["exp"]},
        {"crit": [private], private: 1},
        {"crit": []},
        {"crit": "b64"},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
    ):
        await assert_refused(gateway, partner.assertion(header=header), Reason.CRITICAL_HEADER)


async def test_t4_a_token_of_another_type_is_no_assertion(gateway, partner, registered) -> None:
    for typ in ("at+jwt", "application/at+jwt", "dpop+jwt", "JWE", "", 5, None, ["JWT"]):
        await assert_refused(gateway, partner.assertion(header={"typ": typ}), Reason.TYPE)


async def test_t4_an_access_token_is_no_assertion(gateway, partner, registered) -> None:
    token = await gateway.token(partner)
    answer = await gateway.ask_token(token)
    assert (answer.status_code, answer.json()) == (401, REFUSAL)


async def test_assertions_may_name_their_type(gateway, partner, registered) -> None:
    for typ in ("JWT", "jwt", "application/jwt", "client-authentication+jwt"):
        assert (await gateway.ask_token(partner.assertion(header={"typ": typ}))).status_code == 200


async def test_t5_an_assertion_counts_once(gateway, partner, registered) -> None:
    assertion = partner.assertion()
    assert (await gateway.ask_token(assertion)).status_code == 200
    answer = await gateway.ask_token(assertion)
    assert (answer.status_code, answer.json()) == (401, REFUSAL)
    again = partner.sign(json.dumps(partner.claims(jti="same")).encode())
    assert (await gateway.ask_token(again)).status_code == 200
    other = partner.sign(json.dumps(partner.claims(jti="same", iat=None)).encode(), "RS384")
    assert (await gateway.ask_token(other)).json() == REFUSAL  # the name counts, not the bytes


async def test_t5_the_same_name_from_another_facility_is_another_assertion(gateway, partner, registered, clock) -> None:
    second = type(partner)(clock, partner.keys)
    gateway.register(second, name="Second clinic")
    assert (await gateway.ask_token(partner.assertion(jti="same"))).status_code == 200
    assert (await gateway.ask_token(second.assertion(jti="same"))).status_code == 200


async def test_t5_wrong_times_are_refused(gateway, partner, registered) -> None:
    for changed in (
        {"exp": 301},
        {"exp": 3600},
        {"exp": 10**9},
        {"exp": 0},
        {"exp": -1},
        {"exp": -400, "iat": -600},
        {"iat": 61},
        {"iat": 86400, "exp": 86500},
        {"nbf": 61},
        {"iat": 30, "exp": 331},
    ):
        moved = {name: partner.clock.seconds + offset for name, offset in changed.items()}
        await assert_refused(gateway, partner.assertion(**moved), Reason.TIME)


async def test_times_inside_the_bounds_are_taken(gateway, partner, registered) -> None:
    for changed in ({"exp": 300}, {"exp": 1}, {"iat": 60, "exp": 360}, {"iat": -3600}, {"nbf": 60}, {"iat": None}):
        moved = {name: None if offset is None else partner.clock.seconds + offset for name, offset in changed.items()}
        assert (await gateway.ask_token(partner.assertion(**moved))).status_code == 200, changed


async def test_t5_a_claim_that_is_missing_is_refused(gateway, partner, registered) -> None:
    for name in ("iss", "sub", "aud", "exp", "jti"):
        await assert_refused(gateway, partner.assertion(**{name: None}))


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp", "iat", "nbf", "jti"])
async def test_t5_claims_of_a_wrong_type_are_refused(gateway, partner, registered, name) -> None:
    number = {1.5} if name in {"iat", "nbf"} else {}  # a moment of 1970 is a moment that is over
    wrong = [True, False, [], {}, "" if name == "jti" else "1790000100", ["x"], [1], 1.5, -1, 1e300, 10**400]
    for value in wrong:
        if not isinstance(value, float) or value not in number:
            payload = json.dumps(partner.claims() | {name: value}).encode()
            await assert_refused(gateway, partner.sign(payload))


async def test_t5_numbers_that_are_none_are_refused(gateway, partner, registered) -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "null", "9" * 5000):
        payload = json.dumps(partner.claims(exp="THERE")).replace('"THERE"', number).encode()
        await assert_refused(gateway, partner.sign(payload))


async def test_t5_only_the_facility_itself_speaks_for_it(gateway, partner, registered) -> None:
    other = "somebody-else"
    for claims in ({"iss": other}, {"sub": other}, {"iss": other, "sub": other}, {"azp": other}):
        await assert_refused(gateway, partner.assertion(**claims))
    await assert_refused(gateway, partner.assertion(iss="staff", sub="staff"), Reason.UNKNOWN_CLIENT)


async def test_t5_the_form_names_the_facility_that_signed_or_none(gateway, partner, registered) -> None:
    await assert_refused(gateway, partner.assertion(), Reason.ISSUER, client_id="somebody-else")
    assert (await gateway.ask_token(partner.assertion(), client_id=registered.client_id)).status_code == 200


async def test_t5_an_assertion_for_another_audience_is_refused(gateway, partner, registered) -> None:
    ours, other = gateway.metadata.token_url, "https://other.example/oauth/token"
    for audience in (
        gateway.public_url,
        gateway.metadata.revocation_url,
        f"{ours}/",
        ours.replace("https", "http"),
        ours.replace("gateway", "GATEWAY"),
        ours.replace(".example", ".example.attacker.example"),
        [ours, other],
        [ours, ours],
        [other],
        [[ours]],
        [],
    ):
        await assert_refused(gateway, partner.assertion(aud=audience), Reason.AUDIENCE)


async def test_a_list_of_one_audience_is_that_audience(gateway, partner, registered) -> None:
    """RFC 7519 4.1.3: the list is the general form."""
    assert (await gateway.ask_token(partner.assertion(aud=[gateway.metadata.token_url]))).status_code == 200


async def test_the_host_of_the_request_decides_nothing(gateway, partner, registered) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_assertion": partner.assertion(aud="https://evil.example/oauth/token"),
    }
    form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    async with gateway.browser() as browser:
        answer = await browser.post("/oauth/token", data=form, headers={"Host": "evil.example"})
    assert answer.json() == REFUSAL


@pytest.mark.parametrize(
    "doubled",
    ['"iss": "somebody-else", ', '"exp": 1, ', '"extensions": {}, "extensions": {}, ', '"jti": "a", "jti": "a", '],
)
async def test_t5_duplicate_claims_are_refused_at_every_depth(gateway, partner, registered, doubled) -> None:
    payload = "{" + doubled + json.dumps(partner.claims())[1:]
    await assert_refused(gateway, partner.sign(payload.encode()), Reason.MALFORMED)
    deep = json.dumps(partner.claims(extensions="THERE")).replace('"THERE"', '{"hl7-b2b": {"a": 1, "a": 2}}')
    await assert_refused(gateway, partner.sign(deep.encode()), Reason.MALFORMED)


async def test_t5_duplicate_header_members_are_refused(gateway, partner, registered) -> None:
    header = b'{"alg": "none", "alg": "ES384", "kid": "p384-1"}'
    token = sign_by_hand(header, json.dumps(partner.claims()).encode(), partner.keys["P-384"], "ES384")
    await assert_refused(gateway, token, Reason.MALFORMED)


@pytest.mark.parametrize("name", ["jti", "iss"])
async def test_text_that_no_database_or_page_should_hold_is_refused(gateway, partner, registered, name) -> None:
    for text in ("a\x00b", "a\nb", "\ud800", "\u202eevil", "x" * 513, "\u2028"):
        payload = json.dumps(partner.claims() | {name: text}).encode()  # json writes a lone surrogate as an escape
        await assert_refused(gateway, partner.sign(payload))


async def test_a_payload_that_is_no_object_is_refused(gateway, partner, registered) -> None:
    for payload in [b"", b"null", b"[]", b'"text"', b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 9000, b'{"a":' * 1500]:
        await assert_refused(gateway, partner.sign(payload), Reason.MALFORMED)


async def test_a_second_spelling_of_a_token_is_refused(gateway, partner, registered) -> None:
    token = partner.assertion("RS384")  # 256 bytes leave spare bits in the last character
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    await assert_refused(gateway, other, Reason.MALFORMED)
    for spelling in (token + "=", token + "\n", " " + token, token.replace(".", "..", 1), token + ".", token + "%"):
        await assert_refused(gateway, spelling)


@pytest.mark.parametrize("parts", [1, 2, 4, 5])
async def test_an_encrypted_token_is_refused_unopened(gateway, partner, registered, parts) -> None:
    """JWE, with its zip bombs, padding oracles and PBES2 iteration counts, is not spoken here."""
    header = b64(json.dumps({"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "zip": "DEF", "p2c": 10**9}).encode())
    await assert_refused(gateway, ".".join([header, *["AAAA"] * (parts - 1)]), Reason.MALFORMED)


async def test_t7_a_forged_certificate_header_proves_nothing(gateway, partner, registered) -> None:
    headers = {
        "X-Client-Cert": "anything",
        "X-SSL-Client-Verify": "SUCCESS",
        "X-SSL-Client-S-DN": f"CN={registered.client_id}",
        "X-Forwarded-Client-Cert": "Hash=00",
        "X-Forwarded-User": registered.client_id,
    }
    assert (await gateway.whoami(headers=headers)).status_code == 401
    form = {"grant_type": "client_credentials", "client_id": registered.client_id}
    async with gateway.browser() as browser:
        answer = await browser.post("/oauth/token", data=form, headers=headers)
    assert answer.json() == REFUSAL


async def test_a_signature_of_another_facility_is_refused(gateway, partner, registered, clock) -> None:
    attacker = type(partner)(clock, {"P-384": ECKey.generate_key("P-384", parameters={"kid": "p384-1"})})
    gateway.register(attacker, name="Attacker")
    claims = attacker.claims(iss=registered.client_id, sub=registered.client_id)
    await assert_refused(gateway, attacker.sign(json.dumps(claims).encode()), Reason.SIGNATURE)


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_token_changed_in_any_part_is_refused(gateway, partner, registered, at) -> None:
    parts = partner.assertion().split(".")
    middle = len(parts[at]) // 2
    parts[at] = parts[at][:middle] + ("A" if parts[at][middle] != "A" else "B") + parts[at][middle + 1 :]
    await assert_refused(gateway, ".".join(parts))


async def test_degenerate_signatures_are_refused(gateway, partner, registered) -> None:
    """CVE-2022-21449: r = s = 0 verifies anything where nobody checks."""
    head = partner.assertion().rpartition(".")[0]
    for signature in (bytes(96), b"\xff" * 96, bytes(95), bytes(97), b"\x00", b"\xff" * 5000):
        await assert_refused(gateway, f"{head}.{b64(signature)}", Reason.SIGNATURE)


def test_keys_that_are_weak_private_or_for_something_else_are_no_keys(partner) -> None:
    good = partner.keys["RSA"].as_dict(private=False)
    short = RSAPublicNumbers(65537, (1 << 1023) + 1)
    weak = {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": b64(short.n.to_bytes(128))}
    padded = {**weak, "kid": "padded", "n": b64(bytes(128) + short.n.to_bytes(128))}
    members = [
        weak,
        padded,
        {**good, "kid": "huge exponent", "e": b64(b"\x01" * 200)},
        {**good, "kid": "trivial exponent", "e": b64(b"\x01")},
        {**good, "kid": "encryption", "use": "enc"},
        {**good, "kid": "signing only", "key_ops": ["sign"]},
        {**good, "kid": "algorithm", "alg": "RS256"},
        {**partner.keys["P-384"].as_dict(private=True), "kid": "private"},
        {**partner.keys["P-384"].as_dict(private=False), "kid": "off the curve", "x": b64(bytes(48))},
        {"kty": "oct", "kid": "secret", "k": b64(b"secret")},
        {"kty": "OKP", "kid": "edwards", "crv": "Ed25519", "x": b64(bytes(32))},
        {"kty": ["RSA"], "kid": "list"},
        {**good, "kid": ""},
        {**good, "kid": 5},
        "text",
        good,
    ]
    assert [key.kid for key in read_key_set(json.dumps({"keys": members}).encode())] == ["rsa-1"]


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "invalid_request"),
        (
            {"grant_type": "authorization_code", "code": "x", "redirect_uri": "https://evil.example"},
            "unsupported_grant_type",
        ),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "x", "password": "y"}, "unsupported_grant_type"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "x"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
    ],
)
async def test_other_grants_and_secrets_are_not_served(gateway, form, code) -> None:
    async with gateway.browser() as browser:
        answer = await browser.post("/oauth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert "location" not in answer.headers


async def test_forms_that_can_be_read_in_two_ways_are_refused(gateway, partner, registered) -> None:
    form = f"grant_type=client_credentials&client_assertion={partner.assertion()}&client_assertion_type=x"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with gateway.browser() as browser:
        for body, sent, path in (
            (f"{form}&scope={READ_SCOPE}&scope=other", headers, "/oauth/token"),
            (f"{form}&grant_type=password", headers, "/oauth/token"),
            (form, {"Content-Type": "application/json"}, "/oauth/token"),
            (form, {"Content-Type": "multipart/form-data; boundary=x"}, "/oauth/token"),
            (form, headers, "/oauth/token?scope=other"),
            (form, {**headers, "Authorization": "Basic eDp5"}, "/oauth/token"),
            (form + "&scope=%ff", headers, "/oauth/token"),
            (form + "&scope", headers, "/oauth/token"),
            ("&".join(f"a{n}=1" for n in range(100)), headers, "/oauth/token"),
            ("a" * (65 << 10), headers, "/oauth/token"),
        ):
            answer = await browser.post(path, content=body, headers=sent)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), body[-40:]


async def test_a_token_is_asked_for_with_post(gateway) -> None:
    async with gateway.browser() as browser:
        assert (await browser.get("/oauth/token?grant_type=client_credentials")).status_code == 405
