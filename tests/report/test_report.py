"""The review page: safe, self-contained, bounded, and it renders."""

from __future__ import annotations

import base64
import hashlib
import re
import stat
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from monitor.alerts.alert import Alert
from monitor.report.report import render_report, write_report
from monitor.report.static_page import asset
from monitor.report.summary import summarize
from tests.report.alert_samples import make_alert, realistic_alerts
from tests.report.chromium import Chromium

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


def page_of(alerts: list[Alert]) -> str:
    return render_report(alerts, summarize(alerts, events=168, tokens=31_244, seconds=14.2, lag=0), NOW)[0]


class _Elements(HTMLParser):
    """Every element with its attributes, and the visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\"'><b>x</b></div></style>\u202eevil\x1b[0m eval("


def test_everything_from_outside_is_escaped() -> None:
    alert = make_alert(EVIL, category=EVIL, prompt=EVIL * 5, event_id=EVIL, labels=(EVIL,), status=EVIL, unit=EVIL)
    elements = _Elements(page_of([alert]))
    tags = [tag for tag, _ in elements.found]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert "b" not in tags
    assert not [a for _, attributes in elements.found for a in attributes if a.startswith("on") or a == "style"]
    assert "<script>alert(1)</script>" in elements.text
    assert "{{ 7*7 }}" in elements.text
    assert "\u202e" not in page_of([alert])
    assert "\x1b" not in page_of([alert])


def test_nothing_is_loaded_from_anywhere() -> None:
    elements = _Elements(page_of(realistic_alerts()))
    assert not {"link", "img", "iframe", "object", "base", "a"} & {tag for tag, _ in elements.found}
    assert not [a for _, attributes in elements.found for a in attributes if a in ("src", "href", "srcset", "action")]
    assert "url(" not in page_of(realistic_alerts())


def test_the_policy_allows_the_inline_style_and_script_and_nothing_else() -> None:
    page = page_of(realistic_alerts())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    text = policy[1].replace("&#39;", "'")
    assert text.startswith("default-src 'none';")
    assert "unsafe" not in text
    for tag in ("style", "script"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in text


def test_tokens_are_marked_with_their_share() -> None:
    page = page_of([make_alert("x 🔥e\u0301 y", strengths=((2, 3, 1.0), (3, 4, 0.41)))])
    assert '<mark class="s8" title="100 % of peak">🔥</mark>' in page
    assert '<mark class="s4" title="41 % of peak">e\u0301</mark>' in page


def test_an_alert_without_content_shows_no_text() -> None:
    page = page_of([make_alert(None)])
    assert "Content capture is off" in page
    assert '<div class="text' not in page
    assert "of peak" not in page


def test_no_alerts_are_not_proof() -> None:
    page = page_of([])
    assert "No alerts" in page
    assert "not proof" in page


def test_the_gravest_come_first() -> None:
    page = page_of(
        [
            make_alert(event_id=f"{s}-{score}", severity=s, score=score)
            for s in ("low", "critical")
            for score in (0.8, 0.9)
        ]
    )
    order = re.findall(r"<code>((?:low|critical)-[\d.]+)</code>", page)
    assert order == ["critical-0.9", "critical-0.8", "low-0.9", "low-0.8"]


def test_five_hundred_alerts_stay_small_and_the_rest_is_owned_up_to() -> None:
    text = "every token lights up here " * 400
    spans = tuple((i, i + 4, (i % 97 + 3) / 100) for i in range(0, len(text) - 4, 4))
    alerts = [make_alert(text, event_id=f"e{n}", strengths=spans) for n in range(500)]
    page, shown = render_report(alerts, summarize(alerts), NOW)
    assert len(page.encode()) < 5_000_000
    assert 0 < shown < 500
    assert page.count("<article") == shown
    assert f"{500 - shown} of 500 alerts are not shown" in page


def test_five_hundred_ordinary_alerts_all_fit() -> None:
    alerts = [make_alert(event_id=f"e{n}") for n in range(500)]
    assert render_report(alerts, summarize(alerts), NOW)[1] == 500


def test_the_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    assert write_report(path, realistic_alerts(), summarize(realistic_alerts()), NOW) == 5
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_report(path, [], summarize([]), NOW)
    assert "No alerts" in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", ["report.css", "report.js"])
def test_an_asset_cannot_end_its_element(name: str) -> None:
    assert "</" not in asset("monitor.report", name)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_it_at_phone_and_desktop_width(
    chromium: Chromium, tmp_path: Path, width: int, dark: bool
) -> None:
    path = tmp_path / "report.html"
    wide = make_alert("w" * 5_000 + " eval( " + "\u0e01\u0e49\u0e49" * 40, event_id="i" * 400, category="unsafe_code")
    alerts = [*realistic_alerts(), wide]
    write_report(path, alerts, summarize(alerts, events=168, tokens=31_244, seconds=14.2, lag=0), NOW)
    dom = chromium.dom(path, width, dark)
    # the script ran, so the policy's hash for it is right: it shows the controls and counts the cards
    assert '<form id="controls">' in dom
    assert "6 of 6" in dom
    assert chromium.overflow(path, width, dark) == 0
    assert chromium.violations(path, width) == ""
    picture = tmp_path / "page.png"
    chromium.screenshot(path, picture, width, 844, dark)
    assert picture.stat().st_size > 20_000  # an unstyled or empty page is smaller
