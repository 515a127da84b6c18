"""ListPages: the list of alerts, the queue and the export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args
from urllib.parse import urlencode

from sqlalchemy import Engine, func, select
from sqlalchemy.engine import Row
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from detectors.feature_set import SEVERITIES
from monitor.review.access import READ
from monitor.review.chart import HEIGHT, chart
from monitor.review.export import Which, exportable, labelled_rows
from monitor.review.filters import NONE, BadQuery, Filters
from monitor.review.listing import choices, page
from monitor.review.queue import queue
from monitor.review.tables import alert
from monitor.review.templates import Templates, may
from monitor.review.verdicts import STANDINGS


class ListPages:
    """Endpoints about many alerts."""

    def __init__(self, engine: Engine, templates: Templates) -> None:
        self._engine = engine
        self._templates = templates

    def alerts(self, request: Request) -> Response:
        """The list; its URL holds the filters, so it can be kept as a bookmark."""
        if (elsewhere := may(request, READ)) is not None:
            return elsewhere
        filters = Filters.of(request.query_params)
        after = request.query_params.get("after", "")
        return self._templates.page(
            request,
            "list.html.j2",
            filters=filters,
            page=page(self._engine, filters, after),
            first_page=not after,
            chart=None if after else chart(self._engine, filters),
            chart_height=HEIGHT,
            choices=choices(self._engine),
            severities=tuple(reversed(SEVERITIES)),
            standings=(NONE, *STANDINGS),
            newest=self._newest(),
        )

    def newest(self, request: Request) -> Response:
        """The number of the newest alert, by which an open list sees that there are new ones."""
        if READ not in request.auth.scopes:
            raise HTTPException(401, "Log in first.")
        return JSONResponse({"newest": self._newest()})

    def queue(self, request: Request) -> Response:
        """The alerts whose verdicts would tell most; `next` goes to the first of them."""
        if (elsewhere := may(request, READ)) is not None:
            return elsewhere
        filters = Filters.of(request.query_params)
        found = queue(self._engine, request.user.display_name, filters)
        if "next" in request.query_params and found:
            return RedirectResponse(f"/alerts/{found[0]}?{_in_queue(filters)}", 303)
        return self._templates.page(
            request, "queue.html.j2", found=self._rows(found), filters=filters, in_queue=_in_queue(filters)
        )

    def export(self, request: Request) -> Response:
        """What an export would hold."""
        if (elsewhere := may(request, READ)) is not None:
            return elsewhere
        filters = Filters.of(request.query_params)
        return self._templates.page(request, "export.html.j2", filters=filters, found=exportable(self._engine, filters))

    def export_rows(self, request: Request) -> Response:
        """The labelled rows."""
        if READ not in request.auth.scopes:
            raise HTTPException(401, "Log in first.", {"WWW-Authenticate": "Bearer"})
        filters = Filters.of(request.query_params)
        which = request.query_params.get("which", "all")
        if which not in get_args(Which):
            raise BadQuery(f"which: {which} is none of {', '.join(get_args(Which))}")
        rows = labelled_rows(self._engine, filters, cast("Which", which))
        headers = {"Content-Disposition": 'attachment; filename="reviewed.jsonl"'}
        return StreamingResponse(rows, media_type="application/x-ndjson", headers=headers)

    def _rows(self, ids: Sequence[str]) -> list[Row[Any]]:
        with self._engine.connect() as connection:
            rows = {row.id: row for row in connection.execute(select(alert).where(alert.c.id.in_(ids)))}
        return [rows[alert_id] for alert_id in ids if alert_id in rows]

    def _newest(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.scalar(select(func.max(alert.c.number))) or 0)


def _in_queue(filters: Filters) -> str:
    """The query of an alert's page that leads back to the queue with these filters."""
    return urlencode({"queue": filters.query() or "all"})
