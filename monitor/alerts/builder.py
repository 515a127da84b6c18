"""AlertBuilder: turns a match into the alert that is delivered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from detectors.matching import Match
from monitor.alerts.alert import (
    Alert,
    AlertContent,
    AlertEvent,
    AlertFeature,
    AlertOrigin,
    AlertProbe,
    AlertReader,
    AlertSegment,
    AlertSet,
    TokenActivation,
    alert_id,
)
from monitor.alerts.event_attributes import ChosenAttributes
from monitor.events.event import Event
from monitor.sets.load import LoadedSet
from monitor.tokens.chat_template import Segment
from monitor.tokens.tokeniser import Tokenised


class AlertBuilder:
    """Builds alerts with labels and offsets as evidence. They hold text of the event only with `capture_content`."""

    def __init__(self, config_sha256: str, attributes: ChosenAttributes, capture_content: bool) -> None:
        self._config_sha256 = config_sha256
        self._attributes = attributes
        self._capture_content = capture_content

    def build(self, item: Tokenised, loaded: LoadedSet, match: Match, rules: Sequence[str] = ()) -> Alert:
        """The alert for `match` of `loaded` in the event of `item`, judged by these rules of the config."""
        which = next(
            n for n, s in enumerate(item.segments) if s.name == match.segment.name and s.index == match.segment.index
        )
        segment, rows = item.segments[which], item.rows[which]
        spans = [segment.own_span(int(item.starts[row]), int(item.ends[row])) for row in rows]
        event, used = item.event, loaded.set
        ref = loaded.shipped.reader
        labels = "; ".join(hit.label for hit in match.hits[:3])
        message = f"feature active: {used.title} in {segment.name}" + (f" ({labels})" if labels else "")
        if rules:
            message += f"; threshold {match.threshold:g}, severity {match.severity}, by rule {', '.join(rules)}"
        return Alert(
            id=alert_id(event.id, used.id, loaded.sha256),
            time=datetime.now(UTC),
            severity=match.severity,
            message=message,
            event=AlertEvent(
                id=event.id,
                time=event.time,
                model=event.model,
                conversation_id=event.conversation_id,
                attributes=self._attributes.of(event),
                origin=AlertOrigin(
                    topic=event.origin.topic, partition=event.origin.partition, offset=event.origin.offset
                ),
            ),
            set=AlertSet(
                id=used.id,
                version=used.version,
                sha256=loaded.sha256,
                category=used.category,
                title=used.title,
                status=used.status,
            ),
            detector=used.detector,
            score=round(match.score, 6),
            threshold=match.threshold,
            unit=match.unit,
            rules=tuple(rules),
            segment=AlertSegment(name=segment.name, index=segment.index, tokens=len(spans), chars=len(segment.text)),
            features=tuple(
                AlertFeature(
                    index=hit.index,
                    label=hit.label,
                    activation=round(hit.activation, 6),
                    contribution=round(hit.contribution, 6),
                    threshold=hit.threshold,
                    weight=hit.weight,
                    tokens=tuple(self._token(segment, *spans[row], activation) for row, activation in hit.tokens),
                )
                for hit in match.hits
            ),
            probe=None
            if match.probe is None
            else AlertProbe(
                contribution=round(match.probe.contribution, 6),
                tokens=tuple(self._token(segment, *spans[row], value) for row, value in match.probe.tokens),
            ),
            reader=AlertReader(
                model=ref.model,
                model_sha256=ref.model_sha256,
                layer=ref.layer,
                hook=ref.hook,
                sae_sha256=ref.sae.sha256,
                activation_basis=ref.sae.activation_basis,
            ),
            config_sha256=self._config_sha256,
            trace_id=event.traceparent.split("-")[1] if event.traceparent else None,
            traceparent=event.traceparent,
            content=self._content(event, segment, spans, match.strength) if self._capture_content else None,
        )

    def _token(self, segment: Segment, start: int, end: int, activation: float) -> TokenActivation:
        text = segment.text[start:end] if self._capture_content else None
        return TokenActivation(start=start, end=end, activation=round(activation, 4), text=text)

    def _content(
        self, event: Event, segment: Segment, spans: Sequence[tuple[int, int]], strength: NDArray[np.float32]
    ) -> AlertContent:
        prompt = next((m.content for m in reversed(event.messages) if m.role == "user"), "")
        strengths = ((*span, round(float(s), 3)) for span, s in zip(spans, strength, strict=True))
        return AlertContent(prompt=prompt, text=segment.text, strengths=tuple(s for s in strengths if s[2] > 0))
