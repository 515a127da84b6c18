"""review_app: the web pages on which people look at alerts and judge them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.authentication import AuthenticationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from detectors.feature_set import FeatureSet
from monitor.review.access import Access, Backend
from monitor.review.alert_pages import AlertPages, Texts
from monitor.review.alert_view import Links
from monitor.review.filters import BadQuery
from monitor.review.guard import Headers
from monitor.review.list_pages import ListPages
from monitor.review.login_pages import LoginPages
from monitor.review.proposal import ConfigFile
from monitor.review.set_pages import SetPages
from monitor.review.templates import Templates, static_files


@dataclass(frozen=True)
class ReviewSettings:
    """What the pages show beside the database."""

    sets: Mapping[str, FeatureSet] = field(default_factory=dict)
    """The feature sets in use, by id."""
    links: Links = field(default_factory=Links)
    trouble: Callable[[], str] = str
    """Why new alerts are not being read; empty if they are."""
    texts: Texts | None = None
    """Where texts are read again from, if reviewers may."""
    config: ConfigFile | None = None
    """The file that proposals change."""


def review_app(engine: Engine, access: Access, settings: ReviewSettings) -> Starlette:
    """The ASGI app. Whoever `access` does not know sees only the login page and /healthz."""
    templates = Templates(access.has_login, settings.trouble)
    alerts = AlertPages(engine, templates, settings.sets, settings.links, settings.texts)
    lists = ListPages(engine, templates)
    sets = SetPages(engine, templates, settings.config)
    login = LoginPages(templates, access)
    return Starlette(
        routes=[
            Route("/", lists.alerts),
            Route("/newest", lists.newest),
            Route("/queue", lists.queue),
            Route("/export", lists.export),
            Route("/export.jsonl", lists.export_rows),
            Route("/alerts/{id}/verdict", alerts.judge, methods=["POST"]),
            Route("/alerts/{id}/assignee", alerts.assign, methods=["POST"]),
            Route("/alerts/{id}/text", alerts.read_again, methods=["POST"]),
            Route("/alerts/{id}", alerts.alert),
            Route("/sets", sets.sets),
            Route("/set", sets.set),
            Route("/set/proposal", sets.proposal),
            Route("/login", login.page, name="login"),
            Route("/login", login.enter, methods=["POST"]),
            Route("/logout", login.leave, methods=["POST"]),
            Route("/healthz", _healthy),
            *static_files(),
        ],
        middleware=[
            Middleware(Headers),
            Middleware(AuthenticationMiddleware, backend=Backend(access), on_error=_refused),
        ],
        exception_handlers={
            HTTPException: templates.failure,
            BadQuery: templates.bad_query,
            DBAPIError: templates.database_failure,
        },
    )


def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _refused(_: HTTPConnection, error: AuthenticationError) -> Response:
    return PlainTextResponse(f"{error}\n", 403)
