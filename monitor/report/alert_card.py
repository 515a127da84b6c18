"""AlertCard: one alert laid out for the page; all text in it is safe to show once HTML-escaped."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.detector import scale_of
from detectors.scale import Scale
from monitor.alerts.alert import Alert, TokenActivation
from monitor.report.shading import Run, Window, shaded, strongest_window
from monitor.report.visible_text import visible, visible_line

LONG_PROMPT = 280
"""Characters from which the user's turn is folded away."""
MAX_PROMPT = 4_000
MAX_TEXT = 3_000
"""Characters of judged text around the strongest tokens."""


@dataclass(frozen=True)
class ScoreBar:
    """Score and threshold as percentages of the bar."""

    low: str
    high: str
    score: float
    threshold: float


@dataclass(frozen=True)
class Chip:
    """One of a feature's strongest tokens."""

    text: str
    activation: float


@dataclass(frozen=True)
class FeatureRow:
    """One feature that fired."""

    index: int
    label: str
    activation: str
    contribution: str
    chips: tuple[Chip, ...]


@dataclass(frozen=True)
class ProbeRow:
    """What the set's probe had to do with it."""

    contribution: str
    chips: tuple[Chip, ...]


@dataclass(frozen=True)
class AlertCard:
    """What the page shows of one alert."""

    id: str
    severity: str
    category: str
    title: str
    version: str
    status: str
    event_id: str
    origin: str
    model: str
    time: str
    score: str
    threshold: str
    unit: str
    ratio: float
    bar: ScoreBar
    segment: str
    prompt: str | None
    prompt_is_long: bool
    text: Window | None
    """None where content capture is off."""
    text_chars: int
    features: tuple[FeatureRow, ...]
    probe: ProbeRow | None


def alert_card(alert: Alert) -> AlertCard:
    """The card of one alert."""
    content = alert.content
    prompt = None if content is None else _shortened(content.prompt, MAX_PROMPT)
    origin = alert.event.origin
    scale = scale_of(alert.detector, alert.unit)
    time = alert.event.time or alert.time
    return AlertCard(
        id=visible_line(alert.id),
        severity=alert.severity,
        category=visible_line(alert.set.category),
        title=visible_line(alert.set.title),
        version=visible_line(alert.set.version),
        status=visible_line(alert.set.status),
        event_id=visible_line(alert.event.id),
        origin=visible_line(f"{origin.topic} / {origin.partition} @ {origin.offset}"),
        model=visible_line(alert.event.model or ""),
        time=f"{time:%Y-%m-%d %H:%M:%S} UTC" if time.utcoffset() is not None else f"{time:%Y-%m-%d %H:%M:%S}",
        score=_figure(alert.score),
        threshold=_figure(alert.threshold),
        unit=visible_line(scale.label),
        ratio=ratio(alert),
        bar=_bar(alert, scale),
        segment=f"{alert.segment.name}, {alert.segment.tokens} tokens",
        prompt=None if prompt is None else visible(prompt),
        prompt_is_long=prompt is not None and (len(prompt) > LONG_PROMPT or prompt.count("\n") > 6),
        text=None if content is None else _safe_window(shaded(content.text, content.strengths)),
        text_chars=0 if content is None else len(content.text),
        features=tuple(
            FeatureRow(
                index=feature.index,
                label=visible_line(feature.label),
                activation=_figure(feature.activation),
                contribution=_figure(feature.contribution),
                chips=tuple(_chip(token) for token in feature.tokens[:8]),
            )
            for feature in alert.features
        ),
        probe=None
        if alert.probe is None
        else ProbeRow(_figure(alert.probe.contribution), tuple(_chip(token) for token in alert.probe.tokens[:8])),
    )


def ratio(alert: Alert) -> float:
    """Score by threshold, which compares alerts of different units; the score itself under thresholds of 0 and less."""
    return alert.score / alert.threshold if alert.threshold > 0 else alert.score


def _bar(alert: Alert, scale: Scale) -> ScoreBar:
    low = min(0.0, alert.score, alert.threshold)
    high = max(alert.score, alert.threshold)
    high = scale.highest if scale.highest is not None and high <= scale.highest else high + 0.1 * (high - low)
    span = (high - low) or 1.0
    return ScoreBar(
        low=_figure(low),
        high=_figure(high),
        score=round(100 * (alert.score - low) / span, 1),
        threshold=round(100 * (alert.threshold - low) / span, 1),
    )


def _safe_window(runs: tuple[Run, ...]) -> Window:
    window = strongest_window(runs, MAX_TEXT)
    safe = tuple(Run(visible(run.text), run.strength) for run in window.runs)
    return Window(safe, window.cut_before, window.cut_after)


def _chip(token: TokenActivation) -> Chip:
    text = f"characters {token.start}–{token.end}" if token.text is None else visible_line(token.text)
    return Chip(_shortened(text, 40), token.activation)


def _shortened(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars] + "..."


def _figure(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
