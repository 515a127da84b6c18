"""Score against threshold: as text, as a ratio and as a bar, on the scale of the alert's detector."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.detector import scale_of
from monitor.alerts.alert import Alert
from monitor.report.visible_text import visible_line


@dataclass(frozen=True)
class ScoreBar:
    """Score and threshold as percentages of the bar's length, which stands for `low` to `high`."""

    low: str
    high: str
    score: float
    threshold: float


def ratio(alert: Alert) -> float:
    """Score divided by threshold, to compare alerts of different units; the score itself if the threshold is <= 0."""
    return alert.score / alert.threshold if alert.threshold > 0 else alert.score


def unit(alert: Alert) -> str:
    """What to write after the score."""
    return visible_line(scale_of(alert.detector, alert.unit).label)


def score_bar(alert: Alert) -> ScoreBar:
    """The bar of one alert. It ends at the highest possible score, or a little above the score if there is no limit."""
    low = min(0.0, alert.score, alert.threshold)
    high = max(alert.score, alert.threshold)
    limit = scale_of(alert.detector, alert.unit).highest
    high = limit if limit is not None and high <= limit else high + 0.1 * (high - low)
    span = (high - low) or 1.0
    return ScoreBar(
        low=figure(low),
        high=figure(high),
        score=round(100 * (alert.score - low) / span, 1),
        threshold=round(100 * (alert.threshold - low) / span, 1),
    )


def figure(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def percent(share: float) -> str:
    """A share as a whole percentage."""
    return f"{share:.0%}".replace("%", " %")
