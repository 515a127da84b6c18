"""Gauges: what is true right now, asked for at every collection; a value that is not known has no series."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from opentelemetry.metrics import CallbackOptions, Observation

from detectors.detector import detector_of
from monitor.events.position import Position
from monitor.sets.load import LoadedSet
from monitor.telemetry import names as names

Observe = Callable[[], Iterable[Observation]]
Callback = Callable[[CallbackOptions], Iterable[Observation]]


class Gauges:
    """The state behind gauges and observed counters. Set by the loop, read by collections in other threads."""

    def __init__(self, reader: Mapping[str, str | int]) -> None:
        """`reader` is what configurations are used with: its names and hashes."""
        self._reader = dict(reader)
        self._config_sha256: str | None = None
        self._config_loaded_at = 0.0
        self._sets: Sequence[Observation] = ()
        self._thresholds: Sequence[Observation] = ()
        self._last: dict[str, float] = {}
        self._active: dict[tuple[str, int], int] = {}
        self.config_refused = False
        self.queue = 0
        self.positions: Callable[[], Sequence[Position] | None] = lambda: None
        self.ready: Callable[[], bool] | None = None
        self.held: Callable[[], tuple[int, int]] | None = None
        self.cached_tokens: Callable[[], int] = lambda: 0

    def config_loaded(self, sha256: str, sets: Sequence[LoadedSet]) -> None:
        """A configuration with its sets is in use."""
        self._config_sha256, self._config_loaded_at = sha256, time.time()
        self._sets = [Observation(1, _set_labels(loaded)) for loaded in sets]
        self._thresholds = [
            Observation(
                detector_of(loaded.set).threshold, {names.SET_ID: loaded.set.id, names.CATEGORY: loaded.set.category}
            )
            for loaded in sets
        ]

    def happened(self, row: names.Name) -> None:
        """What `row`, a timestamp, is about has happened now."""
        self._last[row.name] = time.time()

    def active(self, set_id: str, features: Iterable[int], count: int = 1) -> None:
        """Named features of a set were active in `count` events."""
        for index in features:
            key = set_id, index
            self._active[key] = self._active.get(key, 0) + count

    def callbacks(self) -> Mapping[str, Callback]:
        """What is observed, by the metric's name."""
        found: dict[str, Observe] = {
            names.LAG.name: lambda: self._of_partitions(lambda place: place.lag),
            names.POSITION.name: lambda: self._of_partitions(lambda place: place.offset),
            names.PARTITIONS.name: self._partitions,
            names.READY.name: lambda: [] if self.ready is None else [Observation(int(self.ready()))],
            names.QUEUE.name: lambda: [Observation(self.queue)],
            names.INTAKE_HELD.name: lambda: [] if self.held is None else [Observation(self.held()[0])],
            names.INTAKE_HELD_SIZE.name: lambda: [] if self.held is None else [Observation(self.held()[1])],
            # observed, not set: a gauge that was set would show the old hash forever
            names.CONFIG_INFO.name: lambda: self._of_config(1, {**self._reader, names.CONFIG_SHA256: self._sha256}),
            names.CONFIG_LOADED.name: lambda: self._of_config(self._config_loaded_at, {}),
            names.CONFIG_REFUSED.name: lambda: [Observation(int(self.config_refused))],
            names.SET_INFO.name: lambda: self._sets,
            names.SET_THRESHOLD.name: lambda: self._thresholds,
            names.TOKENS_CACHED.name: lambda: [Observation(self.cached_tokens())],
            names.FEATURE_ACTIVE.name: self._features,
        }
        for row in (names.LAST_EVENT, names.LAST_COMMIT, names.LAST_ALERT):
            found[row.name] = partial(self._last_time, row.name)
        return {name: partial(_observed, observe) for name, observe in found.items()}

    @property
    def _sha256(self) -> str:
        return self._config_sha256 or ""

    def _of_config(self, value: float, labels: Mapping[str, str | int]) -> Iterable[Observation]:
        return [] if self._config_sha256 is None else [Observation(value, labels)]

    def _last_time(self, name: str) -> Iterable[Observation]:
        return [Observation(self._last[name])] if name in self._last else []

    def _of_partitions(self, value: Callable[[Position], int | None]) -> Iterable[Observation]:
        for place in self.positions() or ():
            if (found := value(place)) is not None:
                yield Observation(found, {names.DESTINATION: place.topic, names.PARTITION: str(place.partition)})

    def _partitions(self) -> Iterable[Observation]:
        positions = self.positions()
        return [] if positions is None else [Observation(len(positions))]

    def _features(self) -> Iterable[Observation]:
        # a copy: the loop adds to it meanwhile
        for (set_id, index), count in list(self._active.items()):
            yield Observation(count, {names.SET_ID: set_id, names.FEATURE_INDEX: str(index)})


def _observed(observe: Observe, _: CallbackOptions) -> Iterable[Observation]:
    return observe()


def _set_labels(loaded: LoadedSet) -> dict[str, str]:
    used = loaded.set
    return {
        names.SET_ID: used.id,
        names.CATEGORY: used.category,
        names.SET_STATUS: used.status,
        names.SET_VERSION: used.version,
        names.SET_SHA256: loaded.sha256,
    }
