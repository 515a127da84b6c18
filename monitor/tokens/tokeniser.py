"""Tokenised: an event as token ids; for each token, its characters and its segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from monitor.errors import ConfigError
from monitor.events.event import Event, Message, Origin
from monitor.tokens.chat_template import ChatTemplate, Rendered, Segment


@dataclass(frozen=True)
class Tokenised:
    """The tokens of one event.

    `ids` [token]; `starts` and `ends` [token] are characters of the rendered text; `rows[i]` are the tokens of
    `segments[i]` that count as evidence. Special tokens, template text and the first position, which is an attention
    sink with unusual activations, are never evidence.
    """

    event: Event
    ids: NDArray[np.int32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    segments: tuple[Segment, ...]
    rows: tuple[NDArray[np.int64], ...]
    fallback: bool


class EventTokeniser:
    """Renders events with the chat template and splits the text into the reader model's tokens."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._special = np.array(
            sorted(i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special), dtype=np.int32
        )
        self._rows: int | None = None

    @classmethod
    def load(cls, tokenizer_file: Path, template: ChatTemplate) -> EventTokeniser:
        """From a tokenizer.json. Raises ConfigError if it cannot be read."""
        try:
            tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as e:  # noqa: BLE001 - the library raises a bare Exception for anything wrong in the file
            raise ConfigError(f"{tokenizer_file}: not a tokenizer: {e}") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer, template)

    @property
    def notes(self) -> list[str]:
        """What a user should know about how conversations are read."""
        return self._template.notes()

    def limit(self, rows: int) -> None:
        """Keeps tokens within the `rows` of the model's embeddings.

        Some tokenizers have a few special tokens more than the model, such as that of an image. Text may spell them,
        but no model was trained on them: token 0 stands in, and is no evidence. Raises ConfigError if ordinary tokens
        lie beyond, because then the tokenizer is that of another model.
        """
        tokens = self._tokenizer.get_vocab_size(with_added_tokens=False)
        if tokens > rows:
            raise ConfigError(
                f"tokenizer.json: has {tokens} tokens, but the model has embeddings for {rows}; "
                "it is the tokenizer of another model"
            )
        self._rows = rows

    def tokenise(self, events: Sequence[Event]) -> list[Tokenised]:
        """The events' tokens, in order; nothing is truncated."""
        rendered = [self._template.render(event) for event in events]
        # a template writes the begin-of-sequence token itself; for plain text, the tokenizer's post-processor does
        encodings: dict[int, Encoding] = {}
        for plain in (False, True):
            chosen = [n for n, r in enumerate(rendered) if r.fallback == plain]
            found = self._tokenizer.encode_batch([rendered[n].text for n in chosen], add_special_tokens=plain)
            encodings |= zip(chosen, found, strict=True)
        return [self._tokenised(event, rendered[n], encodings[n]) for n, event in enumerate(events)]

    def shared_prefixes(self) -> list[NDArray[np.int32]]:
        """Prefixes that many events share, shortest first: up to the first special token, and the whole opening."""
        text = self._template.shared_prefix()
        ids = np.array(self._tokenizer.encode(text, add_special_tokens=not self._template.exists).ids, dtype=np.int32)
        # Only up to a special token are the tokens certain to be the same, whatever text follows
        special = np.flatnonzero(np.isin(ids, self._special))
        if special.size == 0:
            return []
        return [ids[: int(n) + 1] for n in sorted({special[0], special[-1]})]

    def opening(self, messages: Sequence[Message]) -> NDArray[np.int32]:
        """The tokens after which a response to `messages` begins, the template's own included."""
        rendered = self._template.render(Event("opening", tuple(messages), "response", Origin("opening", 0, 0)))
        text = rendered.text[: rendered.segments[-1].start]
        return np.array(self._tokenizer.encode(text, add_special_tokens=rendered.fallback).ids, dtype=np.int32)

    @property
    def special(self) -> tuple[int, ...]:
        """The special tokens, such as those that end a turn."""
        return tuple(self._special.tolist())

    def token(self, text: str) -> int | None:
        """The one token that `text` is; None if it is several or none."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return int(ids[0]) if len(ids) == 1 else None

    def text(self, ids: NDArray[np.int32]) -> str:
        """The text of tokens, without special ones."""
        return str(self._tokenizer.decode(ids.tolist()))

    def _tokenised(self, event: Event, rendered: Rendered, encoding: Encoding) -> Tokenised:
        ids = np.array(encoding.ids, dtype=np.int32)
        offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        usable = ~np.isin(ids, self._special)
        if self._rows is not None:
            beyond = ids >= self._rows
            usable &= ~beyond
            ids[beyond] = 0
        usable[:1] = False
        positions = np.arange(ids.size)
        rows = []
        before = 0  # where the previous segment ended
        for segment in rendered.segments:
            # A token may begin in the template's text, like the space of "[INST] Hello"; a token that two segments
            # share belongs to the first
            inside = (offsets[:, 0] >= before) & (offsets[:, 1] > segment.start) & (offsets[:, 0] < segment.end)
            rows.append(positions[usable & inside])
            before = segment.end
        last = max((int(r[-1]) for r in rows if r.size), default=-1)
        keep = slice(0, last + 1)  # the model is causal: what follows the last segment changes nothing
        return Tokenised(
            event=event,
            ids=ids[keep],
            starts=offsets[keep, 0],
            ends=offsets[keep, 1],
            segments=rendered.segments,
            rows=tuple(rows),
            fallback=rendered.fallback,
        )


def as_index(rows: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """The same rows as a slice if they are contiguous, which saves a copy."""
    if rows.size and rows[-1] - rows[0] + 1 == rows.size:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
