"""Made-up events and alerts for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from monitor.alerts.alert import (
    Alert,
    AlertContent,
    AlertEvent,
    AlertFeature,
    AlertOrigin,
    AlertReader,
    AlertSegment,
    AlertSet,
    TokenActivation,
    alert_id,
)
from monitor.events.event import Event, Message, Origin

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
SECRET = "a passphrase that only the event holds"


def make_event(event_id: str = "chat-1", **changes: Any) -> Event:
    """One event from partition 3 of llm.events."""
    fields: dict[str, Any] = {
        "id": event_id,
        "messages": (Message("user", SECRET),),
        "response": SECRET,
        "origin": Origin("llm.events", 3, 41),
        "model": "gpt-x",
        "attributes": {"conversation_id": "conv-9"},
        "traceparent": TRACEPARENT,
    }
    return Event(**{**fields, **changes})


def make_alert(event_id: str = "chat-1", **changes: Any) -> Alert:
    """One alert on such an event."""
    fields: dict[str, Any] = {
        "id": alert_id(event_id, "unsafe-code", "r1"),
        "time": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        "severity": "medium",
        "message": "unsafe code: feature 7 active",
        "event": AlertEvent(
            id=event_id,
            time=None,
            model="gpt-x",
            conversation_id="conv-9",
            origin=AlertOrigin(topic="llm.events", partition=3, offset=41),
        ),
        "set": AlertSet(
            id="unsafe-code",
            version="1.0.0",
            sha256="a" * 64,
            category="unsafe_code",
            title="Unsafe code",
            status="test",
        ),
        "detector": "weighted",
        "score": 2.5,
        "threshold": 1.5,
        "unit": "logit",
        "segment": AlertSegment(name="response", index=0, tokens=12, chars=40),
        "features": (
            AlertFeature(
                index=7,
                label="shell injection",
                activation=4.0,
                contribution=2.0,
                threshold=None,
                weight=0.5,
                tokens=(TokenActivation(start=3, end=8, activation=4.0),),
            ),
        ),
        "reader": AlertReader(
            model="smollm2",
            model_sha256="b" * 64,
            layer=9,
            hook="resid_post",
            sae_sha256="c" * 64,
            activation_basis="raw",
        ),
        "config_sha256": "d" * 64,
        "trace_id": TRACE_ID,
        "traceparent": TRACEPARENT,
    }
    return Alert(**{**fields, **changes})


def make_content() -> AlertContent:
    """The captured text of the event."""
    return AlertContent(prompt=f"prompt: {SECRET}", text=f"reply: {SECRET}", strengths=((0, 5, 1.0),))
