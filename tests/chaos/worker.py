"""The real `latentwatch run`, with an engine that needs no model: `python -m tests.chaos.worker run -c FILE`.

LATENTWATCH_TEST_DIE_BEFORE_COMMIT=N makes it kill itself between the N-th delivery of alerts and its commit.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn
from unittest.mock import patch

from monitor.assembly import artefacts, build
from monitor.assembly.artefacts import Artefacts
from monitor.assembly.build import LiveEngine
from monitor.assembly.live_readers import FixedReaders
from monitor.assembly.sets import load_sets
from monitor.cli.app import main
from monitor.config.sections import Config
from monitor.engine import Evaluation
from monitor.events.event import Event
from monitor.sources.kafka import KafkaSource
from tests.alert_factory import make_alert

DIE = "LATENTWATCH_TEST_DIE_BEFORE_COMMIT"
PAUSE = "LATENTWATCH_TEST_SECONDS_PER_EVENT"


class EveryEventEngine:
    """Makes an alert of every event."""

    cached_tokens = 0

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s

    def use(self, *_: Any) -> None:
        """Another config does not change what it does."""

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        for event in events:
            time.sleep(self._pause_s)
            on_group()
            origin = event.origin
            alert = make_alert(event.id)
            place = {"topic": origin.topic, "partition": origin.partition, "offset": origin.offset}
            about = alert.event.model_copy(update={"origin": alert.event.origin.model_copy(update=place)})
            alert = alert.model_copy(update={"event": about, "traceparent": None, "trace_id": None})
            yield Evaluation(event, (alert,), tokens=3, windows=1, fallback=False, seconds=0.001)


class NoFiles(Artefacts):
    """Feature sets without a model."""

    @property
    def model(self) -> NoReturn:
        raise NotImplementedError

    def bundle(self, compiled: Any) -> NoReturn:
        raise NotImplementedError

    def uncompiled(self, purpose: str) -> NoReturn:
        raise NotImplementedError

    def encoder_rows(self) -> NoReturn:
        raise NotImplementedError


def _artefacts(config: Config, *_: Any) -> NoFiles:
    return NoFiles(tuple(load_sets(config)))


def _engine(_config: Config, found: NoFiles, *_: Any) -> LiveEngine:
    engine: Any = EveryEventEngine(float(os.environ.get(PAUSE, "0")))
    tokeniser: Any = None  # no event is read
    return LiveEngine(engine, FixedReaders(found.columns), found, tokeniser)


def _die_before_commit(number: int) -> Callable[[KafkaSource], None]:
    commit, seen = KafkaSource.commit, 0

    def dying(source: KafkaSource) -> None:
        nonlocal seen
        seen += bool(source._begun)
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        commit(source)

    return dying


if __name__ == "__main__":
    commit = _die_before_commit(int(os.environ.get(DIE, "0"))) if DIE in os.environ else KafkaSource.commit
    sys.argv[0] = "latentwatch"
    with (
        patch.object(artefacts, "load_artefacts", _artefacts),
        patch.object(build, "build_live_engine", _engine),
        patch.object(KafkaSource, "commit", commit),
    ):
        main()
