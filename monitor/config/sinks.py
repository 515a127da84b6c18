"""SinksConfig: the sections of the sinks, and the registry of sinks that they are found by.

Every sink brings the model of its own section, so a new sink needs only its line in SINKS here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from detectors.registry import Registry, RegistryError
from monitor.config.section import Positive, Seconds, Section


class SinkConfig(Section):
    """What the section of every sink has."""

    enabled: bool = False
    """Whether alerts go there."""
    required: bool = True
    """If true, nothing is committed before this sink has the alerts; if false, it never holds anything up."""
    queue_alerts: Positive = 1_000
    """If not required: most alerts that wait for it; when the queue is full, the oldest are dropped."""

    def kafka_topics(self) -> dict[str, str]:
        """The topics that the sink writes to, by their keys in this section, so that `check` can look at them."""
        return {}


class ConfiguredSink(Protocol):
    """What the config needs of a sink's class; monitor.sinks.sink.SinkType has the rest."""

    @property
    def config_type(self) -> type[SinkConfig]:
        """The model of the sink's section. Importing it imports no client library."""


# in the order in which they get their alerts
SINKS: Registry[ConfiguredSink] = Registry(
    "sink",
    "latentwatch.sinks",
    {
        "jsonl": "monitor.sinks.jsonl:JsonlSink",
        "otel": "monitor.sinks.otel:OtelSink",
        "webhook": "monitor.sinks.webhook:WebhookSink",
        "alertmanager": "monitor.sinks.alertmanager:AlertmanagerSink",
        "kafka": "monitor.sinks.kafka:KafkaSink",
    },
    members=("config_type", "open"),
)


class OtelConfig(SinkConfig):
    """OpenTelemetry over OTLP/HTTP: alerts as log events, spans and metrics."""

    enabled: bool = False
    """Whether anything is exported."""
    endpoint: str = "http://127.0.0.1:4318"
    """Base URL of an OTLP/HTTP receiver."""
    headers_file: Path | None = None
    """File of `name: value` lines, sent as headers with every export; for access tokens."""
    required: bool = False
    """If true, nothing is committed before the receiver has the alerts; if false, it never holds anything up."""
    timeout_s: Seconds = 5.0
    """Longest wait for one export."""
    metrics_interval_s: Seconds = 15.0
    """Pause between exports of metrics."""
    service_name: str = "latentwatch"
    """service.name of everything exported."""
    resource_attributes: dict[str, str] = Field(default_factory=dict)
    """Further resource attributes, such as deployment.environment.name."""


class SinksConfig(Section):
    """Where alerts go; every enabled sink gets every alert. A plugin's sink has its section here too."""

    model_config = ConfigDict(extra="allow")

    otel: OtelConfig = OtelConfig()
    """Declared here because spans and metrics are exported by it, too."""

    @model_validator(mode="before")
    @classmethod
    def _by_their_own_models(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        sections = sinks_model(data).model_validate(data)
        return {info.alias: getattr(sections, field) for field, info in type(sections).model_fields.items()}

    @model_validator(mode="after")
    def _at_least_one(self) -> SinksConfig:
        if not self.enabled():
            raise ValueError("no sink is enabled: alerts would go nowhere")
        return self

    def enabled(self) -> dict[str, SinkConfig]:
        """The sections of the enabled sinks by name, in the order in which they get their alerts."""
        sections: dict[str, SinkConfig] = dict(self)
        ordered = dict.fromkeys((*SINKS.built_in, *sections))
        return {name: sections[name] for name in ordered if sections[name].enabled}


def section_model(name: str) -> type[SinkConfig]:
    """The model of one sink's section. Raises RegistryError if there is no such sink."""
    declared = SinksConfig.model_fields.get(name)  # without loading the sink, which imports its client library
    if declared is not None:
        return cast("type[SinkConfig]", declared.annotation)
    return SINKS.load(name).config_type


class _SinkSections(Section):
    """One field for each sink, under an alias: sinks may be called what a model has methods for."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": {"type": "object"}})


def sinks_model(names: Iterable[Any] = ()) -> type[BaseModel]:
    """The model of the sinks section with a key for every built-in sink and for each of `names`."""
    fields: dict[str, Any] = {}
    for name in dict.fromkeys((*SINKS.built_in, *(n for n in names if isinstance(n, str)))):
        try:
            model = section_model(name)
        except RegistryError as e:
            fields[f"sink_{len(fields)}"] = Annotated[Any, BeforeValidator(_refusal(str(e)))], Field(alias=name)
            continue
        info = Field(alias=name, default_factory=model, description=f"The sink `{name}`.")
        fields[f"sink_{len(fields)}"] = model, info
    return create_model(SinksConfig.__name__, __base__=_SinkSections, __doc__=SinksConfig.__doc__, **fields)


def _refusal(reason: str) -> Any:
    def refuse(_: Any) -> Any:
        raise PydanticCustomError("unusable_sink", "{reason}", {"reason": reason})

    return refuse
