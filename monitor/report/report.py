"""The report: every flagged event with its evidence in one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from monitor.alerts.alert import Alert
from monitor.report.event_card import event_card
from monitor.report.flagged_event import flagged_events
from monitor.report.shading import LEVELS
from monitor.report.static_page import asset, content_policy, page_css, page_environment, write_page
from monitor.report.summary import Summary, counted
from monitor.report.visible_text import visible_line

MAX_BYTES = 4_500_000
"""Most bytes of all cards together: a larger page opens slowly on a phone."""


@dataclass(frozen=True)
class Provenance:
    """What made the alerts; several values if the sidecar was changed in between."""

    name: str
    values: tuple[str, ...]


def write_report(path: Path, alerts: Sequence[Alert], summary: Summary, now: datetime | None = None) -> int:
    """Writes the page, most severe events first, and returns how many alerts it shows.

    It stops before the cards exceed MAX_BYTES, and the page says how many alerts are missing. With content capture
    the page holds the text of users and models, so only its owner may read it. Raises OSError.
    """
    page, shown = render_report(alerts, summary, now or datetime.now(UTC))
    write_page(path, page)
    return shown


def render_report(alerts: Sequence[Alert], summary: Summary, now: datetime) -> tuple[str, int]:
    """The page and the number of alerts that it shows."""
    env = page_environment("report")
    env.filters["count"] = count_text
    card = env.get_template("event_card.html.j2")
    cards: list[Markup] = []
    size = shown = 0
    for event in flagged_events(alerts):
        html = Markup(card.render(card=event_card(event)))  # noqa: S704 - rendered with autoescape
        size += len(html.encode())
        if size > MAX_BYTES:
            break
        cards.append(html)
        shown += len(event.alerts)
    css = page_css() + asset("monitor.report", "report.css")
    js = asset("monitor.report", "report.js")
    page = env.get_template("report.html.j2").render(
        css=Markup(css),  # noqa: S704 - our own file
        js=Markup(js),  # noqa: S704 - our own file
        csp=content_policy(css, js),
        heading=_heading(summary),
        figures=[*_figures(summary), f"made {now:%Y-%m-%d %H:%M} UTC"],
        cards=cards,
        total=len(alerts),
        shown=shown,
        summary=summary,
        categories=sorted({visible_line(a.set.category) for a in alerts}),
        severities=list(summary.by_severity),
        sets=sorted({visible_line(a.set.id) for a in alerts}),
        levels=range(1, LEVELS + 1),
        provenance=_provenance(alerts),
    )
    return page, shown


def _heading(summary: Summary) -> str:
    if not summary.alerts:
        return "No alerts"
    return f"{counted(summary.alerts, 'alert')} on {counted(summary.flagged_events, 'event')}"


def _figures(summary: Summary) -> Iterator[str]:
    """The known figures of the run, as text."""
    for value, words in (
        (summary.events, "events read"),
        (summary.tokens, "tokens"),
        (summary.events_per_second, "events/s"),
        (summary.tokens_per_second, "tokens/s"),
        (summary.bad_events, "bad events"),
        (summary.lag, "lag at the end"),
    ):
        if value is not None:
            yield f"{count_text(value)} {words}"


def _provenance(alerts: Sequence[Alert]) -> tuple[Provenance, ...]:
    def distinct(name: str, values: Iterable[str]) -> Provenance:
        return Provenance(name, tuple(visible_line(v) for v in sorted(set(values))))

    return (
        distinct("Reader", (f"{a.reader.model}, layer {a.reader.layer}, {a.reader.hook}" for a in alerts)),
        distinct("Model", (f"sha256 {a.reader.model_sha256}" for a in alerts)),
        distinct("SAE", (f"sha256 {a.reader.sae_sha256} ({a.reader.activation_basis})" for a in alerts)),
        distinct("Config", (f"sha256 {a.config_sha256}" for a in alerts)),
        distinct("Feature sets", (f"{a.set.id} {a.set.version}, sha256 {a.set.sha256}" for a in alerts)),
    )


def count_text(value: float) -> str:
    """A number for people: whole from 100 on, with thin spaces between thousands."""
    if isinstance(value, int) or value >= 100:
        return f"{round(value):,}".replace(",", "\u202f")
    return f"{value:.1f}"
