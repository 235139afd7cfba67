"""Whatever bytes are sent as an assertion or a token: a clean refusal, and never anything else."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.auth.client_assertion import TYPES, check_times
from gateway.auth.compact_jws import Unreadable, instant, parse_object, prove, read, text
from gateway.auth.credentials import read_credentials
from gateway.auth.errors import BadKeySet, InvalidGrant, InvalidRequest, NotAuthenticated
from gateway.auth.form import parse_form
from gateway.auth.purpose_of_use import read_statement
from gateway.auth.registered_keys import ACCEPTED, read_key_set, select
from tests.gateway.auth.tokens import b64, sign_by_hand

NOW = 1_790_000_000_000_000
KEY = ECKey.generate_key("P-256", parameters={"kid": "k"})
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda deeper: st.lists(deeper, max_size=4) | st.dictionaries(st.text(max_size=9), deeper, max_size=4)
)
names = st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "azp", "extensions"]) | st.text(max_size=9)
members = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc"])
headers = st.dictionaries(members, scalars | st.sampled_from(["ES256", "JWT", "k"]) | values, max_size=6)
claims = st.dictionaries(names, values, max_size=8)
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(st.text(max_size=400) | st.binary(max_size=300).map(b64) | st.from_regex(r"[\w.=-]{0,80}", fullmatch=True))
@example("." * 20_000)
@example("a" * 20_000)
def test_any_text_is_read_or_refused(token: str) -> None:
    try:
        read(token, types=TYPES, algorithms=ACCEPTED)
    except Unreadable:
        return


@many
@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=70))
def test_any_three_parts_are_read_or_refused(header: bytes, payload: bytes, signature: bytes) -> None:
    for head in (header, b'{"alg":"ES256","kid":"k"}'):
        token = f"{b64(head)}.{b64(payload)}.{b64(signature)}"
        try:
            prove(read(token, types=TYPES, algorithms=ACCEPTED), KEY, "ES256")
        except Unreadable:
            continue
        raise AssertionError("a signature that nobody made was believed")


@many
@given(headers, claims)
def test_a_genuine_signature_over_anything_passes_only_under_our_own_rules(header: dict, said: dict) -> None:
    full = {"alg": "ES256", "kid": "k"} | header
    token = sign_by_hand(json.dumps(full).encode(), json.dumps(said).encode(), KEY, "ES256")
    try:
        unproven = read(token, types=TYPES, algorithms=ACCEPTED)
        prove(unproven, KEY, "ES256")
    except Unreadable:
        return
    assert unproven.algorithm in ACCEPTED
    assert not {"crit", "b64"} & unproven.header.keys()
    # a second implementation of the same check, given the same token, says the same
    assert _library_agrees(token, full)


@many
@given(claims)
def test_any_claims_are_understood_or_refused(said: dict) -> None:
    for name in ("iss", "sub", "jti", "exp"):
        for look in (text, instant):
            try:
                found = look(said, name)
            except Unreadable:
                continue
            assert found is None or isinstance(found, str) or 0 <= found < 10**18
    try:
        check_times(said, NOW)
    except Unreadable:
        pass
    else:
        assert NOW < instant(said, "exp") <= NOW + 360_000_000


@many
@given(values | st.fixed_dictionaries({"hl7-b2b": values, "ihe_iua": values}), values)
def test_any_extensions_are_understood_or_refused(extensions: object, purpose: object) -> None:
    for said in (extensions, {"hl7-b2b": {"purpose_of_use": purpose}}, {"ihe_iua": {"purpose_of_use": purpose}}):
        try:
            statement = read_statement({"extensions": said})
        except (InvalidRequest, InvalidGrant):
            continue
        assert all(code.isprintable() and code for code in statement.purposes)
        assert statement.person.isprintable()


@many
@given(st.binary(max_size=300) | values.map(lambda value: json.dumps(value).encode()))
def test_any_key_set_is_read_or_refused(document: bytes) -> None:
    try:
        keys = read_key_set(document)
    except BadKeySet:
        return
    assert all(select(keys, key.kid, "none") is None for key in keys)


@many
@given(
    st.dictionaries(
        st.sampled_from(["kty", "kid", "crv", "x", "y", "n", "e", "use", "key_ops", "alg", "d", "k"]),
        scalars
        | st.sampled_from(["EC", "RSA", "oct", "P-256", "P-384", "sig", "verify"])
        | st.binary().map(b64)
        | values,
    )
)
def test_any_key_is_taken_or_left_out(member: dict) -> None:
    for kind in (member, member | KEY.as_dict(private=False), KEY.as_dict(private=False) | member):
        try:
            read_key_set(json.dumps({"keys": [kind]}).encode())
        except BadKeySet:  # NaN and the like are no JSON
            continue


@many
@given(st.binary(max_size=300))
@example(b'{"a": 1e999}')
@example(b'{"a": "\\ud800"}')
def test_any_json_is_an_object_with_unique_members_or_refused(data: bytes) -> None:
    try:
        found = parse_object(data)
    except Unreadable:
        return
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()


@many
@given(st.binary(max_size=300) | st.from_regex(rb"([a-c]=[%0-9a-f]{0,6}&?){0,8}", fullmatch=True))
def test_any_form_is_read_or_refused(body: bytes) -> None:
    try:
        form = parse_form(body)
    except InvalidRequest:
        return
    assert all(form.values())


@many
@given(
    st.binary(max_size=80),
    st.lists(st.tuples(st.sampled_from([b"authorization", b"cookie"]), st.binary(max_size=60)), max_size=4),
)
def test_any_headers_show_one_credential_or_are_refused(query: bytes, sent: list) -> None:
    try:
        found = read_credentials({"query_string": query, "headers": sent}, "openpriors")
    except NotAuthenticated:
        return
    assert found.token is None or found.session is None


def _library_agrees(token: str, header: dict) -> bool:
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    registry.max_header_length = 1 << 16
    try:
        jws.deserialize_compact(token, KEY, registry=registry)
    except (JoseError, ValueError):
        return False
    return header["alg"] == "ES256"
