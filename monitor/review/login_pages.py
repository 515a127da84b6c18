"""LoginPages: a token comes in, a cookie goes out."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitor.review.access import COOKIE, READ, SESSION_S, Access, TokenAccess
from monitor.review.guard import form_fields
from monitor.review.templates import Templates


class LoginPages:
    """Endpoints for access by tokens; others have nothing to log in with."""

    def __init__(self, templates: Templates, access: Access) -> None:
        self._templates = templates
        self._access = access

    def page(self, request: Request) -> Response:
        """The form, or the list for those who are known already."""
        if READ in request.auth.scopes:
            return RedirectResponse("/", 303)
        return self._templates.page(request, "login.html.j2", can=self._access.has_login, wrong=False)

    async def enter(self, request: Request) -> Response:
        """Needs no signed form: whoever can send the token may come in."""
        fields = await form_fields(request)
        token = fields.get("token", "").strip()
        access = self._access
        cookie = await run_in_threadpool(access.cookie, token) if isinstance(access, TokenAccess) else None
        if cookie is None:
            return self._templates.page(request, "login.html.j2", 403, can=access.has_login, wrong=True)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.headers.get("x-forwarded-proto", request.url.scheme) == "https",
        )
        return response

    async def leave(self, request: Request) -> Response:
        """Forgets the cookie."""
        await self._templates.forms.read(request)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response
