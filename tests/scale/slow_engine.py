"""An engine that needs no model and takes its time, for scans that are interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from monitor.config.sections import Config
from monitor.engine import Evaluation
from monitor.errors import ConfigError
from monitor.events.event import Event
from tests.test_pipeline import SmallEngine


class SlowEngine(SmallEngine):
    """Takes 5 ms an event, and writes the process and the event's id into a file for each event that it starts."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        for event in events:
            with self._log.open("a") as file:
                file.write(f"{os.getpid()} {event.id}\n")
            time.sleep(0.005)
            yield from super().evaluate([event], on_group)


def make_slow_engine(config: Config) -> SlowEngine:
    """A worker's engine; its file is named as if it were the model."""
    return SlowEngine(Path(config.reader.model))


def make_no_engine(config: Config) -> SlowEngine:
    """Fails as a worker does whose machine lacks the bundle."""
    raise ConfigError("reader.bundle: /none: no such folder")
