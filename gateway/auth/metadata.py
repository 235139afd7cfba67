"""What the gateway says about its authorization: RFC 8414, RFC 9728 and SMART App Launch STU2.2 conformance.

It names only what is served. `public_url` is the issuer, the resource, and the audience of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consent.parties import READ_SCOPE, STORE_SCOPE
from gateway.auth.authorization_server import GRANT_TYPE
from gateway.auth.registered_keys import ALGORITHMS

SCOPES: Final = (READ_SCOPE, STORE_SCOPE)
AUTH_METHOD: Final = "private_key_jwt"
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - an address
REVOCATION_PATH: Final = "/oauth/revoke"
KEYS_PATH: Final = "/oauth/jwks.json"
SERVER_PATH: Final = "/.well-known/oauth-authorization-server"
RESOURCE_PATH: Final = "/.well-known/oauth-protected-resource"
SMART_PATH: Final = "/.well-known/smart-configuration"
# SMART App Launch: asymmetric client authentication, and scopes in the form of its second version
SMART_CAPABILITIES: Final = ("client-confidential-asymmetric", "permission-v2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The discovery documents of one gateway.

    `smart_capabilities` are what other parts of the gateway add, for example imaging access by FHIR.
    """

    public_url: str
    facility_name: str
    smart_capabilities: Sequence[str] = ()

    @property
    def token_url(self) -> str:
        """The token endpoint: the audience of every assertion."""
        return self.public_url + TOKEN_PATH

    @property
    def revocation_url(self) -> str:
        """The revocation endpoint."""
        return self.public_url + REVOCATION_PATH

    def challenge(self) -> str:
        """The WWW-Authenticate value of a 401 (RFC 6750 3, RFC 9728 5.1): the same for every cause."""
        return f'Bearer realm="openpriors", resource_metadata="{self.public_url}{RESOURCE_PATH}"'

    def authorization_server(self) -> dict[str, object]:
        """RFC 8414. No response type is supported, because there is no authorization endpoint."""
        return {
            "issuer": self.public_url,
            "jwks_uri": self.public_url + KEYS_PATH,
            "response_types_supported": [],
            **self._token_endpoint(),
            **self._revocation_endpoint(),
        }

    def protected_resource(self) -> dict[str, object]:
        """RFC 9728."""
        return {
            "resource": self.public_url,
            "authorization_servers": [self.public_url],
            "scopes_supported": list(SCOPES),
            "bearer_methods_supported": ["header"],
            "resource_name": self.facility_name,
        }

    def smart_configuration(self) -> dict[str, object]:
        """SMART App Launch STU2.2, conformance: Backend Services alone, so no launch and no sign-on."""
        return {
            "jwks_uri": self.public_url + KEYS_PATH,
            **self._token_endpoint(),
            **self._revocation_endpoint(),
            "code_challenge_methods_supported": ["S256"],  # required even where there is no code to challenge
            "capabilities": [*SMART_CAPABILITIES, *self.smart_capabilities],
        }

    def _token_endpoint(self) -> dict[str, object]:
        return {
            "token_endpoint": self.token_url,
            "token_endpoint_auth_methods_supported": [AUTH_METHOD],
            "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
            "grant_types_supported": [GRANT_TYPE],
            "scopes_supported": list(SCOPES),
        }

    def _revocation_endpoint(self) -> dict[str, object]:
        return {
            "revocation_endpoint": self.revocation_url,
            "revocation_endpoint_auth_methods_supported": [AUTH_METHOD],
            "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        }
