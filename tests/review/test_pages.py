"""The pages: what they show of alerts, that hostile texts stay texts, and that verdicts come back."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from sqlalchemy import Engine

from monitor.alerts.alert import Alert, AlertContent, AlertProbe
from monitor.errors import ConfigError, Permanent
from monitor.review.alert_view import Links
from monitor.review.app import ReviewSettings
from monitor.review.proposal import ConfigFile
from monitor.sets.load import builtin_folder, load_feature_set
from tests.alert_factory import make_alert as make_plain_alert
from tests.html_elements import Elements
from tests.report.alert_samples import realistic_alerts
from tests.review.stored_alerts import judge, numbered, store
from tests.review.visitor import Visitor

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\"'><b>x</b></style></title>\u202eevil\x1b[0m"


def test_hostile_texts_stay_texts_on_every_page(sqlite: Engine) -> None:
    alert = numbered(
        1, EVIL + " eval( x", prompt=EVIL, category=EVIL, labels=(EVIL, 'tokens "x"'), status=EVIL, unit=EVIL
    )
    alert = alert.model_copy(
        update={
            "event": alert.event.model_copy(
                update={
                    "id": EVIL,
                    "model": EVIL,
                    "conversation_id": EVIL,
                    "origin": alert.event.origin.model_copy(update={"topic": EVIL}),
                }
            ),
        }
    )
    other = numbered(2).model_copy(update={"event": alert.event})
    store(sqlite, [alert, other])
    visitor = Visitor(
        sqlite, settings=ReviewSettings(links=Links("https://t/{trace_id}", "https://k/{topic}/{offset}"))
    )
    home = Elements(visitor.page("/"))
    addresses = [a["href"] or "" for a in home.all("a") if a.get("class") == "open"]
    assert len(addresses) == 2
    evil = f"/alerts/{alert.id}"
    visitor.send(f"{evil}/verdict", evil, verdict="true_positive", category=EVIL, note=EVIL)
    visitor.send(f"{evil}/assignee", evil, assignee=EVIL)
    sets = [a["href"] or "" for a in Elements(visitor.page("/sets")).all("a") if (a["href"] or "").startswith("/set?")]
    pages = [
        "/",
        "/?q=%3Cscript%3E&feature=%22%3E%3Cscript%3E&category=%3Cb%3E",
        *addresses,
        "/queue",
        *sets,
        "/export",
    ]
    for path in pages:
        page = visitor.page(path)
        elements = Elements(page)
        assert elements.all("script") == [{"src": "/review.js", "defer": None}]
        tags = {tag for tag, _ in elements.found}
        assert not tags & {"img", "b", "style", "iframe", "base", "object"}
        assert not [a for _, attributes in elements.found for a in attributes if a.startswith("on") or a == "style"]
        assert "\u202e" not in re.sub(
            r'(value|data-id)="[^"]*"', "", page.replace("<textarea", "").split("</textarea>")[-1]
        )
        assert "\x1b" not in elements.text.replace(EVIL, "")
    assert "{{ 7*7 }}" in home.text


def test_a_bad_query_is_told_and_escaped(sqlite: Engine) -> None:
    page = Visitor(sqlite).page("/?since=%3Cscript%3E", 400)
    assert "&lt;script&gt;: expected a day" in page
    assert "<script>" not in page.replace('<script src="/review.js" defer>', "")


def test_the_list_shows_filters_counts_and_the_next_page(sqlite: Engine) -> None:
    store(sqlite, realistic_alerts())
    visitor = Visitor(sqlite)
    home = Elements(visitor.page("/"))
    assert "5 similar" not in home.text
    assert "support-assistant-7b" in home.text
    assert len([a for a in home.all("article") if "entry" in (a["class"] or "")]) == len(realistic_alerts())
    assert home.all("rect")
    chosen = Elements(visitor.page("/?category=bias&severity=medium"))
    assert {o["value"] for o in chosen.all("option") if "selected" in o} == {"bias", "medium"}
    assert len([a for a in chosen.all("article") if "entry" in (a["class"] or "")]) == 1
    assert "No alert fits" in visitor.page("/?q=nowhere")
    assert json.loads(visitor.page("/newest")) == {"newest": 5}


def test_an_alert_shows_text_arithmetic_and_links(sqlite: Engine) -> None:
    alert = realistic_alerts()[0]
    probe = AlertProbe(contribution=0.05, tokens=alert.features[0].tokens)
    alert = alert.model_copy(update={"probe": probe})
    store(sqlite, [alert])
    links = Links.checked(
        "https://jaeger.example/trace/{trace_id}", "https://kafka.example/{topic}/{partition}/{offset}"
    )
    page = Visitor(sqlite, settings=ReviewSettings(links=links)).page(f"/alerts/{alert.id}")
    elements = Elements(page)
    addresses = [a["href"] for a in elements.all("a")]
    assert f"https://jaeger.example/trace/{alert.trace_id}" in addresses
    assert "https://kafka.example/llm.events/2/4711" in addresses
    assert elements.all("mark")
    shades = {b["data-shade"] for b in elements.all("button") if "data-shade" in b}
    assert shades == {"all", "probe", *(str(f.index) for f in alert.features)}
    assert {d["data-shaded"] for d in elements.all("div") if "data-shaded" in d} == shades
    # log-odds of .97 and of .71, and what the shown features leave
    assert re.search(r"log-odds of the score\s*\+3.48", elements.text)
    assert re.search(r"log-odds of the threshold\s*\+0.895", elements.text)
    shown = probe.contribution + sum(f.contribution for f in alert.features)
    assert re.search(
        rf"bias, and features that are not shown\s*{re.escape(f'{math.log(0.97 / 0.03) - shown:+.3g}')}", elements.text
    )


def test_an_alert_without_a_text_or_a_sum_says_so(sqlite: Engine) -> None:
    alert, other = make_plain_alert(detector="threshold", unit="activation/threshold"), numbered(1, tenant="acme")
    store(sqlite, [alert, other])
    page = Visitor(sqlite).page(f"/alerts/{alert.id}")
    assert "Content capture is off" in page
    assert "tenant acme · region eu" in Visitor(sqlite).page(f"/alerts/{other.id}")
    assert "How the score adds up" not in page


def test_the_sets_own_words_are_shown_if_the_version_is_the_same(sqlite: Engine) -> None:
    path = next(builtin_folder().glob("*/*/unsafe_code.yaml"))
    used = load_feature_set(path).set
    alert = numbered(1)
    about = alert.set.model_copy(update={"id": used.id, "version": used.version})
    older = numbered(2, "Completely different words about birds, and an eval( at the end.")
    store(
        sqlite,
        [
            alert.model_copy(update={"set": about}),
            older.model_copy(update={"set": about.model_copy(update={"version": "0.0.1"})}),
        ],
    )
    visitor = Visitor(sqlite, settings=ReviewSettings(sets={used.id: used}))
    page = Elements(visitor.page(f"/alerts/{alert.id}")).text
    assert used.calibration is not None
    assert f"{used.calibration.measured_fpr:.1%} of benign texts reach" in page
    assert used.falsepositives[0] in page
    assert "of benign texts reach" not in visitor.page(f"/alerts/{older.id}")


def test_a_verdict_can_be_given_to_the_group_changed_and_withdrawn(sqlite: Engine) -> None:
    alerts = [numbered(n) for n in range(4)]
    store(sqlite, alerts)
    visitor = Visitor(sqlite)
    path = f"/alerts/{alerts[1].id}"
    assert "no verdict" in visitor.page(path)
    assert visitor.send(f"{path}/verdict", path, verdict="true_positive", group="1", note="seen") == path
    for alert in alerts:
        assert "true positive</span> by local" in visitor.page(f"/alerts/{alert.id}")
    visitor.send(f"{path}/verdict", path, verdict="withdraw")
    assert "Nobody has judged" in visitor.page(path)
    assert "withdraw" in visitor.page(path)
    assert "by local" in visitor.page(f"/alerts/{alerts[0].id}")


def test_the_queue_leads_from_alert_to_alert_within_its_filters(sqlite: Engine) -> None:
    alerts = [numbered(1), numbered(2, "Nothing alike: rivers, bridges, boats, eval( and some fish.")]
    store(sqlite, [*alerts, numbered(3, category="bias")])
    visitor = Visitor(sqlite)
    where, seen = "/queue?category=unsafe_code&next=1", set()
    for _ in alerts:
        page = visitor.client.get(where).headers["location"]
        path, _, query = page.partition("?")
        assert query == "queue=category%3Dunsafe_code"
        seen.add(path)
        where = visitor.send(f"{path}/verdict", page, verdict="unsure", queue="category=unsafe_code")
        assert where == "/queue?category=unsafe_code&next=1"
    assert seen == {f"/alerts/{alert.id}" for alert in alerts}
    assert "Every alert has a verdict" in visitor.page(where)
    assert "/alerts/" in visitor.client.get("/queue?next=1").headers["location"]


def test_a_set_shows_what_another_threshold_would_do_and_the_change(sqlite: Engine, tmp_path: Path) -> None:
    alerts = [numbered(n, score=0.75 + n / 20, threshold=0.71) for n in range(4)]
    store(sqlite, alerts)
    judge(sqlite, alerts[0], "false_positive")
    judge(sqlite, alerts[3], "true_positive")
    config = tmp_path / "latentwatch.yaml"
    config.write_text("log: {level: info}\n")
    visitor = Visitor(sqlite, settings=ReviewSettings(config=ConfigFile(config)))
    page = Elements(visitor.page("/set?id=unsafe_code-v1&t=0.8")).text
    assert "1 false positive and 0 true positives would give no alert" in page
    assert "+  overrides: {unsafe_code-v1: {threshold: 0.8}}" in page
    answer = visitor.client.get("/set/proposal?id=unsafe_code-v1&t=0.8")
    assert "latentwatch.patch" in answer.headers["content-disposition"]
    assert "threshold: 0.8" in answer.text
    assert "50%" in Elements(visitor.page("/sets")).text
    assert config.read_text() == "log: {level: info}\n"


def test_an_export_is_a_download(sqlite: Engine) -> None:
    alert = numbered(1)
    store(sqlite, [alert])
    judge(sqlite, alert, "true_positive")
    visitor = Visitor(sqlite)
    assert "Judged alerts with a text: 1." in visitor.page("/export")
    answer = visitor.client.get("/export.jsonl?which=true")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert [json.loads(line)["id"] for line in answer.text.splitlines()] == [alert.id]
    assert visitor.client.get("/export.jsonl?which=false").text == ""
    assert "which: some" in visitor.page("/export.jsonl?which=some", 400)


@pytest.mark.parametrize(
    "trace", ["ftp://x/{trace_id}", "https://x/", "https://x/{other}", "https://x/{trace_id", "https://x/{}"]
)
def test_a_link_that_is_no_template_is_refused(trace: str) -> None:
    with pytest.raises(ConfigError, match="--trace-url"):
        Links.checked(trace, None)


def test_trouble_with_reading_is_shown(sqlite: Engine) -> None:
    visitor = Visitor(sqlite, settings=ReviewSettings(trouble=lambda: "no broker answers"))
    assert "not being read: no broker answers" in visitor.page("/")


class Texts:
    """A text from Kafka, or the reason why there is none."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def content(self, alert: Alert) -> AlertContent:
        if self._text is None:
            raise Permanent("the offset has gone")
        return AlertContent(prompt="What is it?", text=self._text, strengths=((0, 6, 1.0),))


def test_a_text_is_read_again_for_reviewers_once_and_into_the_trail(sqlite: Engine) -> None:
    alert = make_plain_alert()
    store(sqlite, [alert, numbered(1)])
    path = f"/alerts/{alert.id}"
    assert "Read the text again" not in Visitor(sqlite).page(path)
    Visitor(sqlite).send(f"{path}/text", path, status=404)
    visitor = Visitor(sqlite, settings=ReviewSettings(texts=Texts("secret words")))
    assert "Read the text again" not in visitor.page(f"/alerts/{numbered(1).id}")
    csrf = visitor.page(path).split('name="csrf" value="')[1].split('"')[0]
    shown = visitor.client.post(f"{path}/text", data={"csrf": csrf}).text
    assert '<mark class="s8" title="100 % of peak">secret</mark> words' in shown
    assert "local: read again" in shown
    assert "secret" not in visitor.page(path)
    visitor.send(f"{path}/text", status=403)
    gone = Visitor(sqlite, settings=ReviewSettings(texts=Texts(None)))
    gone.send(f"{path}/text", path, status=502)
