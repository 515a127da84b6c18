"""Policy: which sets judge an event, from which scores on they alert, and what their alerts carry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.matching import Matcher, SegmentActivations
from detectors.score import Score
from monitor.alerts.alert import Alert
from monitor.alerts.allow import AllowList, Silenced, silencing
from monitor.alerts.builder import AlertBuilder
from monitor.alerts.rules import AS_SET, UNCHANGED, Decision, RuleBook
from monitor.config.feature_url import FeatureUrl
from monitor.events.event import Event
from monitor.sets.load import LoadedSet
from monitor.tokens.tokeniser import Tokenised, as_index


@dataclass(frozen=True)
class PolicySettings:
    """What alerts carry."""

    config_sha256: str
    """Goes into every alert."""
    capture_content: bool = False
    """Whether alerts carry text."""
    top_features: int = 8
    """Most named features in one alert."""
    top_tokens: int = 8
    """Most tokens for one feature."""
    feature_url: FeatureUrl | None = None
    """Where alerts link to for a feature."""


@dataclass(frozen=True)
class Judgement:
    """What a policy makes of an event."""

    alerts: tuple[Alert, ...] = ()
    silenced: tuple[Silenced, ...] = ()


NOTHING = Judgement()


@dataclass(frozen=True)
class SetMatcher:
    """A set, its matcher, and how far below its threshold a score still needs the exact reader."""

    loaded: LoadedSet
    matcher: Matcher
    margin: float


class Policy:
    """Judges what a reader found in an event. Never changes: a new config or new sets make a new policy."""

    def __init__(
        self,
        sets: Sequence[LoadedSet],
        columns: Sequence[int | str],
        settings: PolicySettings,
        margins: Mapping[str, float] | None = None,
        rules: RuleBook | None = None,
        allow: AllowList | None = None,
    ) -> None:
        """`columns` are those of the readers, named as FeatureSet.columns names them.

        `margins` say by set id how far below the threshold (Scale.margin) a reader that rounds may put a score that is
        above it. Every event is near a set without one.
        """
        at = {name: column for column, name in enumerate(columns)}
        self.width = len(columns)
        """Number of columns."""
        self._matchers = [
            SetMatcher(
                loaded,
                Matcher(
                    loaded.set,
                    settings.top_features,
                    settings.top_tokens,
                    np.array([at[name] for name in loaded.set.columns()], dtype=np.int64),
                ),
                (margins or {}).get(loaded.set.id, math.inf),
            )
            for loaded in sets
        ]
        self._rules = rules
        self._allow = allow or AllowList()
        self._builder = AlertBuilder(settings.config_sha256, settings.capture_content, settings.feature_url)

    def decision(self, event: Event) -> Decision:
        """What the rules of the config decide for the event."""
        return UNCHANGED if self._rules is None else self._rules.decide(event)

    def judge(self, item: Tokenised, values: NDArray[np.float32]) -> Judgement:
        """Judges an event with the activations `values` [token, column]."""
        segments, decision = _segments(item, values), self.decision(item.event)
        matches = []
        for of in self._matchers:
            how = decision.sets.get(of.loaded.set.id, AS_SET)
            match = of.matcher.match(segments, how.threshold, how.severity) if how.enabled else None
            if match is not None:
                matches.append((of.loaded, match, how.rules))
        if not matches:
            return NOTHING
        allowed = self._allow.entries_for(item.event)
        alerts, silenced = [], []
        for loaded, match, rules in matches:
            entry = silencing(allowed, loaded.set.id, match)
            if entry is None:
                alerts.append(self._builder.build(item, loaded, match, rules))
            else:
                silenced.append(Silenced(loaded.set.id, entry.name))
        return Judgement(tuple(alerts), tuple(silenced))

    def is_near(self, item: Tokenised, values: NDArray[np.float32]) -> bool:
        """Whether an exact reader could decide otherwise than `values` [token, column], which were rounded."""
        segments, decision = _segments(item, values), self.decision(item.event)
        for of in self._matchers:
            how = decision.sets.get(of.loaded.set.id, AS_SET)
            best = of.matcher.best(segments) if how.enabled else None
            if best is None:
                continue
            detector = of.matcher.detector
            threshold = detector.threshold if how.threshold is None else how.threshold
            if detector.scale.margin(best[1].value, threshold) >= -of.margin:
                return True
        return False

    def scores(self, item: Tokenised, values: NDArray[np.float32]) -> dict[str, Score | None]:
        """The event's score in every set; None if the set looks at no segment of it."""
        segments = _segments(item, values)
        best = {of.loaded.set.id: of.matcher.best(segments) for of in self._matchers}
        return {name: None if found is None else found[1] for name, found in best.items()}


def _segments(item: Tokenised, values: NDArray[np.float32]) -> list[SegmentActivations]:
    return [
        SegmentActivations(segment.name, segment.index, values[as_index(rows)])
        for segment, rows in zip(item.segments, item.rows, strict=True)
    ]
