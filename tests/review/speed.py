"""How fast the review page answers with many alerts: `python -m tests.review.speed`, with --database for PostgreSQL."""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine

from monitor.alerts.alert import Alert
from monitor.review.database import open_database
from monitor.review.filters import Filters
from monitor.review.ingest import store_alerts
from monitor.review.listing import count
from tests.report.alert_samples import SETS, make_alert
from tests.review.served import Served
from tests.review.stored_alerts import START

_WORDS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi", "ru", "te") for b in ("n", "r", "st", "v") for c in "aeiou"]
_TEXT_WORDS = 100
_BATCH = 200
_DAYS = 30
PATHS = {
    "list": "/",
    "second page": "",
    "filter by category": "/?category=bias",
    "filter by set and severity": "/?set=unsafe_code-v1&severity=high",
    "filter by feature": "/?feature=3011&category=deception",
    "filter by day": "/?since=2026-03-10&until=2026-03-10",
    "filter by verdict": "/?verdict=none&model=model-3",
    "search, frequent word": "/?q=kana",
    "search, rare words": "/?q=kana+lora+mista+ruva+tene+kani+lori",
    "search and filter": "/?q=kana&category=sycophancy",
    "alert": "",
    "queue": "/queue",
    "sets": "/sets",
    "set, another threshold": "/set?id=bias-v1&t=0.8",
}


def main() -> None:
    """Prints one line a page. On a busy machine, what was computed says more than how long one waited."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--database", help="URL of a database, filled if it is empty; default: a new SQLite file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(asked.database or f"sqlite:///{folder}/review.sqlite")
        if not count(engine, Filters()):
            started = time.perf_counter()
            fill(engine, asked.alerts)
            _say(f"stored at {asked.alerts / (time.perf_counter() - started):,.0f} alerts a second")
        _say(f"{count(engine, Filters()):,} alerts in {engine.dialect.name}")
        with Served(engine) as served:
            measure(served.address, asked.repeat)
        engine.dispose()


def fill(engine: Engine, alerts: int) -> None:
    """Stores made-up alerts of a month, in the order of their times."""
    batch: list[bytes] = []
    for alert in made_up(alerts):
        batch.append(alert.to_json().encode())
        if len(batch) == _BATCH:
            store_alerts(engine, batch)
            batch = []
    store_alerts(engine, batch)


def made_up(alerts: int) -> Iterator[Alert]:
    """Alerts on random words; every fifth repeats the text of the one before it, as a burst does."""
    chance = random.Random(0)  # noqa: S311 - made-up texts
    categories = list(SETS)
    text, category = "", ""
    for n in range(alerts):
        if n % 5 != 1:
            category = chance.choice(categories)
            words = chance.choices(_WORDS, k=_TEXT_WORDS)
            words[chance.randrange(_TEXT_WORDS)] = "eval("
            text = " ".join(words)
        alert = make_alert(
            text, category=category, event_id=f"chat-{n:06d}", score=chance.uniform(0.71, 0.99), threshold=0.71
        )
        event = alert.event.model_copy(update={"model": f"model-{n % 5}"})
        yield alert.model_copy(update={"time": START + timedelta(days=_DAYS * n / alerts), "event": event})


def measure(address: str, repeat: int) -> None:
    """Asks for every page, once to warm up and then `repeat` times."""
    home = fetched(address + "/")
    places = {
        "second page": home.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&"),
        "alert": home.split('class="open" href="')[1].split('"')[0],
    }
    every = Times([], [])
    for name, path in PATHS.items():
        url = urllib.parse.urljoin(address, places.get(name, path))
        fetched(url)
        times = Times([], [])
        for _ in range(repeat):
            started, used = time.perf_counter(), time.process_time()
            fetched(url)
            times.add(time.perf_counter() - started, time.process_time() - used)
            every.add(time.perf_counter() - started, time.process_time() - used)
        _say(f"{name:28} {times}")
    _say(f"{'all':28} {every}")


@dataclass(frozen=True)
class Times:
    """Of several answers: until they were there, and what server and client computed meanwhile. Milliseconds."""

    waited: list[float]
    computed: list[float]

    def add(self, waited_s: float, computed_s: float) -> None:
        """One more answer."""
        self.waited.append(1000 * waited_s)
        self.computed.append(1000 * computed_s)

    def __str__(self) -> str:
        return (
            f"waited: median {statistics.median(self.waited):5.0f} ms, p95 {_p95(self.waited):5.0f} ms; "
            f"computed: median {statistics.median(self.computed):5.0f} ms, p95 {_p95(self.computed):5.0f} ms"
        )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def fetched(url: str) -> str:
    """The text of a page."""
    with urllib.request.urlopen(url) as answer:
        return str(answer.read().decode())


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[-1]


if __name__ == "__main__":
    main()
