"""Alert: what is delivered if a feature set is active in an event, and its JSON format."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from detectors.feature_set import SegmentName, Severity

SCHEMA = "latentwatch.alert/1"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AlertOrigin(_Model):
    """Where the record came from: topic, partition and offset in Kafka; path, 0 and line or row number in a file."""

    topic: str
    partition: int
    offset: int


class AlertEvent(_Model):
    """The event that the alert is about."""

    id: str
    time: datetime | None
    model: str | None
    """The model that wrote the response, according to the event."""
    conversation_id: str | None = None
    """The conversation, if the event's attributes name one."""
    attributes: dict[str, str] = Field(default_factory=dict)
    """The attributes that alerts.attributes chooses, as far as the event has them."""
    origin: AlertOrigin


class AlertSet(_Model):
    """The feature set that was active."""

    id: str
    version: str
    sha256: str
    """Hash of the set's files."""
    category: str
    title: str
    status: str


class AlertWindow(_Model):
    """Characters [start, end) of the segment: the window with the highest score of a segment pooled in several."""

    start: int
    end: int
    tokens: int
    of: int
    """How many windows the segment has."""


class AlertSegment(_Model):
    """The segment with the highest score. Token offsets count from the start of its text."""

    name: SegmentName
    index: int
    tokens: int
    chars: int
    window: AlertWindow | None = None
    """The part that the score and all evidence come from; None if that is the whole segment."""


class TokenActivation(_Model):
    """One token: characters [start, end) of the segment. `text` is set only if content capture is on."""

    start: int
    end: int
    activation: float
    text: str | None = None


class AlertFeature(_Model):
    """One named SAE feature that contributed to the alert."""

    index: int
    label: str
    label_score: float | None = None
    """How well judges told from the label alone where the feature is active; 0.5 is chance."""
    url: str | None = None
    """Of the feature's card, if `alerts.feature_url` is set."""
    activation: float
    """After pooling, in units of the activation basis."""
    contribution: float
    share: float = 0.0
    """Its part of everything that raises the score, 0 to 1."""
    threshold: float | None
    weight: float | None
    tokens: tuple[TokenActivation, ...]
    """Strongest first."""


class AlertUnnamed(_Model):
    """All features without a name that contributed to the alert, summed."""

    features: int
    """How many they are."""
    contribution: float
    share: float
    """Their part of everything that raises the score, 0 to 1."""
    tokens: tuple[TokenActivation, ...]
    """The tokens with the most of their evidence, strongest first; activations are weighted as in the score."""


class AlertProbe(_Model):
    """What the set's linear probe on the residual stream contributed to the alert."""

    contribution: float
    """To the logit; below 0 if only the features made the alert."""
    share: float = 0.0
    """Its part of everything that raises the score, 0 to 1."""
    tokens: tuple[TokenActivation, ...]
    """The tokens with the largest projections, strongest first."""


class AlertReader(_Model):
    """What the activations were read with."""

    model: str
    model_sha256: str
    layer: int
    hook: str
    sae_sha256: str
    activation_basis: str


class AlertContent(_Model):
    """The text of the segment, and how strongly each token is evidence. Only if content capture is on."""

    prompt: str
    """The user's last turn."""
    text: str
    strengths: tuple[tuple[int, int, float], ...]
    """(start, end, strength) of each token with evidence; the strongest has strength 1."""


class Alert(_Model):
    """A feature set is active in one event: evidence that a concept is represented, not that the model acted on it."""

    schema_: Literal["latentwatch.alert/1"] = Field(
        default="latentwatch.alert/1", alias="schema", serialization_alias="schema"
    )
    id: str
    """Hash of event id, set id and set revision: evaluating the same event again gives the same id."""
    time: datetime
    severity: Severity
    message: str
    event: AlertEvent
    set: AlertSet
    detector: str
    score: float
    threshold: float
    unit: str
    rules: tuple[str, ...] = ()
    """The config's rules that changed threshold or severity of the set for this event."""
    segment: AlertSegment
    features: tuple[AlertFeature, ...]
    """Only named ones, strongest first."""
    unnamed: AlertUnnamed | None = None
    """None if no feature without a name contributed."""
    probe: AlertProbe | None = None
    """None if the set has no probe."""
    reader: AlertReader
    config_sha256: str
    trace_id: str | None
    """Of the event's traceparent."""
    traceparent: str | None
    process_traceparent: str | None = None
    """Of latentwatch's own `process` span; null unless spans are exported."""
    content: AlertContent | None = None

    def within(self, process_traceparent: str | None) -> Alert:
        """This alert with the `process` span that it belongs to."""
        return self.model_copy(update={"process_traceparent": process_traceparent})

    def to_json(self) -> str:
        """One line of JSON."""
        return self.model_dump_json(by_alias=True)

    @classmethod
    def from_json(cls, line: str | bytes) -> Alert:
        """Reads what `to_json` wrote. Raises pydantic.ValidationError."""
        return cls.model_validate_json(line)


def alert_id(event_id: str, set_id: str, set_revision: str) -> str:
    """The stable id of an alert: 32 hexadecimal digits."""
    # JSON keeps the parts apart whatever characters an event id has
    key = json.dumps([event_id, set_id, set_revision], ensure_ascii=False)
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def alert_schema() -> dict[str, Any]:
    """The JSON schema of an alert."""
    schema = Alert.model_json_schema(by_alias=True, mode="serialization")
    schema["$id"] = SCHEMA
    return schema
