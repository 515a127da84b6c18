"""Recorder: counts what sets and features do, interval by interval, while the sidecar judges events."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from detectors.detector import detector_of
from monitor.alerts.event_attributes import value_of
from monitor.alerts.set_score import SetScore
from monitor.config.sections import Config
from monitor.drift.sketch import Sketch
from monitor.drift.snapshot import SCHEMA, FeatureSnapshot, SetSnapshot
from monitor.engine import Evaluation
from monitor.sets.load import LoadedSet
from monitor.telemetry.label_values import OTHER

_MAX_CHARS = 256  # of the name of a model

Group = tuple[str | None, str | None]
"""Model and tenant."""


@dataclass
class _Feature:
    active: int = 0
    strengths: Sketch = field(default_factory=Sketch)


@dataclass
class _Counts:
    events: int = 0
    fired: int = 0
    scores: Sketch = field(default_factory=Sketch)
    features: dict[int, _Feature] = field(default_factory=dict)

    def add(self, score: SetScore, fired: bool) -> None:
        self.events += 1
        self.fired += fired
        self.scores.add(score.score)
        for index, strength in zip(score.active, score.strengths, strict=True):
            feature = self.features.get(index)
            if feature is None:
                feature = self.features[index] = _Feature()
            feature.active += 1
            feature.strengths.add(strength)


@dataclass(frozen=True)
class Interval:
    """What was counted between two times with the same sets; nothing is added to it any more."""

    instance: str
    start: datetime
    end: datetime
    sets: Sequence[LoadedSet]
    groups: dict[Group, dict[str, _Counts]]

    def snapshots(self) -> Iterator[SetSnapshot]:
        """One for each set, model and tenant with events."""
        loaded_by_id = {loaded.set.id: loaded for loaded in self.sets}
        for (model, tenant), counts_by_set in self.groups.items():
            for set_id, counts in counts_by_set.items():
                loaded = loaded_by_id[set_id]
                labels = {feature.index: feature.label for feature in loaded.shipped.features if feature.label}
                yield SetSnapshot(
                    format=SCHEMA,
                    instance=self.instance,
                    start=self.start,
                    end=self.end,
                    model=model,
                    tenant=tenant,
                    set_id=set_id,
                    set_sha256=loaded.sha256,
                    threshold=detector_of(loaded.set).threshold,
                    events=counts.events,
                    fired=counts.fired,
                    scores=counts.scores.data(),
                    features=tuple(
                        FeatureSnapshot(
                            index=index,
                            label=labels.get(index, ""),
                            active=feature.active,
                            strengths=feature.strengths.data(),
                        )
                        for index, feature in sorted(counts.features.items())
                    ),
                )


class Recorder:
    """Counts in memory and hands each interval to `on_closed` once it is over.

    An interval ends at a multiple of `interval_s`, when the config or the sets change, and when the process stops. Of
    an event it keeps the names of model and tenant, and numbers; never text. All methods belong to the loop's thread.
    """

    def __init__(
        self,
        config: Config,
        sets: Sequence[LoadedSet],
        on_closed: Callable[[Interval], None],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._settings = config.drift
        self._on_closed = on_closed
        self._now_s = now_s
        self._instance = f"{config.kafka.client_id}-{uuid.uuid4().hex[:12]}"
        self._tenant_from = config.feature_sets.tenant_from
        self._sets = tuple(sets)
        self._begin()

    def add(self, evaluations: Sequence[Evaluation]) -> None:
        """Counts the events that were read."""
        for evaluation in evaluations:
            if not evaluation.scores:
                continue
            counts_by_set = self._group(evaluation)
            fired = {alert.set.id for alert in evaluation.alerts} | {one.set_id for one in evaluation.silenced}
            for score in evaluation.scores:
                counts = counts_by_set.get(score.set_id)
                if counts is None:
                    counts = counts_by_set[score.set_id] = _Counts()
                counts.add(score, score.set_id in fired)

    def tick(self) -> None:
        """Closes the interval if it is over."""
        if self._now_s() >= self._end_s:
            self.close()

    def config_loaded(self, config: Config, sets: Sequence[LoadedSet]) -> None:
        """Other sets or settings are in use from now on."""
        self.close()
        self._tenant_from = config.feature_sets.tenant_from
        self._sets = tuple(sets)

    def close(self) -> None:
        """Closes the interval before its time. The next one begins."""
        end_s = self._now_s()
        if self._groups and end_s > self._start_s:
            start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in (self._start_s, min(end_s, self._end_s)))
            self._on_closed(Interval(self._instance, start, end, self._sets, self._groups))
        self._begin()

    def _begin(self) -> None:
        self._start_s = self._now_s()
        every_s = self._settings.interval_s
        self._end_s = (self._start_s // every_s + 1) * every_s
        self._groups: dict[Group, dict[str, _Counts]] = {}

    def _group(self, evaluation: Evaluation) -> dict[str, _Counts]:
        event = evaluation.event
        model = event.model if event.model is None or len(event.model) <= _MAX_CHARS else OTHER
        key = model, value_of(event, self._tenant_from)
        found = self._groups.get(key)
        if found is None:
            if len(self._groups) >= self._settings.max_groups:
                key = OTHER, OTHER
            found = self._groups.setdefault(key, {})
        return found
