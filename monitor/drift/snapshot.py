"""SetSnapshot: what one set did in one interval, for one model and tenant; a line of a snapshot."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from monitor.drift.sketch import Sketch, SketchData
from monitor.errors import ConfigError
from monitor.yaml_file import faults

SCHEMA: Final = "latentwatch.drift/1"


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class FeatureSnapshot(_Row):
    """A feature that the set's file lists."""

    index: NonNegativeInt
    label: str
    """From the set's file."""
    active: NonNegativeInt
    """Events in which it contributed to the score."""
    strengths: SketchData
    """Its pooled activations in them."""


class SetSnapshot(_Row):
    """Counts and sketches of one set for one model and tenant, over one interval of one process."""

    format: Literal["latentwatch.drift/1"] = Field(validation_alias="schema", serialization_alias="schema")
    instance: str
    """The process that counted."""
    start: AwareDatetime
    end: AwareDatetime
    model: str | None
    """The observed model; null if the events do not name one, `other` beyond drift.max_groups."""
    tenant: str | None
    set_id: str
    set_sha256: str
    """Hash of the set's files."""
    threshold: float
    """In the config; rules may have set others for some events."""
    events: NonNegativeInt
    """Events that the set scored."""
    fired: NonNegativeInt
    """Those of them that raised an alert, silenced ones included."""
    scores: SketchData
    features: Annotated[tuple[FeatureSnapshot, ...], Field(max_length=10_000)]

    @model_validator(mode="after")
    def _adds_up(self) -> SetSnapshot:
        if self.end <= self.start:
            raise ValueError("end is not later than start")
        if self.fired > self.events:
            raise ValueError("fired is over events")
        for feature in self.features:
            if feature.active > self.events:
                raise ValueError(f"feature {feature.index}: active is over events")
            Sketch(feature.strengths)  # refuses bins that can't be
        Sketch(self.scores)
        return self

    @property
    def key(self) -> tuple[str, str, str, str | None, str | None]:
        """The same for a line that was delivered twice."""
        return self.instance, self.start.isoformat(), self.set_id, self.model, self.tenant

    def to_json(self) -> str:
        """One line."""
        return self.model_dump_json(by_alias=True)


def parse_snapshot(line: str | bytes, where: str) -> SetSnapshot:
    """The line of a snapshot. Raises ConfigError, which names `where` and every rule that it breaks."""
    try:
        return SetSnapshot.model_validate_json(line)
    except ValidationError as e:
        raise ConfigError(faults(where, e, SCHEMA)) from None
