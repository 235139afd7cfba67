"""Who comes to the staff pages: the session behind the cookie, and forms that come from our own pages."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from gateway.auth.credentials import read_credentials
from gateway.auth.errors import NotAuthenticated, Reason
from gateway.auth.forms_of_ours import FIELD, check_form, check_origin
from gateway.auth.refusals import Refusals
from gateway.auth.session import Session, SessionAuthenticator
from gateway.auth.session_cookie import SessionCookie
from gateway.auth.sign_in import SignIn
from gateway.call import Call
from gateway.pages.page_form import PageForm, read_page_form

PLACE = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """Somebody who works here, in one request."""

    call: Call
    session: Session


class Door:
    """Lets staff in, and out.

    Parameters
    ----------
    public_url : where browsers reach the gateway: the origin that forms must come from
    """

    def __init__(
        self,
        *,
        sessions: SessionAuthenticator,
        sign_in: SignIn,
        cookie: SessionCookie,
        refusals: Refusals,
        public_url: str,
    ) -> None:
        self.cookie = cookie
        self._sessions = sessions
        self._sign_in = sign_in
        self._refusals = refusals
        self._public_url = public_url

    async def admit(self, request: Request) -> Staff:
        """Who looks at a page. Raises NotAuthenticated."""
        try:
            staff = await self._admit(request)
        except NotAuthenticated as refusal:
            self._refusals.count(PLACE, refusal.reason)
            raise
        request.state.staff = staff  # whatever page answers, an error too, names them
        return staff

    async def admit_form(self, request: Request) -> tuple[Staff, PageForm]:
        """Who sends a form of ours, and what it says.

        Raises
        ------
        NotAuthenticated : nobody is signed in
        ForgedRequest : the form does not come from a page of this session
        BadRequest, TooMuch : it is no form
        """
        staff = await self.admit(request)
        check_origin(request.headers, self._public_url)
        form = await read_page_form(request)
        check_form(staff.session, request.headers, form.secret(FIELD), self._public_url)
        return staff, form

    async def sign_in(self, request: Request) -> str:
        """The cookie value of a new session. Raises ForgedRequest, SignInRefused, SignInBusy, BadRequest."""
        check_origin(request.headers, self._public_url)
        form = await read_page_form(request)
        email, password = form.secret("email") or "", form.secret("password") or ""
        value, _ = await self._sign_in.sign_in(email, password, request=request.state.request_id)
        return value

    async def sign_out(self, request: Request) -> None:
        """End the session that a form of ours asks to end; raises as `admit_form`."""
        staff, _ = await self.admit_form(request)
        await self._sign_in.sign_out(staff.session, request=staff.call.request)

    async def _admit(self, request: Request) -> Staff:
        credentials = read_credentials(request.scope, self.cookie.name)
        session = await self._sessions.session(credentials)
        requester = await self._sessions.authenticate(credentials)
        if requester is None:
            raise NotAuthenticated(Reason.NONE_SHOWN)
        call = Call(requester=requester, request=request.state.request_id, began=request.state.began)
        return Staff(call=call, session=session)
