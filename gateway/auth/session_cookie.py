"""The session cookie: HttpOnly, SameSite=Strict, and bound to this host over TLS (`__Host-`, RFC 6265bis 4.1.3)."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import Response


class SessionCookie:
    """How the session cookie of one gateway is named, set and cleared.

    Parameters
    ----------
    public_url : where browsers reach the gateway; https makes the cookie Secure, plain http is for loopback alone
    """

    def __init__(self, public_url: str) -> None:
        self.secure = urlsplit(public_url).scheme == "https"
        self.name = "__Host-openpriors" if self.secure else "openpriors"

    def put(self, response: Response, value: str) -> None:
        """Give the browser the session; it forgets it when it is closed."""
        response.set_cookie(self.name, value, path="/", secure=self.secure, httponly=True, samesite="strict")

    def clear(self, response: Response) -> None:
        """Make the browser forget the session."""
        response.delete_cookie(self.name, path="/", secure=self.secure, httponly=True, samesite="strict")
