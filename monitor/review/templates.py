"""Templates: renders the pages, with what every one of them needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from monitor.report.report import count_text
from monitor.report.static_page import asset, page_css, page_environment
from monitor.report.summary import counted
from monitor.report.visible_text import visible
from monitor.review.access import READ, REVIEW
from monitor.review.database import reason
from monitor.review.guard import Forms
from monitor.review.precision import moment


class Templates:
    """Every value is escaped, and control and bidi characters are written out where `visible_line` is used."""

    def __init__(self, has_login: bool, trouble: Callable[[], str]) -> None:
        """`trouble` says why new alerts are not being read; empty if they are."""
        self.forms = Forms()
        self._has_login = has_login
        self._trouble = trouble
        self._env = page_environment("review/templates", "report")
        self._env.filters["count"] = count_text
        self._env.filters["counted"] = counted
        self._env.filters["visible"] = visible
        self._env.filters["moment"] = lambda time_us: f"{moment(time_us):%Y-%m-%d %H:%M:%S} UTC"
        self._env.filters["percent"] = lambda share: "–" if share is None else f"{share:.0%}"

    def page(self, request: Request, name: str, status: int = 200, **values: Any) -> Response:
        """The page of one template."""
        name_of_visitor = request.user.display_name
        known = request.user.is_authenticated
        html = self._env.get_template(name).render(
            visitor=name_of_visitor if known else "",
            may_review=known and REVIEW in request.auth.scopes,
            csrf=self.forms.token(name_of_visitor) if known else "",
            has_login=self._has_login and known,
            path=request.url.path,
            trouble=self._trouble() if known else "",
            **values,
        )
        return HTMLResponse(html, status)

    def failure(self, request: Request, error: Exception) -> Response:
        """The page that says what went wrong."""
        status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
        headers = getattr(error, "headers", None)
        page = self.page(request, "failure.html.j2", status, detail=detail)
        page.headers.update(headers or {})
        return page

    def bad_query(self, request: Request, error: Exception) -> Response:
        """400 with the value that cannot be used."""
        return self.page(request, "failure.html.j2", 400, detail=str(error))

    def database_failure(self, request: Request, error: Exception) -> Response:
        """503: the database did not answer or refused."""
        said = reason(error) if isinstance(error, DBAPIError) else ""
        return self.page(request, "failure.html.j2", 503, detail=f"The database cannot be used: {said}")


def may(request: Request, scope: str) -> Response | None:
    """None if the visitor may do this; otherwise where to log in. Raises HTTPException 401 or 403."""
    if scope in request.auth.scopes:
        return None
    if READ in request.auth.scopes:
        raise HTTPException(403, "You may read alerts, but not judge them.")
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/login", 303)
    raise HTTPException(401, "Log in first.", {"WWW-Authenticate": "Bearer"})


def static_files() -> list[Route]:
    """Style and script. They hold nothing secret, and the login page needs them."""
    css = page_css() + asset("monitor.report", "report.css") + asset("monitor.review", "static/review.css")
    js = asset("monitor.review", "static/review.js")

    def style(_: Request) -> Response:
        return Response(css, media_type="text/css")

    def script(_: Request) -> Response:
        return Response(js, media_type="text/javascript")

    def no_icon(_: Request) -> Response:
        return Response(status_code=204)

    return [Route("/review.css", style), Route("/review.js", script), Route("/favicon.ico", no_icon)]
