"""Policy: which sets judge an event, from which scores on they alert, and what their alerts carry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.matching import Matcher, SegmentActivations
from detectors.score import Score
from monitor.alerts.abstention import Abstention
from monitor.alerts.alert import Alert
from monitor.alerts.allow import AllowList, Silenced, silencing
from monitor.alerts.builder import AlertBuilder
from monitor.alerts.event_attributes import NONE_CHOSEN, ChosenAttributes
from monitor.alerts.redactor import Redactor
from monitor.alerts.rules import AS_SET, UNCHANGED, Decision, RuleBook, SetDecision
from monitor.alerts.set_score import SetScore
from monitor.config.feature_url import FeatureUrl
from monitor.events.event import Event
from monitor.sets.load import LoadedSet
from monitor.tokens.chat_template import Segment
from monitor.tokens.language import LanguageOf
from monitor.tokens.tokeniser import Tokenised, as_index


@dataclass(frozen=True)
class PolicySettings:
    """What alerts carry."""

    config_sha256: str
    """Goes into every alert."""
    attributes: ChosenAttributes = NONE_CHOSEN
    """What alerts and telemetry say of an event."""
    redactor: Redactor | None = None
    """Writes over secrets in the text that alerts carry; None if they carry none."""
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
    scores: tuple[SetScore, ...] = ()
    """Of every set that scores a segment of the event."""
    abstentions: tuple[Abstention, ...] = ()
    """One for each set and segment."""


@dataclass(frozen=True)
class SetMatcher:
    """A set, its matcher, and how far below its threshold a score still needs the exact reader."""

    loaded: LoadedSet
    matcher: Matcher
    margin: float
    listed: NDArray[np.int64]
    """Places of the features that the YAML file lists among those of the set."""

    def scored(self, score: Score) -> SetScore:
        """The event's score as metrics show it."""
        used = self.loaded.set
        active = self.listed[score.contributions[self.listed] > 0]
        indices = tuple(used.features[place].index for place in active)
        return SetScore(used.id, used.category, score.value, indices, tuple(score.pooled[active].tolist()))


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
        languages: LanguageOf | None = None,
    ) -> None:
        """`columns` are those of the readers, named as FeatureSet.columns names them.

        `margins` say by set id how far below the threshold (Scale.margin) a reader that rounds may put a score that is
        above it. Every event is near a set without one.

        `languages` tells the languages of segments; without it, no set abstains.
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
                np.flatnonzero(np.isin(loaded.set.indices(), loaded.listed)),
            )
            for loaded in sets
        ]
        self._languages = languages
        self._in_some_languages = frozenset(
            name for loaded in sets if loaded.set.languages is not None for name in loaded.set.segments
        )
        self._rules = rules
        self._allow = allow or AllowList()
        self._builder = AlertBuilder(
            settings.config_sha256, settings.attributes, settings.redactor, settings.feature_url
        )
        self._attributes = settings.attributes

    def decision(self, event: Event) -> Decision:
        """What the rules of the config decide for the event."""
        return UNCHANGED if self._rules is None else self._rules.decide(event)

    def attributes(self, event: Event) -> Mapping[str, str]:
        """The event's attributes that the config chooses."""
        return self._attributes.of(event)

    def judge(self, item: Tokenised, values: NDArray[np.float32]) -> Judgement:
        """Judges an event with the activations `values` [token, column]."""
        matches, scores, abstentions = [], [], list[Abstention]()
        for of, how, best in self._best(item, values, abstentions):
            scores.append(of.scored(best[1]))
            match = of.matcher.match_of(*best, how.threshold, how.severity)
            if match is not None:
                matches.append((of.loaded, match, how.rules))
        if not matches:
            return Judgement(scores=tuple(scores), abstentions=tuple(abstentions))
        allowed = self._allow.entries_for(item.event)
        alerts, silenced = [], []
        for loaded, match, rules in matches:
            entry = silencing(allowed, loaded.set.id, match)
            if entry is None:
                alerts.append(self._builder.build(item, loaded, match, rules))
            else:
                silenced.append(Silenced(loaded.set.id, entry.name))
        return Judgement(tuple(alerts), tuple(silenced), tuple(scores), tuple(abstentions))

    def screen(self, item: Tokenised, values: NDArray[np.float32]) -> Judgement | None:
        """Judges an event with activations that were rounded; None if an exact reader could decide otherwise."""
        scores, abstentions = [], list[Abstention]()
        for of, how, (_, score) in self._best(item, values, abstentions):
            detector = of.matcher.detector
            threshold = detector.threshold if how.threshold is None else how.threshold
            if detector.scale.margin(score.value, threshold) >= -of.margin:
                return None
            scores.append(of.scored(score))
        return Judgement(scores=tuple(scores), abstentions=tuple(abstentions))

    def _best(
        self, item: Tokenised, values: NDArray[np.float32], abstentions: list[Abstention]
    ) -> Iterator[tuple[SetMatcher, SetDecision, tuple[SegmentActivations, Score]]]:
        """Every set that scores the event, what the rules decide for it, its best segment and the score.

        Adds to `abstentions` what sets do not score.
        """
        languages = [self._language(segment) for segment in item.segments]
        segments, decision = _segments(item, values, languages), self.decision(item.event)
        for of in self._matchers:
            how = decision.sets.get(of.loaded.set.id, AS_SET)
            if not how.enabled:
                continue
            abstentions += [Abstention(of.loaded.set.id, language) for language in of.matcher.abstained(segments)]
            best = of.matcher.best(segments)
            if best is not None:
                yield of, how, best

    def _language(self, segment: Segment) -> str | None:
        """The segment's language; None if it isn't known, or if no set asks."""
        if self._languages is None or segment.name not in self._in_some_languages:
            return None
        return self._languages.language_of(segment.text)

    def scores(self, item: Tokenised, values: NDArray[np.float32]) -> dict[str, Score | None]:
        """The event's score in every set, whatever its language; None if the set looks at no segment of it."""
        segments = _segments(item, values, [None] * len(item.segments))
        best = {of.loaded.set.id: of.matcher.best(segments) for of in self._matchers}
        return {name: None if found is None else found[1] for name, found in best.items()}


def _segments(
    item: Tokenised, values: NDArray[np.float32], languages: Sequence[str | None]
) -> list[SegmentActivations]:
    return [
        SegmentActivations(segment.name, segment.index, values[as_index(rows)], language)
        for segment, rows, language in zip(item.segments, item.rows, languages, strict=True)
    ]
