"""LabelledRow: one labelled example in the lab's data files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from detectors.feature_set import SegmentName
from monitor.errors import BadEvent, ConfigError, Permanent
from monitor.events.event import Event, EventLimits, Message, Origin, Record
from monitor.events.event_format import EventFormat
from monitor.events.parse import AUTO, parse
from monitor.events.roles import known_role
from monitor.lab.data.csv_rows import csv_records
from monitor.sources.file import FileSource
from monitor.yaml_file import faults

_MAX_LINE_BYTES = 64_000_000
# keys that only events of the sidecar's formats have
_EVENT_KEYS = {"messages", "request", "choices", "specversion", "conversations", "candidates", "ai", "batch", "body"}
_EVENT_KEYS |= {"llm_request", "resourceSpans", "resourceLogs", "output", "input", "contents", "payload"}

# files often write null for a missing text
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class Turn(BaseModel):
    """One turn before the response."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: str
    content: Text


class LabelledRow(BaseModel):
    """One line of a JSONL data file. `label` is 1 if the text is risky; rows of one `pair` differ only in the label."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _last_turn_is_the_response(cls, data: Any) -> Any:
        """A conversation that ends with the assistant's turn, without a `response`, has its response there."""
        if not isinstance(data, dict) or data.get("response") or not isinstance(data.get("messages"), list | tuple):
            return data
        *before, last = data["messages"] or [None]
        turn = last.model_dump() if isinstance(last, Turn) else last
        if not isinstance(turn, dict) or known_role(str(turn.get("role"))) != "assistant":
            return data
        return {**data, "messages": before, "response": turn.get("content")}

    id: str = ""
    """If missing, the loader uses the line number."""
    prompt: Text = ""
    messages: tuple[Turn, ...] = ()
    """A whole conversation, instead of `prompt`."""
    response: Text = ""
    label: Literal[0, 1]
    label_of: Text = ""
    """Which text the label is about: prompt, response, pair or text."""
    pair: str | None = None
    source: Text = ""
    language: str | None = Field(default=None, exclude=True)
    """The language of the row, if the file says so. It is not part of the row's key in a cache."""
    parallel: str | None = Field(default=None, exclude=True)
    """The id of the row that this one translates."""

    @property
    def labelled_segment(self) -> SegmentName:
        """The segment that the label is about, or the other one if that is empty."""
        asked = any(turn.content for turn in self.turns)
        if not self.response or (self.label_of == "prompt" and asked):
            return "user"
        return "response"

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns before the response."""
        return self.messages or ((Turn(role="user", content=self.prompt),) if self.prompt else ())

    @property
    def cluster(self) -> str:
        """The key of rows that stay together when rows are split or resampled."""
        return self.pair or self.id

    def text(self, turn: int) -> str:
        """The text of turn number `turn`, from 0; the response comes last."""
        turns = self.turns
        return turns[turn].content if turn < len(turns) else self.response

    def event(self, number: int) -> Event:
        """The row as an event that the sidecar would see."""
        messages = tuple(Message(turn.role, turn.content) for turn in self.turns)
        return Event(id=self.id, messages=messages, response=self.response, origin=Origin("lab", 0, number))


def load_rows(path: Path, limit: int | None = None, seed: int = 0) -> list[LabelledRow]:
    """The rows of a JSONL, JSON, CSV or Parquet file; if there are more than `limit`, whole clusters drawn with `seed`.

    Raises ConfigError with file and line of the first row that can't be used.
    """
    rows = [_row(record, body) for record in _records(path, _MAX_LINE_BYTES) for body in _bodies(record)]
    return sampled(rows, limit, seed)


def load_benign(
    path: Path,
    limit: int | None = None,
    seed: int = 0,
    limits: EventLimits | None = None,
    wire_format: str | EventFormat = AUTO,
) -> list[LabelledRow]:
    """Harmless traffic as rows of label 0: labelled rows, rows without a label, or events as the sidecar reads them.

    Raises ConfigError with file and line of the first line that is none of these, or whose label is 1.
    """
    rows: list[LabelledRow] = []
    for record in _records(path, _MAX_LINE_BYTES):
        bodies = _bodies(record)
        keys = set().union(*bodies)
        if "label" not in keys and (wire_format not in (AUTO, "native") or _EVENT_KEYS & keys):
            rows += _from_events(record, limits, wire_format)
            continue
        rows += [_row(record, {"label": 0, **body}) for body in bodies]
        if any(row.label for row in rows[-len(bodies) :]):
            raise ConfigError(f"{_where(record)}: label: a file of benign rows must not contain label 1")
    return sampled(rows, limit, seed)


def load_examples(path: Path, limit: int | None = None, seed: int = 0) -> list[LabelledRow]:
    """As `load_rows`, but a row without a label has label 0."""
    rows = [
        _row(record, {"label": 0, **body}) for record in _records(path, _MAX_LINE_BYTES) for body in _bodies(record)
    ]
    return sampled(rows, limit, seed)


def _records(path: Path, max_bytes: int) -> Iterator[Record]:
    if path.suffix.lower() == ".csv":
        yield from csv_records(path)
        return
    source = FileSource(str(path), max_bytes)
    try:
        while not source.exhausted:
            yield from source.poll()
    except Permanent as e:  # damaged, or in UTF-16
        raise ConfigError(str(e)) from None
    finally:
        source.close()


def _where(record: Record) -> str:
    return f"{record.origin.topic}:{record.origin.offset}"


def _bodies(record: Record) -> list[dict[str, Any]]:
    """The objects of a line: one, or those of an array."""
    try:
        found = json.loads((record.value or b"").decode("utf-8-sig"), parse_constant=_missing)
    except UnicodeDecodeError as e:
        raise ConfigError(f"{_where(record)}: not UTF-8: byte {e.start}") from None
    except json.JSONDecodeError as e:
        raise ConfigError(f"{_where(record)}: not JSON: {e.msg.removesuffix(' at')} at character {e.pos}") from None
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"{_where(record)}: not JSON: {e}") from None
    bodies = found if isinstance(found, list) else [found]
    if not bodies or not all(isinstance(body, dict) for body in bodies):
        raise ConfigError(f"{_where(record)}: expected a JSON object")
    return bodies


def _missing(_: str) -> None:
    """NaN and Infinity, which are not JSON: pandas writes NaN for a missing value."""
    return


def _row(record: Record, body: dict[str, Any]) -> LabelledRow:
    try:
        row = LabelledRow.model_validate({**body, "id": body.get("id") or f"line-{record.origin.offset}"})
    except ValidationError as e:
        raise ConfigError(faults(_where(record), e, "row")[0]) from None
    if not row.response and not any(turn.content for turn in row.turns):
        raise ConfigError(f"{_where(record)}: prompt and response are both empty")
    try:
        "".join([row.id, row.response, *(text for turn in row.turns for text in (turn.role, turn.content))]).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{_where(record)}: contains a lone surrogate, which is not valid Unicode text") from None
    return row


def _from_events(record: Record, limits: EventLimits | None, wire_format: str | EventFormat) -> list[LabelledRow]:
    try:
        events = parse(record, limits, wire_format)
    except BadEvent as e:
        raise ConfigError(f"{_where(record)}: {e}") from None
    return [
        LabelledRow(
            id=event.id,
            messages=tuple(Turn(role=m.role, content=m.content) for m in event.messages),
            response=event.response,
            label=0,
            source="traffic",
        )
        for event in events
    ]


def sampled(rows: list[LabelledRow], limit: int | None, seed: int = 0) -> list[LabelledRow]:
    """All `rows`, or if there are more than `limit`, whole clusters drawn with `seed`."""
    if limit is None or len(rows) <= limit:
        return rows
    clusters: dict[str, list[LabelledRow]] = {}
    for row in rows:
        clusters.setdefault(row.cluster, []).append(row)
    order = sorted(clusters)
    random.Random(seed).shuffle(order)  # noqa: S311 - a sample, not a secret
    drawn: list[LabelledRow] = []
    for cluster in order:
        if len(drawn) >= limit:
            break
        drawn += clusters[cluster]
    return drawn
