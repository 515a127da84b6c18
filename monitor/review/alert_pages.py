"""AlertPages: one alert with its evidence, and the verdicts on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, select
from sqlalchemy.engine import Row
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from detectors.feature_set import FeatureSet
from monitor.alerts.alert import Alert, AlertContent
from monitor.errors import LatentwatchError
from monitor.review.access import READ, REVIEW
from monitor.review.alert_rows import stored
from monitor.review.alert_view import Links, alert_view
from monitor.review.filters import Filters
from monitor.review.tables import alert, alert_body
from monitor.review.templates import Templates, may
from monitor.review.verdicts import (
    MAX_ALERTS,
    MAX_NOTE_CHARS,
    SAID,
    Verdict,
    assign,
    give_verdict,
    note_reading,
    trail,
    verdicts_on,
    withdraw_verdict,
)

_MAX_RELATED = 20
_MAX_NAME_CHARS = 100


class Texts(Protocol):
    """Finds the text of an alert that has none."""

    def content(self, alert: Alert) -> AlertContent:
        """May block for seconds. Raises LatentwatchError saying why there is none."""


class AlertPages:
    """Endpoints about one alert."""

    def __init__(
        self,
        engine: Engine,
        templates: Templates,
        sets: Mapping[str, FeatureSet],
        links: Links,
        texts: Texts | None,
    ) -> None:
        self._engine = engine
        self._templates = templates
        self._sets = sets
        self._links = links
        self._texts = texts

    def alert(self, request: Request) -> Response:
        """The page of one alert."""
        if (elsewhere := may(request, READ)) is not None:
            return elsewhere
        return self._page(request, None)

    async def read_again(self, request: Request) -> Response:
        """The same page with the text from Kafka. It is shown once and not stored; the trail says who read it."""
        may(request, REVIEW)
        await self._templates.forms.read(request)
        return await run_in_threadpool(self._read_again, request)

    def _read_again(self, request: Request) -> Response:
        if self._texts is None:
            raise HTTPException(404, "Texts are not read again here; start latentwatch review with --read-again.")
        with self._engine.connect() as connection:
            row = _found(connection, request)
            body = connection.execute(select(alert_body.c.json).where(alert_body.c.number == row.number)).scalar_one()
        note_reading(self._engine, row.id, request.user.display_name, _now_us())
        try:
            content = self._texts.content(Alert.from_json(body))
        except LatentwatchError as e:
            raise HTTPException(502, f"The text cannot be read again: {e}") from None
        return self._page(request, content)

    def _page(self, request: Request, content: AlertContent | None) -> Response:
        with self._engine.connect() as connection:
            row = _found(connection, request)
            body = connection.execute(select(alert_body.c.json).where(alert_body.c.number == row.number)).scalar_one()
            same_event = _related(connection, row, alert.c.event_id == row.event_id)
            conversation = row.conversation_id
            same_conversation = (
                []
                if conversation is None
                else _related(
                    connection, row, (alert.c.conversation_id == conversation) & (alert.c.event_id != row.event_id)
                )
            )
            similar = _related(connection, row, alert.c.group_id == row.group_id)
            said = verdicts_on(connection, row.number)
            changes = trail(connection, row.id)
        shown = Alert.from_json(body)
        if content is not None:
            shown = shown.model_copy(update={"content": content})
        mine = next((v for v in said if v.reviewer == request.user.display_name), None)
        return self._templates.page(
            request,
            "alert.html.j2",
            row=row,
            view=alert_view(shown, self._sets, self._links),
            can_read_again=self._texts is not None and shown.content is None,
            same_event=same_event,
            same_conversation=same_conversation,
            similar=similar,
            said=said,
            mine=mine,
            changes=changes,
            categories=sorted({s.category for s in self._sets.values()} | {row.category}),
            queue=request.query_params.get("queue", ""),
            max_note=MAX_NOTE_CHARS,
        )

    async def judge(self, request: Request) -> Response:
        """Stores, or withdraws, the visitor's verdict; then goes to the alert, or on in the queue."""
        may(request, REVIEW)
        fields = await self._templates.forms.read(request)
        if fields.get("verdict") not in (*SAID, "withdraw"):
            raise HTTPException(400, f"The verdict is none of {', '.join(SAID)}.")
        await run_in_threadpool(self._judge, request, fields)
        if fields.get("queue"):
            return RedirectResponse(f"/queue?{Filters.of_text(fields['queue']).query(next='1')}", 303)
        return RedirectResponse(_address(request), 303)

    async def assign(self, request: Request) -> Response:
        """Stores who should look at the alert."""
        may(request, REVIEW)
        fields = await self._templates.forms.read(request)
        name = stored(fields.get("assignee", "").strip()[:_MAX_NAME_CHARS])
        await run_in_threadpool(self._assign, request, name or None)
        return RedirectResponse(_address(request), 303)

    def _judge(self, request: Request, fields: Mapping[str, str]) -> None:
        reviewer, said = request.user.display_name, fields["verdict"]
        with self._engine.connect() as connection:
            row = _found(connection, request)
            numbers = [row.number]
            if fields.get("group") and said != "withdraw":
                others = select(alert.c.number).where(alert.c.group_id == row.group_id, alert.c.number != row.number)
                newest = others.order_by(alert.c.number.desc()).limit(MAX_ALERTS - 1)
                numbers += connection.scalars(newest)
        if said == "withdraw":
            withdraw_verdict(self._engine, row.number, reviewer, _now_us())
            return
        category = stored(fields.get("category", "").strip()[:_MAX_NAME_CHARS])
        note = stored(fields.get("note", "").strip()[:MAX_NOTE_CHARS])
        given: Any = said
        give_verdict(self._engine, numbers, Verdict(reviewer, given, category or None, note, _now_us()))

    def _assign(self, request: Request, name: str | None) -> None:
        with self._engine.connect() as connection:
            row = _found(connection, request)
        assign(self._engine, row.number, name, request.user.display_name, _now_us())


def _found(connection: Connection, request: Request) -> Row[Any]:
    row = connection.execute(select(alert).where(alert.c.id == stored(request.path_params["id"]))).first()
    if row is None:
        raise HTTPException(404, "There is no such alert, or it was deleted because of its age.")
    return row


def _related(connection: Connection, row: Row[Any], condition: Any) -> list[Row[Any]]:
    query = select(alert).where(condition, alert.c.number != row.number)
    return list(connection.execute(query.order_by(alert.c.time_us.desc(), alert.c.number).limit(_MAX_RELATED)))


def _address(request: Request) -> str:
    return f"/alerts/{request.path_params['id']}"


def _now_us() -> int:
    return time.time_ns() // 1_000
