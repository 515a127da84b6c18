"""The database: alerts are stored once, found by every filter, paged without gaps, and deleted when old."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, inspect, select, text

from monitor.alerts.alert import Alert
from monitor.errors import ConfigError
from monitor.review.alert_rows import micros
from monitor.review.database import open_database
from monitor.review.filters import BadQuery, Filters
from monitor.review.ingest import Stored, delete_older, store_alerts
from monitor.review.listing import choices, count, page
from monitor.review.tables import alert_body, alert_group, metadata
from tests.report.alert_samples import realistic_alerts
from tests.review.stored_alerts import START, judge, numbered, store


def events(engine: Engine, **filters: str) -> list[str]:
    """The events of the first page."""
    return [line.alert.event_id for line in page(engine, Filters.of(filters)).lines]


def test_an_alert_is_stored_once_however_often_it_comes(engine: Engine) -> None:
    alerts = realistic_alerts()
    assert store(engine, [*alerts, alerts[0]]) == Stored(new=len(alerts), repeated=1, bad=0)
    assert store(engine, alerts) == Stored(new=0, repeated=len(alerts), bad=0)
    assert count(engine, Filters()) == len(alerts)


def test_what_is_no_alert_is_counted_and_stops_nothing(engine: Engine) -> None:
    fine = numbered(1)
    endless = numbered(2).model_copy(update={"score": float("nan")})
    huge = fine.features[0].model_copy(update={"index": 2**70})
    too_large = numbered(3).model_copy(update={"features": (huge,)})
    odd = fine.model_copy(update={"id": "../../sets"})
    forged = fine.to_json().replace(f'"score":{fine.score}', '"score":NaN').encode()
    assert b"NaN" in forged
    values = [forged, b"", b"{}", b"\xff", *(found.to_json().encode() for found in (endless, too_large, odd, fine))]
    assert store_alerts(engine, values).new == 1
    assert store_alerts(engine, values) == Stored(new=0, repeated=1, bad=7)
    assert events(engine) == [fine.event.id]


def test_an_alert_of_a_newer_version_is_stored_without_its_new_fields(engine: Engine) -> None:
    data = json.loads(numbered(1).to_json())
    data["new"] = data["event"]["new"] = data["features"][0]["new"] = {"a": 1}
    assert store_alerts(engine, [json.dumps(data).encode()]).new == 1
    with engine.connect() as connection:
        assert Alert.from_json(connection.scalar(select(alert_body.c.json))) == numbered(1)


def test_text_that_a_database_cannot_hold_is_replaced(engine: Engine) -> None:
    found = numbered(1, "before \0 after", prompt="\0", labels=("\0",))
    assert store(engine, [found]).new == 1
    assert events(engine, q="before after") == [found.event.id]


def test_every_filter_finds_its_alerts_and_no_others(engine: Engine) -> None:
    alerts = {found.set.category: found for found in realistic_alerts()}
    store(engine, alerts.values())
    wanted = alerts["unsafe_code"]
    judge(engine, wanted, "true_positive")
    assert events(engine, category="unsafe_code") == [wanted.event.id]
    assert events(engine, set="unsafe_code-v1", severity="high", verdict="true_positive") == [wanted.event.id]
    assert wanted.event.id not in events(engine, verdict="none")
    assert len(events(engine, verdict="none")) == len(alerts) - 1
    assert events(engine, feature="claims of") == [alerts["deception"].event.id]
    assert len(events(engine, feature="#3011")) == len(alerts)
    assert events(engine, feature="4") == []
    assert len(events(engine, model="support-assistant-7b")) == len(alerts)
    assert events(engine, model="another") == events(engine, tenant="x") == events(engine, assignee="ada") == []
    assert len(events(engine, since="2026-03-02", until="2026-03-02")) == len(alerts)
    assert events(engine, since="2026-03-03") == events(engine, until="2026-03-01T00:00+00:00") == []
    store(engine, [numbered(1, tenant="acme")])
    assert events(engine, tenant="acme") == ["chat-0001"]
    assert choices(engine).tenant == ("acme",)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("request host", True),
        ("HOST reque", True),
        ("host nowhere", False),
        ('"host" OR nowhere', False),
        ("host* AND) NEAR(", False),
        ("'; DROP TABLE alert; --", False),
        ("()", False),
    ],
)
def test_search_takes_every_word_and_no_operator(engine: Engine, words: str, found: bool) -> None:
    store(engine, realistic_alerts())
    assert bool(events(engine, q=words)) is found


@pytest.mark.parametrize("query", [{"severity": "worst"}, {"verdict": "yes"}, {"since": "soon"}, {"group": "x"}])
def test_a_query_that_cannot_be_used_is_refused_by_name(query: dict[str, str]) -> None:
    with pytest.raises(BadQuery, match=next(iter(query))):
        Filters.of(query)


def test_pages_have_every_alert_once_newest_first(engine: Engine) -> None:
    # so different that none are alike
    store(engine, (numbered(n, " ".join(f"w{n}x{i}y{n * i}" for i in range(30)).translate(_LETTERS)) for n in range(9)))
    seen: list[str] = []
    after = ""
    while True:
        found = page(engine, Filters(), after, rows=4)
        seen += [line.alert.event_id for line in found.lines]
        after = found.after
        if not after:
            break
    assert seen == [f"chat-{n:04d}" for n in reversed(range(9))]
    with pytest.raises(BadQuery):
        page(engine, Filters(), "x")


_LETTERS = str.maketrans("0123456789", "abcdefghij")


def test_a_burst_of_similar_alerts_is_one_line(engine: Engine) -> None:
    burst = [numbered(n, f"Ticket {n}: call eval( on the order number {n}00 of the customer.") for n in range(5)]
    other = numbered(7, "Something else entirely, about gardens, birds and the weather in the mountains.")
    later = numbered(60, "Ticket 9: call eval( on the order number 900 of the customer.")
    store(engine, [*burst, other, later])
    lines = page(engine, Filters()).lines
    assert [(line.alert.event_id, line.alerts) for line in lines] == [
        ("chat-0060", 1),
        ("chat-0007", 1),
        ("chat-0004", 5),
    ]
    assert events(engine, group=str(lines[2].alert.group_id)) == [f"chat-{n:04d}" for n in reversed(range(5))]
    assert lines[2].first_us == micros(START)


@pytest.mark.parametrize("newest", [1, 8, 100])
def test_lines_are_the_same_however_few_alerts_are_looked_at_first(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    monkeypatch.setattr("monitor.review.listing._NEWEST", newest)
    texts = [" ".join(f"w{n}x{i}y{n * i}" for i in range(30)).translate(_LETTERS) for n in range(9)]
    # group 8 is a burst among the newest; group 0 has the oldest alert and a new one
    order = [0, 1, 2, 0, 3, 4, 5, 3, 6, 7, 1, *[8] * 12, 5, 0, 8]
    store(engine, (numbered(n, texts[group]) for n, group in enumerate(order)))
    seen: list[tuple[str, int]] = []
    after = ""
    while True:
        found = page(engine, Filters(), after, rows=2)
        seen += [(line.alert.event_id, line.alerts) for line in found.lines]
        after = found.after
        if not after:
            break
    last = {group: n for n, group in enumerate(order)}
    assert seen == [(f"chat-{last[g]:04d}", order.count(g)) for g in sorted(last, key=last.__getitem__, reverse=True)]


def test_the_choices_are_what_there_is(engine: Engine) -> None:
    store(engine, [*realistic_alerts(), numbered(1)])
    found = choices(engine)
    assert found.category[0] == "unsafe_code"
    assert found.severity == ("critical", "high", "medium")
    assert found.model == ("support-assistant-7b",)
    assert found.tenant == ()


def test_only_old_alerts_without_a_verdict_are_deleted(engine: Engine) -> None:
    alerts = [numbered(n) for n in range(4)]
    lonely = numbered(9, "Something else entirely, about gardens, birds and the weather in the mountains.")
    store(engine, [*alerts[:3], lonely], now_us=1_000)
    store(engine, alerts[3:], now_us=2_000)
    judge(engine, alerts[0], "unsure")
    assert delete_older(engine, 2_000) == 3
    assert sorted(events(engine, group="1")) == ["chat-0000", "chat-0003"]
    assert len(events(engine, q="eval", group="1")) == 2
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(alert_body)) == 2
        assert connection.scalar(select(func.count()).select_from(alert_group)) == 1


def test_the_migrations_make_the_tables_of_the_code(engine: Engine) -> None:
    found = inspect(engine)
    for table in metadata.tables.values():
        assert {column["name"] for column in found.get_columns(table.name)} == set(table.columns.keys())


def test_a_file_is_private_and_can_be_opened_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "review.sqlite"
    first = open_database(f"sqlite:///{file}")
    store(first, [numbered(1)])
    first.dispose()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = open_database(f"sqlite:///{file}")
    assert count(again, Filters()) == 1
    again.dispose()


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/review.sqlite"
    opened = open_database(url)
    with opened.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    opened.dispose()
    with pytest.raises(ConfigError, match="another version of latentwatch"):
        open_database(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "expected sqlite:///FILE"),
        ("mysql://host/name", "only sqlite and postgresql"),
        ("sqlite://", "name a file"),
        ("sqlite:////proc/nowhere/x.sqlite", "/proc/nowhere"),
        ("postgresql://ada:secret@127.0.0.1:1/name", "127.0.0.1"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_database(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
