"""Guard: what every answer carries, and how a form shows that it comes from this page."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from itsdangerous import BadSignature, TimestampSigner
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MAX_FORM_BYTES = 64_000
_MAX_FIELDS = 20
_FORM_S = 12 * 3_600
_HEADERS = {
    # no inline script or style runs, so that none would even if escaping failed
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not no-referrer, with which browsers name no origin for the forms of this page either
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # texts of users and models stay in no cache
    "Cache-Control": "no-store",
}


class Headers:
    """Middleware that puts the security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class Forms:
    """Signs forms for one visitor, and reads those that come back."""

    def __init__(self) -> None:
        # of this process alone: a form from before a restart is refused, and the visitor loads the page again
        self._signer = TimestampSigner(secrets.token_bytes(32), salt="latentwatch review form")

    def token(self, name: str) -> str:
        """The hidden field of a form for this visitor."""
        return self._signer.sign(name).decode()

    async def read(self, request: Request) -> dict[str, str]:
        """The fields of a form. Raises HTTPException 403 if it was not on a page of ours for this visitor."""
        fields = await form_fields(request)
        try:
            name = self._signer.unsign(fields.pop("csrf", ""), max_age=_FORM_S)
        except BadSignature:
            name = b""
        if name != request.user.display_name.encode() or _from_elsewhere(request):
            raise HTTPException(403, "This form is too old or not from this page. Load the page again and repeat.")
        return fields


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a URL-encoded body. Raises HTTPException if it is too large or not such a body."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM_BYTES:
                raise HTTPException(413, "The form is too large.")
    except ClientDisconnect:
        raise HTTPException(400, "The form broke off.") from None
    try:
        pairs: Any = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
    return dict(pairs)


def _from_elsewhere(request: Request) -> bool:
    """Whether the browser says that another site made the request. Browsers send at least one of these headers."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
