"""Engine: events in, alerts out; the same for a stream and for a file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.matching import Matcher, SegmentActivations
from detectors.score import Score
from monitor.alerts.alert import Alert
from monitor.alerts.builder import AlertBuilder
from monitor.errors import BadEvent
from monitor.events.event import Event
from monitor.readers.windows import WindowReader
from monitor.sets.load import LoadedSet
from monitor.tokens.tokeniser import EventTokeniser, Tokenised, as_index


@dataclass(frozen=True)
class Evaluation:
    """The result for one event."""

    event: Event
    alerts: tuple[Alert, ...]
    tokens: int
    windows: int
    fallback: bool
    """Whether the chat template refused the conversation, so that it was read as plain text."""
    seconds: float
    """The event's share of the time that its group took."""
    confirmed: bool = False
    """Whether it came near a threshold, so that the exact reader read it again and decided."""


@dataclass(frozen=True)
class Confirmation:
    """An exact reader for events that come near a threshold when a fast reader, which rounds, reads them."""

    reader: WindowReader
    margins: Mapping[str, float]
    """By set id: how far below the threshold (Scale.margin) the fast reader may put a score that is above it."""


@dataclass(frozen=True)
class EngineSettings:
    """How events are evaluated and what alerts carry."""

    config_sha256: str
    """Goes into every alert."""
    capture_content: bool = False
    """Whether alerts carry text."""
    top_features: int = 8
    """Most features in one alert."""
    top_tokens: int = 8
    """Most tokens for one feature."""
    max_tokens: int = 65_536
    """An event with more tokens is refused."""
    group_tokens: int = 4_096
    """About how many tokens are read, and their activations held, at a time."""


@dataclass(frozen=True)
class SetMatcher:
    """A set, its matcher, and how far below its threshold a score still needs the exact reader."""

    loaded: LoadedSet
    matcher: Matcher
    margin: float


class Engine:
    """Tokenises, reads and evaluates events.

    Events are taken in groups of about `group_tokens` tokens, so that memory for activations is bounded however many
    events the caller passes. A longer event is a group by itself, read in parts of that size.

    If there is a `confirmation`, an event that comes near a threshold is read again by the exact reader. Only its
    activations then decide and become evidence.
    """

    def __init__(
        self,
        *,
        sets: Sequence[LoadedSet],
        tokeniser: EventTokeniser,
        reader: WindowReader,
        columns: Sequence[int | str],
        settings: EngineSettings,
        confirmation: Confirmation | None = None,
    ) -> None:
        """`columns` are the columns of both readers, named as FeatureSet.columns names them."""
        at = {name: column for column, name in enumerate(columns)}
        margins = confirmation.margins if confirmation else {}
        self._matchers = [
            SetMatcher(
                loaded,
                Matcher(
                    loaded.set,
                    settings.top_features,
                    settings.top_tokens,
                    np.array([at[name] for name in loaded.set.columns()], dtype=np.int64),
                ),
                # without a measured margin, every event that the set looks at is read again
                margins.get(loaded.set.id, math.inf),
            )
            for loaded in sets
        ]
        self._tokeniser = tokeniser
        self._reader = reader
        self._confirmation = confirmation
        self._features = len(columns)
        self._builder = AlertBuilder(settings.config_sha256, settings.capture_content)
        self._max_tokens = settings.max_tokens
        self._group_tokens = settings.group_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens that the prefix cache has saved so far."""
        return self._reader.reader.cached_tokens

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        """Evaluates events in order. Calls `on_group` after each group, and after each part of a long event.

        Raises BadEvent if an event has too many tokens.
        """
        for group in self._groups([self._checked(item) for item in self._tokeniser.tokenise(events)]):
            started = time.perf_counter()
            windows, near = [], []
            alerts: dict[int, tuple[Alert, ...]] = {}
            for n, (values, count) in enumerate(self._read(group, self._reader, on_group)):
                windows.append(count)
                if self._confirmation is None:
                    alerts[n] = tuple(self._alerts(group[n], values))
                elif self._is_near(group[n], values):
                    near.append(n)
            if self._confirmation is not None:
                exact = self._read([group[n] for n in near], self._confirmation.reader, on_group)
                for n, (values, _) in zip(near, exact, strict=True):
                    alerts[n] = tuple(self._alerts(group[n], values))
            seconds = time.perf_counter() - started
            total = sum(item.ids.size for item in group) or 1
            for n, item in enumerate(group):
                yield Evaluation(
                    event=item.event,
                    alerts=alerts.get(n, ()),
                    tokens=int(item.ids.size),
                    windows=windows[n],
                    fallback=item.fallback,
                    seconds=seconds * item.ids.size / total,
                    confirmed=self._confirmation is not None and n in alerts,
                )

    def scores(self, events: Sequence[Event]) -> Iterator[dict[str, Score | None]]:
        """The highest score of every set on each event, in order, without the exact reader."""
        for group in self._groups(self._tokeniser.tokenise(events)):
            for item, (values, _) in zip(group, self._read(group, self._reader, lambda: None), strict=True):
                segments = _segments(item, values)
                best = {of.loaded.set.id: of.matcher.best(segments) for of in self._matchers}
                yield {name: None if found is None else found[1] for name, found in best.items()}

    def _is_near(self, item: Tokenised, values: NDArray[np.float32]) -> bool:
        segments = _segments(item, values)
        for of in self._matchers:
            best = of.matcher.best(segments)
            if best is None:
                continue
            detector = of.matcher.detector
            if detector.scale.margin(best[1].value, detector.threshold) >= -of.margin:
                return True
        return False

    def _checked(self, item: Tokenised) -> Tokenised:
        if item.ids.size > self._max_tokens:
            raise BadEvent(f"{item.ids.size} tokens, over events.max_tokens = {self._max_tokens}", kind="size")
        return item

    def _groups(self, items: Iterable[Tokenised]) -> Iterator[list[Tokenised]]:
        group: list[Tokenised] = []
        tokens = 0
        for item in items:
            if group and tokens + item.ids.size > self._group_tokens:
                yield group
                group, tokens = [], 0
            group.append(item)
            tokens += item.ids.size
        if group:
            yield group

    def _read(
        self, group: Sequence[Tokenised], reader: WindowReader, on_part: Callable[[], None]
    ) -> Iterator[tuple[NDArray[np.float32], int]]:
        # in parts, because a loop that reads one long event must not look as if it hangs
        return reader.read([item.ids for item in group], self._features, self._group_tokens, on_part)

    def _alerts(self, item: Tokenised, values: NDArray[np.float32]) -> Iterator[Alert]:
        segments = _segments(item, values)
        for of in self._matchers:
            match = of.matcher.match(segments)
            if match is not None:
                yield self._builder.build(item, of.loaded, match)


def _segments(item: Tokenised, values: NDArray[np.float32]) -> list[SegmentActivations]:
    return [
        SegmentActivations(segment.name, segment.index, values[as_index(rows)])
        for segment, rows in zip(item.segments, item.rows, strict=True)
    ]
