"""AlertBuilder: turns a match into the alert that is delivered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from detectors.matching import FeatureHit, Match
from detectors.score import Window
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
    AlertUnnamed,
    AlertWindow,
    TokenActivation,
    alert_id,
)
from monitor.alerts.event_attributes import ChosenAttributes
from monitor.alerts.redactor import Redactor
from monitor.config.feature_url import FeatureUrl
from monitor.events.event import Event
from monitor.sets.load import LoadedSet
from monitor.tokens.tokeniser import Tokenised

Spans = Sequence[tuple[int, int]]


class AlertBuilder:
    """Builds alerts with labels and offsets as evidence. They hold text of the event only with a redactor."""

    def __init__(
        self,
        config_sha256: str,
        attributes: ChosenAttributes,
        redactor: Redactor | None,
        feature_url: FeatureUrl | None = None,
    ) -> None:
        """`redactor` writes over secrets in captured text; None captures none. `feature_url` is that of a card."""
        self._config_sha256 = config_sha256
        self._attributes = attributes
        self._redactor = redactor
        self._feature_url = feature_url

    def build(self, item: Tokenised, loaded: LoadedSet, match: Match, rules: Sequence[str] = ()) -> Alert:
        """The alert for `match` of `loaded` in the event of `item`, judged by these rules of the config."""
        which = next(
            n for n, s in enumerate(item.segments) if s.name == match.segment.name and s.index == match.segment.index
        )
        segment, rows = item.segments[which], item.rows[which]
        # activations may come without the text of their tokens
        shown = self._redactor if segment.text else None
        text = None if shown is None else shown.redacted(segment.text)
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
            segment=AlertSegment(
                name=segment.name,
                index=segment.index,
                tokens=len(spans),
                chars=len(segment.text),
                window=None if match.window is None else _window(match.window, spans),
            ),
            features=tuple(self._feature(hit, loaded, text, spans) for hit in match.hits),
            unnamed=None
            if match.unnamed is None
            else AlertUnnamed(
                features=match.unnamed.features,
                contribution=round(match.unnamed.contribution, 6),
                share=round(match.unnamed.share, 4),
                tokens=_tokens(text, spans, match.unnamed.tokens),
            ),
            probe=None
            if match.probe is None
            else AlertProbe(
                contribution=round(match.probe.contribution, 6),
                share=round(match.probe.share, 4),
                tokens=_tokens(text, spans, match.probe.tokens),
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
            content=None if text is None else self._content(event, text, spans, match.strength),
        )

    def _feature(self, hit: FeatureHit, loaded: LoadedSet, text: str | None, spans: Spans) -> AlertFeature:
        return AlertFeature(
            index=hit.index,
            label=hit.label,
            label_score=hit.label_score,
            url=None if self._feature_url is None else self._feature_url.of(loaded.set, hit.index),
            activation=round(hit.activation, 6),
            contribution=round(hit.contribution, 6),
            share=round(hit.share, 4),
            threshold=hit.threshold,
            weight=hit.weight,
            tokens=_tokens(text, spans, hit.tokens),
        )

    def _content(self, event: Event, text: str, spans: Spans, strength: NDArray[np.float32]) -> AlertContent:
        prompt = next((m.content for m in reversed(event.messages) if m.role == "user"), "")
        strengths = ((*span, round(float(s), 3)) for span, s in zip(spans, strength, strict=True))
        shown = "" if self._redactor is None else self._redactor.redacted(prompt)
        return AlertContent(prompt=shown, text=text, strengths=tuple(s for s in strengths if s[2] > 0))


def _tokens(text: str | None, spans: Spans, tokens: Sequence[tuple[int, float]]) -> tuple[TokenActivation, ...]:
    return tuple(
        TokenActivation(
            start=start,
            end=end,
            activation=round(activation, 4),
            text=None if text is None else text[start:end],
        )
        for (start, end), activation in ((spans[row], activation) for row, activation in tokens)
    )


def _window(window: Window, spans: Spans) -> AlertWindow:
    return AlertWindow(
        start=spans[window.start][0], end=spans[window.stop - 1][1], tokens=window.stop - window.start, of=window.of
    )
