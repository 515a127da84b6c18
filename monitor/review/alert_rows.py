"""AlertRows: one alert as rows of the database's tables."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from detectors.detector import scale_of
from monitor.alerts.alert import Alert, AlertContent
from monitor.review.similar import likeness, simhash

_MAX_WORDS_CHARS = 100_000
_PEEK_CHARS = 80
"""Characters before the strongest token, and twice as many after it."""
_ID = re.compile(r"[0-9a-f]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class AlertRows:
    """One alert, ready to be stored. Group and number are given to it by the database."""

    alert: dict[str, Any]
    body: dict[str, Any]
    features: tuple[dict[str, Any], ...]
    likeness: str
    simhash: str | None


def alert_rows(alert: Alert) -> AlertRows:
    """The rows of one alert. Texts come from a topic that others may write to, so they may hold anything.

    Raises ValueError if the id is not one that latentwatch makes, because it becomes a part of addresses, or if a
    figure is not finite.
    """
    if not _ID.fullmatch(alert.id):
        raise ValueError("id: expected 32 hexadecimal digits")
    figures = [alert.score, alert.threshold, *(f for x in alert.features for f in (x.activation, x.contribution))]
    if not all(map(math.isfinite, figures)):
        raise ValueError("a score, a threshold, an activation or a contribution is not finite")
    content, event = alert.content, alert.event
    return AlertRows(
        alert={
            "id": alert.id,
            "time_us": micros(alert.time),
            "severity": alert.severity,
            "category": stored(alert.set.category),
            "set_id": stored(alert.set.id),
            "set_version": stored(alert.set.version),
            "event_id": stored(event.id),
            "model": _optional(event.model),
            "tenant": _optional(event.attributes.get("tenant")),
            "conversation_id": _optional(event.conversation_id),
            "score": alert.score,
            "threshold": alert.threshold,
            "margin": scale_of(alert.detector, alert.unit).margin(alert.score, alert.threshold),
            "has_text": content is not None,
        },
        body={
            "json": stored(alert.to_json()),
            "words": stored(_words(alert))[:_MAX_WORDS_CHARS],
            **_peek(alert.content),
        },
        features=tuple(
            {
                "position": n,
                "latent": feature.index,
                "label": stored(feature.label),
                "activation": feature.activation,
                "contribution": feature.contribution,
            }
            for n, feature in enumerate(alert.features)
        ),
        likeness=likeness(alert),
        simhash=None if content is None else simhash(content.text),
    )


def micros(time: datetime) -> int:
    """Microseconds since 1970; a time without a zone is UTC."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    since = aware - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def stored(text: str) -> str:
    """`text` as every database can hold it: PostgreSQL refuses NUL, and neither takes half a surrogate pair."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def _optional(text: str | None) -> str | None:
    return None if text is None else stored(text)


def _peek(content: AlertContent | None) -> dict[str, Any]:
    """The text around its strongest token."""
    if content is None:
        return {"peek": "", "peek_start": 0, "peek_end": 0}
    length = len(content.text)
    start, end, _ = max(content.strengths, key=lambda span: span[2], default=(0, 0, 0.0))
    start, end = max(0, min(start, length)), max(0, min(end, length))
    first, last = max(0, start - _PEEK_CHARS), start + 2 * _PEEK_CHARS
    return {
        "peek": stored(content.text[first:last]),
        "peek_start": start - first,
        "peek_end": max(start, min(end, last)) - first,
    }


def _words(alert: Alert) -> str:
    content = alert.content
    texts = [] if content is None else [content.prompt, content.text]
    return "\n".join([*texts, alert.message, alert.event.id, *(feature.label for feature in alert.features)])
