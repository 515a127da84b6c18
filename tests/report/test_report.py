"""The report: safe, self-contained, bounded, and it works in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.alerts.alert import Alert
from monitor.report.report import render_report, write_report
from monitor.report.static_page import asset
from monitor.report.summary import Label, summarize
from tests.html_elements import Elements
from tests.report.alert_samples import make_alert, realistic_alerts
from tests.report.chromium import Chromium

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


def page_of(alerts: list[Alert]) -> str:
    return render_report(alerts, summarize(alerts, events=168, tokens=31_244, seconds=14.2, lag=0), NOW)[0]


EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\"'><b>x</b></div></style>\u202eevil\x1b[0m eval("


def test_everything_from_outside_is_escaped() -> None:
    alert = make_alert(EVIL, category=EVIL, prompt=EVIL * 5, event_id=EVIL, labels=(EVIL,), status=EVIL, unit=EVIL)
    elements = Elements(page_of([alert]))
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
    elements = Elements(page_of(realistic_alerts()))
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


def test_no_alerts_prove_nothing() -> None:
    page = page_of([])
    assert "No alerts" in page
    assert "does not prove" in page


def test_the_most_severe_events_come_first() -> None:
    page = page_of(
        [
            make_alert(event_id=f"{s}-{score}", severity=s, score=score)
            for s in ("low", "critical")
            for score in (0.8, 0.9)
        ]
    )
    order = re.findall(r"<code>((?:low|critical)-[\d.]+)</code>", page)
    assert order == ["critical-0.9", "critical-0.8", "low-0.9", "low-0.8"]


def test_the_alerts_of_one_event_share_a_card_and_its_prompt() -> None:
    page = page_of(
        [
            make_alert(category="sycophancy", severity="low", prompt="the only prompt"),
            make_alert(category="backdoors", severity="critical", prompt="the only prompt"),
            make_alert(category="bias", event_id="another", prompt="of another event"),
        ]
    )
    assert page.count("<article") == 2
    assert page.count("the only prompt") == 1
    assert '<span class="sets">Backdoors, sycophancy</span>' in page
    assert re.findall(r'class="alert" data-category="(\w+)"', page) == ["backdoors", "sycophancy", "bias"]
    assert "3 alerts on 2 events" in page


def test_features_without_a_name_are_one_row() -> None:
    page = page_of([make_alert(labels=("secret ways in",), unnamed=12)])
    assert page.index("secret ways in") < page.index("12 unnamed features, 31 % of the score")
    assert "unnamed" not in page_of([make_alert(labels=("secret ways in",))])
    assert "No single feature stands out." in page_of([make_alert(labels=())])


def test_a_feature_links_to_its_card() -> None:
    alert = make_alert(labels=("secret ways in",))
    linked = tuple(f.model_copy(update={"url": f"https://cards.example/{f.index}?a=1&b=2"}) for f in alert.features)
    page = page_of([alert.model_copy(update={"features": linked})])
    assert '<a href="https://cards.example/3011?a=1&amp;b=2" rel="noreferrer">secret ways in</a>' in page
    hostile = tuple(f.model_copy(update={"url": "javascript:alert(1)"}) for f in alert.features)
    assert "javascript:" not in page_of([alert.model_copy(update={"features": hostile})])


def test_the_page_says_what_was_found_missed_and_falsely_flagged() -> None:
    alerts = [make_alert(event_id="found"), make_alert(event_id="benign")]
    labels = {
        "found": Label("unsafe_code", "risky"),
        "missed": Label("unsafe_code", "risky"),
        "benign": Label("none", "look_alike"),
    }
    page = render_report(alerts, summarize(alerts, labels=labels), NOW)[0]
    assert 'aria-label="1 of 2 found"' in page
    assert "1 of 1 look alike." in page
    row = re.search(r'<th scope="row">Unsafe code</th><td class="share">.*?</tr>', page)
    assert row is not None
    assert re.findall(r">(\d+)</td>", row[0]) == ["1", "1", "0", "1"]


def test_five_hundred_alerts_stay_small_and_the_page_says_how_many_are_missing() -> None:
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


@pytest.mark.parametrize("name", ["page.css", "report.css", "report.js"])
def test_an_asset_cannot_end_its_element(name: str) -> None:
    assert "</" not in asset("monitor.report", name)


@pytest.mark.parametrize("width", [400, 1280])
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
    assert "Showing 6 of 6 events, 6 alerts" in dom
    assert chromium.overflow(path, width, dark) == 0
    assert chromium.violations(path, width) == ""
    picture = tmp_path / "page.png"
    chromium.screenshot(path, picture, width, 844, dark)
    assert picture.stat().st_size > 20_000  # an unstyled or empty page is smaller


# What the page shows: the ids of its visible events and the line that counts them
_STATE = """
const state = () => ({
  ids: Array.from(page.querySelectorAll(".card:not([hidden]) h3 code"), (e) => e.textContent),
  line: page.querySelector("#shown output").textContent,
});
const set = (id, value) => {
  page.getElementById(id).value = value;
  page.getElementById(id).dispatchEvent(new Event("input", { bubbles: true }));
};
"""


@pytest.fixture
def filter_page(tmp_path: Path) -> Path:
    """Four events; "both" has a high alert on deception and a low one on sycophancy."""
    alerts = [
        make_alert("never told anyone", category="deception", severity="high", event_id="both"),
        make_alert("how wonderful", category="sycophancy", severity="low", event_id="both"),
        make_alert(category="bias", severity="medium", event_id="bias", score=0.99),
        make_alert(category="backdoors", severity="high", event_id="code", labels=("secret ways in",), score=0.8),
        make_alert(category="sycophancy", severity="low", event_id="praise"),
    ]
    path = tmp_path / "report.html"
    write_report(path, alerts, summarize(alerts), NOW)
    return path


@pytest.mark.parametrize(
    ("action", "ids", "line"),
    [
        ("", ["both", "code", "bias", "praise"], "Showing 4 of 4 events, 5 alerts"),
        ('set("category", "sycophancy");', ["both", "praise"], "Showing 2 of 4 events, 2 alerts"),
        ('set("severity", "high");', ["both", "code"], "Showing 2 of 4 events, 2 alerts"),
        ('set("set", "bias-v1");', ["bias"], "Showing 1 of 4 events, 1 alert"),
        # of one alert, not of two alerts of one event
        ('set("category", "sycophancy"); set("severity", "high");', [], "Showing 0 of 4 events, 0 alerts"),
        ('set("search", "SECRET ways");', ["code"], "Showing 1 of 4 events, 1 alert"),
        ('set("search", "praise");', ["praise"], "Showing 1 of 4 events, 1 alert"),
        ('set("order", "ratio");', ["bias", "both", "praise", "code"], "Showing 4 of 4 events, 5 alerts"),
        (
            "page.querySelector('.severities [data-severity=low]').click();",
            ["both", "praise"],
            "Showing 2 of 4 events, 2 alerts",
        ),
        (
            "const b = page.querySelector('td [data-category=bias]'); b.click(); b.click();",
            ["both", "code", "bias", "praise"],
            "Showing 4 of 4 events, 5 alerts",
        ),
        (
            'set("search", "code"); page.querySelector("button[type=reset]").click(); await new Promise(setTimeout);',
            ["both", "code", "bias", "praise"],
            "Showing 4 of 4 events, 5 alerts",
        ),
    ],
)
def test_filters_and_search(chromium: Chromium, filter_page: Path, action: str, ids: list[str], line: str) -> None:
    assert chromium.script(filter_page, f"{_STATE}{action} out = state();") == {"ids": ids, "line": line}


def test_a_filter_opens_the_alert_that_it_asks_for(chromium: Chromium, filter_page: Path) -> None:
    folded = "page.querySelector('.card details.alert[data-category=sycophancy]').open"
    script = f'{_STATE} const before = {folded}; set("category", "sycophancy"); out = [before, {folded}];'
    assert chromium.script(filter_page, script) == [False, True]


def test_the_keyboard_reaches_search_and_events(chromium: Chromium, filter_page: Path) -> None:
    script = """
    const key = (name) => page.activeElement.dispatchEvent(
      new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
    const focus = () => page.activeElement.id || page.activeElement.getAttribute("aria-label");
    out = ["j", "j", "k", "/", "j"].map((name) => { key(name); return focus(); });
    """
    assert chromium.script(filter_page, script) == [
        "Event both, high",
        "Event code, high",
        "Event both, high",
        "search",
        "search",
    ]
