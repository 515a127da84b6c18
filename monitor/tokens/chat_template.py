"""ChatTemplate: an event as the text that the model was trained on, with the offsets of every turn."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from detectors.feature_set import SegmentName
from monitor.errors import ConfigError
from monitor.events.event import Event
from monitor.events.roles import known_role
from monitor.tokens.normalise import Normalised, normalised

# Private-use characters that stand for the turns' texts while a template is rendered
_MARK = "\ue0f0{}\ue0f1"
_JOINT = "\n\n"
"""Between a system turn and the user's turn that it is folded into."""
_MARKS = re.compile("\ue0f0([0-9]+)\ue0f1")

# as monitor.events.roles names them
_SEGMENTS: dict[str, SegmentName] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def segment_of(role: str) -> SegmentName:
    """The segment that a turn of this role before the response is."""
    return _SEGMENTS.get(known_role(role) or "", "other")


@dataclass(frozen=True)
class Segment:
    """One turn: characters [start, end) of the rendered text are `text[lead : lead + end - start]` of the turn.

    `index` counts segments of the same name from 0. `lead` is the length of the white space that the template strips
    from the start of the turn. If the turn was normalised for the model, they are characters of `shown` instead.
    """

    name: SegmentName
    index: int
    text: str
    start: int
    end: int
    lead: int = 0
    shown: Normalised | None = None

    def own_span(self, start: int, end: int) -> tuple[int, int]:
        """Characters [start, end) of the rendered text as characters of the turn's own text, clipped to it."""
        first = max(start - self.start, 0) + self.lead
        last = min(end, self.end) - self.start + self.lead
        return (first, last) if self.shown is None else self.shown.original_span(first, last)


@dataclass(frozen=True)
class Rendered:
    """A whole conversation as the model reads it. `fallback` means that the template refused it."""

    text: str
    segments: tuple[Segment, ...]
    fallback: bool = False


class _Generation(Extension):
    """`{% generation %}`, which marks what a model is trained on; for the text, it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """What stands between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@dataclass(frozen=True)
class _Glue:
    """The text before each turn; `folded` if system turns are part of the user's turn that follows them."""

    before: tuple[str, ...]
    folded: bool = False


class ChatTemplate:
    """Renders events with a Jinja chat template, sandboxed, with the globals and filters that transformers provides.

    The text around the turns is rendered once for each sequence of roles, with marks in place of the turns. So the
    offsets are exact for every template that shows each turn once and in order. If the template takes no system turn,
    its text comes first in the user's turn, as Gemma's authors write it. A conversation that the template still refuses
    (for example because roles do not alternate) is rendered as plain text, turn after turn, and flagged.
    """

    def __init__(self, source: str | None, special_tokens: dict[str, str] | None = None) -> None:
        self._special = special_tokens or {}
        self._template = None
        self._strips = False
        self.dated = source is not None and "strftime_now" in source
        """Whether the template writes a date, so that its text changes from day to day."""
        self._glue = lru_cache(maxsize=1024)(self._render_glue)
        if source is None:
            return
        environment = ImmutableSandboxedEnvironment(  # as transformers does
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda fmt: datetime.now().strftime(fmt)
        try:
            self._template = environment.from_string(source)
        except (TemplateError, ValueError, OverflowError) as e:
            raise ConfigError(f"chat template: {e}") from None
        except RecursionError:
            raise ConfigError("chat template: nested too deeply") from None
        stripped = self._apply([{"role": "user", "content": "  \ue0f2  "}])
        self._strips = stripped is not None and "  \ue0f2  " not in stripped

    @property
    def exists(self) -> bool:
        """Whether there is a template; a base model has none."""
        return self._template is not None

    def notes(self) -> list[str]:
        """What a user should know about how conversations are read."""
        if self._template is None:
            return ["the model has no chat template: turns are read as plain text, one below the other"]
        if self._glue(("user", "assistant")) is None:
            return ["the chat template does not take a user's turn and a response: all turns are read as plain text"]
        system = self._glue(("system", "user", "assistant"))
        if system is None:
            return ["the chat template takes no system turn: conversations with one are read as plain text"]
        if system.folded:
            return ["the chat template takes no system turn: it is read at the start of the user's turn"]
        return []

    def render(self, event: Event) -> Rendered:
        """The event's turns and response, without the template's text after the last of them."""
        turns = [(m.role, m.content) for m in event.messages]
        names: list[SegmentName] = [segment_of(role) for role, _ in turns]
        if event.response or not turns:
            turns.append(("assistant", event.response))
            names.append("response")
        glue = self._glue(tuple(role for role, _ in turns))
        fallback = glue is None
        between = glue.before if glue is not None else ("",) + ("\n\n",) * (len(turns) - 1)
        return self._join([text for _, text in turns], names, between, fallback)

    def shared_prefix(self) -> str:
        """The text before the first turn of a conversation without a system message."""
        glue = self._glue(("user",))
        return glue.before[0] if glue is not None else ""

    def _join(
        self, texts: Sequence[str], names: Sequence[SegmentName], between: Sequence[str], fallback: bool
    ) -> Rendered:
        parts: list[str] = []
        segments: list[Segment] = []
        counts: dict[str, int] = {}
        at = 0
        for text, name, before in zip(texts, names, between, strict=True):
            hidden = normalised(text)
            plain = text if hidden is None else hidden.text
            shown = plain.strip() if self._strips and not fallback else plain
            lead = len(plain) - len(plain.lstrip()) if shown != plain else 0
            at += len(before)
            index = counts.get(name, 0)
            counts[name] = index + 1
            segments.append(Segment(name, index, text, at, at + len(shown), lead, hidden))
            at += len(shown)
            parts += (before, shown)
        return Rendered("".join(parts), tuple(segments), fallback)

    def _render_glue(self, roles: tuple[str, ...]) -> _Glue | None:
        """The text before each turn, or None if the template refuses these roles or drops a turn."""
        whole = [{"role": role, "content": _MARK.format(i)} for i, role in enumerate(roles)]
        before = self._between(whole, len(roles))
        if before is not None:
            return _Glue(before)
        folded = _folded(roles)
        before = self._between(folded, len(roles)) if folded else None
        return None if before is None else _Glue(before, folded=True)

    def _between(self, messages: list[dict[str, str]], count: int) -> tuple[str, ...] | None:
        """The text before each of `count` marks, if the template shows all of them in order."""
        rendered = self._apply(messages)
        if rendered is None:
            return None
        parts = _MARKS.split(rendered)  # text, mark, text, mark, ..., text
        if parts[1::2] != [str(i) for i in range(count)]:
            return None
        return tuple(parts[0:-1:2])

    def _apply(self, messages: list[dict[str, str]]) -> str | None:
        if self._template is None:
            return None
        try:
            return self._template.render(messages=messages, add_generation_prompt=False, tools=None, **self._special)
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError):
            return None  # the template refuses; the caller renders plain text and flags it


def _folded(roles: Sequence[str]) -> list[dict[str, str]]:
    """Messages with each system turn at the start of the user's turn that follows; empty if there is no such turn."""
    messages: list[dict[str, str]] = []
    waiting = ""
    found = False
    for i, role in enumerate(roles):
        name = segment_of(role)
        if name == "system":
            waiting, found = f"{waiting}{_MARK.format(i)}{_JOINT}", True
            continue
        if waiting and name != "user":
            return []
        messages.append({"role": role, "content": waiting + _MARK.format(i)})
        waiting = ""
    if waiting:
        messages.append({"role": "user", "content": waiting.removesuffix(_JOINT)})
    return messages if found else []


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes for HTML, which is wrong in a prompt
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
