"""EventCard: one flagged event laid out for the page; all text in it is safe to show once HTML-escaped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from monitor.report.alert_card import AlertCard, alert_card, shortened
from monitor.report.flagged_event import FlaggedEvent
from monitor.report.score import ratio
from monitor.report.visible_text import visible, visible_line

LONG_PROMPT = 280
"""A user's turn with more characters than this is folded."""
MAX_PROMPT = 4_000


@dataclass(frozen=True)
class EventCard:
    """One event with all its alerts, most severe first."""

    event_id: str
    severity: str
    origin: str
    model: str
    time: str
    ratio: float
    """Score divided by threshold of the most severe alert."""
    prompt: str | None
    prompt_is_long: bool
    alerts: tuple[AlertCard, ...]


def event_card(event: FlaggedEvent) -> EventCard:
    """The card of one event."""
    main = event.most_severe
    origin = main.event.origin
    prompt = next((shortened(a.content.prompt, MAX_PROMPT) for a in event.alerts if a.content is not None), None)
    return EventCard(
        event_id=visible_line(event.id),
        severity=event.severity,
        origin=visible_line(f"{origin.topic} / {origin.partition} @ {origin.offset}"),
        model=visible_line(main.event.model or ""),
        time=_time(main.event.time or main.time),
        ratio=ratio(main),
        prompt=None if prompt is None else visible(prompt),
        prompt_is_long=prompt is not None and (len(prompt) > LONG_PROMPT or prompt.count("\n") > 6),
        alerts=tuple(alert_card(alert) for alert in event.alerts),
    )


def _time(time: datetime) -> str:
    # an event may state its time without a zone
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time.utcoffset() is not None else f"{time:%Y-%m-%d %H:%M:%S}"
