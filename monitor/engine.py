"""Engine: events in, alerts out; the same for a stream and for a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.matching import Matcher, SegmentActivations
from detectors.score import Score
from monitor.activations.reader import Chunk, Reader
from monitor.activations.tokens import EventTokeniser, Tokenised
from monitor.activations.windows import WindowPlanner
from monitor.alert_builder import AlertBuilder
from monitor.alerts import Alert
from monitor.config import AlertsConfig
from monitor.events import Event
from monitor.feature_set_files import LoadedSet


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
    """Its share of the group's reading time."""


@dataclass(frozen=True)
class _Judge:
    loaded: LoadedSet
    matcher: Matcher
    columns: NDArray[np.int64]


class Engine:
    """Tokenises, reads and judges events.

    Events are taken in groups of about `group_tokens` tokens, so that the activations held at one time are bounded
    whatever the caller hands in. A longer event is a group of its own, read in parts of that size.
    """

    def __init__(
        self,
        sets: Sequence[LoadedSet],
        tokeniser: EventTokeniser,
        planner: WindowPlanner,
        reader: Reader,
        reader_columns: Sequence[int],
        alerts: AlertsConfig,
        config_sha256: str,
        group_tokens: int = 32_768,
    ) -> None:
        """`reader_columns` are the SAE latents that the reader's columns stand for."""
        at = {latent: column for column, latent in enumerate(reader_columns)}
        self._judges = [
            _Judge(
                loaded,
                Matcher(loaded.set, alerts.top_features, alerts.top_tokens),
                np.array([at[i] for i in loaded.set.indices()], dtype=np.int64),
            )
            for loaded in sets
        ]
        self._tokeniser = tokeniser
        self._planner = planner
        self._reader = reader
        self._features = len(reader_columns)
        self._builder = AlertBuilder(config_sha256, alerts.capture_content)
        self._group_tokens = group_tokens

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        """Judges events, in order. `on_group` is called whenever a group, or a part of one, has been read."""
        for group in self._groups(self._tokeniser.tokenise(events)):
            started = time.perf_counter()
            activations, windows = self._read(group, on_group)
            seconds = time.perf_counter() - started
            total = sum(item.ids.size for item in group) or 1
            for item, values, count in zip(group, activations, windows, strict=True):
                yield Evaluation(
                    event=item.event,
                    alerts=tuple(self._judge(item, values)),
                    tokens=int(item.ids.size),
                    windows=count,
                    fallback=item.fallback,
                    seconds=seconds * item.ids.size / total,
                )

    def scores(self, events: Sequence[Event]) -> Iterator[dict[str, Score | None]]:
        """The highest score of every set on each event, in order, whether or not it reaches the threshold."""
        for group in self._groups(self._tokeniser.tokenise(events)):
            activations, _ = self._read(group, lambda: None)
            for item, values in zip(group, activations, strict=True):
                best: dict[str, Score | None] = {}
                for judge in self._judges:
                    scored = judge.matcher.scores(_segments(item, values, judge.columns))
                    best[judge.loaded.set.id] = max((s for _, s in scored), key=lambda s: s.value, default=None)
                yield best

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
        self, group: Sequence[Tokenised], on_part: Callable[[], None]
    ) -> tuple[list[NDArray[np.float32]], list[int]]:
        """Activations [token, feature] of each item, and how many windows they took."""
        plans = [self._planner.plan(item.ids) for item in group]
        read = self._read_parts([w.chunk for plan in plans for w in plan], on_part)
        results = []
        for item, plan in zip(group, plans, strict=True):
            values = np.zeros((item.ids.size, self._features), np.float32)
            for window in plan:
                values[window.start : window.start + window.new] = next(read)[-window.new :]
            results.append(values)
        on_part()
        return results, [len(plan) for plan in plans]

    def _read_parts(self, chunks: Sequence[Chunk], between: Callable[[], None]) -> Iterator[NDArray[np.float32]]:
        """Reads about `group_tokens` tokens at a time: one long event must not look like a loop that hangs."""
        part: list[Chunk] = []
        tokens = 0
        for chunk in chunks:
            if part and tokens + chunk.tokens.size > self._group_tokens:
                yield from self._reader.read(part)
                between()
                part, tokens = [], 0
            part.append(chunk)
            tokens += chunk.tokens.size
        yield from self._reader.read(part)

    def _judge(self, item: Tokenised, values: NDArray[np.float32]) -> Iterator[Alert]:
        for judge in self._judges:
            match = judge.matcher.match(_segments(item, values, judge.columns))
            if match is not None:
                yield self._builder.build(item, judge.loaded, match)


def _segments(item: Tokenised, values: NDArray[np.float32], columns: NDArray[np.int64]) -> list[SegmentActivations]:
    return [
        SegmentActivations(segment.name, segment.index, values[np.ix_(rows, columns)])
        for segment, rows in zip(item.segments, item.rows, strict=True)
    ]
