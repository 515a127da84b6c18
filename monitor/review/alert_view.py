"""AlertView: one alert laid out for its page; all text in it is safe to show once HTML-escaped."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from detectors.feature_set import FeatureSet
from detectors.scale import ACTIVATION, LOGISTIC, log_odds
from monitor.alerts.alert import Alert, AlertFeature
from monitor.errors import ConfigError
from monitor.report.alert_card import MAX_TEXT, AlertCard, alert_card
from monitor.report.evidence import named_first
from monitor.report.score import figure
from monitor.report.shading import Run, Window, shaded, strongest_window
from monitor.report.visible_text import visible, visible_line


@dataclass(frozen=True)
class Shade:
    """The text shaded by one feature alone, or by the probe."""

    name: str
    label: str
    text: Window


@dataclass(frozen=True)
class Sum:
    """One line of the arithmetic."""

    label: str
    value: str
    total: bool = False


@dataclass(frozen=True)
class SetNotes:
    """What the set's own file says, if the alert was made with the set that is in use here."""

    description: str
    calibration: str | None
    false_positives: tuple[str, ...]


@dataclass(frozen=True)
class AlertView:
    """One alert on its page."""

    card: AlertCard
    prompt: str
    shades: tuple[Shade, ...]
    sums: tuple[Sum, ...]
    notes: SetNotes | None
    attributes: tuple[tuple[str, str], ...]
    """Of the event, as far as the sidecar's config chooses them."""
    origin: str
    trace_url: str | None
    record_url: str | None


@dataclass(frozen=True)
class Links:
    """URL templates for what an alert points to."""

    trace: str | None = None
    """With {trace_id}."""
    record: str | None = None
    """With {topic}, {partition} and {offset}."""

    @classmethod
    def checked(cls, trace: str | None, record: str | None) -> Links:
        """Raises ConfigError if a template is not an http(s) URL or has other fields."""
        problems = [
            *_template_problems("--trace-url", trace, {"trace_id"}),
            *_template_problems("--record-url", record, {"topic", "partition", "offset"}),
        ]
        if problems:
            raise ConfigError(problems)
        return cls(trace, record)


def alert_view(alert: Alert, sets: Mapping[str, FeatureSet], links: Links) -> AlertView:
    """The page of one alert; `sets` are those in use here, by id."""
    origin = alert.event.origin
    place = {"topic": origin.topic, "partition": str(origin.partition), "offset": str(origin.offset)}
    return AlertView(
        card=alert_card(alert),
        prompt="" if alert.content is None else visible(alert.content.prompt[:MAX_TEXT]),
        shades=tuple(_shades(alert)),
        sums=tuple(_sums(alert)),
        notes=_notes(alert, sets.get(alert.set.id)),
        attributes=tuple((visible_line(k), visible_line(v)) for k, v in alert.event.attributes.items()),
        origin=visible_line(f"{origin.topic}, partition {origin.partition}, offset {origin.offset}"),
        trace_url=_link(links.trace, {"trace_id": alert.trace_id}) if alert.trace_id else None,
        record_url=_link(links.record, place),
    )


def _shades(alert: Alert) -> Iterator[Shade]:
    content = alert.content
    if content is None:
        return
    sources = [(str(f.index), visible_line(f.label), f.tokens) for f in named_first(alert.features)]
    if alert.probe is not None:
        sources.insert(0, ("probe", "linear probe", alert.probe.tokens))
    for name, label, tokens in sources:
        highest = max((token.activation for token in tokens), default=0.0)
        if highest > 0:
            strengths = [(token.start, token.end, token.activation / highest) for token in tokens]
            window = strongest_window(shaded(content.text, strengths), MAX_TEXT)
            safe = tuple(Run(visible(run.text), run.strength) for run in window.runs)
            yield Shade(name, label, Window(safe, window.cut_before, window.cut_after))


def _sums(alert: Alert) -> Iterator[Sum]:
    """How the score adds up, as far as the alert tells; nothing if it is not a sum."""
    logistic = alert.unit == LOGISTIC.unit
    if not logistic and not (alert.unit == ACTIVATION.unit and any(f.weight is not None for f in alert.features)):
        return
    total = log_odds(alert.score) if logistic else alert.score
    shown = sum(feature.contribution for feature in alert.features)
    for feature in alert.features:
        yield Sum(_term(feature), _signed(feature.contribution))
    if alert.probe is not None:
        shown += alert.probe.contribution
        yield Sum("linear probe on the residual stream", _signed(alert.probe.contribution))
    rest = "bias, and features that are not shown" if logistic else "features that are not shown"
    yield Sum(rest, _signed(total - shown))
    if logistic:
        yield Sum("log-odds of the score", _signed(total), total=True)
        yield Sum("log-odds of the threshold", _signed(log_odds(alert.threshold)), total=True)
    yield Sum("score", figure(alert.score), total=True)
    yield Sum("threshold", figure(alert.threshold), total=True)


def _term(feature: AlertFeature) -> str:
    weight = f" × weight {figure(feature.weight)}" if feature.weight is not None else ""
    return f"{visible_line(feature.label)} (#{feature.index}): {figure(feature.activation)}{weight}"


def _signed(value: float) -> str:
    return f"{value:+.3g}"


def _notes(alert: Alert, used: FeatureSet | None) -> SetNotes | None:
    if used is None or used.version != alert.set.version:
        return None
    calibration, sentence = used.calibration, None
    if calibration is not None and used.threshold is not None:
        low, high = calibration.interval_95
        sentence = (
            f"{calibration.measured_fpr:.1%} of benign texts reach {figure(used.threshold)}, the calibrated threshold "
            f"(95 % interval {low:.1%} to {high:.1%}, {calibration.measured_n:,} texts: "
            f"{calibration.benign}; {calibration.date})."
        )
    return SetNotes(used.description, sentence, used.falsepositives)


def _link(template: str | None, values: Mapping[str, str]) -> str | None:
    if template is None:
        return None
    return template.format_map({name: quote(value, safe="") for name, value in values.items()})


def _template_problems(option: str, template: str | None, fields: set[str]) -> Iterator[str]:
    if template is None:
        return
    if not template.startswith(("https://", "http://")):
        yield f"{option}: {template}: expected a URL that begins with https:// or http://"
    try:
        found = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as e:
        yield f"{option}: {template}: {e}"
        return
    if found - fields or not found:
        names = ", ".join(f"{{{name}}}" for name in sorted(fields))
        yield f"{option}: {template}: expected the fields {names}"
