"""AlertCard: one alert laid out for the page; all text in it is safe to show once HTML-escaped."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.alerts.alert import Alert, AlertFeature, AlertSegment, TokenActivation
from monitor.report.score import ScoreBar, figure, percent, score_bar, unit
from monitor.report.shading import Run, Window, shaded, strongest_window
from monitor.report.visible_text import visible, visible_line

MAX_TEXT = 3_000
"""Characters of text shown around the strongest tokens."""
_MAX_CHIPS = 5


@dataclass(frozen=True)
class Chip:
    """One of a feature's strongest tokens."""

    text: str
    activation: str


@dataclass(frozen=True)
class FeatureRow:
    """One active feature that has a name."""

    index: int
    label: str
    url: str | None
    activation: str
    contribution: str
    share: str
    chips: tuple[Chip, ...]


@dataclass(frozen=True)
class UnnamedRow:
    """All active features without a name."""

    features: int
    contribution: str
    share: str
    chips: tuple[Chip, ...]


@dataclass(frozen=True)
class ProbeRow:
    """What the set's linear probe contributed."""

    contribution: str
    share: str
    chips: tuple[Chip, ...]


@dataclass(frozen=True)
class AlertCard:
    """One alert, as a part of its event's card."""

    set_id: str
    severity: str
    category: str
    title: str
    version: str
    status: str
    score: str
    threshold: str
    unit: str
    bar: ScoreBar
    segment: str
    text: Window | None
    """None if content capture is off."""
    text_chars: int
    features: tuple[FeatureRow, ...]
    unnamed: UnnamedRow | None
    probe: ProbeRow | None


def alert_card(alert: Alert) -> AlertCard:
    """The card of one alert."""
    content, unnamed, probe = alert.content, alert.unnamed, alert.probe
    return AlertCard(
        set_id=visible_line(alert.set.id),
        severity=alert.severity,
        category=visible_line(alert.set.category),
        title=visible_line(alert.set.title),
        version=visible_line(alert.set.version),
        status=visible_line(alert.set.status),
        score=figure(alert.score),
        threshold=figure(alert.threshold),
        unit=unit(alert),
        bar=score_bar(alert),
        segment=f"{alert.segment.name}, {_tokens(alert.segment)}",
        text=None if content is None else _safe_window(shaded(content.text, content.strengths)),
        text_chars=0 if content is None else len(content.text),
        features=tuple(_row(feature) for feature in alert.features),
        unnamed=None
        if unnamed is None
        else UnnamedRow(unnamed.features, figure(unnamed.contribution), percent(unnamed.share), _chips(unnamed.tokens)),
        probe=None
        if probe is None
        else ProbeRow(figure(probe.contribution), percent(probe.share), _chips(probe.tokens)),
    )


def _tokens(segment: AlertSegment) -> str:
    part = "" if segment.window is None else f"{segment.window.tokens} of "
    return f"{part}{segment.tokens} tokens"


def _row(feature: AlertFeature) -> FeatureRow:
    return FeatureRow(
        index=feature.index,
        label=visible_line(feature.label),
        url=feature.url if feature.url is not None and feature.url.startswith(("http://", "https://")) else None,
        activation=figure(feature.activation),
        contribution=figure(feature.contribution),
        share=percent(feature.share),
        chips=_chips(feature.tokens),
    )


def _safe_window(runs: tuple[Run, ...]) -> Window:
    window = strongest_window(runs, MAX_TEXT)
    safe = tuple(Run(visible(run.text), run.strength) for run in window.runs)
    return Window(safe, window.cut_before, window.cut_after)


def _chips(tokens: tuple[TokenActivation, ...]) -> tuple[Chip, ...]:
    return tuple(_chip(token) for token in tokens[:_MAX_CHIPS])


def _chip(token: TokenActivation) -> Chip:
    if token.text is None:
        return Chip(f"characters {token.start}–{token.end}", figure(token.activation))
    text = visible_line(token.text.strip() or token.text)  # most tokens begin with a space
    return Chip(shortened(text, 40), figure(token.activation))


def shortened(text: str, chars: int) -> str:
    """At most `chars` characters, with dots in place of the rest."""
    return text if len(text) <= chars else text[:chars] + "..."
