"""Many events on end: all are dealt with, and memory stays where it is."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from pathlib import Path

import pytest

from monitor.demo.broker import EmbeddedBroker
from tests.integration.bad_records import BadRecord, bad_records
from tests.integration.short_events import short_event
from tests.integration.sidecar import CONSUMED, DEAD_LETTERED, EVENTS_DONE, READY_S, Sidecar, write_config
from tests.integration.stream import Outgoing, Stream

COUNTS = [500, pytest.param(3_000, marks=pytest.mark.whole)]
BAD_SHARE = 0.01
ALLOWED_GROWTH = 1.05
ALLOWED_GROWTH_MB = 16.0
STALL_S = 120.0

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(1_800)]


def mixed_records(count: int) -> list[Outgoing | BadRecord]:
    """Good events, and among them one in a hundred that is not, every kind in its turn."""
    chance = random.Random(20260101)  # noqa: S311
    kinds = bad_records()
    bad_at = sorted(chance.sample(range(count), max(round(count * BAD_SHARE), 1)))
    placed: dict[int, BadRecord] = {position: kinds[n % len(kinds)] for n, position in enumerate(bad_at)}
    return [placed.get(n) or Outgoing(short_event("soak", n)) for n in range(count)]


@pytest.mark.parametrize("count", COUNTS)
def test_memory_stays_flat_and_nothing_is_left_out(
    embedded_broker: EmbeddedBroker, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Stream(embedded_broker)
    records = mixed_records(count)
    bad = [r for r in records if isinstance(r, BadRecord)]
    # with the sets' own thresholds, as in production
    # and with a cache of beginnings that is full long before the first third is over
    changes = {"feature_sets": {"overrides": None}, "reader": {"prefix_cache_bytes": 8_000_000}}
    config = write_config(tmp_path, embedded_broker, stream, changes)
    with Sidecar(config) as sidecar:
        sidecar.wait_ready(READY_S)
        start_mb = sidecar.rss_mb()
        stream.publish([Outgoing(r.value, r.name.encode()) if isinstance(r, BadRecord) else r for r in records])
        started = time.monotonic()
        rss_mb, seconds = _follow(sidecar, count, started)
        sidecar.until(stream.all_committed, "everything committed", 60)
        assert sidecar.metric(EVENTS_DONE) == count - len(bad)
        assert sidecar.metric(CONSUMED) == count
        counted = {s.labels["error_type"]: int(s.value) for s in sidecar.samples(DEAD_LETTERED)}
        assert +Counter(counted) == Counter(b.kind for b in bad)
        alerts, tokens = sidecar.metric("latentwatch_alerts_total") or 0, sidecar.metric("latentwatch_tokens_total")
        assert sidecar.stop(60) == 0
    refused = Counter(r.key.decode() for r in stream.refused())
    assert refused == Counter(b.name for b in bad)
    assert len(stream.delivered()) == alerts

    middle = statistics.median(rss_mb[len(rss_mb) // 3 : 2 * len(rss_mb) // 3])
    end = statistics.median(rss_mb[2 * len(rss_mb) // 3 :])
    with capsys.disabled():
        print(  # noqa: T201
            f"\nsoak: {count} records in {seconds:.0f} s = {count / seconds:.1f}/s, {tokens:.0f} tokens, "
            f"{alerts:.0f} alerts, dead letters {dict(refused)}\nRSS in MB: {start_mb:.0f} when ready, "
            f"{middle:.0f} middle third, {end:.0f} last third, {max(rss_mb):.0f} at most"
        )
    assert end <= max(middle * ALLOWED_GROWTH, middle + ALLOWED_GROWTH_MB)


def _follow(sidecar: Sidecar, count: int, started: float) -> tuple[list[float], float]:
    """RSS twice a second until all records are dealt with, and how long that took."""
    rss_mb: list[float] = []
    done, moved = 0.0, started
    while done < count:
        time.sleep(0.5)
        sidecar.check_alive()
        rss_mb.append(sidecar.rss_mb())
        now = (sidecar.metric(EVENTS_DONE) or 0) + (sidecar.metric(DEAD_LETTERED) or 0)
        if now > done:
            done, moved = now, time.monotonic()
        assert time.monotonic() - moved < STALL_S, f"{done:.0f} of {count}, then none\n{sidecar.tail()}"
    return rss_mb, time.monotonic() - started
