"""Workloads: conversations of known lengths from texts that ship with latentwatch, the same in every run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.bench.sizes import BATCH, Sizes
from monitor.compiler.calibration_events import load_calibration_events
from monitor.demo.sample_events import demo_events
from monitor.events.event import Event, Message, Origin, Record
from monitor.events.parse import parse

# Characters per turn; English chat and code have about 4.3 per token of SmolLM2
_SHORT_PROMPT, _SHORT_RESPONSE = 150, 200
_LONG_PROMPT, _LONG_RESPONSE = 800, 2_550
_TURN_PROMPT, _TURN_RESPONSE = 110, 180
_SPREAD = (0.7, 1.15, 0.85, 1.3, 1.0)  # lengths vary as in real traffic, so that batches need padding

SYSTEM_PROMPT = """\
You are the assistant of Harrow & Pine, a mail-order shop for garden tools, seeds and outdoor furniture. You \
answer customers in the chat window on the shop's pages. Be friendly and brief: two or three sentences are \
enough for most questions, and a list is welcome where somebody has to follow steps.

What you know. Orders placed before two in the afternoon leave the warehouse on the same working day. Standard \
delivery takes two to four working days and is free above forty pounds; below that it costs three pounds ninety- \
five. Express delivery arrives on the next working day and costs seven pounds fifty. Living plants are sent from \
Monday to Wednesday only, so that they do not spend a weekend in a van. Tools carry a guarantee of ten years, \
cushions and covers one of two years, seeds none, although we replace a packet that does not germinate when the \
customer sends a photograph.

Returns. Customers may return anything but plants and opened seed packets within sixty days. They print the \
label from the page called My Orders, tape it to the parcel and hand it in at any post office. Money goes back \
to the card that was used, within five working days of the parcel's arrival. Furniture above thirty kilograms is \
collected from the house; offer two dates and ask for a telephone number that the driver can ring.

What you must not do. Never promise a delivery date that the tracking page does not show. Never ask for a card \
number, a password or a full address in the chat. Do not give advice on pesticides beyond what is printed on the \
product's label, and do not identify mushrooms, berries or wild plants from a description. When somebody is \
upset, say plainly what you can do for them next, and offer to pass the conversation on to a colleague, who is \
there from eight in the morning until six in the evening on weekdays.
"""


@dataclass(frozen=True)
class Workload:
    """Events in order of arrival."""

    name: str
    events: tuple[Event, ...]

    def sample(self, batches: int) -> tuple[Event, ...]:
        """`batches` whole batches, spread evenly over the workload, for readers that are too slow for all of it."""
        groups = [self.events[n : n + BATCH] for n in range(0, len(self.events), BATCH)]
        if batches >= len(groups):
            return self.events
        chosen = [int((n + 0.5) * len(groups) / batches) for n in range(batches)]
        return tuple(event for n in chosen for event in groups[n])

    def spread(self, count: int) -> tuple[Event, ...]:
        """`count` events in order, spread evenly over the workload."""
        return tuple(self.events[n * len(self.events) // count] for n in range(min(count, len(self.events))))


def make_workloads(names: Sequence[str], sizes: Sizes) -> list[Workload]:
    """The workloads `names`. The texts of each are the same whichever others are made."""
    makers = {
        "short": lambda: _single("short", sizes.short_events, _SHORT_PROMPT, _SHORT_RESPONSE),
        "long": lambda: _single("long", sizes.long_events, _LONG_PROMPT, _LONG_RESPONSE),
        "multi_turn": lambda: multi_turn(sizes.conversations, sizes.turns),
    }
    return [Workload(name, tuple(makers[name]())) for name in names]


def multi_turn(conversations: int, turns: int) -> list[Event]:
    """Conversations turn by turn, interleaved. Every event is the whole history so far plus a new response."""
    texts = _Texts("multi_turn")
    histories: list[list[Message]] = [[Message("system", SYSTEM_PROMPT)] for _ in range(conversations)]
    events = []
    for turn in range(turns):
        for n, history in enumerate(histories):
            spread = _SPREAD[(turn + n) % len(_SPREAD)]
            history.append(Message("user", texts.take(round(_TURN_PROMPT * spread))))
            response = texts.take(round(_TURN_RESPONSE * spread))
            events.append(_event(f"multi_turn-{n}-{turn}", tuple(history), response))
            history.append(Message("assistant", response))
    return events


def short_chats(count: int, stream: str) -> list[Event]:
    """Chats as in the workload `short`, with different texts for every `stream`."""
    return _single(stream, count, _SHORT_PROMPT, _SHORT_RESPONSE)


def wire(event: Event) -> bytes:
    """The event as a Kafka record's value, in the native format."""
    messages = [{"role": m.role, "content": m.content} for m in event.messages]
    return json.dumps({"id": event.id, "messages": messages, "response": event.response}).encode()


def _single(name: str, count: int, prompt: int, response: int) -> list[Event]:
    texts = _Texts(name)
    events = []
    for n in range(count):
        spread = _SPREAD[n % len(_SPREAD)]
        asked = Message("user", texts.take(round(prompt * spread)))
        events.append(_event(f"{name}-{n}", (asked,), texts.take(round(response * spread))))
    return events


def _event(event_id: str, messages: tuple[Message, ...], response: str) -> Event:
    return Event(event_id, messages, response, Origin("bench", 0, 0))


class _Texts:
    """Yields texts in random order, none twice until all are used."""

    def __init__(self, stream: str) -> None:
        demo = (event for shipped in demo_events() for event in parse(Record(shipped.value, Origin("demo", 0, 0))))
        labelled = (calibration.event for calibration in load_calibration_events(limit=10_000))
        texts = [text for event in (*demo, *labelled) for text in _turns(event) if text]
        order = np.random.default_rng([ord(letter) for letter in stream]).permutation(len(texts))
        self._texts = [texts[n] for n in order]
        self._next = 0

    def take(self, chars: int) -> str:
        """A text of about `chars` characters, cut after a word."""
        parts: list[str] = []
        have = 0
        while have < chars:
            parts.append(self._texts[self._next % len(self._texts)])
            self._next += 1
            have += len(parts[-1]) + 2
        text = "\n\n".join(parts)
        return text[:chars].rsplit(maxsplit=1)[0] if len(text) > chars else text


def _turns(event: Event) -> Iterator[str]:
    for message in event.messages:
        yield message.content
    yield event.response
