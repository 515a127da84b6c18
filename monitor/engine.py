"""Engine: events in, alerts out; the same for a stream and for a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.score import Score
from monitor.alerts.abstention import Abstention
from monitor.alerts.alert import Alert
from monitor.alerts.allow import Silenced
from monitor.alerts.policy import Judgement, Policy
from monitor.alerts.set_score import SetScore
from monitor.errors import BadEvent
from monitor.events.event import Event
from monitor.readers.sent.reader import SentReader
from monitor.readers.windows import WindowReader
from monitor.tokens.tokeniser import EventTokeniser, Tokenised


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
    read_seconds: float = 0.0
    """The part of it in which the model read."""
    confirmed: bool = False
    """Whether it came near a threshold, so that the exact reader read it again and decided."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """The event's attributes that the config chooses."""
    scores: tuple[SetScore, ...] = ()
    """Of every set that scores a segment of the event."""
    abstentions: tuple[Abstention, ...] = ()
    """One for each set and segment that is outside the set's languages."""
    silenced: tuple[Silenced, ...] = ()
    """Alerts that the allow-list kept back."""
    sampled_out: str = ""
    """The rule that chose not to read the event; empty if it was read."""


@dataclass(frozen=True)
class EngineSettings:
    """How events are read."""

    max_tokens: int = 65_536
    """An event with more tokens is refused."""
    group_tokens: int = 4_096
    """About how many tokens are read, and their activations held, at a time."""


class Engine:
    """Tokenises, reads and evaluates events.

    Events are taken in groups of about `group_tokens` tokens, so that memory for activations is bounded however many
    events the caller passes. A longer event is a group by itself, read in parts of that size.

    If there is an exact reader, an event that comes near a threshold is read again by it. Only its activations then
    decide and become evidence.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        tokeniser: EventTokeniser,
        reader: WindowReader,
        exact: WindowReader | None = None,
        sent: SentReader | None = None,
        settings: EngineSettings = EngineSettings(),
    ) -> None:
        """All readers have the columns of the policy; `sent` reads events that carry activations."""
        self._policy = policy
        self._tokeniser = tokeniser
        self._reader = reader
        self._exact = exact
        self._sent = sent
        self._max_tokens = settings.max_tokens
        self._group_tokens = settings.group_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens that the prefix cache has saved so far."""
        return self._reader.reader.cached_tokens

    def use(self, policy: Policy, sent: SentReader | None = None) -> None:
        """Judges with `policy` from the next call of `evaluate` on. The readers must have its columns by then."""
        self._policy, self._sent = policy, sent

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        """Evaluates events in order. Calls `on_group` after each group, and after each part of a long event.

        Raises BadEvent if an event has too many tokens, or activations that can't be judged.
        """
        policy = self._policy
        skipped: dict[int, Evaluation] = {}
        for n, event in enumerate(events):
            decision = policy.decision(event)
            if not decision.samples(event):
                skipped[n] = Evaluation(event, (), 0, 0, fallback=False, seconds=0, sampled_out=decision.sampled_by)
        chosen = [event for n, event in enumerate(events) if n not in skipped]
        done = self._evaluate(policy, [event for event in chosen if event.activations is None], on_group)
        for n, event in enumerate(events):
            if n in skipped:
                yield skipped[n]
            elif event.activations is None:
                yield next(done)
            else:
                yield self._evaluate_sent(policy, event)
                on_group()

    def _evaluate_sent(self, policy: Policy, event: Event) -> Evaluation:
        """Judges the activations that an event carries. They are exact, and no model reads."""
        if self._sent is None:
            raise BadEvent("activations are not read here", "$.activations")
        started = time.perf_counter()
        item, values = self._sent.read(event, self._max_tokens)
        read = time.perf_counter()
        judged = policy.judge(item, values)
        return Evaluation(
            event=event,
            alerts=judged.alerts,
            tokens=int(item.ids.size),
            windows=1,
            fallback=item.fallback,
            seconds=time.perf_counter() - started,
            read_seconds=read - started,
            attributes=policy.attributes(event),
            scores=judged.scores,
            abstentions=judged.abstentions,
            silenced=judged.silenced,
        )

    def _evaluate(self, policy: Policy, events: Sequence[Event], on_group: Callable[[], None]) -> Iterator[Evaluation]:
        for group in self._groups([self._checked(item) for item in self._tokeniser.tokenise(events)]):
            started, judging_s = time.perf_counter(), 0.0
            windows, near = [], []
            judged: dict[int, Judgement] = {}
            for n, (values, count) in enumerate(self._read(group, self._reader, policy.width, on_group)):
                windows.append(count)
                judging = time.perf_counter()
                found = policy.judge(group[n], values) if self._exact is None else policy.screen(group[n], values)
                judging_s += time.perf_counter() - judging
                if found is None:
                    near.append(n)
                else:
                    judged[n] = found
            if self._exact is not None:
                exact = self._read([group[n] for n in near], self._exact, policy.width, on_group)
                for n, (values, _) in zip(near, exact, strict=True):
                    judging = time.perf_counter()
                    judged[n] = policy.judge(group[n], values)
                    judging_s += time.perf_counter() - judging
            seconds = time.perf_counter() - started
            total = sum(item.ids.size for item in group) or 1
            for n, item in enumerate(group):
                share = item.ids.size / total
                yield Evaluation(
                    event=item.event,
                    alerts=judged[n].alerts,
                    tokens=int(item.ids.size),
                    windows=windows[n],
                    fallback=item.fallback,
                    seconds=seconds * share,
                    read_seconds=(seconds - judging_s) * share,
                    confirmed=n in near,
                    attributes=policy.attributes(item.event),
                    scores=judged[n].scores,
                    abstentions=judged[n].abstentions,
                    silenced=judged[n].silenced,
                )

    def scores(self, events: Sequence[Event]) -> Iterator[dict[str, Score | None]]:
        """The highest score of every set on each event, in order, without the exact reader, in whatever language."""
        policy = self._policy
        for group in self._groups(self._tokeniser.tokenise(events)):
            read = self._read(group, self._reader, policy.width, lambda: None)
            for item, (values, _) in zip(group, read, strict=True):
                yield policy.scores(item, values)

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
        self, group: Sequence[Tokenised], reader: WindowReader, width: int, on_part: Callable[[], None]
    ) -> Iterator[tuple[NDArray[np.float32], int]]:
        # in parts, because a loop that reads one long event must not look as if it hangs
        return reader.read([item.ids for item in group], width, self._group_tokens, on_part)
