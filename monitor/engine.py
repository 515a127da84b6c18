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
from monitor.config.sections import AlertsConfig
from monitor.errors import BadEvent
from monitor.events.event import Event
from monitor.readers.reader import Chunk, Reader
from monitor.readers.windows import WindowPlanner
from monitor.sets.load import LoadedSet
from monitor.tokens.tokeniser import EventTokeniser, Tokenised, as_index


@dataclass(frozen=True)
class Evaluation:
    """What one event came to."""

    event: Event
    alerts: tuple[Alert, ...]
    tokens: int
    windows: int
    fallback: bool
    """Whether the chat template refused the conversation and it was read plainly."""
    seconds: float
    """Its share of the time that the group took."""
    read_again: bool = False
    """Whether it came near a threshold and the exact reader decided."""


@dataclass(frozen=True)
class Confirmation:
    """A second, exact reader, for what a fast one with rounding errors finds at or near a threshold."""

    planner: WindowPlanner
    reader: Reader
    margins: Mapping[str, float]
    """By set id: how far below the threshold (Scale.margin) the fast reader may put a score that is above it."""


@dataclass(frozen=True)
class _Judge:
    loaded: LoadedSet
    matcher: Matcher
    margin: float
    """How far below the threshold the exact reader is asked."""


class Engine:
    """Tokenises, reads and judges events.

    Events are taken in groups of about `group_tokens` tokens, so that the activations held at one time are bounded
    whatever the caller hands in. A longer event is a group of its own, read in parts of that size.

    Where a fast reader rounds, an event that comes near a threshold is read again by an exact one, which alone
    decides and gives the evidence.
    """

    def __init__(
        self,
        sets: Sequence[LoadedSet],
        tokeniser: EventTokeniser,
        planner: WindowPlanner,
        reader: Reader,
        reader_columns: Sequence[int | str],
        alerts: AlertsConfig,
        config_sha256: str,
        max_tokens: int = 65_536,
        group_tokens: int = 4_096,
        confirmation: Confirmation | None = None,
    ) -> None:
        """`reader_columns` say what the readers' columns stand for, as FeatureSet.columns names it."""
        at = {name: column for column, name in enumerate(reader_columns)}
        margins = confirmation.margins if confirmation else {}
        self._judges = []
        for loaded in sets:
            columns = np.array([at[name] for name in loaded.set.columns()], dtype=np.int64)
            matcher = Matcher(loaded.set, alerts.top_features, alerts.top_tokens, columns)
            # of a set that nothing was measured of, everything is read again
            margin = margins.get(loaded.set.id, math.inf)
            self._judges.append(_Judge(loaded, matcher, margin))
        self._confirmation = confirmation
        self._tokeniser = tokeniser
        self._planner = planner
        self._reader = reader
        self._features = len(reader_columns)
        self._builder = AlertBuilder(config_sha256, alerts.capture_content)
        self._max_tokens = max_tokens
        self._group_tokens = group_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens that a prefix cache has saved the reader from reading so far."""
        return self._reader.cached_tokens

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        """Judges events, in order. `on_group` is called whenever a group, or a part of one, has been read.

        Raises BadEvent where an event has more tokens than it may have.
        """
        for group in self._groups([self._checked(item) for item in self._tokeniser.tokenise(events)]):
            started = time.perf_counter()
            windows, near = [], []
            alerts: dict[int, tuple[Alert, ...]] = {}
            for n, (values, count) in enumerate(self._read(group, self._planner, self._reader, on_group)):
                windows.append(count)
                if self._confirmation is None:
                    alerts[n] = tuple(self._judge(group[n], values))
                elif self._near(group[n], values):
                    near.append(n)
            if self._confirmation is not None:
                again = [group[n] for n in near]
                exact = self._read(again, self._confirmation.planner, self._confirmation.reader, on_group)
                for n, (values, _) in zip(near, exact, strict=True):
                    alerts[n] = tuple(self._judge(group[n], values))
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
                    read_again=self._confirmation is not None and n in alerts,
                )

    def scores(self, events: Sequence[Event]) -> Iterator[dict[str, Score | None]]:
        """The highest score of every set on each event, in order, by the first reader alone."""
        for group in self._groups(self._tokeniser.tokenise(events)):
            read = self._read(group, self._planner, self._reader, lambda: None)
            for item, (values, _) in zip(group, read, strict=True):
                segments = _segments(item, values)
                best = {judge.loaded.set.id: judge.matcher.best(segments) for judge in self._judges}
                yield {name: None if found is None else found[1] for name, found in best.items()}

    def _near(self, item: Tokenised, values: NDArray[np.float32]) -> bool:
        segments = _segments(item, values)
        for judge in self._judges:
            best = judge.matcher.best(segments)
            if best is None:
                continue
            detector = judge.matcher.detector
            if detector.scale.margin(best[1].value, detector.threshold) >= -judge.margin:
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
        self, group: Sequence[Tokenised], planner: WindowPlanner, reader: Reader, on_part: Callable[[], None]
    ) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Activations [token, feature] of each item, and how many windows they took; one item's at a time."""
        plans = [planner.plan(item.ids) for item in group]
        read = self._read_parts(reader, [w.chunk for plan in plans for w in plan], on_part)
        for item, plan in zip(group, plans, strict=True):
            values = np.zeros((item.ids.size, self._features), np.float32)
            for window in plan:
                values[window.start : window.start + window.new] = next(read)[-window.new :]
            yield values, len(plan)
        on_part()

    def _read_parts(
        self, reader: Reader, chunks: Sequence[Chunk], between: Callable[[], None]
    ) -> Iterator[NDArray[np.float32]]:
        """Reads about `group_tokens` tokens at a time: one long event must not look like a loop that hangs."""
        part: list[Chunk] = []
        tokens = 0
        for chunk in chunks:
            if part and tokens + chunk.tokens.size > self._group_tokens:
                yield from reader.read(part)
                between()
                part, tokens = [], 0
            part.append(chunk)
            tokens += chunk.tokens.size
        yield from reader.read(part)

    def _judge(self, item: Tokenised, values: NDArray[np.float32]) -> Iterator[Alert]:
        segments = _segments(item, values)
        for judge in self._judges:
            match = judge.matcher.match(segments)
            if match is not None:
                yield self._builder.build(item, judge.loaded, match)


def _segments(item: Tokenised, values: NDArray[np.float32]) -> list[SegmentActivations]:
    return [
        SegmentActivations(segment.name, segment.index, values[as_index(rows)])
        for segment, rows in zip(item.segments, item.rows, strict=True)
    ]
