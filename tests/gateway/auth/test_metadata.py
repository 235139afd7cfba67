"""Discovery: what the gateway says of itself is what it does."""

from __future__ import annotations

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from gateway.auth.session_cookie import SessionCookie
from tests.gateway.auth.conftest import PUBLIC_URL

ALGORITHMS = ["ES256", "ES384", "PS256", "PS384", "RS384"]


async def document(gateway, path: str) -> dict:
    async with gateway.browser() as browser:
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert (await browser.head(path)).status_code == 200
        assert (await browser.post(path)).status_code == 405
        # the host that a request names is written into nothing
        assert (await browser.get(path, headers={"Host": "evil.example"})).json() == answer.json()
        return dict(answer.json())


async def test_authorization_server_metadata_names_what_is_served(gateway) -> None:
    """RFC 8414."""
    said = await document(gateway, "/.well-known/oauth-authorization-server")
    assert said["issuer"] == PUBLIC_URL
    assert said["token_endpoint"] == f"{PUBLIC_URL}/oauth/token"
    assert said["revocation_endpoint"] == f"{PUBLIC_URL}/oauth/revoke"
    assert said["jwks_uri"] == f"{PUBLIC_URL}/oauth/jwks.json"
    assert said["grant_types_supported"] == ["client_credentials"]
    assert said["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert said["token_endpoint_auth_signing_alg_values_supported"] == ALGORITHMS
    assert {"RS384", "ES384"} <= set(ALGORITHMS)  # SMART asks a server for one of them at least
    read = AuthorizationServerMetadata(said)
    for name in ("issuer", "token_endpoint", "jwks_uri", "revocation_endpoint", "grant_types_supported"):
        getattr(read, f"validate_{name}")()


async def test_every_algorithm_that_is_named_is_taken(gateway, partner, registered) -> None:
    said = await document(gateway, "/.well-known/oauth-authorization-server")
    for alg in said["token_endpoint_auth_signing_alg_values_supported"]:
        assert (await gateway.ask_token(partner.assertion(alg))).status_code == 200


async def test_protected_resource_metadata_leads_to_the_authorization_server(gateway) -> None:
    """RFC 9728; the challenge of a 401 leads to it."""
    said = await document(gateway, "/.well-known/oauth-protected-resource")
    assert said["resource"] == PUBLIC_URL
    assert said["authorization_servers"] == [PUBLIC_URL]
    assert said["bearer_methods_supported"] == ["header"]
    challenge = (await gateway.whoami()).headers["www-authenticate"]
    assert f'resource_metadata="{PUBLIC_URL}/.well-known/oauth-protected-resource"' in challenge
    assert challenge.startswith("Bearer ")


@pytest.mark.parametrize("base", ["", "/fhir"])
async def test_smart_configuration_claims_backend_services_and_nothing_else(gateway, base) -> None:
    said = await document(gateway, f"{base}/.well-known/smart-configuration")
    assert said["capabilities"] == ["client-confidential-asymmetric", "permission-v2"]
    assert said["grant_types_supported"] == ["client_credentials"]
    assert said["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert "authorization_endpoint" not in said
    assert "issuer" not in said  # only with OpenID Connect


async def test_other_parts_add_their_own_capabilities(make_gateway, sqlite_database) -> None:
    async with make_gateway(sqlite_database, smart=("smart-imaging-access",)) as gateway:
        said = await document(gateway, "/.well-known/smart-configuration")
    assert said["capabilities"][-1] == "smart-imaging-access"


def test_the_cookie_is_bound_to_its_host_over_tls() -> None:
    assert SessionCookie("https://gateway.hospital.example").name.startswith("__Host-")
    assert SessionCookie("http://127.0.0.1:8042").name == "openpriors"
