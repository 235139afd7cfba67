"""The outside facility's client: a token, a search, a download (dicomweb-client over an Authlib session).

It trusts the server with nothing: UIDs become file names only when they are UIDs, and a file gets its final name only
when it is whole.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from dicomweb_client.web import DICOMwebClient
from joserfc.jwk import JWKRegistry

ASSERTION_S = 240  # SMART Backend Services: an assertion lives five minutes at most
TIMEOUT_S = 60
CHUNK_BYTES = 1 << 20
UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+\Z", re.ASCII)
ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "RSA": "RS384"}
AS_STORED = "application/dicom; transfer-syntax=*"


class ClientError(Exception):
    """The other side did not give what was asked."""


class _Assertion(PrivateKeyJWT):
    """private_key_jwt as SMART wants it: short-lived, a fresh jti each time, purpose of use inside."""

    def __init__(
        self, token_endpoint: str, algorithm: str, kid: str | None, purpose: str | None, now_s: Callable[[], int]
    ) -> None:
        headers = {"typ": "JWT", **({"kid": kid} if kid else {})}
        super().__init__(token_endpoint, headers=headers, alg=algorithm)
        self._purpose = purpose
        self._now_s = now_s

    def sign(self, auth: Any, token_endpoint: str) -> Any:
        # the parent keeps the jti of its first assertion in the claims it is given, which a server must refuse
        self.claims = {"jti": secrets.token_urlsafe(24), "exp": self._now_s() + ASSERTION_S}
        if self._purpose:
            self.claims["extensions"] = {"hl7-b2b": {"version": "1", "purpose_of_use": [self._purpose]}}
        return super().sign(auth, token_endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What a fetch did: instances and bytes written now, instances that were there already, whether all was visible."""

    instances: int
    present: int
    bytes: int
    part_hidden: bool


class OutsideClient:
    """A facility's access to one gateway.

    Parameters
    ----------
    url : the gateway's public URL
    key : the facility's private key as a JWK document
    now_s : the time in seconds since the epoch, for the assertions
    """

    def __init__(
        self,
        *,
        url: str,
        client_id: str,
        key: dict[str, Any],
        now_s: Callable[[], int],
        scope: str | None = None,
        purpose: str | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        endpoint = f"{self._url}/oauth/token"
        algorithm = ALGORITHMS.get(str(key.get("crv", key.get("kty"))))
        if algorithm is None:
            raise ClientError("The key is neither an RSA key nor an EC key on P-256 or P-384.")
        self.session = OAuth2Session(
            client_id,
            JWKRegistry.import_key(key),
            scope=scope,
            token_endpoint=endpoint,
            token_endpoint_auth_method="private_key_jwt",  # noqa: S106 - the method's name (RFC 7523)
            grant_type="client_credentials",
        )
        self.session.register_client_auth_method(_Assertion(endpoint, algorithm, key.get("kid"), purpose, now_s))
        self._endpoint = endpoint

    def token(self) -> dict[str, Any]:
        """A fresh access token (RFC 6749 4.4)."""
        try:
            return dict(self.session.fetch_token(self._endpoint, grant_type="client_credentials"))
        except requests.RequestException as error:
            raise ClientError(f"{self._url} does not answer.") from error
        except Exception as error:  # Authlib raises its own tree, and ValueError for a body that is not JSON
            raise ClientError(f"No token was given: {error}") from error

    def search(self, filters: dict[str, str], *, limit: int | None = None) -> list[dict[str, Any]]:
        """The studies that match and that this facility may see, as DICOM JSON."""
        found = self._client().search_for_studies(
            search_filters=filters, limit=limit, get_remaining=limit is None, fields=["StudyDescription"]
        )
        return list(found)

    def fetch(
        self, study_uid: str, directory: Path, progress: Callable[[int, int, int], None] = lambda *_: None
    ) -> Download:
        """Write every visible instance of a study below `directory`, as stored; what is there already is kept.

        `progress` hears instances done, instances in all, and bytes written.

        Raises
        ------
        ClientError : the study is not available to this facility, or the download was cut short
        """
        part_hidden = self._is_part_hidden(study_uid)
        listed = list(self._instances(study_uid))
        written = present = size = 0
        for series_uid, instance_uid in listed:
            path = directory / study_uid / series_uid / f"{instance_uid}.dcm"
            if path.exists():
                present += 1
            else:
                size += self._fetch_instance(study_uid, series_uid, instance_uid, path)
                written += 1
            progress(written + present, len(listed), size)
        return Download(instances=written, present=present, bytes=size, part_hidden=part_hidden)

    def _client(self) -> DICOMwebClient:
        self._ensure_token()
        client = DICOMwebClient(f"{self._url}/dicom-web", session=self.session, timeout=TIMEOUT_S)
        client.set_http_retry_params(retry=False)
        return client

    def _ensure_token(self) -> None:
        if not self.session.token:
            self.token()

    def _is_part_hidden(self, study_uid: str) -> bool:
        if not UID.match(study_uid):
            raise ClientError(f"{study_uid!r} is not a UID.")
        self._ensure_token()
        answer = self.session.head(
            f"{self._url}/dicom-web/studies/{study_uid}",
            headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
            timeout=TIMEOUT_S,
        )
        if answer.status_code == requests.codes.not_found:
            raise ClientError("No study with this UID is available to this facility.")
        if answer.status_code not in (requests.codes.ok, requests.codes.forbidden):
            raise ClientError(f"The gateway answered {answer.status_code} to the request for the study.")
        return bool(answer.status_code == requests.codes.forbidden)

    def _instances(self, study_uid: str) -> Iterator[tuple[str, str]]:
        found = self._client().search_for_instances(study_instance_uid=study_uid, get_remaining=True)
        for row in found:
            series_uid, instance_uid = (str(row[tag]["Value"][0]) for tag in ("0020000E", "00080018"))
            if not (UID.match(series_uid) and UID.match(instance_uid)):
                raise ClientError("The gateway listed an instance whose UID is not a UID.")
            yield series_uid, instance_uid

    def _fetch_instance(self, study_uid: str, series_uid: str, instance_uid: str, path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        url = f"{self._url}/dicom-web/studies/{study_uid}/series/{series_uid}/instances/{instance_uid}"
        try:
            size = self._stream_to(url, unfinished)
        except requests.RequestException as error:
            unfinished.unlink(missing_ok=True)
            raise ClientError(
                "The download was cut short; what is whole was kept, and fetch goes on from there."
            ) from error
        unfinished.replace(path)
        return size

    def _stream_to(self, url: str, path: Path) -> int:
        with self.session.get(url, headers={"Accept": AS_STORED}, stream=True, timeout=TIMEOUT_S) as answer:
            answer.raise_for_status()
            with path.open("wb") as file:
                for chunk in answer.iter_content(CHUNK_BYTES):
                    file.write(chunk)
                size = file.tell()
        expected = answer.headers.get("Content-Length")
        if expected is not None and int(expected) != size:
            raise requests.ConnectionError("the body was shorter than announced")
        return size
