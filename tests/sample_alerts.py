"""Alerts for tests."""

from __future__ import annotations

from datetime import UTC, datetime

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


def make_alert(
    event_id: str = "event-1", text: str | None = None, tokens: int = 1, traceparent: str | None = None
) -> Alert:
    """An alert on an event, with content where `text` is given and with so many tokens."""
    content = AlertContent(prompt="hi", text=text, strengths=((0, 1, 1.0),)) if text is not None else None
    evidence = tuple(TokenActivation(start=i, end=i + 1, activation=2.5) for i in range(tokens))
    return Alert(
        id=alert_id(event_id, "unsafe-code", "1"),
        time=datetime(2025, 1, 1, tzinfo=UTC),
        severity="high",
        message="unsafe code: feature active",
        event=AlertEvent(id=event_id, time=None, model=None, origin=AlertOrigin(topic="t", partition=0, offset=0)),
        set=AlertSet(id="unsafe-code", version="1", sha256="0", category="unsafe_code", title="t", status="stable"),
        detector="threshold",
        score=2.5,
        threshold=1.0,
        unit="activation",
        segment=AlertSegment(name="response", index=0, tokens=tokens, chars=tokens),
        features=(
            AlertFeature(
                index=1, label="x", activation=2.5, contribution=1.0, threshold=1.0, weight=None, tokens=evidence
            ),
        ),
        reader=AlertReader(model="m", model_sha256="0", layer=15, hook="h", sae_sha256="0", activation_basis="raw"),
        config_sha256="0",
        trace_id=None,
        traceparent=traceparent,
        content=content,
    )
