"""The review page in Chromium: filters, keys, shading, verdicts, the slider, new alerts, and what its policy blocks.

If REVIEW_PICTURES names a folder, the last test but one writes the pictures of docs/review.md there. If AXE_JS names
axe.min.js of the npm package axe-core, it also runs axe on every page.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import Engine

from monitor.alerts.alert import Alert
from monitor.review.access import TokenAccess
from monitor.review.alert_view import Links
from monitor.review.app import ReviewSettings
from monitor.review.database import open_database
from tests.report.alert_samples import realistic_alerts
from tests.review.served import Served
from tests.review.stored_alerts import judge, numbered, store

ADA, GRACE = "a" * 24, "g" * 24
EVIL = '<img src=x onerror="window.ran=1"><script>window.ran=1</script>\'"><svg onload=window.ran=1>'
OTHER_TEXT = "A different answer, about gardening: query(sql) with the name of the rose."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Skips the tests if there is no Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next((found for name in names if (found := shutil.which(name))), None)
    if executable is None:
        pytest.skip("install Chromium (Debian: apt-get install chromium) to test the review page in a browser")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Stage:
    """A database with alerts, the page on it, and a tab that notes what should not happen."""

    def __init__(self, engine: Engine, page: Page, address: str) -> None:
        self.engine = engine
        self.page = page
        self.address = address
        self.faults: list[str] = []
        page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)

    def go(self, path: str = "/") -> Page:
        """Opens a page."""
        self.page.goto(self.address + path)
        return self.page

    def alerts(self) -> list[str]:
        """The events of the list, as shown."""
        return [text.split(" · ")[1].strip() for text in self.page.locator(".entry .meta").all_inner_texts()]


@pytest.fixture
def stage(browser: Browser, sqlite: Engine) -> Iterator[Stage]:
    """Six kinds of alerts, one of them a burst; everybody may judge."""
    store(sqlite, realistic_alerts())
    store(sqlite, [numbered(n, f"Ticket {n}: call eval( on the order.", score=0.75 + n / 50) for n in range(5)])
    settings = ReviewSettings(links=Links("https://traces.example/{trace_id}"))
    with Served(sqlite, settings=settings) as served:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(15_000)
        found = Stage(sqlite, context.new_page(), served.address)
        yield found
        context.close()
    assert found.faults == []


def test_filters_make_an_address_that_shows_the_same_view(stage: Stage) -> None:
    page = stage.go()
    expect(page.locator(".entry")).to_have_count(6)
    page.get_by_label("Category").select_option("unsafe_code")
    page.get_by_label("Search").fill("subprocess")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**q=subprocess**")
    assert stage.alerts() == ["chat-000117"]
    view = page.url.removeprefix(stage.address)
    assert view == "/?q=subprocess&category=unsafe_code"
    page.get_by_role("link", name="Reset").click()
    expect(page.locator(".entry")).to_have_count(6)
    stage.go(view)
    assert stage.alerts() == ["chat-000117"]
    stage.go("/").get_by_role("link", name="5 similar alerts").click()
    expect(page.locator(".entry")).to_have_count(5)


def test_keys_walk_the_list_and_judge(stage: Stage) -> None:
    page = stage.go("/?severity=high")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.locator(".card header").get_by_text("no verdict")).to_be_visible()
    page.keyboard.press("1")
    expect(page.get_by_text("by local")).to_contain_text("true positive by local")
    page.get_by_label("Note").fill("1 is a number, k a letter")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.get_by_text("by local").first).to_contain_text("false positive by local")
    expect(page.get_by_text("by local").first).to_contain_text("1 is a number, k a letter")
    page.keyboard.press("u")
    page.wait_for_url("**/?severity=high")
    expect(page.locator(".entry").first.get_by_text("false positive")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()


def test_shading_by_one_feature_and_a_link_to_the_trace(stage: Stage) -> None:
    alert = realistic_alerts()[0]
    page = stage.go(f"/alerts/{alert.id}")
    marks = page.locator("[data-shaded]:not([hidden]) mark")
    whole = marks.all_inner_texts()
    colours = marks.evaluate_all("all => all.map(m => getComputedStyle(m).backgroundColor)")
    assert len(set(colours)) > 2
    page.get_by_role("button", name="SQL in strings").click()
    assert marks.all_inner_texts() != whole
    expect(page.get_by_role("button", name="SQL in strings")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="all evidence").click()
    assert marks.all_inner_texts() == whole
    trace = page.get_by_role("link", name="open trace").get_attribute("href")
    assert trace == f"https://traces.example/{alert.trace_id}"


def test_a_verdict_on_the_whole_burst_comes_out_of_the_export(stage: Stage, tmp_path: Path) -> None:
    page = stage.go("/?q=ticket")
    page.locator("a.open").click()
    page.get_by_label("Also for all similar alerts").check()
    page.get_by_role("button", name="False positive").click()
    page.get_by_role("link", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="False positives only").click()
    download.value.save_as(tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["label"], row["reviewers"]) for row in rows] == [(0, ["local"])] * 5


def test_the_slider_asks_without_reloading(stage: Stage) -> None:
    for n, said in enumerate(("false_positive", "false_positive", "true_positive", "true_positive")):
        judge(stage.engine, numbered(n, ""), said)
    page = stage.go("/set?id=unsafe_code-v1")
    then = page.locator('tr[data-at="then"]')
    expect(then).to_contain_text("50%")
    page.evaluate("window.same = true")
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(50):
        page.keyboard.press("ArrowRight")
    expect(then).to_contain_text("100%")
    assert page.evaluate("window.same") is True
    threshold = page.locator("#chosen").inner_text()
    expect(page.locator("#proposal")).to_contain_text(f"threshold: {threshold}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert f"threshold: {threshold}" in Path(download.value.path()).read_text()


def test_new_alerts_come_without_reloading(stage: Stage) -> None:
    page = stage.go()
    page.keyboard.press("j")
    focused = page.evaluate("document.activeElement.getAttribute('href')")
    store(stage.engine, [numbered(50, OTHER_TEXT)])
    expect(page.locator(".entry")).to_have_count(7)
    assert stage.alerts()[0] == "chat-0050"
    assert page.evaluate("document.activeElement.getAttribute('href')") == focused


def test_hostile_texts_run_nowhere(stage: Stage) -> None:
    alert = numbered(60, EVIL + " eval(", prompt=EVIL, category=EVIL, labels=(EVIL,))
    alert = alert.model_copy(update={"event": alert.event.model_copy(update={"id": EVIL, "model": EVIL})})
    store(stage.engine, [alert])
    judge(stage.engine, alert, "unsure", EVIL, note=EVIL, category=EVIL)
    for path in ("/", f"/alerts/{alert.id}", "/queue", "/sets", "/?q=" + "%3Csvg%20onload=window.ran=1%3E"):
        page = stage.go(path)
        assert page.evaluate("window.ran") is None
    # even markup that got through would not run
    page.evaluate("html => document.querySelector('main').insertAdjacentHTML('beforeend', html)", EVIL)
    page.wait_for_function("document.querySelector('main img')")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("window.ran") is None
    blocked = [fault for fault in stage.faults if "Content Security Policy" in fault]
    assert blocked
    stage.faults[:] = [fault for fault in stage.faults if fault not in blocked]


def test_logging_in_decides_what_is_shown(browser: Browser, sqlite: Engine, tmp_path: Path) -> None:
    alert = numbered(1)
    store(sqlite, [alert])
    file = tmp_path / "reviewers"
    file.write_text(f"ada review {ADA}\ngrace read {GRACE}\n")
    with Served(sqlite, TokenAccess(file)) as served, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{served.address}/alerts/{alert.id}")
        assert page.url.endswith("/login")
        page.get_by_label("Token").fill("wrong" * 5)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("Nobody has this token.")
        page.get_by_label("Token").fill(GRACE)
        page.get_by_role("button", name="Log in").click()
        page.locator("a.open").click()
        expect(page.get_by_text("grace (may read)")).to_be_visible()
        expect(page.get_by_text("Your verdict")).to_have_count(0)
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Token").fill(ADA)
        page.get_by_role("button", name="Log in").click()
        page.locator("a.open").click()
        page.get_by_role("button", name="True positive").click()
        expect(page.get_by_text("by ada", exact=False).first).to_be_visible()


def _judged(engine: Engine) -> Alert:
    """Verdicts, so that every page has something to show."""
    alert = realistic_alerts()[0]
    for n in range(5):
        judge(engine, numbered(n, ""), "true_positive" if n > 1 else "false_positive", "grace")
    judge(engine, alert, "true_positive", note="It runs what a user typed.")
    judge(engine, alert, "true_positive", "grace")
    return alert


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_pass_axe(stage: Stage, browser: Browser, scheme: str) -> None:
    alert = _judged(stage.engine)
    pages = {"list": "/", "alert": f"/alerts/{alert.id}", "set": "/set?id=unsafe_code-v1", "sets": "/sets"}
    pictures = os.environ.get("REVIEW_PICTURES")
    axe = os.environ.get("AXE_JS")
    for width in (1280, 390):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        for name, path in pages.items():
            page.goto(stage.address + path)
            too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert too_wide == 0, (name, width)
            if axe is not None:
                # as a debugger, which the page's policy does not apply to
                page.evaluate(Path(axe).read_text(encoding="utf-8"))
                found = page.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html)]))")
                assert found == [], (name, width)
            if pictures is not None and width == 1280:
                page.screenshot(path=Path(pictures) / f"review-{name}{'' if scheme == 'light' else '-dark'}.png")
        context.close()


def test_a_database_that_opens_again_keeps_the_verdicts(browser: Browser, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/review.sqlite"
    first = open_database(url)
    store(first, [numbered(1)])
    judge(first, numbered(1), "true_positive")
    first.dispose()
    again = open_database(url)
    with Served(again) as served, browser.new_context() as context:
        page = context.new_page()
        page.goto(served.address)
        expect(page.locator(".entry").get_by_text("true positive")).to_be_visible()
    again.dispose()
