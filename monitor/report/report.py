"""The review page: every alert with its evidence in one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from detectors.feature_set import SEVERITIES
from monitor.alerts.alert import Alert
from monitor.report.alert_card import alert_card, ratio
from monitor.report.shading import LEVELS
from monitor.report.static_page import asset, content_policy, page_css, page_environment, write_page
from monitor.report.summary import Summary
from monitor.report.visible_text import visible_line

MAX_BYTES = 4_500_000
"""Of all cards together: a page larger than this opens slowly on a phone."""


@dataclass(frozen=True)
class Provenance:
    """What the alerts were read with; several where the sidecar was changed in between."""

    name: str
    values: tuple[str, ...]


def write_report(path: Path, alerts: Sequence[Alert], summary: Summary, now: datetime | None = None) -> int:
    """Writes the page, gravest alerts first, and returns how many alerts it shows.

    Alerts that would make the page larger than MAX_BYTES are left out, and the page says how many. The page holds
    the text of users and models where content capture is on, so only its owner may read it. Raises OSError.
    """
    page, shown = render_report(alerts, summary, now or datetime.now(UTC))
    write_page(path, page)
    return shown


def render_report(alerts: Sequence[Alert], summary: Summary, now: datetime) -> tuple[str, int]:
    """The page and the number of alerts that it shows."""
    env = page_environment("report")
    env.filters["count"] = _count
    card = env.get_template("alert_card.html.j2")
    cards: list[Markup] = []
    size = 0
    for alert in sorted(alerts, key=_gravest_first):
        html = Markup(card.render(card=alert_card(alert)))  # noqa: S704 - rendered with autoescape
        size += len(html.encode())
        if size > MAX_BYTES:
            break
        cards.append(html)
    css = page_css()
    js = asset("monitor.report", "report.js")
    page = env.get_template("report.html.j2").render(
        css=Markup(css),  # noqa: S704 - our own file
        js=Markup(js),  # noqa: S704 - our own file
        csp=content_policy(css, js),
        cards=cards,
        total=len(alerts),
        summary=summary,
        categories=sorted({visible_line(a.set.category) for a in alerts}),
        severities=[s for s in reversed(SEVERITIES) if any(a.severity == s for a in alerts)],
        levels=range(1, LEVELS + 1),
        provenance=_provenance(alerts),
        now=f"{now:%Y-%m-%d %H:%M} UTC",
    )
    return page, len(cards)


def _gravest_first(alert: Alert) -> tuple[int, float, str]:
    return -SEVERITIES.index(alert.severity), -ratio(alert), alert.id


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


def _count(value: float | None) -> str:
    """A number for a card: whole above 100, thin spaces between thousands."""
    if value is None:
        return "not known"
    if isinstance(value, int) or value >= 100:
        return f"{round(value):,}".replace(",", "\u202f")
    return f"{value:.1f}"
