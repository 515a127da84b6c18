"""A ConfigMap is swapped under traffic: the new threshold applies, nothing is lost, a bad version changes nothing."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from monitor.config.load import load_config
from monitor.demo.broker import EmbeddedBroker
from tests.config_map import ConfigMapFolder
from tests.integration.short_events import short_event
from tests.integration.sidecar import EVENTS_DONE, READY_S, Sidecar, set_count, write_config
from tests.integration.stream import Outgoing, Stream

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(600)]

_MOST_WAITING = 30


class Traffic:
    """Publishes a few events at a time until it is stopped, and waits for a sidecar that is far behind."""

    def __init__(self, stream: Stream, sidecar: Sidecar) -> None:
        self._stream = stream
        self._sidecar = sidecar
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            if self.sent - (self._sidecar.metric(EVENTS_DONE) or 0) > _MOST_WAITING:
                continue
            numbers = range(self.sent, self.sent + 3)
            self._stream.publish([Outgoing(short_event("reload", n)) for n in numbers])
            self.sent = numbers.stop


def test_a_swapped_config_map_under_traffic(embedded_broker: EmbeddedBroker, tmp_path: Path) -> None:
    stream = Stream(embedded_broker)
    every = yaml.safe_load(
        write_config(tmp_path, embedded_broker, stream, {"source": {"max_poll_records": 8}}).read_text()
    )
    none = {
        **every,
        "feature_sets": {"overrides": {k: {"threshold": 1.0} for k in every["feature_sets"]["overrides"]}},
    }
    moved = {**every, "source": {**every["source"], "topic": "another"}}
    folder = ConfigMapFolder(tmp_path / "mounted", {"config.yaml": yaml.safe_dump(every)})
    file = folder.path / "config.yaml"

    def versions() -> list[str]:
        return [alert.config_sha256 for alert in stream.delivered()]

    def refused() -> bool:
        return sidecar.metric("latentwatch_config_refused") == 1

    with Sidecar(file) as sidecar, Traffic(stream, sidecar) as traffic:
        sidecar.until(lambda: len(versions()) > 0, "alerts under the first version", READY_S)
        first = load_config(file, {}).sha256()
        folder.swap({"config.yaml": yaml.safe_dump(moved)})
        sidecar.until(refused, "the move to another topic is refused")
        folder.swap({"config.yaml": "feature_sets: ["})
        sidecar.until(lambda: "did not find expected" in sidecar.tail(), "the broken file is refused")
        assert set(versions()) == {first}
        assert sidecar.get("/readyz")[0] == 200
        folder.swap({"config.yaml": yaml.safe_dump(none)})
        second = load_config(file, {}).sha256()
        sidecar.until(lambda: second[:16] in sidecar.tail(), "the second version in use")
        assert not refused()
        folder.swap({"config.yaml": yaml.safe_dump({**every, "alerts": {"top_features": 1}})})
        third = load_config(file, {}).sha256()
        sidecar.until(lambda: third in versions(), "alerts under the third version")
        assert "sets.bias.threshold: 0 → 1" in sidecar.log.read_text()
        assert "source.topic: changed, and only a restart can change it" in sidecar.log.read_text()
        traffic.__exit__()
        sidecar.until(stream.all_committed, "everything committed")
        assert sidecar.stop(30) == 0

    alerts = stream.delivered()
    assert {a.config_sha256 for a in alerts} <= {first, second, third}
    assert len({a.id for a in alerts}) == len(alerts)  # nothing was read twice
    by_version = {v: {a.event.id for a in alerts if a.config_sha256 == v} for v in (first, second, third)}
    # an event was judged by one version, by all its sets; under the second no set alerts
    judged = by_version[first] | by_version[third]
    assert not by_version[first] & by_version[third]
    assert not by_version[second]
    assert len([a for a in alerts if a.event.id in judged]) == len(judged) * set_count()
    # what is without alerts came in one stretch of each partition, while the second version was in use
    for partition in range(3):
        silent = [f"reload-{n}" not in judged for n in range(partition, traffic.sent, 3)]
        assert sum(a != b for a, b in pairwise(silent)) <= 2
