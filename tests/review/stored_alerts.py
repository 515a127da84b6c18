"""Alerts in a database, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, select

from monitor.alerts.alert import Alert
from monitor.review.ingest import Stored, store_alerts
from monitor.review.tables import alert
from monitor.review.verdicts import Verdict, give_verdict
from tests.report.alert_samples import make_alert

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def numbered(
    n: int,
    text: str | None = "Run it with eval( and it works.",
    hours: float = 1.0,
    tenant: str | None = None,
    **fields: Any,
) -> Alert:
    """Alert number `n`, an hour after the one before it."""
    found = make_alert(text, event_id=f"chat-{n:04d}", **fields)
    event = found.event.model_copy(update={"attributes": {} if tenant is None else {"tenant": tenant, "region": "eu"}})
    return found.model_copy(update={"time": START + timedelta(hours=n * hours), "event": event})


def store(engine: Engine, alerts: Iterable[Alert], now_us: int | None = None) -> Stored:
    """Stores them as they would come from a topic."""
    return store_alerts(engine, [found.to_json().encode() for found in alerts], now_us)


def number_of(engine: Engine, found: Alert) -> int:
    """The number that the database gave to an alert."""
    with engine.connect() as connection:
        return int(connection.execute(select(alert.c.number).where(alert.c.id == found.id)).scalar_one())


def judge(engine: Engine, found: Alert, said: Any, reviewer: str = "ada", **fields: Any) -> None:
    """A verdict on an alert."""
    give_verdict(engine, [number_of(engine, found)], Verdict(reviewer, said, **fields))
